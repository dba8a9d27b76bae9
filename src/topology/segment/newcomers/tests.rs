//! A home whose newcomers a test sends, so that it decides when they come: before a drain, behind it, at a stop.
#![forbid(unsafe_code)]

use super::*;
use crate::accept::Peer;
use crate::connection::Memory;
use crate::decrypt::Session;
use crate::engine::epoll::EpollEngine;
use crate::engine::sys::{self, EventFd};
use crate::handoff::outlet::Way;
use crate::handoff::{Door, Home, Outlet};
use crate::limits::Limits;
use crate::memory::budget::Budget;
use crate::memory::mailbox::Mailbox;
use crate::memory::queue::{Bounds, Queue};
use crate::memory::slots::{SlotOwner, SlotTable};
use crate::memory::waker::Waker;
use crate::options::{Options, Spin};
use crate::topology::lanes::Gate;
use crate::topology::orders::Orders;
use crate::topology::serving::Serving;
use crate::topology::spinner::Spinner;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

struct Stage {
    home: Segment<EpollEngine<Connection>>,
    gate: Gate,
    orders: Arc<Orders>,
}

fn stage() -> Stage {
    let event = || EventFd::new().unwrap();
    let waker = Arc::new(Waker::new(event()));
    let homes = vec![Home { mailbox: Mailbox::new(), waker: Arc::clone(&waker), counters: Default::default() }];
    let queues = vec![Queue::new(Bounds { entries: 64, bytes: 1 << 20 }, event())];
    let slots = Arc::new(SlotTable::new(1, 7));
    let door = Door::new(Arc::clone(&slots), homes, queues, &Limits::default(), Default::default(), sys::monotonic_ns);
    let orders = Arc::new(Orders { max_connections: AtomicU64::new(64), ..Orders::default() });
    let engine = EpollEngine::new(Arc::clone(&waker), 16, 0, sys::monotonic_ns() / 1_000_000).unwrap();
    let options = Options::default();
    let memory = Memory::new(Arc::new(Budget::new(1 << 24)), 1);
    let outlet = Outlet::new(Way::Queues(0), 16);
    let serving = Serving::new(options.limits, outlet, memory, SlotOwner::new(slots, 0), true, options.journey, 1);
    let mut home = Segment::new(engine, Arc::new(door), Arc::clone(&orders), 0, serving, Spinner::new(Spin::Off));
    home.patience_ms = 0;
    let gate = Gate::open(64, [waker].into_iter(), 1).unwrap();
    home.take_in(Arc::clone(gate.lanes()));
    Stage { home, gate, orders }
}

/// As the thread that accepts does it.
fn send(gate: &mut Gate, orders: &Orders) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let baton = Box::new(Connection::new(0, Peer::unnamed(), Session::Plain, sys::monotonic_ns() / 1_000_000));
    orders.connections.fetch_add(1, Ordering::Relaxed);
    gate.send(Newcomer { stream: ours.into(), is_local: true, baton });
    theirs
}

fn is_closed(mut peer: &UnixStream) -> bool {
    peer.set_nonblocking(true).unwrap();
    matches!(peer.read(&mut [0]), Ok(0))
}

#[test]
fn newcomers_are_let_in_and_a_drain_closes_them_once_they_were_heard() {
    let Stage { mut home, mut gate, orders } = stage();
    let peer = send(&mut gate, &orders);
    assert!(home.has_newcomers() && home.is_busy());
    assert!(home.tick());
    assert_eq!(home.engine.seats().taken(), 1);
    orders.drain.store(true, Ordering::Release);
    assert!(home.tick());
    assert!(!is_closed(&peer), "listeners are closed before idle connections");
    drop(gate);
    assert!(home.tick());
    assert!(!is_closed(&peer), "its first request may be on its way");
    while !is_closed(&peer) {
        assert!(home.tick(), "nobody ends before it is closed");
    }
    drop(peer);
    while home.tick() {}
    assert_eq!((home.engine.seats().taken(), orders.connections.load(Ordering::Relaxed)), (0, 0));
}

#[test]
fn a_drain_does_not_end_before_nobody_can_come_any_more() {
    let Stage { mut home, mut gate, orders } = stage();
    orders.drain.store(true, Ordering::Release);
    (0..3).for_each(|_| assert!(home.tick(), "nobody is here, but somebody may come"));
    let peer = send(&mut gate, &orders);
    drop(gate);
    assert!(home.tick());
    assert_eq!(home.engine.seats().taken(), 1, "let in, since it was sent before the gate was closed");
    drop(peer);
    while home.tick() {}
    assert_eq!((home.engine.seats().taken(), orders.connections.load(Ordering::Relaxed)), (0, 0));
}

#[test]
fn a_stop_waits_for_the_gate_and_closes_whoever_comes() {
    let Stage { mut home, mut gate, orders } = stage();
    let early = send(&mut gate, &orders);
    orders.stop.store(true, Ordering::Release);
    assert!(!home.tick());
    let ahead = std::thread::spawn({
        let orders = Arc::clone(&orders);
        move || {
            std::thread::sleep(Duration::from_millis(50));
            let late = send(&mut gate, &orders);
            gate.tell();
            std::thread::sleep(Duration::from_millis(50));
            late
        }
    });
    home.end();
    assert_eq!(orders.connections.load(Ordering::Relaxed), 0, "each was counted out");
    let late = ahead.join().unwrap();
    assert!(is_closed(&early) && is_closed(&late));
}
