//! Every system call the library makes, each wrapped once and safe to call: sockets, epoll, eventfd, ppoll, clocks, limits.
#![allow(unsafe_code)]

pub mod affinity;
pub mod listening;
pub mod local;
pub mod spool;
pub mod tcp;

pub use affinity::processors;
pub use listening::{accept, accept_broken, accept_exhausted, exhausted_advice};

use crate::memory::waker::Signal;
use std::io;
use std::mem::{MaybeUninit, size_of, zeroed};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Turns the C convention (-1 and errno) into a `Result`.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_size(result: isize) -> io::Result<usize> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as usize) }
}

/// Below these numbers are the standard streams. A host that has closed one of them must not find its output in a socket of ours.
const FIRST_NUMBER: RawFd = 3;

fn own(result: libc::c_int) -> io::Result<OwnedFd> {
    let fd = check(result)?;
    // SAFETY: the kernel has just given this descriptor to us; nobody else knows its number.
    raise(unsafe { OwnedFd::from_raw_fd(fd) }, FIRST_NUMBER)
}

/// The same at a number of at least `floor` (the option `fd_floor`): as it is, without a call, if it lies there already.
pub fn raise(fd: OwnedFd, floor: RawFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() >= floor { Ok(fd) } else { duplicate(fd.as_raw_fd(), floor) }
}

/// A TCP socket, non-blocking and close-on-exec.
pub fn stream_socket(address: &SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    // SAFETY: no pointers are passed.
    own(unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0) })
}

/// The switches of a socket that we turn.
#[derive(Clone, Copy, Debug)]
pub enum Switch {
    ReuseAddress,
    ReusePort,
    V6Only,
    NoDelay,
}

