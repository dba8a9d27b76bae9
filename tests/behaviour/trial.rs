//! One request that plays one row: what is sent, what the client does and must see, and what the host must report.

use super::table::{Does, Row, Sees};
use super::wire::{Answer, Wire, Without};
use std::time::Instant;

/// A row, a way to answer, and what the request is like.
#[derive(Clone, Debug)]
pub struct Trial {
    pub id: usize,
    pub row: Row,
    pub way: &'static str,
    /// A POST with a chunked body and a trailer; else a GET.
    pub is_post: bool,
    /// Requests stand in front of it and behind it.
    pub is_piped: bool,
}

/// Where the host is reached.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub subject: u16,
    pub control: u16,
}

/// What the host said about a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub calls: String,
    pub events: String,
    pub readings: usize,
    pub faults: String,
    pub request: Vec<u8>,
}

type Found<T> = Result<T, String>;

/// Asks the server that reports.
pub fn tell(control: &mut Wire, path: &str) -> Found<Answer> {
    control.send(format!("GET {path} HTTP/1.1\r\nHost: control\r\n\r\n").as_bytes())?;
    control.answer().map_err(|without| format!("{path}: {without:?}"))
}

impl Trial {
    /// Plays the client's part. Returns the port on our side.
    pub fn play(&self, ports: Ports) -> Found<u16> {
        let mut wire = Wire::connect(ports.subject)?;
        let port = wire.port();
        let later = self.row.client == Does::SendsTheRestLater;
        let mut first = Vec::new();
        if self.is_piped {
            first.extend(plain("GET", &format!("front-{}", self.id)));
        }
        first.extend(self.wire());
        if !later {
            first.extend(self.behind());
        }
        wire.send(&first)?;
        if self.row.client == Does::HalfCloses && self.is_post {
            wire.finish()?;
        }
        if self.is_piped {
            expect_plain(&mut wire, &format!("front-{}", self.id))?;
        }
        match self.row.client {
            Does::Waits | Does::SendsTheRestLater => {}
            Does::HalfCloses => {
                self.until_ready(ports)?;
                if !self.is_post {
                    wire.finish()?;
                }
            }
            Does::ReadsLate => self.until_ready(ports)?,
            Does::Closes => {
                self.until_ready(ports)?;
                return Ok(port);
            }
            Does::Resets => {
                self.until_ready(ports)?;
                wire.reset();
                return Ok(port);
            }
        }
        self.look(&mut wire, later)?;
        Ok(port)
    }

    /// Reads from the row's answer on.
    fn look(&self, wire: &mut Wire, later: bool) -> Found<()> {
        let answer = wire.answer();
        let answer = match (self.row.sees, answer) {
            (Sees::End | Sees::EndOrCut, Err(Without::End)) | (Sees::Cut | Sees::EndOrCut, Err(Without::Cut)) => return Ok(()),
            (Sees::End | Sees::Cut | Sees::EndOrCut, other) => {
                return Err(format!("the client did not see {:?} but {other:?}", self.row.sees));
            }
            (_, Err(without)) => return Err(format!("the client saw no answer: {without:?}")),
            (Sees::Timeout, Ok(answer)) if answer.status == 504 => return expect_end(wire),
            (_, Ok(answer)) if answer.status != 200 => return Err(format!("the client saw {}", answer.status)),
            (_, Ok(answer)) => answer,
        };
        self.judge(&answer)?;
        if later {
            wire.send(&self.behind())?;
        }
        if self.is_piped {
            expect_plain(wire, &format!("behind-{}", self.id))?;
            expect_plain(wire, &format!("last-{}", self.id))?;
        }
        if self.row.sees == Sees::AnswerAndEnd {
            return expect_end(wire);
        }
        wire.send(&plain("GET", &format!("again-{}", self.id)))?;
        expect_plain(wire, &format!("again-{}", self.id))
    }

