//! What is asked of the example `stream`: bodies in chunks with a trailer, a file, and server-sent events to clients that come and go.

use super::client;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Long enough for a sanitizer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// One connection whose answers are read as they come, octet by octet if need be.
pub struct Wire {
    reader: BufReader<TcpStream>,
}

impl Wire {
    pub fn connect(port: u16) -> Wire {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        Wire { reader: BufReader::new(stream) }
    }

    /// A new connection that has asked for this.
    pub fn get(port: u16, target: &str) -> Wire {
        let mut wire = Wire::connect(port);
        wire.send(&client::get(target));
        wire
    }

    pub fn send(&mut self, text: &str) {
        self.reader.get_mut().write_all(text.as_bytes()).expect("the server reads");
    }

    /// The next line without its CR LF, None at the end of the stream.
    fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line).expect("the server answers in time");
        if line.is_empty() {
            return None;
        }
        let text = String::from_utf8(line).expect("heads and chunk sizes are ASCII");
        Some(text.strip_suffix("\r\n").unwrap_or_else(|| panic!("{text:?} is no whole line")).to_string())
    }

    /// Lines up to an empty one: a head, or a trailer section.
    pub fn section(&mut self) -> Vec<String> {
        let lines = std::iter::from_fn(|| self.line().filter(|line| !line.is_empty()));
        lines.collect()
    }

    pub fn octets(&mut self, length: usize) -> Vec<u8> {
        let mut octets = vec![0; length];
        self.reader.read_exact(&mut octets).expect("the answer is complete");
        octets
    }

    /// The next chunk (RFC 9112 section 7.1), None for the last one. The trailer section is still to be read.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = self.line().expect("a chunk is announced before the stream ends");
        let length = usize::from_str_radix(&size, 16).unwrap_or_else(|_| panic!("{size:?} is no chunk size"));
        if length == 0 {
            return None;
        }
        let mut octets = self.octets(length + 2);
        assert_eq!(octets.split_off(length), b"\r\n", "a chunk is as long as it says");
        Some(octets)
    }

    /// The rest of a chunked body and its trailer section.
    pub fn chunked(&mut self) -> (Vec<u8>, Vec<String>) {
        let body = std::iter::from_fn(|| self.chunk()).flatten().collect();
        (body, self.section())
    }

    /// All that comes until the server closes.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut octets = Vec::new();
        self.reader.read_to_end(&mut octets).expect("the server closes");
        octets
    }

    /// Whether the answer breaks off: an error, or the end of the stream before the last chunk.
    pub fn is_cut_off(&mut self) -> bool {
        let mut octets = Vec::new();
        let ended = self.reader.read_to_end(&mut octets);
        ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset) || !octets.ends_with(b"0\r\n\r\n")
    }

    /// FIN: nothing more from us, but the answer can still be read.
    pub fn finish_sending(&self) {
        self.reader.get_ref().shutdown(Shutdown::Write).expect("the connection is open");
    }

    /// RST: the answer has nobody to read it.
    pub fn reset(self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        // SAFETY: the descriptor is open, and the option is as large as is said.
        let set = unsafe {
            let size = std::mem::size_of::<libc::linger>() as libc::socklen_t;
            libc::setsockopt(self.reader.get_ref().as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), size)
        };
        assert_eq!(set, 0);
    }
}

/// The numbers from 1, a line each, and the trailer that goes with them (FNV-1a).
pub fn numbers(last: u64) -> (Vec<u8>, String) {
    use std::fmt::Write as _;
    let mut text = String::new();
    (1..=last).for_each(|number| writeln!(text, "{number}").expect("a string takes everything"));
    let sum = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |sum, octet| (sum ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3));
    (text.into_bytes(), format!("Checksum: {sum:016x}"))
}

/// Reads the answer to `/count`, which must be all the numbers up to `last` and their checksum.
pub fn judge_numbers(wire: &mut Wire, last: u64) {
    judge_head_of_numbers(wire);
    judge_body_of_numbers(wire, last);
}

pub fn judge_head_of_numbers(wire: &mut Wire) {
    let head = wire.section();
    assert_eq!(head[0], "HTTP/1.1 200 OK");
    for field in ["transfer-encoding: chunked", "trailer: checksum", "content-type: text/plain"] {
        assert!(head.iter().any(|line| line.eq_ignore_ascii_case(field)), "{field} is not in {head:?}");
    }
}

pub fn judge_body_of_numbers(wire: &mut Wire, last: u64) {
    let (body, trailers) = wire.chunked();
    let (expected, trailer) = numbers(last);
    assert_eq!(body.len(), expected.len(), "the length of /count?n={last}");
    assert!(body == expected, "the octets of /count?n={last}");
    assert_eq!(trailers, [trailer]);
}

/// Asks for numbers again and again on one connection, which must stay in step.
pub fn numbers_arrive_whole(port: u16) {
    let mut wire = Wire::connect(port);
    for last in [1, 1000, 0, 30_000, 7] {
        wire.send(&client::get(&format!("/count?n={last}")));
        judge_numbers(&mut wire, last);
    }
    // Pipelined: the second answer begins where the first has ended.
    wire.send(&[client::get("/count?n=5000"), client::get("/count"), client::get("/count?n=2")].concat());
    [5000, 1000, 2].into_iter().for_each(|last| judge_numbers(&mut wire, last));
}