pub fn set_switch(socket: RawFd, switch: Switch, on: bool) -> io::Result<()> {
    let (level, name) = match switch {
        Switch::ReuseAddress => (libc::SOL_SOCKET, libc::SO_REUSEADDR),
        Switch::ReusePort => (libc::SOL_SOCKET, libc::SO_REUSEPORT),
        Switch::V6Only => (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
        Switch::NoDelay => (libc::IPPROTO_TCP, libc::TCP_NODELAY),
    };
    let value: libc::c_int = on.into();
    // SAFETY: `value` outlives the call and its size is given.
    check(unsafe { libc::setsockopt(socket, level, name, (&raw const value).cast(), size_of::<libc::c_int>() as u32) })?;
    Ok(())
}

/// Ends a connection at once, with RST for a peer that did not read in time: now, not when the last descriptor is closed, since a
/// forked child may have one.
pub fn abort(socket: RawFd) {
    // SAFETY: sockaddr is plain data, all zeros is a valid value, and AF_UNSPEC is zero: connecting to it disconnects.
    let nowhere: libc::sockaddr = unsafe { zeroed() };
    // SAFETY: `nowhere` outlives the call and its size is given.
    if unsafe { libc::connect(socket, &raw const nowhere, size_of::<libc::sockaddr>() as u32) } != 0 {
        set_abortive(socket);
        shutdown_both(socket);
    }
}

/// Makes `close` send RST instead of FIN.
fn set_abortive(socket: RawFd) {
    let value = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: `value` outlives the call and its size is given. A failure only makes the close polite.
    unsafe { libc::setsockopt(socket, libc::SOL_SOCKET, libc::SO_LINGER, (&raw const value).cast(), size_of::<libc::linger>() as u32) };
}

pub fn bind(socket: RawFd, address: &SocketAddr) -> io::Result<()> {
    match address {
        SocketAddr::V4(v4) => {
            // SAFETY: sockaddr_in is plain data, all zeros is a valid value.
            let mut raw: libc::sockaddr_in = unsafe { zeroed() };
            raw.sin_family = libc::AF_INET as u16;
            raw.sin_port = v4.port().to_be();
            raw.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
            // SAFETY: `raw` is a whole sockaddr_in and its size is given.
            check(unsafe { libc::bind(socket, (&raw const raw).cast(), size_of::<libc::sockaddr_in>() as u32) })?;
        }
        SocketAddr::V6(v6) => {
            // SAFETY: sockaddr_in6 is plain data, all zeros is a valid value.
            let mut raw: libc::sockaddr_in6 = unsafe { zeroed() };
            raw.sin6_family = libc::AF_INET6 as u16;
            raw.sin6_port = v6.port().to_be();
            raw.sin6_addr.s6_addr = v6.ip().octets();
            raw.sin6_scope_id = v6.scope_id();
            // SAFETY: `raw` is a whole sockaddr_in6 and its size is given.
            check(unsafe { libc::bind(socket, (&raw const raw).cast(), size_of::<libc::sockaddr_in6>() as u32) })?;
        }
    }
    Ok(())
}

pub fn listen(socket: RawFd, backlog: i32) -> io::Result<()> {
    // SAFETY: no pointers are passed.
    check(unsafe { libc::listen(socket, backlog) })?;
    Ok(())
}

pub fn local_address(socket: RawFd) -> io::Result<SocketAddr> {
    // SAFETY: sockaddr_storage is plain data, all zeros is a valid value.
    let mut raw: libc::sockaddr_storage = unsafe { zeroed() };
    let mut length = size_of::<libc::sockaddr_storage>() as u32;
    // SAFETY: both pointers are valid for the call and `length` is the room there is.
    check(unsafe { libc::getsockname(socket, (&raw mut raw).cast(), &mut length) })?;
    address_of(&raw).ok_or_else(|| io::Error::from_raw_os_error(libc::EAFNOSUPPORT))
}

fn address_of(raw: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(raw.ss_family) {
        libc::AF_INET => {
            // SAFETY: the kernel says it is a sockaddr_in, and sockaddr_storage is large and aligned enough for one.
            let v4 = unsafe { &*(&raw const *raw).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the kernel says it is a sockaddr_in6, and sockaddr_storage is large and aligned enough for one.
            let v6 = unsafe { &*(&raw const *raw).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// Receives into initialised memory.
pub fn receive(stream: RawFd, window: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the pointer and length are those of a slice that lives through the call.
    check_size(unsafe { libc::recv(stream, window.as_mut_ptr().cast(), window.len(), 0) })
}

/// Receives at most `most` octets behind what `buffer` holds, into room that is reserved but not yet written to.
pub fn receive_behind(stream: RawFd, buffer: &mut Vec<u8>, most: usize) -> io::Result<usize> {
    let room = buffer.spare_capacity_mut();
    let length = room.len().min(most);
    // SAFETY: the pointer and length describe the spare capacity, which nothing else refers to.
    let count = check_size(unsafe { libc::recv(stream, room.as_mut_ptr().cast(), length, 0) })?;
    // SAFETY: the kernel has written `count` octets behind the old length, within the capacity.
    unsafe { buffer.set_len(buffer.len() + count) };
    Ok(count)
}

/// Sends without ever raising SIGPIPE.
pub fn send(stream: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the pointer and length are those of a slice that lives through the call.
    check_size(unsafe { libc::send(stream, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) })
}

/// Sends three pieces with one call, without ever raising SIGPIPE; any of them may be empty.
pub fn send_pieces(stream: RawFd, pieces: [&[u8]; 3]) -> io::Result<usize> {
    let mut pieces = pieces.map(|piece| libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() });
    // SAFETY: msghdr is plain data, all zeros is a valid value (no name, no control data).
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = pieces.as_mut_ptr();
    message.msg_iovlen = pieces.len();
    // SAFETY: the pieces point at slices that live through the call; the kernel only reads them.
    check_size(unsafe { libc::sendmsg(stream, &raw const message, libc::MSG_NOSIGNAL) })
}

/// As `send`, for octets that others follow at once: the kernel may wait with a packet that is not full.
pub fn send_with_more(stream: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the pointer and length are those of a slice that lives through the call.
    check_size(unsafe { libc::send(stream, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL | libc::MSG_MORE) })
}

/// Has the kernel send a part of a file. It may raise SIGPIPE, so only threads that block that may call it.
pub fn send_file(stream: RawFd, file: &OwnedFd, offset: u64, most: usize) -> io::Result<usize> {
    let mut offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: `offset` outlives the call.
    check_size(unsafe { libc::sendfile(stream, file.as_raw_fd(), &raw mut offset, most) })
}

/// The kernel, a filter (seccomp) or the file system does not offer a call that can be done without.
pub fn lacks_call(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM | libc::EINVAL | libc::EOPNOTSUPP))
}

/// Reads a part of a file.
pub fn read_at(file: &OwnedFd, window: &mut [u8], offset: u64) -> io::Result<usize> {
    let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the pointer and length are those of a slice that lives through the call.
    check_size(unsafe { libc::pread(file.as_raw_fd(), window.as_mut_ptr().cast(), window.len(), offset) })
}

/// The length of a regular file that can be read; `None` for anything else.
pub fn file_length(file: RawFd) -> io::Result<Option<u64>> {
    // SAFETY: stat is plain data, all zeros is a valid value.
    let mut stat: libc::stat = unsafe { zeroed() };
    // SAFETY: `stat` outlives the call.
    check(unsafe { libc::fstat(file, &raw mut stat) })?;
    // SAFETY: no pointers are passed.
    let flags = check(unsafe { libc::fcntl(file, libc::F_GETFL) })?;
    if flags & libc::O_ACCMODE == libc::O_WRONLY || flags & libc::O_PATH != 0 {
        return Ok(None);
    }
    let regular = stat.st_mode & libc::S_IFMT == libc::S_IFREG;
    Ok(u64::try_from(stat.st_size).ok().filter(|_| regular))
}

/// A descriptor of ours for a file of the host's, close-on-exec, at a number of at least `floor`.
pub fn duplicate(file: RawFd, floor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: no pointers are passed.
    own(unsafe { libc::fcntl(file, libc::F_DUPFD_CLOEXEC, floor.max(FIRST_NUMBER)) })
}

/// Sends FIN after what is queued; the peer may go on sending.
pub fn shutdown_write(stream: RawFd) {
    // SAFETY: no pointers are passed. It fails only when the connection is gone already.
    unsafe { libc::shutdown(stream, libc::SHUT_WR) };
}

/// Ends a connection for everybody who has a descriptor of it, a forked child too.
pub fn shutdown_both(stream: RawFd) {
    // SAFETY: no pointers are passed. It fails only when the connection is gone already.
    unsafe { libc::shutdown(stream, libc::SHUT_RDWR) };
}

/// An epoll instance.
#[derive(Debug)]
pub struct Poller {
    fd: OwnedFd,
}

/// What a descriptor is registered for.
#[derive(Clone, Copy, Debug)]
pub enum Interest {
    /// Level-triggered, readable: listeners and wake-ups.
    Level,
    /// As `Level`, for a listener that several threads accept from: one of those that wait is woken, not all.
    Shared,
    /// Edge-triggered, both directions, with RDHUP and PRI: connections, once for their whole life.
    Edge,
}

pub const READABLE: u32 = libc::EPOLLIN as u32;
pub const WRITABLE: u32 = libc::EPOLLOUT as u32;
/// The peer sent FIN, or urgent data, or the connection failed: a short read is not believed to be the last.
pub const ENDING: u32 = (libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR | libc::EPOLLPRI) as u32;
/// The peer sends nothing more.
pub const FINISHED: u32 = libc::EPOLLRDHUP as u32;
/// Both directions are gone.
pub const BROKEN: u32 = (libc::EPOLLHUP | libc::EPOLLERR) as u32;

pub type PollEvent = libc::epoll_event;

impl Poller {
    pub fn new(floor: RawFd) -> io::Result<Self> {
        // SAFETY: no pointers are passed.
        Ok(Poller { fd: raise(own(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?, floor)? })
    }

    /// Becomes the other one under the number that this one has.
    pub fn become_other(&mut self, other: Poller) -> io::Result<()> {
        // SAFETY: no pointers are passed; both numbers are ours.
        check(unsafe { libc::dup3(other.fd.as_raw_fd(), self.fd.as_raw_fd(), libc::O_CLOEXEC) })?;
        Ok(())
    }

    pub fn descriptor(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    pub fn add(&self, fd: RawFd, interest: Interest, data: u64) -> io::Result<()> {
        let events = match interest {
            Interest::Level => libc::EPOLLIN,
            Interest::Shared => libc::EPOLLIN | libc::EPOLLEXCLUSIVE,
            Interest::Edge => libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLPRI | libc::EPOLLET,
        };
        let mut event = libc::epoll_event { events: events as u32, u64: data };
        // SAFETY: `event` is valid for the call.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) })?;
        Ok(())
    }

    pub fn remove(&self, fd: RawFd) -> io::Result<()> {
        // SAFETY: the event pointer is ignored for EPOLL_CTL_DEL.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut()) })?;
        Ok(())
    }

    /// Waits up to `timeout_ms` (-1: for ever) and replaces what `events` holds, within its capacity.
    pub fn wait(&self, events: &mut Vec<PollEvent>, timeout_ms: i32) -> io::Result<()> {
        events.clear();
        let room = events.spare_capacity_mut();
        // SAFETY: the kernel writes at most `room.len()` events into the spare capacity.
        let count = check(unsafe { libc::epoll_wait(self.fd.as_raw_fd(), room.as_mut_ptr().cast(), room.len() as i32, timeout_ms) })?;
        // SAFETY: that many events were written from the start of an empty vector.
        unsafe { events.set_len(count as usize) };
        Ok(())
    }
}

/// A counter in the kernel that makes a descriptor readable.
#[derive(Debug)]
pub struct EventFd {
    fd: OwnedFd,
}

impl EventFd {
    pub fn new() -> io::Result<Self> {
        EventFd::above(0)
    }

    /// At a number of at least `floor`.
    pub fn above(floor: RawFd) -> io::Result<Self> {
        // SAFETY: no pointers are passed.
        Ok(EventFd { fd: raise(own(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })?, floor)? })
    }

    pub fn descriptor(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Sleeps until the descriptor is readable, a signal arrives, or the time is over (-1: for ever).
    pub fn wait(&self, timeout_ms: i64) -> io::Result<bool> {
        let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let limit = libc::timespec { tv_sec: timeout_ms.max(0) / 1000, tv_nsec: timeout_ms.max(0) % 1000 * 1_000_000 };
        let limit = if timeout_ms < 0 { std::ptr::null() } else { &raw const limit };
        // SAFETY: one pollfd is given, the time is NULL or valid for the call, the signal mask stays as it is.
        // ppoll, not a futex: with SA_RESTART a condition variable would hide a signal from the host.
        let count = check(unsafe { libc::ppoll(&raw mut poll, 1, limit, std::ptr::null()) })?;
        Ok(count > 0)
    }
}

impl Signal for EventFd {
    /// One write; async-signal-safe. It fails only when the counter is full, which is readable too.
    fn signal(&self) {
        let one: u64 = 1;
        // SAFETY: eight octets are read from a valid pointer. A write that a signal ended has not woken anybody.
        while unsafe { libc::write(self.fd.as_raw_fd(), (&raw const one).cast(), 8) } < 0
            && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
        {}
    }

    fn reset(&self) {
        let mut count: u64 = 0;
        // SAFETY: eight octets are written to a valid pointer; the descriptor does not block.
        unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut count).cast(), 8) };
    }
}

/// A timer of the kernel's that makes a descriptor readable, for hosts that drive us from their own loop.
#[derive(Debug)]
pub struct TimerFd {
    fd: OwnedFd,
}

impl TimerFd {
    pub fn new(floor: RawFd) -> io::Result<Self> {
        // SAFETY: no pointers are passed.
        let timer = own(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC) })?;
        Ok(TimerFd { fd: raise(timer, floor)? })
    }

    pub fn descriptor(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Readable once CLOCK_MONOTONIC has reached so many milliseconds; zero for never. Whatever made it readable is forgotten.
    pub fn set(&self, at_ms: u64) {
        let at = libc::timespec { tv_sec: (at_ms / 1000) as i64, tv_nsec: (at_ms % 1000 * 1_000_000) as i64 };
        let setting = libc::itimerspec { it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
        // SAFETY: the setting is valid for the call; the old one is not asked for.
        unsafe { libc::timerfd_settime(self.fd.as_raw_fd(), libc::TFD_TIMER_ABSTIME, &raw const setting, std::ptr::null_mut()) };
    }
}

/// CLOCK_MONOTONIC in nanoseconds.
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid; CLOCK_MONOTONIC cannot fail on Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The soft limit of RLIMIT_NOFILE.
pub fn descriptor_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 1024, rlim_max: 1024 };
    // SAFETY: the pointer is valid for the call.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    limit.rlim_cur
}

