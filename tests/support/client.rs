//! A small blocking HTTP/1.1 client that shows exactly what came: status line, field lines, body by Content-Length, and how it ended.

use super::secured::{self, Handle, Secured};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// One answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub version: String,
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

impl Answer {
    /// The first field of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn count(&self, name: &str) -> usize {
        self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).count()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn says_close(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// One connection; dropping it resets, so that thousands leave no port in TIME_WAIT.
pub struct Client {
    stream: TcpStream,
    /// Between us and the stream, on ports where TLS is spoken.
    tls: Option<Secured>,
    buffer: Vec<u8>,
    taken: usize,
}

impl Client {
    pub fn connect(port: u16) -> Client {
        Client::connect_to(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)).expect("the server accepts")
    }

    pub fn connect_to(address: SocketAddr) -> std::io::Result<Client> {
        let stream = TcpStream::connect_timeout(&address, super::PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(super::PATIENCE))?;
        stream.set_write_timeout(Some(super::PATIENCE))?;
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        // SAFETY: the descriptor is open and the option has the size that is said.
        let set = unsafe {
            let size = std::mem::size_of::<libc::linger>() as libc::socklen_t;
            libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), size)
        };
        assert_eq!(set, 0);
        let tls = if secured::is_secure(address.port()) { Some(Secured::connect(&stream)?) } else { None };
        Ok(Client { stream, tls, buffer: Vec::new(), taken: 0 })
    }

    /// On a unix socket. All that is done with the stream here works on any socket, whatever its type is called.
    pub fn connect_local(address: &std::os::unix::net::SocketAddr) -> std::io::Result<Client> {
        let stream = TcpStream::from(OwnedFd::from(UnixStream::connect_addr(address)?));
        stream.set_read_timeout(Some(super::PATIENCE))?;
        stream.set_write_timeout(Some(super::PATIENCE))?;
        Ok(Client { stream, tls: None, buffer: Vec::new(), taken: 0 })
    }

    /// A second handle for a thread that only sends, or only reads.
    pub fn writer(&self) -> Handle {
        Handle { tls: self.tls.clone(), stream: self.stream.try_clone().expect("a descriptor is to be had") }
    }

    /// What TLS agreed on.
    pub fn tls(&self) -> Option<&Secured> {
        self.tls.as_ref()
    }

    /// Our own address, as the server sees it.
    pub fn local(&self) -> SocketAddr {
        self.stream.local_addr().expect("a connected socket has an address")
    }

    pub fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match &self.tls {
            None => self.stream.write_all(bytes),
            Some(tls) => tls.write_all(&mut self.stream, bytes),
        }
    }

    /// Octets as they are, also where TLS is spoken.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes.as_ref()).expect("the server reads");
    }

    /// No more from us (FIN); the answers can still come.
    pub fn finish_sending(&self) {
        if let Some(tls) = &self.tls {
            tls.close_notify(&self.stream);
        }
        // The server may have closed already, which is for the reading side to find out.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    pub fn set_patience(&self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).expect("a timeout above zero");
    }

    /// Sends a GET and reads its answer.
    pub fn get(&mut self, target: &str) -> Answer {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: example.test\r\n\r\n"));
        self.answer()
    }

    /// The next final answer, without those of status 1xx.
    pub fn answer(&mut self) -> Answer {
        self.read_answer(false).expect("an answer").expect("an answer before the end")
    }

    pub fn answer_to_head(&mut self) -> Answer {
        self.read_answer(true).expect("an answer").expect("an answer before the end")
    }

    /// The next final answer, None at the end of the stream.
    pub fn read_answer(&mut self, head: bool) -> std::io::Result<Option<Answer>> {
        loop {
            match self.read_any(head)? {
                Some(answer) if (100..200).contains(&answer.status) => {}
                other => return Ok(other),
            }
        }
    }

    /// The next answer, an interim one too.
    pub fn read_any(&mut self, head: bool) -> std::io::Result<Option<Answer>> {
        let mut scanned = self.taken;
        let end = loop {
            if let Some(at) = find(&self.buffer[scanned..], b"\r\n\r\n") {
                break scanned + at;
            }
            scanned = self.buffer.len().saturating_sub(3).max(self.taken);
            if !self.fill()? {
                if self.buffer.len() == self.taken {
                    return Ok(None);
                }
                return Err(broken("the stream ends inside the head of an answer"));
            }
        };
        let mut answer = parse_head(&self.buffer[self.taken..end])?;
        self.taken = end + 4;
        let without_body = head || answer.status < 200 || answer.status == 204 || answer.status == 304;
        if !without_body && answer.header("transfer-encoding") == Some("chunked") {
            assert!(answer.header("content-length").is_none(), "both kinds of framing in one answer");
            self.read_chunks(&mut answer)?;
        } else if !without_body {
            let length = answer.header("content-length").ok_or_else(|| broken("an answer without Content-Length"))?;
            let length: usize = length.parse().map_err(|_| broken("Content-Length is no number"))?;
            while self.buffer.len() - self.taken < length {
                if !self.fill()? {
                    return Err(broken("the stream ends inside a body"));
                }
            }
            answer.body = self.buffer[self.taken..self.taken + length].to_vec();
            self.taken += length;
        }
        if self.taken == self.buffer.len() {
            self.buffer.clear();
            self.taken = 0;
        }
        Ok(Some(answer))
    }

    /// A chunked body with its trailer section (RFC 9112 section 7.1).
    fn read_chunks(&mut self, answer: &mut Answer) -> std::io::Result<()> {
        loop {
            let line = self.read_line()?;
            let size = usize::from_str_radix(&line, 16).map_err(|_| broken(&format!("chunk size {line:?}")))?;
            if size == 0 {
                break;
            }
            while self.buffer.len() - self.taken < size + 2 {
                if !self.fill()? {
                    return Err(broken("the stream ends inside a chunk"));
                }
            }
            answer.body.extend_from_slice(&self.buffer[self.taken..self.taken + size]);
            if &self.buffer[self.taken + size..self.taken + size + 2] != b"\r\n" {
                return Err(broken("a chunk without its line end"));
            }
            self.taken += size + 2;
        }
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                return Ok(());
            }
            let (name, value) = line.split_once(':').ok_or_else(|| broken(&format!("trailer {line:?}")))?;
            answer.trailers.push((name.to_string(), value.trim().to_string()));
        }
    }

    fn read_line(&mut self) -> std::io::Result<String> {
        loop {
            if let Some(at) = find(&self.buffer[self.taken..], b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[self.taken..self.taken + at]).into_owned();
                self.taken += at + 2;
                return Ok(line);
            }
            if !self.fill()? {
                return Err(broken("the stream ends inside a line"));
            }
        }
    }

    /// Everything until the end of the connection; an error says how it ended otherwise.
    pub fn read_to_end(&mut self) -> std::io::Result<Vec<u8>> {
        while self.fill()? {}
        let rest = self.buffer.split_off(self.taken);
        self.buffer.clear();
        self.taken = 0;
        Ok(rest)
    }

    /// Whether the server closes without sending anything more; a reset counts as closed.
    pub fn is_closed(&mut self) -> bool {
        if self.buffer.len() > self.taken {
            return false;
        }
        match self.fill() {
            Ok(true) => false,
            Ok(false) => true,
            Err(error) => matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        }
    }

    /// Whether nothing comes for a while and the connection stays open.
    pub fn is_silent(&mut self, duration: Duration) -> bool {
        self.set_patience(duration);
        let silent = self.buffer.len() == self.taken
            && matches!(self.fill(), Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        self.set_patience(super::PATIENCE);
        silent
    }

    /// Whether anything has been received that was not read yet, without waiting.
    pub fn has_input(&self) -> bool {
        let mut octet = [0u8];
        self.stream.set_nonblocking(true).expect("a socket");
        let seen = self.stream.peek(&mut octet);
        self.stream.set_nonblocking(false).expect("a socket");
        self.buffer.len() > self.taken || seen.is_ok()
    }

    fn fill(&mut self) -> std::io::Result<bool> {
        let mut chunk = [0u8; 16 * 1024];
        loop {
            let read = match &self.tls {
                None => self.stream.read(&mut chunk),
                Some(tls) => tls.read(&mut self.stream, &mut chunk),
            };
            match read {
                Ok(count) => {
                    self.buffer.extend_from_slice(&chunk[..count]);
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn parse_head(head: &[u8]) -> std::io::Result<Answer> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let mut words = status_line.splitn(3, ' ');
    let version = words.next().unwrap_or_default().to_string();
    let status: u16 = words.next().unwrap_or_default().parse().map_err(|_| broken(&format!("status line {status_line:?}")))?;
    let reason = words.next().ok_or_else(|| broken("a status line has a space after the status"))?;
    if !version.starts_with("HTTP/1.") || reason.contains(['\r', '\n', '\0']) {
        return Err(broken(&format!("status line {status_line:?}")));
    }
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(|| broken(&format!("field line {line:?}")))?;
        if name.is_empty() || line.contains(['\r', '\n', '\0']) {
            return Err(broken(&format!("field line {line:?}")));
        }
        headers.push((name.to_string(), value.trim_matches([' ', '\t']).to_string()));
    }
    Ok(Answer { version, status, headers, body: Vec::new(), trailers: Vec::new() })
}

fn broken(what: &str) -> std::io::Error {
    std::io::Error::new(ErrorKind::InvalidData, what.to_string())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