    fn judge(&self, answer: &Answer) -> Found<()> {
        let body = if self.row.sees == Sees::Empty { Vec::new() } else { self.body() };
        if answer.body != body {
            let at = answer.body.iter().zip(&body).position(|(got, wanted)| got != wanted);
            return Err(format!("a body of {} octets, not {}, the first other one at {at:?}", answer.body.len(), body.len()));
        }
        let interim: &[u16] = if self.row.sees == Sees::Interim { &[103] } else { &[] };
        if answer.interim != interim {
            return Err(format!("interim answers {:?}", answer.interim));
        }
        let trailers: Vec<(String, String)> = match self.row.sees {
            Sees::Trailers => vec![("X-Trailer".into(), "whole".into())],
            _ => Vec::new(),
        };
        if answer.trailers != trailers {
            return Err(format!("trailers {:?}", answer.trailers));
        }
        if matches!(self.row.sees, Sees::Length | Sees::Empty) && answer.header("content-length") != Some(&body.len().to_string()) {
            return Err(format!("Content-Length {:?}", answer.header("content-length")));
        }
        match self.way {
            "fields" if answer.header("x-row") != Some(&self.id.to_string()) => Err("the field X-Row is missing".into()),
            _ => Ok(()),
        }
    }

    /// What the host answers with: see the column `way`.
    fn body(&self) -> Vec<u8> {
        let line = format!("row {} by {}\n", self.id, self.way);
        let length = match self.way {
            "all" => 0,
            "stream" | "file" | "lend" => 50_000,
            "big" => 8 * 1024 * 1024,
            _ => line.len(),
        };
        line.bytes().cycle().take(length).collect()
    }

    fn content(&self) -> Vec<u8> {
        let length = if self.is_piped { 20_000 } else { 300 };
        (0..length).map(|at| ((at * 7 + self.id) % 251) as u8).collect()
    }

    fn target(&self) -> String {
        format!("/row/{}?id={}&by={}&note=a%20b+c&flag", self.row.name, self.id, self.way)
    }

