//! What a server says in its log: every line in one place, each with what to do about it.
#![forbid(unsafe_code)]

use super::orders::Orders;
use super::plans::Chosen;
use crate::accept::Listener;
use crate::engine::sys;
use crate::log::{Kind, Level, Log};
use crate::options::Delivery;
use std::any::Any;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;

/// The server runs: `delivery` is none when the host drives it.
pub fn started(log: &Log, chosen: Chosen, delivery: Option<Delivery>, handlers: usize) {
    let threads = chosen.io_threads;
    let mut text = format!("started: topology {}, {threads} i/o thread{}", chosen.plan.name, if threads == 1 { "" } else { "s" });
    // A string takes everything that is written to it.
    if chosen.ahead_threads > 0 {
        let _ = write!(text, " behind {} that accepts", chosen.ahead_threads);
    }
    if chosen.far_threads > 0 {
        let _ = write!(text, ", {} beyond the cut", chosen.far_threads);
    }
    if chosen.handshake_threads > 0 {
        let _ = write!(text, ", {} for handshakes", chosen.handshake_threads);
    }
    if chosen.decode_threads > 0 {
        let _ = write!(text, ", {} for large bodies", chosen.decode_threads);
    }
    let _ = match delivery {
        Some(Delivery::Threads) => write!(text, ", {handlers} handler thread{}", if handlers == 1 { "" } else { "s" }),
        Some(Delivery::Inline) => write!(text, ", delivery inline"),
        Some(_) => write!(text, ", delivery queue"),
        None => {
            text = "started: driven by the host, turn by turn".to_owned();
            Ok(())
        }
    };
    log.say(Level::Info, &text);
}

pub fn listening(log: &Log, addresses: &[String]) {
    for address in addresses {
        log.say(Level::Info, &format!("listening on {address}"));
    }
}

/// The addresses of all listeners with the ports that the kernel chose.
pub fn addresses(listeners: &[Listener]) -> Vec<String> {
    listeners.iter().map(Listener::to_string).collect()
}

/// The first thread that begins says it for all; true for that one.
pub fn draining(orders: &Orders, now_ms: u64) -> bool {
    let first = !orders.drain_told.swap(true, Ordering::Relaxed);
    if first {
        let left_ms = orders.drain_until_ms.load(Ordering::Relaxed).saturating_sub(now_ms);
        let open = orders.connections.load(Ordering::Relaxed);
        orders.log.say(Level::Info, &format!("draining: no more connections are accepted, {open} are open, at most {left_ms} ms are left"));
    }
    first
}

pub fn stopped(log: &Log) {
    log.say(Level::Info, "stopped: every connection is closed");
}

pub fn listener_failed(log: &Log, listener: u16, error: &io::Error) {
    match sys::exhausted_advice(error) {
        Some(advice) => log.say_seldom(Kind::Exhausted, Level::Warn, || {
            format!("cannot accept on listener {listener}: {error} ({advice}); new clients wait in the backlog until it is tried again")
        }),
        None if !sys::accept_broken(error) => log.say_seldom(Kind::Exhausted, Level::Warn, || {
            format!("cannot accept on listener {listener}: {error} (every try failed; is the call forbidden?); it is tried again")
        }),
        None => log.say_seldom(Kind::Broken, Level::Error, || {
            format!(
                "listener {listener} is broken and will not be used again: {error} (something closed its descriptor; make a new server)"
            )
        }),
    }
}

/// The files of a listener have changed, and what they hold now cannot be used.
pub fn not_reloaded(log: &Log, listener: usize, why: &str) {
    // The reason comes last, since it may be long.
    log.say(Level::Warn, &format!("listener {listener} keeps its old certificates until the files change again: {why}"));
}

/// An I/O thread cannot go on.
pub fn engine_failed(log: &Log, error: &io::Error) {
    log.say_seldom(Kind::Broken, Level::Error, || {
        format!("an i/o thread ends, its connections are closed: {error} (something closed the library's descriptors; free the server and make a new one)")
    });
}

/// Faults of the library come too often.
pub fn unhealthy(log: &Log) {
    log.say(
        Level::Error,
        "unhealthy: 100 faults of the library were caught within a minute (report them, and start the process anew soon)",
    );
}

