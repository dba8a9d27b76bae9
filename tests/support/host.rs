//! A host in a test: a server made through the C functions alone, its callback or its consumers, and the calls that answer.

use super::request_view::{RequestView, slice_of};
use abi::*;
use ingest::request::*;
use ingest::status::*;
use std::ffi::{CString, c_void};
use std::sync::Arc;
use std::thread::JoinHandle;

/// The C functions and structs of all groups of the header.
pub mod abi {
    pub use ingest::ffi::{life::*, listen::*, observe::*, options::*, queue::*, request::*, respond::*, server::*, stream::*, version::*};
}

/// The server as any host thread may use it.
#[derive(Clone, Copy)]
pub struct Host(pub *mut ingest_server);

// SAFETY: the library's functions may be called from any thread; the tests free a server only after their threads ended.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

/// One of a server's queues.
#[derive(Clone, Copy)]
pub struct Queue(pub *mut ingest_queue);

// SAFETY: several consumers may share one queue; it lives as long as its server.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

/// What a handler does with one event.
pub type Handler = Arc<dyn Fn(Host, &ingest_event) + Send + Sync>;

/// Wraps a closure on requests as a handler.
pub fn on_requests(answer: impl Fn(Host, RequestView) + Send + Sync + 'static) -> Handler {
    Arc::new(move |host, event| {
        if let Some(request) = RequestView::of(event) {
            answer(host, request);
        }
    })
}

/// An event that nothing was written to yet.
pub fn blank_event() -> ingest_event {
    ingest_event { kind: 0, flags: 0, reason: 0, token: 0, tag: 0, request: std::ptr::null(), data: ingest_slice::NONE }
}

impl Host {
    pub fn text(&self, token: ingest_token, body: &[u8]) -> ingest_status {
        self.bytes(token, 200, "text/plain", body)
    }

    pub fn bytes(&self, token: ingest_token, status: u16, content_type: &str, body: &[u8]) -> ingest_status {
        let content_type = CString::new(content_type).expect("a content type has no NUL");
        // SAFETY: the server lives, and the pointers are good for the call.
        unsafe { ingest_respond_bytes(self.0, token, status, content_type.as_ptr(), body.as_ptr().cast(), body.len()) }
    }

    pub fn respond(&self, token: ingest_token, status: u16, headers: &[(&[u8], &[u8])], body: &[u8]) -> ingest_status {
        self.respond_flagged(token, status, 0, headers, body)
    }

    pub fn respond_flagged(&self, token: ingest_token, status: u16, flags: u16, headers: &[(&[u8], &[u8])], body: &[u8]) -> ingest_status {
        let headers: Vec<ingest_header> =
            headers.iter().map(|(name, value)| ingest_header { name: slice_of(name), value: slice_of(value) }).collect();
        let response = response(status, flags, &headers, body);
        // SAFETY: the server lives; the response and what it points to outlive the call.
        unsafe { ingest_respond(self.0, token, &response) }
    }

    /// `ingest_respond_many` with a body for each token: how many were still open, and the status of each.
    pub fn respond_many(&self, answers: &[(ingest_token, u16, &[u8])]) -> (i32, Vec<ingest_status>) {
        let tokens: Vec<ingest_token> = answers.iter().map(|(token, _, _)| *token).collect();
        let responses: Vec<ingest_response> = answers.iter().map(|(_, status, body)| response(*status, 0, &[], body)).collect();
        let pointers: Vec<*const ingest_response> = responses.iter().map(|each| each as *const _).collect();
        let mut each = vec![1; tokens.len()];
        // SAFETY: all three arrays have as many entries as is said.
        let count = unsafe { ingest_respond_many(self.0, tokens.as_ptr(), pointers.as_ptr(), tokens.len(), each.as_mut_ptr()) };
        (count, each)
    }

