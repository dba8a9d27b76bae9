//! Any octets as a client's certificate, or as a part of one: all text is UTF-8 without a control character, and says what stands there.
#![no_main]

use ingest::decrypt::certificate::{Certificate, read};
use ingest::limits::{CERTIFICATE_NAMES_MAX, CERTIFICATE_TEXT_BYTES};
use libfuzzer_sys::fuzz_target;

/// An element of DER.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len() as u32;
    let mut out = vec![tag];
    match length {
        0..=127 => out.push(length as u8),
        _ => out.extend([&[0x84][..], &length.to_be_bytes()].concat()),
    }
    out.extend_from_slice(content);
    out
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    der(0x30, &parts.concat())
}

/// A subject of one common name.
fn common(tag: u8, value: &[u8]) -> Vec<u8> {
    sequence(&[der(0x31, &sequence(&[der(6, &[0x55, 4, 3]), der(tag, value)]))])
}

/// A certificate that nobody signed. `names` is what the extension with the alternative names holds.
fn certificate(subject: &[u8], names: &[u8]) -> Vec<u8> {
    let algorithm = sequence(&[der(6, &[0x2A, 3])]);
    let extension = sequence(&[der(6, &[0x55, 29, 17]), der(4, names)]);
    let parts = [
        der(0xA0, &der(2, &[2])),
        der(2, &[1]),
        algorithm.clone(),
        common(12, b"issuer"),
        sequence(&[der(0x17, b"700101000001Z"), der(0x18, b"20991231235959Z")]),
        subject.to_vec(),
        sequence(&[algorithm.clone(), der(3, &[0, 1])]),
        der(0xA3, &sequence(&[extension])),
    ];
    sequence(&[sequence(&parts), algorithm, der(3, &[0, 1])])
}

/// Holds of every certificate; returns the subject and the alternative names.
fn judge(read: &Certificate) -> (Option<&str>, Vec<(&'static str, &str)>) {
    let text = |span: ingest::parse::sketch::Span| {
        let text = std::str::from_utf8(span.of(&read.octets)).expect("UTF-8");
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert!(text.len() <= CERTIFICATE_TEXT_BYTES);
        text
    };
    assert_eq!(read.fingerprint.expect("always there").len, 32);
    assert!(read.names.len() <= CERTIFICATE_NAMES_MAX && (read.names.is_empty() || !read.names_unread));
    assert!(read.is_read || (read.subject.is_none() && read.names.is_empty() && !read.names_unread));
    read.issuer.map(text);
    (read.subject.map(text), read.names.iter().map(|(kind, span)| (*kind, text(*span))).collect())
}

/// What an escaped text stands for.
fn plain(text: &str) -> Vec<u8> {
    let digit = |octet: u8| (octet as char).to_digit(16).expect("a digit") as u8;
    let (mut out, mut octets) = (Vec::new(), text.bytes());
    while let Some(octet) = octets.next() {
        match octet {
            b'\\' => match octets.next().expect("something is escaped") {
                high @ (b'0'..=b'9' | b'A'..=b'F') => out.push(digit(high) << 4 | digit(octets.next().expect("two digits"))),
                escaped => out.push(escaped),
            },
            _ => out.push(octet),
        }
    }
    out
}

fuzz_target!(|data: &[u8]| {
    let [mode, octets @ ..] = data else { return };
    let good = sequence(&[der(0x82, b"a.test")]);
    match mode % 6 {
        0 => {
            judge(&read(octets));
        }
        // The octets of a name, and those of the alternative names.
        1 => {
            judge(&read(&certificate(&sequence(&[octets.to_vec()]), &good)));
        }
        2 => {
            judge(&read(&certificate(&common(12, b"x"), &sequence(&[octets.to_vec()]))));
        }
        // A common name that is UTF-8 comes back as it was, unless it is too long.
        3 => {
            let read = read(&certificate(&common(12, octets), &good));
            let (subject, names) = judge(&read);
            assert_eq!(names, [("DNS", "a.test")]);
            match (subject, std::str::from_utf8(octets)) {
                (None, _) => assert!(octets.len() > CERTIFICATE_TEXT_BYTES / 3 - 8),
                (Some(subject), Err(_)) => assert!(subject.starts_with("CN=#0C")),
                (Some(subject), Ok(_)) => assert_eq!(plain(subject.strip_prefix("CN=").expect("a common name")), octets),
            }
        }
        // So does a DNS name of ASCII.
        4 => {
            let read = read(&certificate(&common(12, b"x"), &sequence(&[der(0x82, octets)])));
            let (_, names) = judge(&read);
            match names[..] {
                [("DNS", name)] => assert_eq!(plain(name), octets),
                _ => assert!(read.names_unread && (!octets.is_ascii() || octets.len() > CERTIFICATE_TEXT_BYTES / 3)),
            }
        }
        // Changes to a whole one.
        _ => {
            let names = sequence(&[der(0x82, b"a.test"), der(0xA4, &common(30, b"\0d")), der(0x88, &[0x2A, 3]), der(0x87, &[1, 2, 3, 4])]);
            let mut whole = certificate(&common(12, b"x\0y"), &names);
            for change in octets.chunks_exact(3) {
                let at = usize::from(u16::from_be_bytes([change[0], change[1]])) % whole.len();
                whole[at] ^= change[2];
            }
            judge(&read(&whole));
        }
    }
});
