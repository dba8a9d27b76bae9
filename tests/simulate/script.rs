//! What simulated clients will say: requests good and bad, drawn from a seed, with what a host must see of each good one.

use ingest::engine::sim::Random;
use ingest::limits::{BodyPolicy, Limits};
use std::io::Write;

/// Octets that bodies are cut out of, so that whole ones can be compared and lent ones live for ever.
pub static PATTERN: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
    let mut random = Random::new(7, 7);
    (0..300_000).map(|_| random.draw() as u8).collect()
});

/// The octets that belong to a request, whoever sends them.
pub fn octets_of(id: u32, length: usize) -> &'static [u8] {
    let from = (id as usize * 193) % 4096;
    &PATTERN[from..from + length]
}

pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// How a body stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(usize),
    Chunked,
}

/// A good request as a host must see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub method: Vec<u8>,
    pub target: Vec<u8>,
    pub headers: Pairs,
    pub body: Vec<u8>,
    pub trailers: Pairs,
}

/// What the host may be given of a request.
#[derive(Clone, Debug)]
pub struct Promise {
    pub expected: Expected,
    /// Its body comes in events.
    pub streamed: bool,
    /// All of it is sent, and good: else its body never ends.
    pub whole: bool,
}

#[derive(Clone, Debug)]
pub struct Message {
    pub id: u32,
    pub octets: Vec<u8>,
    pub head_length: usize,
    /// `None` for what must be refused.
    pub expected: Option<Expected>,
    /// Of what must be refused for its body: what may be seen of it before.
    pub beginning: Option<Expected>,
    pub framing: Framing,
    /// Its body has a content-coding.
    pub is_coded: bool,
    pub is_head: bool,
    /// HTTP/1.0.
    pub is_old: bool,
    /// Nothing that follows is served.
    pub closes: bool,
}

/// How a client behaves once it has said what it has to say, or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Keeps the connection open until the server closes it.
    Stays,
    /// Sends FIN after the last octet, and reads on.
    Finishes,
    /// Closes when every answer has come.
    Leaves,
    /// Closes or resets after so many octets, whatever is under way.
    LeavesEarly(usize),
    Resets(usize),
    /// Sends FIN, or nothing more, after so many octets.
    FinishesEarly(usize),
    Stalls(usize),
}

#[derive(Clone, Debug)]
pub struct ClientScript {
    pub messages: Vec<Message>,
    pub manner: Manner,
    /// Begins this late.
    pub connects_after_ms: u64,
    pub window: usize,
    /// In a thousand steps, how often it reads; zero for never.
    pub reads: u32,
    pub is_local: bool,
}

impl Message {
    /// Whether its body comes in events, as docs/bodies.md says.
    fn is_streamed(&self, limits: &Limits) -> bool {
        let is_large = match self.framing {
            Framing::None => false,
            Framing::Length(length) => self.is_coded || length as u64 > limits.body_buffer_max,
            Framing::Chunked => true,
        };
        limits.body == BodyPolicy::Stream && is_large
    }
}

impl ClientScript {
    /// What a host may be given: none behind a bad request or a last one, and of what is bad or not sent whole the beginning alone.
    pub fn promises(&self, limits: &Limits) -> Vec<(u32, Promise)> {
        let (mut promises, mut start) = (Vec::new(), 0);
        for message in &self.messages {
            let end = start + message.octets.len();
            let whole = end <= self.length() && message.expected.is_some();
            let streamed = message.is_streamed(limits);
            let begins = streamed && start + message.head_length <= self.length();
            let seen = message.expected.as_ref().or(message.beginning.as_ref()).filter(|_| whole || begins);
            promises.extend(seen.cloned().map(|expected| (message.id, Promise { expected, streamed, whole })));
            if !whole || message.closes {
                break;
            }
            start = end;
        }
        promises
    }

    /// Everything that it would say.
    pub fn octets(&self) -> Vec<u8> {
        self.messages.iter().flat_map(|message| message.octets.iter().copied()).collect()
    }

    /// How many octets of that it does say.
    pub fn length(&self) -> usize {
        let all = self.messages.iter().map(|message| message.octets.len()).sum::<usize>();
        match self.manner {
            Manner::LeavesEarly(at) | Manner::Resets(at) | Manner::FinishesEarly(at) | Manner::Stalls(at) => all.min(at),
            _ => all,
        }
    }