    pub fn respond_all(&self, tokens: &[ingest_token], status: u16) -> (i32, Vec<ingest_status>) {
        let mut each = vec![1; tokens.len()];
        // SAFETY: both arrays have as many entries as is said.
        let count = unsafe { ingest_respond_all(self.0, tokens.as_ptr(), tokens.len(), status, each.as_mut_ptr()) };
        (count, each)
    }

    /// `ingest_respond_begin`; a length of -1 is unknown.
    pub fn begin(&self, token: ingest_token, status: u16, headers: &[(&[u8], &[u8])], length: i64) -> ingest_status {
        let headers: Vec<ingest_header> =
            headers.iter().map(|(name, value)| ingest_header { name: slice_of(name), value: slice_of(value) }).collect();
        let response = ingest_response { content_length: length, ..response(status, 0, &headers, b"") };
        // SAFETY: the server lives; the response and what it points to outlive the call.
        unsafe { ingest_respond_begin(self.0, token, &response) }
    }

    pub fn write(&self, token: ingest_token, octets: &[u8]) -> i32 {
        // SAFETY: the server lives; the octets outlive the call.
        unsafe { ingest_respond_write(self.0, token, octets.as_ptr().cast(), octets.len()) }
    }

    pub fn end(&self, token: ingest_token, trailers: &[(&[u8], &[u8])]) -> ingest_status {
        let trailers: Vec<ingest_header> =
            trailers.iter().map(|(name, value)| ingest_header { name: slice_of(name), value: slice_of(value) }).collect();
        // SAFETY: the server lives; the trailers outlive the call.
        unsafe { ingest_respond_end(self.0, token, trailers.as_ptr(), trailers.len()) }
    }

    pub fn file(&self, token: ingest_token, fd: i32, offset: u64, length: u64) -> ingest_status {
        // SAFETY: the server lives; the response outlives the call.
        unsafe { ingest_respond_file(self.0, token, &response(200, 0, &[], b""), fd, offset, length) }
    }

    /// `ingest_respond` with a body that the caller keeps until RELEASED.
    pub fn lend(&self, token: ingest_token, body: &'static [u8]) -> ingest_status {
        let response = ingest_response { lend: 1, ..response(200, 0, &[], body) };
        // SAFETY: the server lives; the body lives for ever.
        unsafe { ingest_respond(self.0, token, &response) }
    }

    pub fn tag(&self, token: ingest_token, tag: u64) -> ingest_status {
        // SAFETY: the server lives; any number may be asked about.
        unsafe { ingest_token_tag(self.0, token, tag) }
    }

    pub fn abandon(&self, token: ingest_token) -> ingest_status {
        // SAFETY: the server lives; any number may be asked about.
        unsafe { ingest_abandon(self.0, token) }
    }

    pub fn alive(&self, token: ingest_token) -> i32 {
        // SAFETY: the server lives; any number may be asked about.
        unsafe { ingest_token_alive(self.0, token) }
    }

    pub fn stats(&self) -> ingest_stats {
        // SAFETY: every field is an integer, for which zero is a value.
        let mut stats: ingest_stats = unsafe { std::mem::zeroed() };
        stats.size = std::mem::size_of::<ingest_stats>() as u32;
        // SAFETY: the server lives and `stats` has the size it says.
        let status = unsafe { ingest_server_stats(self.0, &mut stats) };
        assert_eq!(status, INGEST_OK);
        stats
    }

    /// `ingest_server_set`.
    pub fn set(&self, name: &str, value: &str) -> Result<i32, Refused> {
        let (name, value) = (CString::new(name).expect("no NUL"), CString::new(value).expect("no NUL"));
        // SAFETY: the server lives; the strings and the error are good for the call.
        set_up(|error| unsafe { ingest_server_set(self.0, name.as_ptr(), value.as_ptr(), error) })
    }

    pub fn stop(&self) -> ingest_status {
        // SAFETY: the server lives.
        unsafe { ingest_server_stop(self.0) }
    }

