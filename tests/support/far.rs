//! A server in a process of its own, whose memory and descriptors are nobody else's: this test program, started again, and what it reports.

use crate::support::client::Client;
use crate::support::host::abi::{ingest_log_record, ingest_server, ingest_server_on_log};
use crate::support::host::{Handler, Host, Server, on_requests};
use crate::support::secured;
use crate::support::{checksum, eventually};
use ingest::request::ingest_token;
use ingest::status::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::c_void;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The test that is the server when it is started with this set.
pub const TEST: &str = "a_far_server_serves_reports_and_ends";
const ORDERS: &str = "INGEST_FAR";
/// Where a server with TLS finds its certificate and its key.
const PAIR: [&str; 2] = ["INGEST_FAR_CERT", "INGEST_FAR_KEY"];
/// Before what the server says: the test harness prints on the same line.
const MARK: &str = "@@ ";

/// Counts the octets that are allocated and not freed.
struct Counting;

static LIVE: AtomicI64 = AtomicI64::new(0);

// SAFETY: every call is handed to the system's allocator as it is; counting touches only an atomic.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as i64, Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as i64, Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(size as i64 - layout.size() as i64, Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the server says of itself.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Octets that its program has allocated and not freed; octets that it keeps in memory.
    pub heap: i64,
    pub resident: i64,
    pub descriptors: i64,
    pub open: i64,
    pub accepted: i64,
    pub delivered: i64,
    pub refused: i64,
    pub timed_out: i64,
    /// Connections whose body is coming.
    pub in_body: i64,
    /// What the library itself has charged to memory_max.
    pub charged: i64,
    /// What its pools keep for later, bounded by themselves.
    pub pooled: i64,
    pub panics: i64,
    /// Lines of the log, and events other than requests, that the host heard.
    pub log_lines: i64,
    pub other_events: i64,
    /// Requests whose target does not begin with `/witness`.
    pub strangers: i64,
    /// Of streamed answers: octets taken, refusals with INGEST_E_BUSY, and those that ended with INGEST_E_GONE.
    pub streamed: i64,
    pub busy: i64,
    pub gone: i64,
}

impl Report {
    fn fields(&mut self) -> [&mut i64; 18] {
        [
            &mut self.heap,
            &mut self.resident,
            &mut self.descriptors,
            &mut self.open,
            &mut self.accepted,
            &mut self.delivered,
            &mut self.refused,
            &mut self.timed_out,
            &mut self.in_body,
            &mut self.charged,
            &mut self.pooled,
            &mut self.panics,
            &mut self.log_lines,
            &mut self.other_events,
            &mut self.strangers,
            &mut self.streamed,
            &mut self.busy,
            &mut self.gone,
        ]
    }
}

/// A running server. Dropped, it is told to end and waited for.
pub struct FarServer {
    child: Child,
    pipes: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    port: u16,
    ended: bool,
}

impl FarServer {
    /// With delivery inline, unless the options say otherwise.
    pub fn start(options: &[(&str, &str)]) -> FarServer {
        FarServer::of(false, options)
    }