    /// It reads what it is sent, and does not go before it has all.
    pub fn is_polite(&self) -> bool {
        self.reads >= 300 && !matches!(self.manner, Manner::LeavesEarly(_) | Manner::Resets(_))
    }
}

/// Draws a client with requests `first_id` and up.
pub fn client(random: &mut Random, first_id: u32, calm: bool) -> ClientScript {
    let count = random.below(7) as u32 + u32::from(calm);
    let mut messages = Vec::new();
    for id in first_id..first_id + count {
        let bad = !calm && random.chance(60);
        let message = if bad { bad_message(random, id) } else { good_message(random, id) };
        messages.push(message);
    }
    let all: usize = messages.iter().map(|message| message.octets.len()).sum();
    let cut = random.below(all as u64 + 1) as usize;
    let manner = match random.below(if calm { 6 } else { 12 }) {
        0..=2 => Manner::Stays,
        3 => Manner::Finishes,
        4 | 5 => Manner::Leaves,
        6 => Manner::LeavesEarly(cut),
        7 => Manner::Resets(cut),
        8 | 9 => Manner::FinishesEarly(cut),
        _ => Manner::Stalls(cut),
    };
    let reads = if calm { 900 } else { *random.pick(&[0, 20, 300, 900, 900, 900]) };
    ClientScript {
        messages,
        manner,
        connects_after_ms: random.below(4) * random.below(20),
        window: *random.pick(&[64, 700, 16 * 1024, 256 * 1024]),
        reads,
        is_local: random.chance(200),
    }
}

fn good_message(random: &mut Random, id: u32) -> Message {
    let (method, has_body): (&str, bool) = *random.pick(&[
        ("GET", false),
        ("GET", false),
        ("GET", false),
        ("HEAD", false),
        ("OPTIONS", false),
        ("DELETE", false),
        ("POST", true),
        ("POST", true),
        ("PUT", true),
        ("M-SEARCH", true),
    ]);
    let old = random.chance(80);
    let target = format!("/r/{id}?x={}", random.below(100));
    let mut headers: Pairs = vec![(b"Host".to_vec(), b"simulated.test".to_vec())];
    for number in 0..random.below(4) {
        let length = random.below(60) as usize;
        let value: Vec<u8> = (0..length).map(|at| b'a' + ((at as u64 + random.below(26)) % 26) as u8).collect();
        headers.push((format!("X-Field-{number}").into_bytes(), value));
    }
    let closes = match (old, random.below(10)) {
        (true, 0..=4) => {
            headers.push((b"Connection".to_vec(), b"keep-alive".to_vec()));
            false
        }
        (true, _) => true,
        (false, 0) => {
            headers.push((b"Connection".to_vec(), b"close".to_vec()));
            true
        }
        _ => false,
    };
    let (mut body, mut trailers, mut coded) = (Vec::new(), Vec::new(), Vec::new());
    let (mut framing, mut is_coded) = (Framing::None, false);
    if has_body {
        let length = *random.pick(&[0, 1, 17, 300, 5_000, 70_000]);
        let length = random.below(length + 1) as usize;
        body = octets_of(id, length).to_vec();
        is_coded = random.chance(150);
        let sent = if is_coded { gzipped(&body) } else { body.clone() };
        if is_coded {
            headers.push((b"Content-Encoding".to_vec(), b"gzip".to_vec()));
        }
        if random.chance(150) && !old {
            headers.push((b"Expect".to_vec(), b"100-continue".to_vec()));
        }
        if random.chance(500) && !old {
            headers.push((b"Transfer-Encoding".to_vec(), b"chunked".to_vec()));
            (coded, trailers) = chunked(random, &sent);
            framing = Framing::Chunked;
        } else {
            headers.push((b"Content-Length".to_vec(), sent.len().to_string().into_bytes()));
            framing = Framing::Length(sent.len());
            coded = sent;
        }
    }
    let version = if old { "HTTP/1.0" } else { "HTTP/1.1" };
    let mut octets = b"\r\n".repeat(usize::from(random.chance(30)));
    octets.extend(format!("{method} {target} {version}\r\n").into_bytes());
    for (name, value) in &headers {
        octets.extend([name.as_slice(), b": ", value.as_slice(), b"\r\n"].concat());
    }
    octets.extend(b"\r\n");
    let head_length = octets.len();
    octets.extend(coded);
    let expected = Expected { method: method.into(), target: target.into(), headers, body, trailers };
    let is_head = method == "HEAD";
    Message { id, octets, head_length, expected: Some(expected), beginning: None, framing, is_coded, is_head, is_old: old, closes }
}