    pub fn drain(&self, grace_ms: i32) -> ingest_status {
        // SAFETY: the server lives.
        unsafe { ingest_server_drain(self.0, grace_ms) }
    }

    pub fn join(&self, timeout_ms: i32) -> ingest_status {
        // SAFETY: the server lives.
        unsafe { ingest_server_join(self.0, timeout_ms) }
    }

    pub fn queue(&self) -> Queue {
        // SAFETY: the server lives.
        let queue = unsafe { ingest_server_queue(self.0, 0) };
        assert!(!queue.is_null(), "a server has at least one queue");
        Queue(queue)
    }
}

fn response(status: u16, flags: u16, headers: &[ingest_header], body: &[u8]) -> ingest_response {
    ingest_response {
        size: std::mem::size_of::<ingest_response>() as u32,
        status,
        flags,
        headers: headers.as_ptr(),
        header_count: headers.len(),
        body: slice_of(body),
        content_length: 0,
        lend: 0,
        reserved: 0,
    }
}

impl Queue {
    pub fn poll(&self, events: &mut [ingest_event]) -> i32 {
        // SAFETY: the queue lives as long as its server, and the array has as many entries as is said.
        unsafe { ingest_queue_poll(self.0, events.as_mut_ptr(), events.len()) }
    }

    pub fn wait(&self, events: &mut [ingest_event], timeout_ms: i32) -> i32 {
        // SAFETY: as above.
        unsafe { ingest_queue_wait(self.0, events.as_mut_ptr(), events.len(), timeout_ms) }
    }

    pub fn fd(&self) -> i32 {
        // SAFETY: the queue lives as long as its server.
        unsafe { ingest_queue_fd(self.0) }
    }

    pub fn depth(&self) -> i32 {
        // SAFETY: the queue lives as long as its server.
        unsafe { ingest_queue_depth(self.0) }
    }

    pub fn wake(&self) -> ingest_status {
        // SAFETY: the queue lives as long as its server.
        unsafe { ingest_queue_wake(self.0) }
    }

    pub fn give_back(&self, tokens: &[ingest_token]) -> i32 {
        // SAFETY: the queue lives, and the array has as many entries as is said.
        unsafe { ingest_queue_return(self.0, tokens.as_ptr(), tokens.len()) }
    }

    /// Takes exactly so many requests, in as many batches as it needs.
    pub fn take(&self, count: usize) -> Vec<ingest_event> {
        let mut events = Vec::new();
        let mut batch = [blank_event(); 16];
        while events.len() < count {
            let room = (count - events.len()).min(batch.len());
            let got = self.wait(&mut batch[..room], super::PATIENCE.as_millis() as i32);
            assert!(got > 0, "waited for {count} requests, got {} and then {got}", events.len());
            events.extend_from_slice(&batch[..got as usize]);
        }
        events
    }
}

/// A text of the library's, with its codes.
#[derive(Debug)]
pub struct Refused {
    pub status: ingest_status,
    pub os_errno: i32,
    pub text: String,
}

/// Runs a set-up call with an error to fill, and returns what it filled in when the result is negative.
pub fn set_up(call: impl FnOnce(*mut ingest_error) -> i32) -> Result<i32, Refused> {
    // SAFETY: every field is an integer, for which zero is a value.
    let mut error: ingest_error = unsafe { std::mem::zeroed() };
    let result = call(&mut error);
    if result >= 0 {
        return Ok(result);
    }
    let text: Vec<u8> = error.text.iter().map(|octet| *octet as u8).take_while(|octet| *octet != 0).collect();
    assert!(text.len() < error.text.len(), "an error text is always terminated");
    Err(Refused { status: error.status, os_errno: error.os_errno, text: String::from_utf8(text).expect("error texts are UTF-8") })
}

/// Named options.
pub struct Options(pub *mut ingest_options);

