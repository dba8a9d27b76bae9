//! A small HTTP/1.1 client: keep-alive, pipelined, bodies by length and chunked; and the thousand requests each example must serve.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

/// One connection, kept open.
pub struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Client {
    pub fn connect(port: u16) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server accepts");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout can be set");
        stream.set_nodelay(true).expect("the option can be set");
        Client { stream, received: Vec::new() }
    }

    /// On a unix socket. All that is done with the stream here works on any socket, whatever its type is called.
    pub fn connect_local(path: &Path) -> Client {
        let stream = TcpStream::from(OwnedFd::from(UnixStream::connect(path).expect("the server accepts")));
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout can be set");
        Client { stream, received: Vec::new() }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// The next answer; its length must be given by Content-Length, and a HEAD has no body.
    pub fn receive(&mut self, is_head: bool) -> Response {
        let end = loop {
            match self.received.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(end) => break end + 4,
                None => self.fill(),
            }
        };
        let head = String::from_utf8_lossy(&self.received[..end]).into_owned();
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(|value| value.trim().to_string()));
        let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or_else(|| panic!("no Content-Length in {head}"));
        let length = if is_head { 0 } else { length };
        while self.received.len() < end + length {
            self.fill();
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status in {head}"));
        let body = self.received[end..end + length].to_vec();
        self.received.drain(..end + length);
        Response { status, head, body }
    }

    fn fill(&mut self) {
        let mut part = [0; 16 * 1024];
        let count = self.stream.read(&mut part).expect("the server answers in time");
        assert!(count > 0, "the server closed before the answer was complete: {:?}", String::from_utf8_lossy(&self.received));
        self.received.extend_from_slice(&part[..count]);
    }

    pub fn get(&mut self, target: &str) -> Response {
        self.send(get(target).as_bytes());
        self.receive(false)
    }
}

pub fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: tests/runner\r\n\r\n")
}

/// What one of the thousand requests was, so that its answer can be judged.
pub struct Asked {
    pub method: &'static str,
    pub target: String,
    pub body_length: usize,
}

pub const CONNECTIONS: usize = 4;
pub const REQUESTS_EACH: usize = 250;

/// A thousand requests over four connections at once; `judge` panics on a wrong answer.
pub fn a_thousand_requests(port: u16, judge: fn(&Asked, &Response)) {
    let threads: Vec<_> = (0..CONNECTIONS).map(|_| std::thread::spawn(move || one_connection(port, judge))).collect();
    let served: usize = threads.into_iter().map(|thread| thread.join().expect("every answer was right")).sum();
    assert_eq!(served, CONNECTIONS * REQUESTS_EACH);
}

fn one_connection(port: u16, judge: fn(&Asked, &Response)) -> usize {
    let mut client = Client::connect(port);
    let mut served = 0;
    let mut ask = |client: &mut Client, asked: &[Asked]| {
        let bytes: Vec<u8> = asked.iter().flat_map(wire).collect();
        client.send(&bytes);
        for one in asked {
            let response = client.receive(one.method == "HEAD");
            judge(one, &response);
        }
        served += asked.len();
    };
    let get = |target: &str| Asked { method: "GET", target: target.to_string(), body_length: 0 };
    for at in 0..80 {
        let target = if at % 2 == 0 { "/plaintext".to_string() } else { format!("/other/{at}?page={at}") };
        ask(&mut client, &[get(&target)]);
    }
    for _ in 0..6 {
        let sixteen: Vec<Asked> = (0..16).map(|_| get("/plaintext")).collect();
        ask(&mut client, &sixteen);
    }
    for at in 0..64 {
        // From nothing to more than one read of the server takes.
        ask(&mut client, &[Asked { method: "POST", target: "/post".to_string(), body_length: at * at * 20 }]);
    }
    for _ in 0..10 {
        ask(&mut client, &[Asked { method: "HEAD", target: "/plaintext".to_string(), body_length: 0 }]);
    }
    served
}

/// Every second body is chunked.
fn wire(asked: &Asked) -> Vec<u8> {
    let mut bytes = format!("{} {} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: a=1; b=2\r\n", asked.method, asked.target).into_bytes();
    let body = vec![b'x'; asked.body_length];
    if asked.method != "POST" {
        bytes.extend_from_slice(b"\r\n");
    } else if asked.body_length % 40 == 0 {
        bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(&body);
    } else {
        bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        for chunk in body.chunks(1000) {
            bytes.extend_from_slice(format!("{:x};note=\"a\"\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\nChecksum: none\r\n\r\n");
    }
    bytes
}

/// The answers of `hello` and `queue`.
pub fn judge_hello(asked: &Asked, response: &Response) {
    assert_eq!(response.status, 200, "{}", response.head);
    let body = String::from_utf8_lossy(&response.body);
    match (asked.method, asked.target.as_str()) {
        ("POST", _) => assert_eq!(body, asked.body_length.to_string()),
        ("HEAD", _) => assert!(response.head.to_ascii_lowercase().contains("content-length: 13\r\n"), "{}", response.head),
        (_, "/plaintext") => {
            assert_eq!(body, "Hello, World!");
            assert!(response.head.to_ascii_lowercase().contains("content-type: text/plain\r\n"), "{}", response.head);
        }
        _ => assert!(body.len() > 5 && body.ends_with('\n'), "{body}"),
    }
}

pub fn judge_own_loop(asked: &Asked, response: &Response) {
    assert_eq!(response.status, 200, "{}", response.head);
    let body = String::from_utf8_lossy(&response.body);
    assert!(asked.method == "HEAD" || body.starts_with("the host's own timer stands at "), "{body}");
}

pub fn judge_inspect(asked: &Asked, response: &Response) {
    assert_eq!(response.status, 200, "{}", response.head);
    if asked.method == "HEAD" {
        return;
    }
    let body = String::from_utf8_lossy(&response.body);
    let body_b64 = "eHh4".repeat(asked.body_length / 3)
        + match asked.body_length % 3 {
            0 => "",
            1 => "eA==",
            _ => "eHg=",
        };
    let trailers = if asked.method == "POST" && asked.body_length % 40 != 0 { r#"[["Checksum","none"]]"# } else { "[]" };
    for part in [
        format!(r#"{{"method":"{}","target":"{}","path":"#, asked.method, asked.target),
        r#""version":"HTTP/1.1","scheme":"http","authority":"127.0.0.1""#.to_string(),
        r#""headers":[["Host","127.0.0.1"],["Cookie","a=1; b=2"]"#.to_string(),
        format!(r#""trailers":{trailers}"#),
        r#""cookies":[["a","1"],["b","2"]]"#.to_string(),
        format!(r#""body_b64":"{body_b64}""#),
        r#""tls":null"#.to_string(),
    ] {
        assert!(body.contains(&part), "{part} is not in {body}");
    }
}
