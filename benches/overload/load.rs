//! Clients that come at a rate of their own, whatever becomes of those before them, and leave when they have waited long enough; and such
//! that ask again as soon as they are answered.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// What became of a load. Times are nanoseconds from the moment at which a request was due, sent or not.
#[derive(Debug, Default)]
pub struct Harvest {
    /// Of answers of the host, in time.
    pub served: Vec<u64>,
    /// Of refusals.
    pub refused: Vec<u64>,
    /// Requests that their clients gave up, or whose connection broke.
    pub lost: u64,
}

/// One connection, and the request on it.
struct Line {
    stream: TcpStream,
    /// When the request was due; none is under way otherwise.
    due: Option<Instant>,
    heard: Vec<u8>,
}

/// What a look at a line found.
enum Heard {
    Nothing,
    Answer { status: u16, closes: bool },
    End,
}

impl Line {
    /// None when the server accepts nobody for a while.
    fn open(port: u16) -> Option<Line> {
        let stream = TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), Duration::from_millis(20)).ok()?;
        stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true)).expect("a socket");
        Some(Line { stream, due: None, heard: Vec::new() })
    }

    /// A request fits the buffer of a socket that nothing is under way on.
    fn ask(&mut self, request: &[u8], due: Instant) -> bool {
        self.due = Some(due);
        self.heard.clear();
        self.stream.write_all(request).is_ok()
    }

    fn hear(&mut self) -> Heard {
        let mut room = [0; 4096];
        loop {
            match self.stream.read(&mut room) {
                Ok(0) => return Heard::End,
                Ok(count) => self.heard.extend_from_slice(&room[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => return Heard::End,
            }
        }
        let Some(end) = self.heard.windows(4).position(|octets| octets == b"\r\n\r\n") else { return Heard::Nothing };
        let head = String::from_utf8_lossy(&self.heard[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).and_then(|length| length.parse::<usize>().ok());
        if self.heard.len() < end + 4 + length.expect("every answer here has a length") {
            return Heard::Nothing;
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Heard::Answer { status, closes: head.contains("\r\nconnection: close") }
    }
}

/// Many lines, looked at together.
struct Lines {
    epoll: i32,
    lines: Vec<Option<Line>>,
    idle: Vec<usize>,
    gone: Vec<usize>,
}

impl Lines {
    fn new() -> Lines {
        // SAFETY: no pointers are passed.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        assert!(epoll >= 0);
        Lines { epoll, lines: Vec::new(), idle: Vec::new(), gone: Vec::new() }
    }

    /// One that nothing is under way on.
    fn free(&mut self, port: u16) -> Option<usize> {
        if let Some(index) = self.idle.pop() {
            return Some(index);
        }
        let line = Line::open(port)?;
        let index = self.gone.pop().unwrap_or_else(|| {
            self.lines.push(None);
            self.lines.len() - 1
        });
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: index as u64 };
        // SAFETY: both descriptors are open, and the event outlives the call.
        assert_eq!(unsafe { libc::epoll_ctl(self.epoll, libc::EPOLL_CTL_ADD, line.stream.as_raw_fd(), &raw mut event) }, 0);
        self.lines[index] = Some(line);
        Some(index)
    }

    /// Closing takes it out of the set as well.
    fn close(&mut self, index: usize) {
        self.lines[index] = None;
        self.gone.push(index);
    }

    fn wait(&self, patience: Duration, found: &mut Vec<usize>) {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 256];
        let milliseconds = patience.as_millis().min(100) as i32;
        // SAFETY: the array has room for as many events as is said.
        let count = unsafe { libc::epoll_wait(self.epoll, events.as_mut_ptr(), events.len() as i32, milliseconds) };
        found.clear();
        found.extend(events[..usize::try_from(count).unwrap_or(0)].iter().map(|event| event.u64 as usize));
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        // SAFETY: ours, and nobody uses it any more.
        unsafe { libc::close(self.epoll) };
    }
}

/// Sockets beyond the limit that shells start with, also for what is started from here.
pub fn raise_descriptors() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is valid for both calls.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = limit.rlim_max.min(16_384);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
}