impl Options {
    pub fn new(options: &[(&str, &str)]) -> Options {
        // SAFETY: no argument.
        let made = Options(unsafe { ingest_options_new() });
        assert!(!made.0.is_null());
        for (name, value) in options {
            made.set(name, value).unwrap_or_else(|refused| panic!("{name}={value}: {refused:?}"));
        }
        made
    }

    pub fn set(&self, name: &str, value: &str) -> Result<i32, Refused> {
        let (name, value) = (CString::new(name).expect("no NUL"), CString::new(value).expect("no NUL"));
        // SAFETY: all pointers are good for the call.
        set_up(|error| unsafe { ingest_options_set(self.0, name.as_ptr(), value.as_ptr(), error) })
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: made by ingest_options_new, freed once.
        unsafe { ingest_options_free(self.0) }
    }
}

/// Who runs the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The I/O thread.
    Inline,
    /// So many threads of the test, on one queue.
    Queue(usize),
    /// The library's handler threads.
    Threads,
}

impl Delivery {
    fn option(self) -> &'static str {
        match self {
            Delivery::Inline => "inline",
            Delivery::Queue(_) => "queue",
            Delivery::Threads => "threads",
        }
    }

    /// Whether this build has it.
    pub fn is_built(self) -> bool {
        has(self.option())
    }
}

/// `ingest_has`.
pub fn has(feature: &str) -> bool {
    let feature = CString::new(feature).expect("no NUL");
    // SAFETY: a terminated string.
    unsafe { ingest_has(feature.as_ptr()) == 1 }
}

/// A server of a test's own; dropping it stops it, joins its consumers and frees it.
pub struct Server {
    pub host: Host,
    pub ports: Vec<u16>,
    handler: Option<Box<Handler>>,
    consumers: Vec<JoinHandle<()>>,
    freed: bool,
}

impl std::ops::Deref for Server {
    type Target = Host;
    fn deref(&self) -> &Host {
        &self.host
    }
}

impl Server {
    /// A server that is not started and has no listener.
    pub fn unstarted(options: &[(&str, &str)]) -> Server {
        let options = Options::new(options);
        // SAFETY: the options live for the call and are copied by it.
        let raw = unsafe { ingest_server_new(options.0) };
        assert!(!raw.is_null(), "ingest_server_new returned NULL");
        Server { host: Host(raw), ports: Vec::new(), handler: None, consumers: Vec::new(), freed: false }
    }

    /// A server on 127.0.0.1 whose requests go to the handler.
    pub fn serve(options: &[(&str, &str)], delivery: Delivery, handler: Handler) -> Server {
        let secure = options.iter().any(|(name, _)| *name == "tls.cert");
        Server::serve_on(&[if secure { "https://127.0.0.1:0" } else { "http://127.0.0.1:0" }], options, delivery, handler)
    }

    /// The same on other addresses.
    pub fn serve_on(addresses: &[&str], options: &[(&str, &str)], delivery: Delivery, handler: Handler) -> Server {
        let mut all = vec![("delivery", delivery.option())];
        all.extend_from_slice(options);
        let mut server = Server::unstarted(&all);
        if !matches!(delivery, Delivery::Queue(_)) {
            server.call_back(handler.clone());
        }
        for address in addresses {
            server.listen(address).unwrap_or_else(|refused| panic!("{address}: {refused:?}"));
        }
        server.start().expect("the server starts");
        if let Delivery::Queue(consumers) = delivery {
            for _ in 0..consumers {
                server.consume(handler.clone());
            }
        }
        server
    }

    /// A server on 127.0.0.1 with a queue that the test polls itself.
    pub fn queued(options: &[(&str, &str)]) -> Server {
        Server::serve(options, Delivery::Queue(0), on_requests(|_, _| ()))
    }

    pub fn call_back(&mut self, handler: Handler) {
        let handler = self.handler.insert(Box::new(handler));
        let userdata: *mut c_void = std::ptr::from_mut::<Handler>(handler).cast();
        // SAFETY: the box lives until the server is freed.
        assert_eq!(unsafe { ingest_server_on_events(self.host.0, Some(trampoline), userdata) }, INGEST_OK);
    }

