//! Proves what is said of a certificate, octet by octet: names as RFC 4514 has them, and nothing of what is malformed or too large.
#![forbid(unsafe_code)]

use super::*;

/// An element of DER.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let header = match length {
        0..=127 => vec![tag, length as u8],
        128..=255 => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [&header[..], content].concat()
}

fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    der(0x30, &parts.concat())
}

fn attribute(kind: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
    sequence(&[der(6, kind), der(tag, value)])
}

const CN: &[u8] = &[0x55, 4, 3];

/// A name of one common name.
fn common(tag: u8, value: &[u8]) -> Vec<u8> {
    sequence(&[der(0x31, &attribute(CN, tag, value))])
}

/// A certificate that nobody signed, with this subject and these values of the extension with the alternative names.
fn certificate(subject: &[u8], names: &[Vec<u8>]) -> Vec<u8> {
    let algorithm = sequence(&[der(6, &[0x2A, 3])]);
    let extensions: Vec<Vec<u8>> = names.iter().map(|value| sequence(&[der(6, &[0x55, 29, 17]), der(4, value)])).collect();
    let mut parts = vec![
        der(0xA0, &der(2, &[2])),
        der(2, &[0, 0x80, 1]),
        algorithm.clone(),
        common(12, "Ausstellér".as_bytes()),
        sequence(&[der(0x17, b"700101000001Z"), der(0x18, b"20991231235959Z")]),
        subject.to_vec(),
        sequence(&[algorithm.clone(), der(3, &[0, 1])]),
    ];
    if !extensions.is_empty() {
        parts.push(der(0xA3, &sequence(&extensions)));
    }
    sequence(&[sequence(&parts), algorithm, der(3, &[0, 1])])
}

fn text(read: &Certificate, span: Option<Span>) -> Option<&str> {
    span.map(|span| std::str::from_utf8(span.of(&read.octets)).expect("UTF-8"))
}

fn names(read: &Certificate) -> Vec<(&str, &str)> {
    read.names.iter().map(|(kind, span)| (*kind, text(read, Some(*span)).unwrap())).collect()
}

#[test]
fn a_certificate_tells_who_and_until_when() {
    let read = read(&certificate(&common(19, b"client"), &[]));
    assert!(read.is_read && !read.names_unread && read.names.is_empty());
    assert_eq!(text(&read, read.subject), Some("CN=client"));
    assert_eq!(text(&read, read.issuer), Some("CN=Ausstellér"));
    assert_eq!(read.serial.unwrap().of(&read.octets), [0, 0x80, 1]);
    // `date -u -d 2099-12-31T23:59:59 +%s`.
    assert_eq!((read.not_before, read.not_after), (1, 4_102_444_799));
    assert_eq!(read.octets.capacity(), read.octets.len());
}

#[test]
fn the_fingerprint_is_that_of_any_octets() {
    // The examples of FIPS 180-2, appendix B.
    for (octets, expected) in [(&b"abc"[..], [0xBA, 0x78, 0x16, 0xBF]), (b"", [0xE3, 0xB0, 0xC4, 0x42])] {
        let read = read(octets);
        let fingerprint = read.fingerprint.unwrap().of(&read.octets);
        assert_eq!((fingerprint.len(), &fingerprint[..4]), (32, &expected[..]));
        assert!(!read.is_read && read.subject.is_none() && read.serial.is_none() && !read.names_unread);
    }
}