    /// With TLS if that is wanted; its clients speak it then.
    pub fn of(secure: bool, options: &[(&str, &str)]) -> FarServer {
        let orders: Vec<String> = options.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let program = std::env::current_exe().expect("a test program knows where it lies");
        let mut command = Command::new(program);
        command.args(["--exact", TEST, "--nocapture", "--test-threads=1"]).env(ORDERS, orders.join("\n"));
        if secure {
            command.envs(PAIR.into_iter().zip([&secured::pair().cert, &secured::pair().key]));
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it can be started");
        let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let mut server = FarServer { child, pipes: Mutex::new((input, BufReader::new(output))), port: 0, ended: false };
        server.port = server.hear(&mut server.pipes.lock().expect("nobody else yet").1).parse().expect("a port");
        secured::note(server.port, secure);
        server
    }

    fn hear(&self, output: &mut impl BufRead) -> String {
        loop {
            let mut line = String::new();
            let count = output.read_line(&mut line).expect("the server speaks UTF-8");
            assert!(count > 0, "the far server ended; what it said on stderr tells why");
            if let Some((_, said)) = line.split_once(MARK) {
                return said.trim_end().to_owned();
            }
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.port)
    }

    /// Stops the process, or lets it go on.
    pub fn signal(&self, number: i32) {
        let process = i32::try_from(self.child.id()).expect("a process id fits");
        // SAFETY: kill takes two numbers; the child is ours and not yet waited for, so its id is no one else's.
        assert_eq!(unsafe { libc::kill(process, number) }, 0, "the server has ended already");
    }

    pub fn report(&self) -> Report {
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        pipes.0.write_all(b"report\n").expect("the server listens to its input");
        let said = self.hear(&mut pipes.1);
        let mut report = Report::default();
        let mut numbers = said.split(' ').map(|number| number.parse().expect("a number"));
        report.fields().into_iter().for_each(|field| *field = numbers.next().expect("as many numbers as fields"));
        report
    }

    /// Waits until so many connections are open.
    pub fn settles_at(&self, open: i64) {
        assert!(eventually(|| self.report().open == open), "{open} connections were to stay open: {:?}", self.report());
    }

    /// Tells it to end, and that must be clean.
    pub fn finish(mut self) {
        self.end();
        let status = self.child.wait().expect("a child can be waited for");
        assert!(status.success(), "the far server ended with {status}");
    }

    fn end(&mut self) {
        self.ended = true;
        let pipes = self.pipes.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = pipes.0.write_all(b"end\n");
    }
}

impl Drop for FarServer {
    fn drop(&mut self) {
        if !self.ended {
            self.end();
            // It may be stopped, or stuck in what the test was about.
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Whether this process is to be the server.
pub fn is_far() -> bool {
    std::env::var_os(ORDERS).is_some()
}

static LOG_LINES: AtomicU64 = AtomicU64::new(0);
static OTHER_EVENTS: AtomicU64 = AtomicU64::new(0);
static STRANGERS: AtomicU64 = AtomicU64::new(0);
static STREAMED: AtomicU64 = AtomicU64::new(0);
static BUSY: AtomicU64 = AtomicU64::new(0);
static GONE: AtomicU64 = AtomicU64::new(0);

/// Serves until the input ends or says so.
pub fn serve() {
    let orders = std::env::var(ORDERS).expect("is_far was asked before");
    let pairs: Vec<(&str, &str)> = orders.lines().filter_map(|line| line.split_once('=')).collect();
    let given = |name: &str| pairs.iter().any(|(key, _)| *key == name);
    let mut options = pairs.clone();
    if !given("delivery") {
        options.push(("delivery", "inline"));
    }
    let pair = PAIR.map(|name| std::env::var(name).ok());
    if let [Some(cert), Some(key)] = &pair {
        options.extend([("tls.cert", cert.as_str()), ("tls.key", key.as_str())]);
    }
    let mut server = Server::unstarted(&options);
    server.call_back(handler());
    // SAFETY: the server lives, and the function takes what it is given.
    assert_eq!(unsafe { ingest_server_on_log(server.host.0, Some(count_line), std::ptr::null_mut()) }, INGEST_OK);
    server.listen(if pair[0].is_some() { "https://127.0.0.1:0" } else { "http://127.0.0.1:0" }).expect("loopback can be listened on");
    server.start().expect("the server starts");
    say(&server.port().to_string());
    for line in std::io::stdin().lines() {
        match line.expect("orders are UTF-8").as_str() {
            "report" => say(&report(&server)),
            _ => break,
        }
    }
    server.finish();
}

fn say(text: &str) {
    let mut output = std::io::stdout().lock();
    // The test may have ended, and with it whoever reads.
    let _ = output.write_all(format!("{MARK}{text}\n").as_bytes()).and_then(|()| output.flush());
}

unsafe extern "C" fn count_line(_: *mut c_void, _: *mut ingest_server, _: *const ingest_log_record) {
    LOG_LINES.fetch_add(1, Relaxed);
}

fn report(server: &Server) -> String {
    let stats = server.stats();
    let pages = std::fs::read_to_string("/proc/self/statm").expect("there is /proc");
    let resident: i64 = pages.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("statm has numbers");
    let load = |counter: &AtomicU64| counter.load(Relaxed) as i64;
    let mut report = Report {
        heap: LIVE.load(Relaxed),
        resident: resident * 4096,
        // Without the one that lists them.
        descriptors: std::fs::read_dir("/proc/self/fd").expect("there is /proc").count() as i64 - 1,
        open: stats.connections_open as i64,
        accepted: stats.connections_accepted as i64,
        delivered: stats.requests_delivered as i64,
        refused: stats.requests_refused as i64,
        timed_out: stats.requests_timed_out as i64,
        in_body: stats.connections_in_body as i64,
        charged: stats.memory_bytes as i64,
        pooled: stats.memory_pooled_bytes as i64,
        panics: stats.panics as i64,
        log_lines: load(&LOG_LINES),
        other_events: load(&OTHER_EVENTS),
        strangers: load(&STRANGERS),
        streamed: load(&STREAMED),
        busy: load(&BUSY),
        gone: load(&GONE),
    };
    report.fields().map(|field| field.to_string()).join(" ")
}

/// Answers with the target, but for some that begin otherwise: `/big/OCTETS`, `/late/MILLISECONDS`, `/stream/OCTETS`, `/sum`.
fn handler() -> Handler {
    let requests = on_requests(|host, request| {
        let target = String::from_utf8_lossy(request.target()).into_owned();
        let token = request.0.token;
        if !target.starts_with("/witness") {
            STRANGERS.fetch_add(1, Relaxed);
        }
        let number = target.rsplit('/').next().and_then(|number| number.parse::<usize>().ok()).unwrap_or(0);
        match target.split('/').nth(1) {
            Some("big") => {
                let _ = host.bytes(token, 200, "application/octet-stream", &vec![b'x'; number]);
            }
            Some("late") => drop(std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(number as u64));
                host.text(token, target.as_bytes());
            })),
            Some("stream") => drop(std::thread::spawn(move || stream(host, token, number))),
            Some("sum") => {
                let body = request.body();
                let _ = host.text(token, format!("{} {:016x}", body.len(), checksum(body)).as_bytes());
            }
            _ => {
                let _ = host.text(token, target.as_bytes());
            }
        }
    });
    std::sync::Arc::new(move |host, event| {
        if event.kind != ingest::request::INGEST_EVENT_REQUEST {
            OTHER_EVENTS.fetch_add(1, Relaxed);
        }
        requests(host, event);
    })
}

/// Writes pieces of 64 KiB as a host would: again a little later when the stream is busy, until it is over or gone.
fn stream(host: Host, token: ingest_token, length: usize) {
    let piece = vec![b'x'; 64 * 1024];
    let mut left = length;
    let mut status = host.begin(token, 200, &[], length as i64);
    while status == INGEST_OK && left > 0 {
        match host.write(token, &piece[..left.min(piece.len())]) {
            INGEST_E_BUSY => {
                BUSY.fetch_add(1, Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
            taken if taken >= 0 => {
                left -= taken as usize;
                STREAMED.fetch_add(taken as u64, Relaxed);
            }
            refused => status = refused,
        }
    }
    if status == INGEST_OK {
        status = host.end(token, &[]);
    } else {
        host.abandon(token);
    }
    if status == INGEST_E_GONE {
        GONE.fetch_add(1, Relaxed);
    }
}