/// A connection was accepted, but cannot be watched.
pub fn unseated(log: &Log, error: &io::Error) {
    log.say_seldom(Kind::Exhausted, Level::Warn, || {
        format!("cannot watch a new connection, it was closed: {error} (raise fs.epoll.max_user_watches, or lower max_connections)")
    });
}

pub fn full(log: &Log, max_connections: u64) {
    log.say_seldom(Kind::Full, Level::Warn, || {
        format!("max_connections is reached: {max_connections} are open, new clients wait in the backlog until one closes (raise max_connections, or lower keepalive_timeout)")
    });
}

pub fn short_of_memory(log: &Log, memory_max: u64) {
    log.say_seldom(Kind::Memory, Level::Warn, || {
        format!("memory_max is reached: no more is read within {memory_max} octets until some are given back (raise memory_max, or lower body_max or in_flight_max)")
    });
}

/// As many handshakes are under way as may be.
pub fn many_handshakes(log: &Log, handshakes_max: u64) {
    log.say_seldom(Kind::Handshakes, Level::Warn, || {
        format!("tls.handshakes_max is reached: {handshakes_max} are under way on one thread, new clients wait in the backlog (raise it, or set handshake_threads)")
    });
}

/// Requests are refused since their queue stands.
pub fn overloaded(log: &Log, target_ms: u64) {
    log.say_seldom(Kind::Overload, Level::Warn, || {
        format!("overloaded: requests waited longer than queue_delay_target ({target_ms} ms) for queue_delay_interval, the oldest get 503 (have the host take more at once, or raise the target)")
    });
}

/// A body could not be kept in a file.
pub fn not_spooled(log: &Log, error: &io::Error) {
    log.say_seldom(Kind::Spool, Level::Warn, || {
        format!("cannot write a body to its file: {error} (look at the room in spool_dir, and at the limits on descriptors and file sizes); its client was refused")
    });
}

/// One address has as many connections as it may.
pub fn crowded(log: &Log, peer: SocketAddr) {
    log.say_seldom(Kind::Crowded, Level::Warn, || {
        format!("max_connections_per_ip is reached: a connection from {} was reset (raise it if that is a proxy)", peer.ip().to_canonical())
    });
}

/// A panic was caught at the root of a tick or of a thread.
pub fn fault(log: &Log, place: &str, payload: &(dyn Any + Send)) {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("no text");
    log.say_seldom(Kind::Fault, Level::Error, || format!("caught a fault of the library in {place} (please report it): {text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(log: &Log) -> (Level, String) {
        log.next().map(|record| (record.level, record.text)).expect("something was said")
    }

    #[test]
    fn a_fault_is_told_with_its_text() {
        for (payload, text) in [
            (Box::new("static") as Box<dyn Any + Send>, "static"),
            (Box::new("made\nof lines".to_owned()), "made of lines"),
            (Box::new(7), "no text"),
        ] {
            let log = Log::default();
            fault(&log, "a tick", &*payload);
            assert_eq!(said(&log), (Level::Error, format!("caught a fault of the library in a tick (please report it): {text}")));
        }
    }

    #[test]
    fn an_exhausted_listener_is_another_matter_than_a_broken_one() {
        let log = Log::default();
        let (exhausted, broken) = (io::Error::from_raw_os_error(24), io::Error::from_raw_os_error(9));
        listener_failed(&log, 3, &exhausted);
        listener_failed(&log, 3, &broken);
        listener_failed(&log, 3, &broken);
        let (level, text) = said(&log);
        assert!(level == Level::Warn && text.starts_with("cannot accept on listener 3: "), "{text}");
        assert!(text.ends_with("until it is tried again"), "cut off: {text}");
        let (level, text) = said(&log);
        assert!(level == Level::Error && text.starts_with("listener 3 is broken and will not be used again: "), "{text}");
        assert!(text.ends_with("make a new server)"), "cut off: {text}");
        assert_eq!(log.next(), None);
    }

    #[test]
    fn the_cap_is_told_once() {
        let log = Log::default();
        full(&log, u64::MAX - 1);
        full(&log, 5);
        let (level, text) = said(&log);
        assert!(level == Level::Warn && text.ends_with("lower keepalive_timeout)"), "cut off: {text}");
        assert_eq!(log.next(), None);
    }
}
