//! How many connections each address has, for `max_connections_per_ip`; nothing of this is there while that is unlimited.
#![forbid(unsafe_code)]

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// The first half of an IPv6 address: who is given addresses is given a /64 at least (RFC 6177), and could come from as many
/// addresses of it as it likes.
const NETWORK: u128 = !(u64::MAX as u128);

/// The addresses that have connections. The map hashes with SipHash and a key of its own, since peers choose what goes into it.
#[derive(Debug)]
pub struct PerAddress {
    most: u64,
    open: Mutex<HashMap<IpAddr, u64>>,
}

/// One connection's place in the count; given back when it is dropped, however the connection ends.
#[derive(Debug)]
pub struct Place {
    counts: Arc<PerAddress>,
    key: IpAddr,
}

impl PerAddress {
    pub fn new(most: u64) -> Arc<PerAddress> {
        Arc::new(PerAddress { most, open: Mutex::default() })
    }

    /// A place for one more connection of this peer; `None` when it has as many as it may.
    pub fn enter(self: &Arc<Self>, peer: SocketAddr) -> Option<Place> {
        let key = key_of(peer.ip());
        let mut open = self.open.lock();
        let count = open.entry(key).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Place { counts: Arc::clone(self), key })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.counts.open.lock();
        if let Some(count) = open.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.key);
            }
        }
    }
}

/// What is counted as one: an IPv4 address, also when it comes by a dual-stack listener, or a network of IPv6.
fn key_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & NETWORK)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().unwrap(), 4711)
    }

    #[test]
    fn each_address_has_its_own_count_and_nothing_stays() {
        let counts = PerAddress::new(2);
        let (first, second) = (counts.enter(peer("192.0.2.1")).unwrap(), counts.enter(peer("192.0.2.1")).unwrap());
        assert!(counts.enter(peer("192.0.2.1")).is_none());
        assert!(counts.enter(peer("192.0.2.1")).is_none(), "what was refused is not counted");
        let other = counts.enter(peer("192.0.2.2")).unwrap();
        drop(first);
        let third = counts.enter(peer("192.0.2.1")).unwrap();
        assert!(counts.enter(peer("192.0.2.1")).is_none());
        drop((second, third, other));
        assert!(counts.open.lock().is_empty(), "addresses without connections are forgotten");
    }

    #[test]
    fn a_network_of_ipv6_is_one_and_a_mapped_address_is_what_it_maps() {
        let counts = PerAddress::new(1);
        let _six = counts.enter(peer("2001:db8:1:2::1")).unwrap();
        assert!(counts.enter(peer("2001:db8:1:2:ffff::9")).is_none());
        let _next = counts.enter(peer("2001:db8:1:3::1")).unwrap();
        let _four = counts.enter(peer("192.0.2.1")).unwrap();
        assert!(counts.enter(peer("::ffff:192.0.2.1")).is_none());
        let _another = counts.enter(peer("::ffff:192.0.2.2")).unwrap();
    }
}