#[test]
fn values_are_escaped_and_never_cut_off() {
    for (tag, value, expected) in [
        (12, &b"Bj\xC3\xB6rn"[..], "CN=Björn"),
        (12, b"good.test\0.evil.test", "CN=good.test\\00.evil.test"),
        (12, b" a b ", "CN=\\ a b\\ "),
        (12, b" ", "CN=\\ "),
        (12, b"##", "CN=\\##"),
        (12, b"a,b+c\"d\\e<f>g;h=i", "CN=a\\,b\\+c\\\"d\\\\e\\<f\\>g\\;h=i"),
        (12, b"\r\n\x7F\xC2\x85", "CN=\\0D\\0A\\7F\\C2\\85"),
        (12, b"", "CN="),
        (19, b"a*b@c", "CN=a*b@c"),
        (22, b"ia5", "CN=ia5"),
        (20, b"teletex", "CN=teletex"),
        (30, b"\0B\x01\x53\xFB\x01", "CN=B\u{153}\u{FB01}"),
        (28, b"\0\0\0B\0\x01\xF6\0", "CN=B\u{1F600}"),
        // No text of its type: the octets, with type and length.
        (12, b"\xFF", "CN=#0C01FF"),
        (19, b"\xC3\xB6", "CN=#1302C3B6"),
        (20, b"\xF6", "CN=#1401F6"),
        (30, b"\xD8\0", "CN=#1E02D800"),
        (30, b"abc", "CN=#1E03616263"),
        (28, b"\0\x11\0\0", "CN=#1C0400110000"),
        (2, b"\x05", "CN=#020105"),
        (0x2C, b"\x0C\x01a", "CN=#2C030C0161"),
    ] {
        let read = read(&certificate(&common(tag, value), &[]));
        assert_eq!(text(&read, read.subject), Some(expected), "{tag} {value:?}");
    }
}

#[test]
fn names_are_written_from_their_end() {
    let country = attribute(&[0x55, 4, 6], 19, b"DE");
    let unit = attribute(&[0x55, 4, 11], 12, b"x");
    let user = attribute(&[9, 0x92, 0x26, 0x89, 0x93, 0xF2, 0x2C, 0x64, 1, 1], 12, b"u");
    let unknown = attribute(&[0x88, 0x37, 0x81, 0x49], 12, b"Hi");
    let subject = sequence(&[der(0x31, &country), der(0x31, &[unit, user].concat()), der(0x31, &unknown)]);
    let read = read(&certificate(&subject, &[]));
    assert_eq!(text(&read, read.subject), Some("2.999.201=#0C024869,UID=u+OU=x,C=DE"));
    let read = super::read(&certificate(&sequence(&[]), &[]));
    assert_eq!(text(&read, read.subject), Some(""), "it has none, and that is known");
}

#[test]
fn of_a_malformed_name_nothing_is_shown() {
    let good = attribute(CN, 12, b"a");
    for subject in [
        // Behind the first attribute stands something else, which a reader of attributes would stop at.
        sequence(&[der(0x31, &[good.clone(), der(5, b"")].concat())]),
        sequence(&[der(0x31, &good), der(5, b"")]),
        sequence(&[der(0x31, &good), vec![0x31]]),
        sequence(&[der(0x31, &[])]),
        sequence(&[der(0x31, &sequence(&[der(6, CN), der(12, b"a"), der(12, b"b")]))]),
        sequence(&[der(0x31, &sequence(&[der(6, &[0x55, 0x80]), der(12, b"a")]))]),
        sequence(&[der(0x31, &sequence(&[der(6, &[0x55, 0x80, 1]), der(12, b"a")]))]),
        sequence(&[der(0x31, &sequence(&[der(6, &[0xFF; 12]), der(12, b"a")]))]),
    ] {
        let read = read(&certificate(&subject, &[]));
        assert_eq!(text(&read, read.subject), None, "{subject:02X?}");
    }
}