/// `rate` requests a second for so long, each on a line that nothing is under way on; nobody waits longer than `patience`.
pub fn open_loop(port: u16, request: &[u8], rate: f64, length: Duration, patience: Duration) -> Harvest {
    let (mut lines, mut harvest, mut found) = (Lines::new(), Harvest::default(), Vec::new());
    let mut under_way: VecDeque<(Instant, usize)> = VecDeque::new();
    let (start, total) = (Instant::now(), (rate * length.as_secs_f64()) as u64);
    let due_at = |number: u64| start + Duration::from_secs_f64(number as f64 / rate);
    let mut next = 0;
    loop {
        let now = Instant::now();
        while next < total && due_at(next) <= now {
            let due = due_at(next);
            next += 1;
            // Whoever could not even connect in time has left, too.
            let Some(index) = (due.elapsed() < patience).then(|| lines.free(port)).flatten() else {
                harvest.lost += 1;
                continue;
            };
            if lines.lines[index].as_mut().is_some_and(|line| line.ask(request, due)) {
                under_way.push_back((due, index));
            } else {
                harvest.lost += 1;
                lines.close(index);
            }
        }
        while let Some(&(due, index)) = under_way.front().filter(|(due, _)| due.elapsed() >= patience) {
            under_way.pop_front();
            if lines.lines[index].as_ref().is_some_and(|line| line.due == Some(due)) {
                harvest.lost += 1;
                lines.close(index);
            }
        }
        if next == total && under_way.is_empty() {
            return harvest;
        }
        let until = if next < total { due_at(next) } else { now + Duration::from_millis(20) };
        lines.wait(until.saturating_duration_since(Instant::now()), &mut found);
        for &index in &found {
            take_in(&mut lines, index, patience, &mut harvest);
        }
    }
}

/// Something came on a line.
fn take_in(lines: &mut Lines, index: usize, patience: Duration, harvest: &mut Harvest) {
    let Some(line) = &mut lines.lines[index] else { return };
    match line.hear() {
        Heard::Nothing => {}
        Heard::Answer { status, closes } => {
            if let Some(due) = line.due.take() {
                let took = due.elapsed();
                match status {
                    200 if took <= patience => harvest.served.push(took.as_nanos() as u64),
                    200 => harvest.lost += 1,
                    _ => harvest.refused.push(took.as_nanos() as u64),
                }
            }
            if closes { lines.close(index) } else { lines.idle.push(index) }
        }
        Heard::End => {
            harvest.lost += u64::from(line.due.is_some());
            lines.idle.retain(|idle| *idle != index);
            lines.close(index);
        }
    }
}

/// So many clients that ask again as soon as they are answered: what a server can do. Returns answers a second.
pub fn closed_loop(port: u16, request: &[u8], clients: usize, length: Duration) -> f64 {
    let (mut lines, mut found, start) = (Lines::new(), Vec::new(), Instant::now());
    for _ in 0..clients {
        let index = lines.free(port).expect("the server accepts");
        lines.lines[index].as_mut().map(|line| line.ask(request, start));
    }
    let mut answers = 0;
    while start.elapsed() < length {
        lines.wait(Duration::from_millis(10), &mut found);
        for &index in &found {
            let line = lines.lines[index].as_mut().expect("nobody leaves");
            match line.hear() {
                Heard::Nothing => {}
                Heard::Answer { status, .. } => {
                    assert_eq!(status, 200, "nobody is refused");
                    answers += 1;
                    assert!(line.ask(request, start));
                }
                Heard::End => panic!("the server has closed"),
            }
        }
    }
    answers as f64 / start.elapsed().as_secs_f64()
}
