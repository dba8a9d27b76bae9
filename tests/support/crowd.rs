//! Many clients in one thread, with TLS where it is spoken: each drips, reads or keeps silent as it is told, and the time at which the server cuts it is kept.

use crate::support::secured::{self, Secured};
use std::io::{Cursor, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// One client of a crowd.
pub struct Member {
    pub stream: TcpStream,
    tls: Option<Secured>,
    /// When it connected, and how long after that the server cut it.
    pub since: Instant,
    pub cut: Option<Duration>,
    /// What it has read; empty for those that do not keep it.
    pub heard: Vec<u8>,
    /// The server reset it.
    pub reset: bool,
}

/// What every member does whenever it is its turn.
#[derive(Clone, Copy, Debug)]
pub struct Habit {
    /// Sent at each turn.
    pub drip: &'static [u8],
    /// Octets read at each turn; none leaves everything to the kernel.
    pub read: usize,
    pub every: Duration,
}

/// See the file's first line.
pub struct Crowd {
    pub members: Vec<Member>,
}

/// Sockets beyond the limit that shells start with; the library never raises it, a test may.
pub fn raise_descriptors(wanted: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is valid for both calls.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = limit.rlim_cur.max(wanted.min(limit.rlim_max));
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
    assert!(limit.rlim_cur >= wanted, "{wanted} descriptors are needed, the limit is {} (ulimit -Hn {wanted})", limit.rlim_max);
}

/// A connection to the port whose receive buffer is set before it connects, so that the window is small from the start; zero leaves it.
pub fn connect(port: u16, receive_buffer: i32) -> TcpStream {
    connect_from([127, 0, 0, 1], port, receive_buffer)
}

/// The same from another address of loopback.
pub fn connect_from(source: [u8; 4], port: u16, receive_buffer: i32) -> TcpStream {
    // SAFETY: no pointers are passed.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    assert!(fd >= 0, "a socket cannot be made: {}", std::io::Error::last_os_error());
    // SAFETY: the kernel has just given it to us.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let address = |host: [u8; 4], port: u16| libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(host) },
        sin_zero: [0; 8],
    };
    let (source, target) = (address(source, 0), address([127, 0, 0, 1], port));
    let size = std::mem::size_of::<libc::sockaddr_in>() as u32;
    // SAFETY: all values outlive the calls and their sizes are given.
    unsafe {
        if receive_buffer > 0 {
            let size = std::mem::size_of::<i32>() as u32;
            assert_eq!(libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, (&raw const receive_buffer).cast(), size), 0);
        }
        if source.sin_addr.s_addr != target.sin_addr.s_addr {
            assert_eq!(libc::bind(fd, (&raw const source).cast(), size), 0, "loopback has many addresses");
        }
        assert_eq!(libc::connect(fd, (&raw const target).cast(), size), 0, "the server accepts");
    }
    TcpStream::from(socket)
}

/// Makes the close of a socket a reset, which leaves no port in TIME_WAIT.
pub fn will_reset(stream: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the value outlives the call and its size is given.
    let set = unsafe {
        let size = std::mem::size_of::<libc::linger>() as u32;
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), size)
    };
    assert_eq!(set, 0);
}

impl Crowd {
    /// So many clients connect and send this.
    pub fn gather(port: u16, count: usize, receive_buffer: i32, greeting: &[u8]) -> Crowd {
        Crowd::of(port, count, receive_buffer, greeting, secured::is_secure(port))
    }

    /// So many clients connect and send this as it is, also where TLS is spoken.
    pub fn gather_raw(port: u16, count: usize, greeting: &[u8]) -> Crowd {
        Crowd::of(port, count, 0, greeting, false)
    }