    /// The row's request as it is sent.
    fn wire(&self) -> Vec<u8> {
        let (target, id) = (self.target(), self.id);
        let head = format!("{target} HTTP/1.1\r\nHost: example.test\r\nCookie: session={id}; theme=dark\r\nX-Note:  spaced \r\n");
        if !self.is_post {
            return format!("GET {head}\r\n").into_bytes();
        }
        let mut bytes = format!("POST {head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
        for chunk in self.content().chunks(999) {
            bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
            bytes.extend(chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(format!("0\r\nX-Sum: {id}\r\n\r\n").bytes());
        bytes
    }

    /// The same request as the host must tell it.
    fn told(&self, port: u16) -> Vec<u8> {
        let (target, id, name, way) = (self.target(), self.id, &self.row.name, self.way);
        let (method, number, flags) = if self.is_post { ("POST", 3, 2 | 64) } else { ("GET", 1, 2) };
        let mut text = format!(
            "method {method}\nmethod_id {number}\nversion 11\nflags {flags}\nlistener 0\ntarget {target}\npath /row/{name}\n\
             query {}\nscheme http\nauthority example.test\n\
             header Host=example.test\nheader Cookie=session={id}; theme=dark\nheader X-Note=spaced\n",
            &target[target.find('?').expect("it has a query") + 1..]
        );
        if self.is_post {
            text.push_str("header Transfer-Encoding=chunked\n");
        }
        text.push_str(&format!("pair id={id}\npair by={way}\npair note=a b c\npair flag=\ncookie session={id}\ncookie theme=dark\n"));
        if self.is_post {
            text.push_str(&format!("trailer X-Sum={id}\n"));
        }
        text.push_str(&format!("family 4\nport {port}\naddress 127.0.0.1\npeer 127.0.0.1:{port}\n"));
        let mut bytes = text.into_bytes();
        if self.is_post {
            bytes.extend(format!("length {}\nbody ", self.content().len()).bytes());
            bytes.extend(self.content());
            bytes.push(b'\n');
        } else {
            bytes.extend(b"length 0\nbody absent\n");
        }
        bytes
    }

    fn behind(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.is_piped {
            bytes.extend(plain("GET", &format!("behind-{}", self.id)));
            bytes.extend(plain("POST", &format!("last-{}", self.id)));
        }
        bytes
    }

    /// Until the host waits for our part, or has done all of its own.
    pub fn until_ready(&self, ports: Ports) -> Found<()> {
        self.until(ports, |answer| answer.status == 200 || (answer.status == 202 && answer.body == b"ready")).map(drop)
    }

    fn until(&self, ports: Ports, done: impl Fn(&Answer) -> bool) -> Found<Answer> {
        let mut control = Wire::connect(ports.control)?;
        let began = Instant::now();
        loop {
            let answer = tell(&mut control, &format!("/report/{}", self.id))?;
            if done(&answer) {
                return Ok(answer);
            }
            if began.elapsed() > super::wire::PATIENCE {
                return Err(format!("the host is stuck: {} {}", answer.status, String::from_utf8_lossy(&answer.body)));
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// The host's report once the row is over and its events have come, which may be after the answer was read.
    pub fn report(&self, ports: Ports, with_events: bool) -> Found<Report> {
        let mut last = String::new();
        let began = Instant::now();
        while began.elapsed() < super::wire::PATIENCE / 6 {
            let answer = self.until(ports, |answer| answer.status == 200)?;
            let report = read(&answer.body)?;
            if !with_events || self.has_events(&report) {
                return Ok(report);
            }
            last = report.events;
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        Err(format!("the events are {last:?}, not {:?}", self.row.events))
    }

    fn has_events(&self, report: &Report) -> bool {
        self.row.allows_events(self.way, &report.events.split_whitespace().collect::<Vec<_>>())
    }

    /// Compares a report with the table and with what was sent.
    pub fn check(&self, report: &Report, port: u16, with_events: bool) -> Found<()> {
        if report.faults != "none" {
            return Err(format!("the host found a fault: {}", report.faults));
        }
        if !self.row.allows_calls(&report.calls.split_whitespace().collect::<Vec<_>>()) {
            return Err(format!("the calls returned {:?}, not {:?}", report.calls, self.row.calls.join(" ")));
        }
        if (with_events && !self.has_events(report)) || (!with_events && !report.events.is_empty()) {
            return Err(format!("the events are {:?}, not {:?}", report.events, self.row.events));
        }
        if report.readings == 0 {
            return Err("the memory was not read again".into());
        }
        let told = self.told(port);
        if report.request != told {
            let (got, wanted) = (String::from_utf8_lossy(&report.request), String::from_utf8_lossy(&told));
            let other = got.lines().zip(wanted.lines()).find(|(got, wanted)| got != wanted);
            return Err(format!("the host read another request than was sent: {other:?}"));
        }
        Ok(())
    }
}

/// Reads `calls …`, `events …`, `readings …`, `faults …`, an empty line and the request.
pub fn read(body: &[u8]) -> Found<Report> {
    let end = body.windows(2).position(|two| two == b"\n\n").ok_or("a report without an empty line")?;
    let head = String::from_utf8_lossy(&body[..end]).into_owned();
    let line = |name: &str| {
        let found = head.lines().find_map(|line| line.strip_prefix(name)).map(|rest| rest.trim().to_string());
        found.ok_or_else(|| format!("no {name} in the report {head:?}"))
    };
    let readings = line("readings")?.parse().map_err(|error| format!("readings: {error}"))?;
    Ok(Report { calls: line("calls")?, events: line("events")?, readings, faults: line("faults")?, request: body[end + 2..].to_vec() })
}

/// A request that plays no row.
fn plain(method: &str, text: &str) -> Vec<u8> {
    let body = if method == "POST" { "Content-Length: 3\r\n\r\nabc" } else { "\r\n" };
    format!("{method} /plain/{text} HTTP/1.1\r\nHost: example.test\r\n{body}").into_bytes()
}

fn expect_plain(wire: &mut Wire, text: &str) -> Found<()> {
    match wire.answer() {
        Ok(answer) if answer.status == 200 && answer.body == text.as_bytes() => Ok(()),
        other => Err(format!("the answer {text} was expected, not {other:?}")),
    }
}

fn expect_end(wire: &mut Wire) -> Found<()> {
    match wire.answer() {
        Err(Without::End) => Ok(()),
        other => Err(format!("after the last answer came {other:?}")),
    }
}