fn gzipped(body: &[u8]) -> Vec<u8> {
    let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    coder.write_all(body).expect("a vector takes everything");
    coder.finish().expect("a vector takes everything")
}

/// A body in chunks of many sizes, with extensions and trailers now and then.
fn chunked(random: &mut Random, body: &[u8]) -> (Vec<u8>, Pairs) {
    let (mut coded, mut rest) = (Vec::new(), body);
    while !rest.is_empty() {
        let count =
            if rest.len() > 4_096 { rest.len().min(4_096 + random.below(30_000) as usize) } else { random.piece(rest.len()).max(3) };
        let (piece, behind) = rest.split_at(count.min(rest.len()));
        let extension = if random.chance(100) { ";name=\"a value\"" } else { "" };
        coded.extend(format!("{:x}{extension}\r\n", piece.len()).into_bytes());
        coded.extend_from_slice(piece);
        coded.extend_from_slice(b"\r\n");
        rest = behind;
    }
    coded.extend_from_slice(b"0\r\n");
    let mut trailers = Pairs::new();
    if random.chance(200) {
        trailers.push((b"X-Trailer".to_vec(), b"told later".to_vec()));
        coded.extend_from_slice(b"X-Trailer: told later\r\n");
    }
    coded.extend_from_slice(b"\r\n");
    (coded, trailers)
}

/// What no server may serve, framed so that a careless one would; and what of its body may be seen before that shows.
fn bad_message(random: &mut Random, id: u32) -> Message {
    if random.chance(150) {
        return spoilt_message(id, random.below(30_000) as usize);
    }
    let start = format!("POST /r/{id} HTTP/1.1\r\nHost: simulated.test\r\n");
    let (wrong, seen): (&str, Option<&str>) = *random.pick(&[
        ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", None),
        ("Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", None),
        ("Content-Length: +3\r\n\r\nabc", None),
        ("Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", Some("")),
        ("Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", Some("")),
        ("Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", Some("abc")),
        ("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nContent-Length: 3\r\n\r\n", Some("abc")),
        ("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", None),
        ("Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", None),
        ("Content-Length : 3\r\n\r\nabc", None),
        ("X-Field: a\r\n b\r\n\r\n", None),
        ("X-Field: a\nContent-Length: 3\r\n\r\nabc", None),
        ("Host: other.test\r\n\r\n", None),
        ("X-Field: a\rb\r\n\r\n", None),
    ]);
    let headers = vec![(b"Host".to_vec(), b"simulated.test".to_vec()), (b"Transfer-Encoding".to_vec(), b"chunked".to_vec())];
    let octets = [start.as_bytes(), wrong.as_bytes()].concat();
    broken(id, octets, headers, seen.map(str::as_bytes), Framing::Chunked)
}

/// A coded body whose last octet of its checksum is wrong: all of it can be seen before, and it is bad all the same.
fn spoilt_message(id: u32, length: usize) -> Message {
    let mut sent = gzipped(octets_of(id, length));
    let sum = sent.len() - 5;
    sent[sum] ^= 1;
    let long = sent.len().to_string();
    let start = format!("POST /r/{id} HTTP/1.1\r\nHost: simulated.test\r\nContent-Encoding: gzip\r\nContent-Length: {long}\r\n\r\n");
    let pair = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    let headers = vec![pair("Host", "simulated.test"), pair("Content-Encoding", "gzip"), pair("Content-Length", &long)];
    let octets = [start.as_bytes(), &sent].concat();
    Message { is_coded: true, ..broken(id, octets, headers, Some(octets_of(id, length)), Framing::Length(sent.len())) }
}

fn broken(id: u32, octets: Vec<u8>, headers: Pairs, seen: Option<&[u8]>, framing: Framing) -> Message {
    let head_end = octets.windows(4).position(|window| window == b"\r\n\r\n").map_or(octets.len(), |at| at + 4);
    let (method, target) = (b"POST".to_vec(), format!("/r/{id}").into_bytes());
    let beginning = seen.map(|body| Expected { method, target, headers, body: body.to_vec(), trailers: Pairs::new() });
    Message {
        id,
        head_length: head_end,
        octets,
        expected: None,
        beginning,
        framing,
        is_coded: false,
        is_head: false,
        is_old: false,
        closes: true,
    }
}