    fn of(port: u16, count: usize, receive_buffer: i32, greeting: &[u8], secure: bool) -> Crowd {
        let member = |_| {
            let mut stream = connect(port, receive_buffer);
            let since = Instant::now();
            will_reset(&stream);
            stream.set_nodelay(true).expect("a TCP socket");
            let tls = secure.then(|| Secured::connect(&stream).expect("a session"));
            match &tls {
                None => stream.write_all(greeting).expect("the server reads"),
                Some(tls) => tls.write_all(&mut stream, greeting).expect("the server reads"),
            }
            stream.set_nonblocking(true).expect("a socket");
            Member { stream, tls, since, cut: None, heard: Vec::new(), reset: false }
        };
        Crowd { members: (0..count).map(member).collect() }
    }

    /// Lets every member live by the habit until all are cut, or the time is over.
    pub fn live(&mut self, habit: Habit, limit: Duration) {
        let start = Instant::now();
        let mut turn = start;
        while start.elapsed() < limit && self.members.iter().any(|member| member.cut.is_none()) {
            let is_turn = Instant::now() >= turn;
            if is_turn {
                turn += habit.every;
            }
            self.look();
            for member in self.members.iter_mut().filter(|member| member.cut.is_none()) {
                if is_turn {
                    member.act(habit);
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks the kernel which connections have ended; one that does not read is told so too.
    fn look(&mut self) {
        let watch = |member: &Member| libc::pollfd { fd: member.stream.as_raw_fd(), events: libc::POLLRDHUP, revents: 0 };
        let mut polls: Vec<libc::pollfd> = self.members.iter().map(watch).collect();
        // SAFETY: as many entries as is said, good for the call.
        let count = unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as u64, 0) };
        assert!(count >= 0, "poll failed");
        for (member, poll) in self.members.iter_mut().zip(polls) {
            if member.cut.is_none() && poll.revents & (libc::POLLERR | libc::POLLHUP | libc::POLLRDHUP) != 0 {
                member.cut = Some(member.since.elapsed());
                member.reset = poll.revents & libc::POLLERR != 0;
                member.hear(usize::MAX);
            }
        }
    }

    /// That every member was cut, no earlier than `least` and no later than `most` after it connected.
    pub fn was_cut(&self, least: Duration, most: Duration) {
        let cuts: Vec<Duration> = self.members.iter().filter_map(|member| member.cut).collect();
        assert_eq!(cuts.len(), self.members.len(), "so many were cut of so many");
        let (first, last) = (cuts.iter().min().expect("a crowd"), cuts.iter().max().expect("a crowd"));
        println!("{} slow clients were cut after {first:?} to {last:?}", cuts.len());
        assert!(*first >= least && *last <= most, "cut after {first:?} to {last:?}, not {least:?} to {most:?}");
    }
}

impl Member {
    fn act(&mut self, habit: Habit) {
        if !habit.drip.is_empty() {
            // A connection that has ended meanwhile is noticed by the next look.
            let _ = match &self.tls {
                None => self.stream.write_all(habit.drip),
                Some(tls) => tls.write_all(&mut self.stream, habit.drip),
            };
        }
        if habit.read > 0 {
            self.hear(habit.read);
        }
    }

    fn hear(&mut self, most: usize) {
        let mut octets = vec![0; most.min(64 * 1024)];
        let mut left = most;
        while left > 0 {
            let room = octets.len().min(left);
            match self.stream.read(&mut octets[..room]) {
                Ok(count) if count > 0 => {
                    left -= count;
                    let kept = count.min(4096_usize.saturating_sub(self.heard.len()));
                    self.heard.extend_from_slice(&octets[..kept]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ => return,
            }
        }
    }

    /// The status line that it was sent before it was cut.
    pub fn status(&self) -> Option<u16> {
        let mut heard = self.heard.clone();
        if let Some(tls) = &self.tls {
            let (mut sealed, mut room) = (Cursor::new(heard), [0; 4096]);
            let count = tls.read(&mut sealed, &mut room).ok()?;
            heard = room[..count].to_vec();
        }
        let text = String::from_utf8_lossy(&heard);
        text.split(' ').nth(1).and_then(|status| status.parse().ok())
    }
}