/// Asks for the file twice on one connection, with a HEAD between.
pub fn file_arrives_whole(port: u16, expected: &[u8]) {
    let mut client = client::Client::connect(port);
    for method in ["GET", "HEAD", "GET"] {
        client.send(client::get("/file").replacen("GET", method, 1).as_bytes());
        let response = client.receive(method == "HEAD");
        assert_eq!(response.status, 200, "{}", response.head);
        let length = format!("content-length: {}\r\n", expected.len());
        assert!(response.head.to_ascii_lowercase().contains(&length), "{length} is not in {}", response.head);
        assert!(method == "HEAD" || response.body == expected, "the file came differently");
    }
}

/// One client of `/events`.
pub struct Listener {
    wire: Wire,
    text: String,
    last: u64,
}

pub enum News {
    /// How many are tuned in, as the server counts them.
    Tick(u64),
    Goodbye,
    End,
}

impl Listener {
    pub fn tune_in(port: u16) -> Listener {
        let mut wire = Wire::get(port, "/events");
        let head = wire.section();
        assert_eq!(head[0], "HTTP/1.1 200 OK");
        assert!(head.iter().any(|line| line.eq_ignore_ascii_case("content-type: text/event-stream")), "{head:?}");
        Listener { wire, text: String::new(), last: 0 }
    }

    /// The next event, whole whatever the chunks are. Ticks must go up.
    pub fn next(&mut self) -> News {
        let event = loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_string(), rest.to_string());
                self.text = rest;
                break event;
            }
            match self.wire.chunk() {
                Some(chunk) => self.text.push_str(std::str::from_utf8(&chunk).expect("events are UTF-8")),
                None => {
                    assert_eq!(self.text, "", "the stream ended inside an event");
                    assert!(self.wire.section().is_empty(), "events have no trailer");
                    return News::End;
                }
            }
        };
        if event == "event: bye\ndata: {}" {
            return News::Goodbye;
        }
        let after = |mark: &str| {
            let rest = event.split_once(mark).unwrap_or_else(|| panic!("{mark} is not in {event:?}")).1;
            let digits = rest.split(|character: char| !character.is_ascii_digit()).next().unwrap_or("");
            digits.parse::<u64>().unwrap_or_else(|_| panic!("no number after {mark} in {event:?}"))
        };
        let tick = after("\"tick\":");
        assert_eq!(after("id: "), tick);
        assert!(tick > self.last, "tick {tick} came after {}", self.last);
        self.last = tick;
        News::Tick(after("\"clients\":"))
    }

    pub fn tick(&mut self) -> u64 {
        match self.next() {
            News::Tick(clients) => clients,
            News::Goodbye | News::End => panic!("the stream ended"),
        }
    }
}

/// Reads ticks until the server counts `clients`.
pub fn until_tuned_in(listener: &mut Listener, clients: u64) {
    let began = Instant::now();
    loop {
        let counted = listener.tick();
        if counted == clients {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{counted} are counted, {clients} are there");
    }
}

/// Fifty listeners: some leave with RST, some close, some only stop sending, and new ones come. Those that stay get their ticks all
/// the time, and those that left are forgotten. Returns who stayed.
pub fn listeners_come_and_go(port: u16) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = (0..50).map(|_| Listener::tune_in(port)).collect();
    listeners.iter_mut().for_each(|listener| assert!(listener.tick() > 0));
    until_tuned_in(&mut listeners[0], 50);
    for leaving in listeners.drain(30..40) {
        leaving.wire.reset();
    }
    listeners.drain(30..35).for_each(drop);
    let mut half: Vec<Listener> = listeners.drain(30..).collect();
    half.iter().for_each(|listener| listener.wire.finish_sending());
    // A half-closed connection is read to its end, which is a polite one.
    for listener in &mut half {
        while !matches!(listener.next(), News::End) {}
        assert!(listener.wire.rest().is_empty(), "the server closes behind the last answer");
    }
    until_tuned_in(&mut listeners[0], 30);
    listeners.drain(20..).for_each(|leaving| leaving.wire.reset());
    until_tuned_in(&mut listeners[0], 20);
    for _ in 0..5 {
        listeners.push(Listener::tune_in(port));
        Listener::tune_in(port).wire.reset();
    }
    // Each of them has had every tick so far, and goes on getting them.
    listeners.iter_mut().for_each(|listener| until_tuned_in(listener, 25));
    for _ in 0..5 {
        for listener in &mut listeners {
            assert!(listener.tick() >= 20, "those who stay are counted");
        }
    }
    listeners
}

/// After a drain began every listener gets a goodbye, the end of its body, and the end of its connection.
pub fn judge_goodbye(listeners: Vec<Listener>) {
    for mut listener in listeners {
        while matches!(listener.next(), News::Tick(_)) {}
        assert!(matches!(listener.next(), News::End), "nothing follows the goodbye");
        assert!(listener.wire.rest().is_empty(), "the connection ends with the body");
    }
}

/// The answers of `stream` to the thousand requests, which ask for nothing that it has.
pub fn judge_stream(asked: &client::Asked, response: &client::Response) {
    let (status, text) = match asked.method {
        "POST" => (405, "only GET and HEAD are understood here\n"),
        "HEAD" => (404, ""),
        _ => (404, "there are /, /count?n=1000, /file and /events\n"),
    };
    assert_eq!(response.status, status, "{}", response.head);
    assert_eq!(String::from_utf8_lossy(&response.body), text);
    assert_eq!(response.head.to_ascii_lowercase().contains("\r\nallow: get, head\r\n"), status == 405, "{}", response.head);
}
