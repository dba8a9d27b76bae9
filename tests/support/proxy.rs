//! A proxy that makes a bad network of loopback: it delays, splits and resets. What is lost, doubled or out of order below TCP is not seen
//! above it but as delay, and between two sockets of one kernel it can only be made with netem, which this kernel may not have.

use crate::support::Random;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// What the network does to a connection.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Each piece is held back by up to so much.
    pub delay: Duration,
    /// Pieces have from one octet to so many.
    pub piece: usize,
    /// One connection in so many is reset, after some of its octets; zero for none.
    pub resets: u64,
}

/// See the file's first line.
pub struct Proxy {
    pub port: u16,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// In front of this port, with what is random drawn from the seed.
    pub fn start(server: u16, weather: Weather, seed: u64) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback can be listened on");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut random = Random(seed);
            let (mut carriers, mut streams) = (Vec::new(), Vec::new());
            for client in listener.incoming() {
                if ends.load(Relaxed) {
                    break;
                }
                let client = client.expect("a connection");
                let server = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, server))).expect("the server accepts");
                let dies = weather.resets > 0 && random.next() % weather.resets == 0;
                let life = if dies { (random.next() % 2_000) as usize } else { usize::MAX };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().expect("a descriptor"), to.try_clone().expect("a descriptor"));
                    from.set_nodelay(true).expect("a TCP socket");
                    let random = Random(random.next() | 1);
                    carriers.push(std::thread::spawn(move || carry(from, to, weather, random, life)));
                }
                streams.extend([client, server]);
            }
            // Whoever forgot to hang up is hung up on.
            for stream in &streams {
                let _ = stream.shutdown(Shutdown::Both);
            }
            for carrier in carriers {
                carrier.join().expect("a carrier does not panic");
            }
        });
        Proxy { port, over, thread: Some(thread) }
    }

    /// Ends every connection through it.
    pub fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.over.store(true, Relaxed);
        // So that it looks.
        let _ = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)));
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the proxy panicked");
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end();
    }
}

/// Carries one direction until its end, or for so many octets.
fn carry(mut from: TcpStream, mut to: TcpStream, weather: Weather, mut random: Random, life: usize) {
    let mut octets = vec![0; 64 * 1024];
    let mut carried = 0;
    loop {
        let count = match from.read(&mut octets) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return abort(&from, &to),
        };
        let mut rest = &octets[..count];
        while !rest.is_empty() {
            let piece = (random.next() as usize % weather.piece + 1).min(rest.len());
            std::thread::sleep(weather.delay.mul_f64((random.next() % 100) as f64 / 100.0));
            if carried + piece > life {
                return abort(&from, &to);
            }
            if to.write_all(&rest[..piece]).is_err() {
                return abort(&from, &to);
            }
            carried += piece;
            rest = &rest[piece..];
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Both sides are reset; the other direction finds that out when it reads.
fn abort(from: &TcpStream, to: &TcpStream) {
    for stream in [from, to] {
        crate::crowd::will_reset(stream);
        let _ = stream.shutdown(Shutdown::Both);
    }
}
