//! The clients of one cell, and the clock of the server's process.

use crate::CERT;
use crate::cells::{BODY_BYTES, Kind, Load};
use crate::support::client::Client;
use crate::support::coders::{encode, post, records};
use crate::support::secured::{self, Secured};
use rustls::ClientConfig;
use rustls::client::Resumption;
use std::io::Write;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
/// Nothing of this is counted.
const WARM_UP: Duration = Duration::from_millis(500);

/// The processor time that a process has used, all of its threads together.
pub struct Cpu(libc::clockid_t);

impl Cpu {
    pub fn of(process: u64) -> Cpu {
        let mut clock = 0;
        // SAFETY: the pointer is good for the call.
        let status = unsafe { libc::clock_getcpuclockid(process as libc::pid_t, &mut clock) };
        assert_eq!(status, 0, "process {process} has no clock");
        Cpu(clock)
    }

    pub fn ns(&self) -> u64 {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer is good for the call.
        assert_eq!(unsafe { libc::clock_gettime(self.0, &mut time) }, 0, "the server has ended");
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}

/// Prints the server's processor time, then each latency, all in nanoseconds.
pub fn run(load: &'static Load, port: u16, seconds: u64, process: u64) {
    let (cpu, wire, config) = (Cpu::of(process), wire(load), load.secure.then(config));
    let mut askers: Vec<Asker> = (0..load.clients).map(|_| Asker::new(load.kind, port, &wire, config.clone())).collect();
    let warm = Instant::now();
    let mut next = 0;
    while warm.elapsed() < WARM_UP {
        askers[next].ask();
        next = (next + 1) % askers.len();
    }
    let step_ns = load.clients * 1_000_000_000 / load.rate;
    let (before_ns, start) = (cpu.ns(), Instant::now());
    let threads: Vec<_> = askers
        .into_iter()
        .enumerate()
        .map(|(index, mut asker)| {
            let first_ns = index as u64 * step_ns / load.clients;
            std::thread::spawn(move || {
                let mut latencies_ns = Vec::new();
                for number in 0..seconds * load.rate / load.clients {
                    let due = start + Duration::from_nanos(first_ns + number * step_ns);
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    if start.elapsed() > 2 * Duration::from_secs(seconds) {
                        // It cannot be done: those that are left out show in the share that was served.
                        break;
                    }
                    asker.ask();
                    latencies_ns.push(due.elapsed().as_nanos());
                }
                latencies_ns
            })
        })
        .collect();
    let latencies_ns: Vec<u128> = threads.into_iter().flat_map(|thread| thread.join().expect("every request is answered")).collect();
    println!("{}", cpu.ns() - before_ns);
    latencies_ns.iter().for_each(|latency_ns| println!("{latency_ns}"));
}

fn wire(load: &Load) -> Arc<[u8]> {
    match load.kind {
        Kind::Get | Kind::Connect => GET.into(),
        Kind::Gzip => post("gzip", &encode("gzip", &records(BODY_BYTES))).into(),
    }
}

/// Clients that trust the certificate of all servers here, and never resume.
fn config() -> Arc<ClientConfig> {
    let der = std::env::var(CERT).expect("the first process hands it on");
    let der: Vec<u8> = (0..der.len() / 2).map(|at| u8::from_str_radix(&der[2 * at..2 * at + 2], 16).expect("hexadecimal digits")).collect();
    let mut config = secured::config_trusting(&[&der.into()]);
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// One client: with a connection that stays, or with a new one for each request.
struct Asker {
    port: u16,
    wire: Arc<[u8]>,
    stays: Option<Client>,
    config: Option<Arc<ClientConfig>>,
}

impl Asker {
    fn new(kind: Kind, port: u16, wire: &Arc<[u8]>, config: Option<Arc<ClientConfig>>) -> Asker {
        Asker { port, wire: Arc::clone(wire), stays: (kind != Kind::Connect).then(|| Client::connect(port)), config }
    }

    fn ask(&mut self) {
        match &mut self.stays {
            Some(client) => {
                client.send(&self.wire);
                assert_eq!(client.answer().status, 200);
            }
            None => self.connect_and_ask(),
        }
    }

    fn connect_and_ask(&self) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the server listens");
        stream.set_nodelay(true).expect("a socket");
        // It is reset at the end, so that tens of thousands leave no port in TIME_WAIT.
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        let size = std::mem::size_of::<libc::linger>() as libc::socklen_t;
        // SAFETY: the descriptor is open and the option has the size that is said.
        unsafe { libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), size) };
        let mut answer = [0; 1024];
        match &self.config {
            Some(config) => {
                let tls = Secured::connect_with(&stream, Arc::clone(config), "localhost").expect("a session");
                tls.write_all(&mut stream, &self.wire).expect("the server reads");
                assert!(tls.read(&mut stream, &mut answer).expect("the server answers") > 0);
            }
            None => {
                stream.write_all(&self.wire).expect("the server reads");
                assert!(std::io::Read::read(&mut stream, &mut answer).expect("the server answers") > 0);
            }
        }
    }
}
