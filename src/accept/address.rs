//! What a listening address says: `http://127.0.0.1:8080`, `https://[::]:0?v6only=on`, `http+unix:/run/app.sock?mode=0660`, `http+fd:3`.
#![forbid(unsafe_code)]

use crate::engine::sys::local::NAME_MAX;
use crate::status::{Failure, INGEST_E_ADDRESS};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// A parsed listening address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `http`, or `https` for connections with TLS.
    pub scheme: &'static str,
    pub place: Place,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An IPv6 listener takes IPv4 clients too unless it is said to be `v6_only`.
    Internet { socket: SocketAddr, v6_only: bool },
    /// A unix socket with a file, whose mode is what the umask leaves unless one is given.
    File { path: String, mode: Option<u32> },
    /// A unix socket with a name and no file.
    Abstract { name: String },
    /// A socket that listens already.
    Descriptor(i32),
}

const HELP: &str = "write http://127.0.0.1:8080 or http://[::]:8080";
const UNIX_HELP: &str = "write http+unix:/run/app.sock?mode=0660 or http+unix:@name";
const FD_HELP: &str = "write http+fd:3";

impl Address {
    pub fn parse(text: &str) -> Result<Address, Failure> {
        let (scheme, rest) = text.split_once(':').ok_or_else(|| wrong(text, "no scheme", HELP))?;
        let place = match scheme {
            "http" | "https" => internet(text, rest)?,
            "http+unix" | "https+unix" => local(text, rest)?,
            "http+fd" | "https+fd" => descriptor(text, rest)?,
            _ => return Err(wrong(text, "unknown scheme", HELP)),
        };
        Ok(Address { scheme: if scheme.starts_with("https") { "https" } else { "http" }, place })
    }
}

/// As the host could have written it.
impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let scheme = self.scheme;
        match &self.place {
            Place::Internet { socket, .. } => write!(out, "{scheme}://{socket}"),
            Place::File { path, .. } => write!(out, "{scheme}+unix:{}", plain(path).collect::<String>()),
            Place::Abstract { name } => write!(out, "{scheme}+unix:@{}", plain(name).collect::<String>()),
            Place::Descriptor(number) => write!(out, "{scheme}+fd:{number}"),
        }
    }
}

fn wrong(text: &str, what: &str, help: &str) -> Failure {
    Failure::new(INGEST_E_ADDRESS, format!("cannot listen on {}: {what} ({help})", shown(text)))
}