    pub fn listen(&mut self, address: &str) -> Result<i32, Refused> {
        let listener = listen(self.host, address)?;
        // SAFETY: the server lives.
        let port = unsafe { ingest_server_port(self.host.0, listener) };
        self.ports.push(u16::try_from(port).expect("a port"));
        super::secured::note(port as u16, address.starts_with("https"));
        Ok(listener)
    }

    pub fn start(&self) -> Result<i32, Refused> {
        // SAFETY: the server lives.
        set_up(|error| unsafe { ingest_server_start(self.host.0, error) })
    }

    /// One more thread that waits on the queue and calls the handler, until the server has stopped.
    pub fn consume(&mut self, handler: Handler) {
        let (host, queue) = (self.host, self.host.queue());
        self.consumers.push(std::thread::spawn(move || consumer(host, queue, &handler)));
    }

    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    pub fn connect(&self) -> super::client::Client {
        super::client::Client::connect(self.port())
    }

    /// Stops at once, waits for every thread, frees, and says so if one of these fails.
    pub fn finish(mut self) {
        self.shut();
    }

    /// Frees without a stop before it; for a test whose threads are in no call but a wait.
    pub fn free_at_once(mut self) -> ingest_status {
        self.freed = true;
        // SAFETY: freed once, and nothing of the test follows.
        unsafe { ingest_server_free(self.host.0) }
    }

    fn shut(&mut self) {
        if std::mem::replace(&mut self.freed, true) {
            return;
        }
        self.host.stop();
        self.host.stop();
        let joined = self.host.join(10_000);
        let mut panicked = false;
        for consumer in self.consumers.drain(..) {
            panicked |= consumer.join().is_err();
        }
        // SAFETY: no thread of the test uses the server any more; freed once.
        let freed = unsafe { ingest_server_free(self.host.0) };
        if !std::thread::panicking() {
            assert!(!panicked, "a consumer panicked");
            assert!(joined == INGEST_OK || joined == INGEST_E_STATE, "join returned {joined}");
            assert_eq!(freed, INGEST_OK, "free returned {freed}");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shut();
    }
}

/// Listens, without noting the port.
pub fn listen(host: Host, address: &str) -> Result<i32, Refused> {
    let address = CString::new(address).expect("no NUL");
    // SAFETY: all pointers are good for the call.
    set_up(|error| unsafe { ingest_server_listen(host.0, address.as_ptr(), std::ptr::null(), error) })
}

/// `ingest_server_listen_fd`, without noting the port.
pub fn listen_fd(host: Host, fd: i32, scheme: &str) -> Result<i32, Refused> {
    let scheme = CString::new(scheme).expect("no NUL");
    // SAFETY: all pointers are good for the call.
    set_up(|error| unsafe { ingest_server_listen_fd(host.0, fd, scheme.as_ptr(), std::ptr::null(), error) })
}

fn consumer(host: Host, queue: Queue, handler: &Handler) {
    let mut batch = [blank_event(); 16];
    loop {
        let got = queue.wait(&mut batch, -1);
        if got == INGEST_E_STOPPED {
            return;
        }
        if got == INGEST_E_INTERRUPTED || got == 0 {
            continue;
        }
        assert!(got > 0, "ingest_queue_wait returned {got}");
        for event in &batch[..got as usize] {
            handler(host, event);
        }
    }
}

unsafe extern "C" fn trampoline(userdata: *mut c_void, server: *mut ingest_server, events: *const ingest_event, count: usize) {
    // SAFETY: userdata is the boxed handler that `call_back` set, alive until the server is freed.
    let handler = unsafe { &*userdata.cast::<Handler>() };
    // SAFETY: the library passes `count` events.
    let events = unsafe { std::slice::from_raw_parts(events, count) };
    for event in events {
        handler(Host(server), event);
    }
}
