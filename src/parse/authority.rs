//! The grammar of `uri-host [":" port]`: what a Host field and the authority of an absolute-form target must match (RFC 9110 section 7.2).
#![forbid(unsafe_code)]

use super::octets::{self, HOST};

/// A colon and five digits.
const PORT_LEN: usize = 6;

/// Whether the value is a host that names something, with or without a port that TCP has.
pub fn is_valid(value: &[u8]) -> bool {
    if let [b'[', rest @ ..] = value {
        let Some(end) = rest.iter().position(|octet| *octet == b']') else { return false };
        return is_literal(&rest[..end]) && is_port(&rest[end + 1..]);
    }
    // A port is at most five digits, so the colon before it is near the end.
    let tail = value.len().saturating_sub(PORT_LEN);
    let colon = value[tail..].iter().position(|octet| *octet == b':').map_or(value.len(), |at| tail + at);
    if colon > 0 && octets::all(&value[..colon], HOST) && is_port(&value[colon..]) {
        return true;
    }
    let host = value.iter().position(|octet| !octets::is(*octet, HOST)).unwrap_or(value.len());
    match value.get(host) {
        None => host > 0,
        Some(b':') => host > 0 && is_port(&value[host..]),
        Some(b'%') => is_escaped_name(value),
        Some(_) => false,
    }
}

/// A reg-name with percent-escapes (RFC 3986 section 3.2.2): rare, so it has its own loop.
fn is_escaped_name(value: &[u8]) -> bool {
    let mut at = 0;
    while let Some(octet) = value.get(at) {
        match octet {
            b'%' if is_escape(&value[at..]) => at += 3,
            b':' => return at > 0 && is_port(&value[at..]),
            octet if octets::is(*octet, HOST) => at += 1,
            _ => return false,
        }
    }
    true
}

fn is_escape(octets: &[u8]) -> bool {
    matches!(octets, [b'%', high, low, ..] if octets::hex_value(*high).is_some() && octets::hex_value(*low).is_some())
}

/// Nothing, or a colon and digits. An empty port is the scheme's own (RFC 3986 section 3.2.3); zero and 65536 are none that TCP has.
fn is_port(rest: &[u8]) -> bool {
    match rest {
        [] | [b':'] => true,
        [b':', digits @ ..] => {
            let mut port = 0u32;
            for octet in digits {
                if !octet.is_ascii_digit() {
                    return false;
                }
                port = (port * 10 + u32::from(octet - b'0')).min(1 << 16);
            }
            port > 0 && port < 1 << 16
        }
        _ => false,
    }
}

/// The inside of the brackets: an IPv6 address or `IPvFuture`.
fn is_literal(text: &[u8]) -> bool {
    match text {
        [b'v' | b'V', rest @ ..] => is_future(rest),
        _ => is_ipv6(text),
    }
}

fn is_future(text: &[u8]) -> bool {
    let digits = text.iter().take_while(|octet| octet.is_ascii_hexdigit()).count();
    match text[digits..] {
        [b'.', ref address @ ..] => {
            digits > 0 && !address.is_empty() && address.iter().all(|octet| octets::is(*octet, HOST) || *octet == b':')
        }
        _ => false,
    }
}

fn is_ipv6(text: &[u8]) -> bool {
    let mut groups = 0;
    let mut compressed = false;
    let mut rest = text;
    if let [b':', b':', after @ ..] = text {
        compressed = true;
        rest = after;
        if rest.is_empty() {
            return true;
        }
    }
    // Each turn takes one group; eight fill an address, so the loop is bounded whatever the text's length.
    while groups < 8 {
        if is_ipv4(rest) {
            groups += 2;
            rest = &[];
            break;
        }
        let digits = rest.iter().take_while(|octet| octet.is_ascii_hexdigit()).count();
        if digits == 0 || digits > 4 {
            return false;
        }
        groups += 1;
        rest = match &rest[digits..] {
            [] => &[],
            [b':', b':', ..] if compressed => return false,
            [b':', b':', after @ ..] => {
                compressed = true;
                after
            }
            [b':', after @ ..] if !after.is_empty() => after,
            _ => return false,
        };
        if rest.is_empty() {
            break;
        }
    }
    rest.is_empty() && if compressed { groups <= 7 } else { groups == 8 }
}

fn is_ipv4(text: &[u8]) -> bool {
    let mut parts = 0;
    for part in text.split(|octet| *octet == b'.') {
        let digits_only = !part.is_empty() && part.len() <= 3 && part.iter().all(u8::is_ascii_digit);
        let leading_zero = part.len() > 1 && part[0] == b'0';
        if !digits_only || leading_zero || part.iter().fold(0u32, |value, octet| value * 10 + u32::from(octet - b'0')) > 255 {
            return false;
        }
        parts += 1;
        if parts > 4 {
            return false;
        }
    }
    parts == 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ports() {
        for good in
            ["a", "example.com", "example.com:", "example.com:80", "1.2.3.4:65535", "a_b", "a%20b", "a%2fb:1", "a:00080", "1.2.3.999"]
        {
            assert!(is_valid(good.as_bytes()), "{good:?}");
        }
        for bad in [
            "",
            ":80",
            "a:0",
            "a:65536",
            "a:99999999999999999999",
            "a:b",
            "a:1:2",
            "a b",
            "a@b",
            "a/b",
            "a%2",
            "a%zz",
            "a\u{7f}",
            "é",
            "a,b c",
        ] {
            assert!(!is_valid(bad.as_bytes()), "{bad:?}");
        }
    }

    #[test]
    fn literals() {
        for good in [
            "[::]",
            "[::1]:80",
            "[1:2:3:4:5:6:7:8]",
            "[1::]",
            "[1:2:3:4:5:6:7::]",
            "[::2:3:4:5:6:7:8]",
            "[::ffff:1.2.3.4]",
            "[1:2:3:4:5:6:1.2.3.4]",
            "[v1.a:b]",
        ] {
            assert!(is_valid(good.as_bytes()), "{good:?}");
        }
        for bad in [
            "[]",
            "[",
            "[:]",
            "[:::]",
            "[1]",
            "[1:2:3:4:5:6:7:8:9]",
            "[1:2:3:4:5:6:7:]",
            "[1::2::3]",
            "[12345::]",
            "[::1.2.3.4:5]",
            "[1:2:3:4:5:6:7:1.2.3.4]",
            "[::1.2.3]",
            "[::01.2.3.4]",
            "[::256.2.3.4]",
            "[::1]80",
            "[::1%25eth0]",
            "[v.a]",
            "[v1.]",
            "[v1]",
            "[1:2:3:4:5:6:7:8::]",
            "[1.2.3.4]",
        ] {
            assert!(!is_valid(bad.as_bytes()), "{bad:?}");
        }
    }
}