fn internet(text: &str, rest: &str) -> Result<Place, Failure> {
    let wrong = |what: &str| wrong(text, what, HELP);
    let rest = rest.strip_prefix("//").ok_or_else(|| wrong("no // after the scheme"))?;
    let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let place = place.strip_suffix('/').unwrap_or(place);
    if place.contains(['/', '#', '@']) {
        return Err(wrong("a listening address has no path, fragment or user"));
    }
    let (host, port) = place.rsplit_once(':').filter(|(host, _)| !host.is_empty()).ok_or_else(|| wrong("no port"))?;
    let digits = !port.is_empty() && port.bytes().all(|octet| octet.is_ascii_digit());
    let port: u16 = Some(port).filter(|_| digits).and_then(|port| port.parse().ok()).ok_or_else(|| wrong("the port is not 0 to 65535"))?;
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
    Ok(Place::Internet { socket: SocketAddr::new(ip, port), v6_only })
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

/// A path is taken as it stands, so it cannot have a `?` in it.
fn local(text: &str, rest: &str) -> Result<Place, Failure> {
    let wrong = |what: &str| wrong(text, what, UNIX_HELP);
    let (name, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let fits = |name: &str| {
        let length = name.len();
        if length <= NAME_MAX { Ok(()) } else { Err(wrong(&format!("the name has {length} octets, {NAME_MAX} is the most"))) }
    };
    let mut mode = None;
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        let digits = parameter.strip_prefix("mode=").ok_or_else(|| wrong(&format!("unknown parameter {}", shown(parameter))))?;
        let octal = (1..=4).contains(&digits.len()) && digits.bytes().all(|octet| octet.is_ascii_digit());
        let number = u32::from_str_radix(digits, 8).ok().filter(|number| octal && *number <= 0o777);
        mode = Some(number.ok_or_else(|| wrong("the mode is not 0 to 0777 in octal"))?);
    }
    if let Some(name) = name.strip_prefix('@') {
        if name.is_empty() {
            return Err(wrong("no name after the @"));
        }
        if mode.is_some() {
            return Err(wrong("an abstract socket has no file, so it has no mode"));
        }
        fits(name)?;
        return Ok(Place::Abstract { name: name.to_owned() });
    }
    if name.starts_with("//") {
        return Err(wrong("two slashes would be the begin of a host"));
    }
    if matches!(name.rsplit('/').next(), None | Some("" | "." | "..")) {
        return Err(wrong("no file name"));
    }
    fits(name)?;
    Ok(Place::File { path: name.to_owned(), mode })
}

fn descriptor(text: &str, rest: &str) -> Result<Place, Failure> {
    let digits = !rest.is_empty() && rest.bytes().all(|octet| octet.is_ascii_digit());
    let number = rest.parse().ok().filter(|_| digits).ok_or_else(|| wrong(text, "no number of a descriptor", FD_HELP))?;
    Ok(Place::Descriptor(number))
}

/// Quoted from a text that anyone may have written: cut short, and free of control characters.
fn shown(text: &str) -> String {
    let mut shown: String = plain(text).take(80).collect();
    if shown.is_empty() {
        shown.push_str("an empty address");
    }
    shown
}

fn plain(text: &str) -> impl Iterator<Item = char> {
    text.chars().map(|c| if c.is_control() { '?' } else { c })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Place {
        Address::parse(text).unwrap().place
    }

    #[test]
    fn understands_what_the_design_lists() {
        let internet = |socket: &str, v6_only| Place::Internet { socket: socket.parse().unwrap(), v6_only };
        assert_eq!(parsed("http://127.0.0.1:8080"), internet("127.0.0.1:8080", false));
        assert_eq!(parsed("http://127.0.0.1:8080/"), internet("127.0.0.1:8080", false));
        assert_eq!(parsed("http://[::]:0"), internet("[::]:0", false));
        assert_eq!(parsed("http://[::1]:0?v6only=on"), internet("[::1]:0", true));
        let file = |path: &str, mode| Place::File { path: path.to_owned(), mode };
        assert_eq!(parsed("http+unix:/run/app.sock"), file("/run/app.sock", None));
        assert_eq!(parsed("http+unix:/run/app.sock?mode=0660"), file("/run/app.sock", Some(0o660)));
        assert_eq!(parsed("http+unix:app.sock?mode=7"), file("app.sock", Some(7)));
        assert_eq!(parsed("http+unix:@app"), Place::Abstract { name: "app".to_owned() });
        assert_eq!(parsed("http+fd:3"), Place::Descriptor(3));
    }

    #[test]
    fn writes_what_it_has_read() {
        for text in ["http://127.0.0.1:8080", "http://[::1]:80", "http+unix:/run/app.sock", "http+unix:@app", "http+fd:3"] {
            let secure = text.replacen("http", "https", 1);
            for text in [text, &secure] {
                assert_eq!(Address::parse(text).unwrap().to_string(), text);
            }
            assert_eq!(Address::parse(&secure).unwrap().place, parsed(text));
        }
    }

    #[test]
    fn a_name_may_be_as_long_as_the_kernel_takes() {
        for before in ["http+unix:/", "http+unix:@"] {
            let fits = NAME_MAX - usize::from(before.ends_with('/'));
            assert!(Address::parse(&format!("{before}{}", "x".repeat(fits))).is_ok());
            let failure = Address::parse(&format!("{before}{}", "x".repeat(fits + 1))).unwrap_err();
            assert!(failure.text.contains("the name has 108 octets, 107 is the most"), "{}", failure.text);
            assert!(failure.text.len() < 248, "it would be cut: {}", failure.text);
        }
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
            ("http+unix:", "no file name"),
            ("http+unix:/run/", "no file name"),
            ("http+unix:/run/..", "no file name"),
            ("http+unix:///run/app.sock", "two slashes"),
            ("http+unix:/run/app.sock?mode=", "the mode is not"),
            ("http+unix:/run/app.sock?mode=0668", "the mode is not"),
            ("http+unix:/run/app.sock?mode=+66", "the mode is not"),
            ("http+unix:/run/app.sock?mode=4755", "the mode is not"),
            ("http+unix:/run/app.sock?mode=00660", "the mode is not"),
            ("http+unix:/run/app.sock?owner=root", "unknown parameter owner=root"),
            ("http+unix:@", "no name after"),
            ("http+unix:@app?mode=0660", "has no mode"),
            ("http+fd:", "no number"),
            ("http+fd:-1", "no number"),
            ("http+fd:+3", "no number"),
            ("http+fd:3x", "no number"),
            ("http+fd:2147483648", "no number"),
        ] {
            let failure = Address::parse(text).unwrap_err();
            assert_eq!(failure.status, INGEST_E_ADDRESS, "{text}");
            assert!(failure.text.contains(what), "{text}: {}", failure.text);
        }
    }
}
