//! What a listening address says: `http://127.0.0.1:8080`, `http://[::]:0?v6only=on`.
#![forbid(unsafe_code)]

use crate::status::{Failure, INGEST_E_ADDRESS, INGEST_E_UNSUPPORTED};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// A parsed listening address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub scheme: &'static str,
    pub socket: SocketAddr,
    /// An IPv6 listener takes IPv4 clients too unless this is set.
    pub v6_only: bool,
}

const HELP: &str = "write http://127.0.0.1:8080 or http://[::]:8080";

impl Address {
    pub fn parse(text: &str) -> Result<Address, Failure> {
        let wrong = |what: &str| Failure::new(INGEST_E_ADDRESS, format!("cannot listen on {}: {what} ({HELP})", shown(text)));
        let (scheme, rest) = text.split_once(':').ok_or_else(|| wrong("no scheme"))?;
        match scheme {
            "http" => {}
            "https" | "http+unix" | "https+unix" | "http+fd" | "https+fd" => {
                return Err(Failure::new(
                    INGEST_E_UNSUPPORTED,
                    format!("cannot listen on {}: {scheme} is not built yet (use http)", shown(text)),
                ));
            }
            _ => return Err(wrong("unknown scheme")),
        }
        let rest = rest.strip_prefix("//").ok_or_else(|| wrong("no // after the scheme"))?;
        let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let place = place.strip_suffix('/').unwrap_or(place);
        if place.contains(['/', '#', '@']) {
            return Err(wrong("a listening address has no path, fragment or user"));
        }
        let (host, port) = place.rsplit_once(':').filter(|(host, _)| !host.is_empty()).ok_or_else(|| wrong("no port"))?;
        let digits = !port.is_empty() && port.bytes().all(|octet| octet.is_ascii_digit());
        let port: u16 =
            Some(port).filter(|_| digits).and_then(|port| port.parse().ok()).ok_or_else(|| wrong("the port is not 0 to 65535"))?;
        let ip = ip_of(host).ok_or_else(|| wrong("the host is not an IP address"))?;
        let mut v6_only = false;
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter {
                "v6only=on" if ip.is_ipv6() => v6_only = true,
                "v6only=off" if ip.is_ipv6() => v6_only = false,
                "v6only=on" | "v6only=off" => return Err(wrong("v6only needs an IPv6 address")),
                _ => return Err(wrong(&format!("unknown parameter {}", shown(parameter)))),
            }
        }
        Ok(Address { scheme: "http", socket: SocketAddr::new(ip, port), v6_only })
    }
}

fn ip_of(host: &str) -> Option<IpAddr> {
    if let Some(inside) = host.strip_prefix('[') {
        return inside.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    if host == "localhost" {
        return Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
    }
    host.parse::<std::net::Ipv4Addr>().ok().map(IpAddr::V4)
}

/// Quoted from a text that anyone may have written: cut short, and free of control characters.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(80).map(|c| if c.is_control() { '?' } else { c }).collect();
    if shown.is_empty() {
        shown.push_str("an empty address");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn understands_what_the_design_lists() {
        let parsed = |text: &str| Address::parse(text).unwrap();
        assert_eq!(parsed("http://127.0.0.1:8080").socket, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(parsed("http://127.0.0.1:8080/").socket.port(), 8080);
        assert_eq!(parsed("http://[::]:0").socket, "[::]:0".parse().unwrap());
        assert!(!parsed("http://[::]:0").v6_only);
        assert!(parsed("http://[::1]:0?v6only=on").v6_only);
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, what) in [
            ("", "no scheme"),
            ("8080", "no scheme"),
            ("127.0.0.1:8080", "unknown scheme"),
            ("ftp://127.0.0.1:21", "unknown scheme"),
            ("http:127.0.0.1:80", "no // after"),
            ("http://127.0.0.1", "no port"),
            ("http://:80", "no port"),
            ("http://127.0.0.1:", "the port is not"),
            ("http://127.0.0.1:+80", "the port is not"),
            ("http://127.0.0.1:65536", "the port is not"),
            ("http://example.com:80", "not an IP address"),
            ("http://[::1:80", "not an IP address"),
            ("http://127.0.0.1:80/path", "no path"),
            ("http://127.0.0.1:80?v6only=on", "needs an IPv6"),
            ("http://[::]:80?x=y", "unknown parameter x=y"),
        ] {
            let failure = Address::parse(text).unwrap_err();
            assert_eq!(failure.status, INGEST_E_ADDRESS, "{text}");
            assert!(failure.text.contains(what), "{text}: {}", failure.text);
        }
        assert_eq!(Address::parse("https://127.0.0.1:443").unwrap_err().status, INGEST_E_UNSUPPORTED);
    }
}
