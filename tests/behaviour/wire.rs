//! A connection of the driver's: it reads answers of every framing, and says how a connection ended.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Nothing waits this long when all is well.
pub const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// The status of each interim answer in front of it.
    pub interim: Vec<u16>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Why there is no whole answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Without {
    /// The connection ended, with FIN or RST, before an octet of it.
    End,
    /// The connection ended inside it.
    Cut,
    /// What came is no answer, or nothing came.
    Broken(String),
}

pub struct Wire {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Wire {
    pub fn connect(port: u16) -> Result<Wire, String> {
        let stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| format!("the server does not accept: {error}"))?;
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_nodelay(true).expect("the option can be set");
        Ok(Wire { stream, received: Vec::new() })
    }

    /// The port on our side, as the host sees it.
    pub fn port(&self) -> u16 {
        self.stream.local_addr().expect("a connected socket has an address").port()
    }

    pub fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).map_err(|error| format!("cannot send: {error}"))
    }

    /// FIN: nothing more from us.
    pub fn finish(&self) -> Result<(), String> {
        self.stream.shutdown(Shutdown::Write).map_err(|error| format!("cannot send FIN: {error}"))
    }

    /// RST instead of FIN.
    pub fn reset(self) {
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        // SAFETY: the descriptor is open and the option has the size that is said.
        let set = unsafe {
            let size = std::mem::size_of::<libc::linger>() as libc::socklen_t;
            libc::setsockopt(self.stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), size)
        };
        assert_eq!(set, 0, "SO_LINGER can be set");
    }

    /// The next final answer; `head` has no body.
    pub fn answer(&mut self) -> Result<Answer, Without> {
        let mut interim = Vec::new();
        loop {
            let mut answer = self.one(interim.is_empty())?;
            if answer.status >= 200 {
                answer.interim = interim;
                return Ok(answer);
            }
            interim.push(answer.status);
        }
    }

    fn one(&mut self, is_first: bool) -> Result<Answer, Without> {
        if is_first && self.received.is_empty() && !self.fill()? {
            return Err(Without::End);
        }
        let head = self.until_blank_line()?;
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap_or_default().to_string();
        let status = status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|digits| digits.parse().ok());
        let Some(status) = status else { return Err(Without::Broken(format!("the status line {status_line:?}"))) };
        let headers = lines.filter(|line| !line.is_empty()).map(field).collect::<Result<_, _>>()?;
        let mut answer = Answer { status, headers, ..Answer::default() };
        if status < 200 {
            return Ok(answer);
        }
        if answer.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            self.chunks(&mut answer)?;
        } else {
            let length = answer.header("content-length").and_then(|length| length.parse().ok());
            let Some(length) = length else { return Err(Without::Broken(format!("no length in {head:?}"))) };
            answer.body = self.take(length)?;
        }
        Ok(answer)
    }

    fn chunks(&mut self, answer: &mut Answer) -> Result<(), Without> {
        loop {
            let line = self.line()?;
            let Ok(length) = usize::from_str_radix(&line, 16) else { return Err(Without::Broken(format!("the chunk size {line:?}"))) };
            if length == 0 {
                break;
            }
            answer.body.extend(self.take(length)?);
            if self.take(2)? != b"\r\n" {
                return Err(Without::Broken("a chunk does not end with its length".into()));
            }
        }
        loop {
            match self.line()? {
                line if line.is_empty() => return Ok(()),
                line => answer.trailers.push(field(&line)?),
            }
        }
    }

    fn until_blank_line(&mut self) -> Result<String, Without> {
        loop {
            if let Some(at) = self.received.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.received.drain(..at + 4).collect();
                return Ok(String::from_utf8_lossy(&head[..at]).into_owned());
            }
            if !self.fill()? {
                return Err(Without::Cut);
            }
        }
    }

    fn line(&mut self) -> Result<String, Without> {
        loop {
            if let Some(at) = self.received.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.received.drain(..at + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            if !self.fill()? {
                return Err(Without::Cut);
            }
        }
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, Without> {
        while self.received.len() < length {
            if !self.fill()? {
                return Err(Without::Cut);
            }
        }
        let rest = self.received.split_off(length);
        Ok(std::mem::replace(&mut self.received, rest))
    }

    /// False at the end of the connection, however it ended.
    fn fill(&mut self) -> Result<bool, Without> {
        let mut part = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut part) {
                Ok(count) => {
                    self.received.extend_from_slice(&part[..count]);
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(false),
                Err(error) => {
                    let have = String::from_utf8_lossy(&self.received[..self.received.len().min(200)]).into_owned();
                    return Err(Without::Broken(format!("{error}, having {have:?}")));
                }
            }
        }
    }
}

fn field(line: &str) -> Result<(String, String), Without> {
    let (name, value) = line.split_once(':').ok_or_else(|| Without::Broken(format!("the field line {line:?}")))?;
    Ok((name.to_string(), value.trim().to_string()))
}
