//! A peer's address, rendered once when it is accepted.
#![forbid(unsafe_code)]

use crate::memory::letter::PeerView;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};

/// The longest text: `[` + 39 octets of IPv6 + `]:65535`.
const TEXT_MAX: usize = 48;

/// See the file's first line.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    text: [u8; TEXT_MAX],
    len: u8,
    address_from: u8,
    address_len: u8,
    family: u8,
    port: u16,
}

impl Peer {
    /// A peer without an address: the other end of a unix socket.
    pub fn unnamed() -> Self {
        Peer { text: [0; TEXT_MAX], len: 0, address_from: 0, address_len: 0, family: 0, port: 0 }
    }

    /// An IPv4 peer of a dual-stack listener is shown as what it is.
    pub fn of(address: SocketAddr) -> Self {
        let ip = address.ip().to_canonical();
        let mut peer = Peer { port: address.port(), ..Peer::unnamed() };
        let mut rest = &mut peer.text[..];
        // Cannot overflow: TEXT_MAX is the longest text there is.
        let written = match ip {
            IpAddr::V4(v4) => write!(rest, "{v4}:{}", address.port()),
            IpAddr::V6(v6) => write!(rest, "[{v6}]:{}", address.port()),
        };
        debug_assert!(written.is_ok());
        peer.len = (TEXT_MAX - rest.len()) as u8;
        let colon = peer.text[..peer.len as usize].iter().rposition(|&octet| octet == b':').unwrap_or(0) as u8;
        (peer.family, peer.address_from, peer.address_len) = if ip.is_ipv4() { (4, 0, colon) } else { (6, 1, colon - 2) };
        peer
    }

    /// As a letter needs it.
    pub fn view(&self) -> PeerView<'_> {
        PeerView {
            text: &self.text[..self.len as usize],
            address: (self.address_from as usize, self.address_len as usize),
            family: u16::from(self.family),
            port: self.port,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(address: &str) -> (String, String, u16) {
        let peer = Peer::of(address.parse().unwrap());
        let view = peer.view();
        let text = String::from_utf8(view.text.to_vec()).unwrap();
        let (from, len) = view.address;
        (text.clone(), text[from..from + len].to_owned(), view.family)
    }

    #[test]
    fn renders_every_kind_of_address() {
        assert_eq!(shown("192.0.2.1:4711"), ("192.0.2.1:4711".into(), "192.0.2.1".into(), 4));
        assert_eq!(shown("[2001:db8::1]:80"), ("[2001:db8::1]:80".into(), "2001:db8::1".into(), 6));
        assert_eq!(shown("[::ffff:192.0.2.1]:80"), ("192.0.2.1:80".into(), "192.0.2.1".into(), 4));
        let long = "[2001:db80:1111:2222:3333:4444:5555:6666]:65535";
        assert_eq!(shown(long).0, long);
        assert_eq!(Peer::unnamed().view().text, b"");
    }
}