#[test]
fn alternative_names_stand_in_their_order() {
    let directory = common(12, b"d,\0");
    let value = sequence(&[
        der(0x82, b"b.test"),
        der(0x82, b"good.test\0.evil.test"),
        der(0x87, &[192, 0, 2, 1]),
        der(0x87, &[0x20, 1, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        der(0xA0, &[der(6, &[0x2A, 3]), der(0xA0, &der(12, b"user"))].concat()),
        der(0x81, b"a@b.test"),
        der(0x86, b"spiffe://a.test/\\x"),
        der(0xA4, &directory),
        der(0x88, &[0x2A, 3, 4]),
    ]);
    let read = read(&certificate(&sequence(&[]), &[value]));
    let expected = [
        ("DNS", "b.test"),
        ("DNS", "good.test\\00.evil.test"),
        ("IP Address", "192.0.2.1"),
        ("IP Address", "2001:db8::1"),
        ("email", "a@b.test"),
        ("URI", "spiffe://a.test/\\\\x"),
        ("DirName", "CN=d\\,\\00"),
        ("Registered ID", "1.2.3.4"),
    ];
    assert_eq!(names(&read), expected);
    assert!(!read.names_unread);
}

#[test]
fn of_malformed_alternative_names_none_is_shown() {
    let good = der(0x82, b"a.test");
    let mut cases: Vec<Vec<Vec<u8>>> = [
        der(0x82, "ü.test".as_bytes()),
        der(0x82, b"\xFF"),
        der(0xA2, &der(22, b"a.test")),
        der(0x87, &[192, 0, 2]),
        der(0x87, &[192, 0, 2, 0, 255, 255, 255, 0]),
        der(0x88, &[0x80, 1]),
        der(0x89, b"a"),
        der(0xA4, b""),
        der(12, b"a.test"),
        vec![0x82, 9, b'a'],
    ]
    .into_iter()
    .map(|bad| vec![sequence(&[good.clone(), bad])])
    .collect();
    let whole = sequence(std::slice::from_ref(&good));
    cases.push(vec![whole.clone(), whole.clone()]);
    cases.push(vec![[whole.clone(), vec![0]].concat()]);
    cases.push(vec![der(0x31, &good)]);
    cases.push(vec![vec![]]);
    for values in cases {
        let read = read(&certificate(&common(12, b"a"), &values));
        assert!(read.names_unread && read.names.is_empty(), "{values:02X?}");
        // The rest is known all the same.
        assert_eq!((text(&read, read.subject), read.not_before), (Some("CN=a"), 1));
    }
}

#[test]
fn the_bounds_hold_and_nothing_is_cut_at_them() {
    let many = |count: usize| sequence(&(0..count).map(|at| der(0x82, format!("{at}.test").as_bytes())).collect::<Vec<_>>());
    let read = |subject: &[u8], value: Vec<u8>| super::read(&certificate(subject, &[value]));
    let full = read(&sequence(&[]), many(CERTIFICATE_NAMES_MAX));
    assert_eq!((full.names.len(), full.names_unread), (CERTIFICATE_NAMES_MAX, false));
    let over = read(&sequence(&[]), many(CERTIFICATE_NAMES_MAX + 1));
    assert_eq!((over.names.len(), over.names_unread), (0, true));
    for (spare, fits) in [(0, true), (1, false)] {
        // Each NUL makes three octets of text.
        let zeros = (CERTIFICATE_TEXT_BYTES - 3) / 3 + spare;
        let rest = if spare == 0 { (CERTIFICATE_TEXT_BYTES - 3) % 3 } else { 0 };
        let value = [vec![0; zeros], vec![b'x'; rest]].concat();
        let read = read(&common(12, &value), sequence(&[der(0x82, &value), der(0x82, b"abc"), der(0x82, &[b'x'; 1][..spare])]));
        assert_eq!((read.subject.is_some(), read.names_unread, read.is_read), (fits, !fits, true));
        let most = if fits { CERTIFICATE_TEXT_BYTES as u32 } else { 0 };
        assert_eq!(read.subject.map_or(0, |span| span.len), most);
    }
}

/// What holds of every certificate, whatever its octets.
fn judge(read: &Certificate) {
    let texts = [read.subject, read.issuer].into_iter().flatten().chain(read.names.iter().map(|(_, span)| *span));
    for span in texts {
        let text = std::str::from_utf8(span.of(&read.octets)).expect("UTF-8");
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
    assert!(read.octets.len() <= 4 * CERTIFICATE_TEXT_BYTES + 32);
}

#[test]
fn changed_octets_do_no_harm_wherever_they_stand() {
    let value = sequence(&[der(0x82, b"a.test"), der(0xA4, &common(12, b"d")), der(0x88, &[0x2A, 3, 4]), der(0x87, &[1, 2, 3, 4])]);
    let whole = certificate(&common(12, b"x\0y"), &[value]);
    assert_eq!(names(&read(&whole)).len(), 4);
    for at in 0..whole.len() {
        for change in 1..=255 {
            let mut changed = whole.clone();
            changed[at] ^= change;
            judge(&read(&changed));
        }
        judge(&read(&whole[..at]));
    }
}