/// The kernel's number of the calling thread. It is asked for once a thread.
pub fn thread_number() -> u32 {
    thread_local! {
        static NUMBER: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
    }
    if NUMBER.get() == 0 {
        // SAFETY: no pointers are passed.
        NUMBER.set(unsafe { libc::gettid() } as u32);
    }
    NUMBER.get()
}

/// Whether this process has a thread of this number.
pub fn thread_lives(number: u32) -> bool {
    // SAFETY: no pointers are passed; signal 0 is only a question.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), number, 0) == 0 }
}

/// Lets whoever else is ready to run on this processor go first.
pub fn yield_processor() {
    // SAFETY: no pointers are passed; on Linux it always succeeds.
    unsafe { libc::sched_yield() };
}

/// Signals blocked in the calling thread; a thread that is started meanwhile inherits it. Put back when dropped.
#[derive(Debug)]
pub struct BlockedSignals {
    before: libc::sigset_t,
}

/// Blocks every signal but the synchronous ones, so that crash handlers of the host keep working (design, section 10).
pub fn block_signals() -> BlockedSignals {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset initialises the set; the other calls get valid pointers, and pthread_sigmask initialises `before`.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS, libc::SIGABRT] {
            libc::sigdelset(all.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        BlockedSignals { before: before.assume_init() }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: `before` was filled by pthread_sigmask.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut()) };
    }
}

/// A page that reads 1 here and 0 in any forked child (MADV_WIPEONFORK); null when the kernel has no such thing.
pub fn wipe_on_fork_page() -> *const u8 {
    const PAGE: usize = 4096;
    // SAFETY: a fresh private anonymous mapping is asked for; on success it is ours, for ever.
    unsafe {
        let page =
            libc::mmap(std::ptr::null_mut(), PAGE, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
        if page == libc::MAP_FAILED {
            return std::ptr::null();
        }
        if libc::madvise(page, PAGE, libc::MADV_WIPEONFORK) != 0 {
            libc::munmap(page, PAGE);
            return std::ptr::null();
        }
        page.cast::<u8>().write(1);
        page.cast()
    }
}

/// Whether the calling process may bind ports below 1024 only by privilege; used for error texts.
pub fn is_permission(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM))
}
