//! Tests of declared encodings, of what is converted, and of its bounds.
#![forbid(unsafe_code)]

use super::*;

const ALL: Bounds = Bounds { most: usize::MAX, room: usize::MAX };

fn rules(charset: Charset) -> Rules {
    Rules { charset, ..Rules::default() }
}

fn name(content_type: &str, charset: Charset) -> Result<&'static str, u16> {
    of_text(content_type.as_bytes(), &rules(charset)).map(|found| found.map_or("", Encoding::name)).map_err(|refusal| refusal.status)
}

fn form(content_type: &str, body: &str, charset: Charset) -> Result<&'static str, u16> {
    let found = of_form(content_type.as_bytes(), body.as_bytes(), &rules(charset));
    found.map(|found| found.map_or("", Encoding::name)).map_err(|refusal| refusal.status)
}

fn converted(label: &str, octets: &[u8], is_strict: bool, bounds: Bounds) -> Result<String, (u16, Option<u32>)> {
    let (encoding, text) = marked(Encoding::for_label(label.as_bytes()).expect("a label"), octets);
    let mut into = String::new();
    convert(encoding, text, is_strict, bounds, &mut into).map_err(|refusal| (refusal.status, refusal.offset()))?;
    Ok(into)
}

#[test]
fn types_whose_text_is_converted() {
    for kind in ["text/plain", "TEXT/html", "application/xml", "image/svg+xml", "application/soap+XML"] {
        assert_eq!(name(&format!("{kind}; charset=shift_jis"), Charset::Utf8), Ok("Shift_JIS"), "{kind}");
        assert_eq!(name(&format!("{kind}; charset=shift_jis"), Charset::Keep), Ok(""), "{kind}");
        assert_eq!(name(kind, Charset::Strict), Ok(""), "{kind}");
    }
    for kind in ["", "text", "image/png", "application/octet-stream", "multipart/form-data", "application/x-www-form-urlencoded", "xml"] {
        assert_eq!(name(&format!("{kind}; charset=no-such"), Charset::Strict), Ok(""), "{kind}");
    }
}

#[test]
fn json_is_utf8_whatever_it_declares() {
    for kind in ["application/json", "text/json", "application/problem+json"] {
        for label in ["utf-8", "us-ascii", "iso-8859-1"] {
            assert_eq!(name(&format!("{kind}; charset={label}"), Charset::Strict), Ok(""));
        }
        assert_eq!(name(&format!("{kind}; charset=utf-16"), Charset::Utf8), Ok(""));
        assert_eq!(name(&format!("{kind}; charset=utf-16"), Charset::Strict), Err(415));
        assert_eq!(name(kind, Charset::Strict), Ok(""));
    }
}

#[test]
fn labels_that_lead_to_no_decoder() {
    for label in
        ["utf-7", "unicode-1-1-utf-7", "iso-2022-kr", "iso-2022-cn", "hz-gb-2312", "replacement", "utf-32", "ibm037", "", "x\u{e4}"]
    {
        let kind = format!("text/plain; charset={label}");
        assert_eq!(name(&kind, Charset::Utf8), Ok(""), "{label}");
        assert_eq!(name(&kind, Charset::Strict), Err(415), "{label}");
    }
    assert_eq!(name("text/plain; charset=\"GB18030\"", Charset::Strict), Ok("gb18030"));
    assert_eq!(name("text/plain; charset=latin1; charset=utf-8", Charset::Utf8), Ok("windows-1252"));
    for twice in ["text/plain; charset=utf-8; charset=utf-8", "text/plain; charset=utf-8; x", "text/plain; charset=\"utf-8"] {
        assert_eq!(name(twice, Charset::Strict), Err(400), "{twice}");
    }
}

#[test]
fn forms_say_it_in_a_field_or_in_their_type() {
    let urlencoded = "application/x-www-form-urlencoded; charset=shift_jis";
    assert_eq!(form(urlencoded, "a=b", Charset::Utf8), Ok("Shift_JIS"));
    assert_eq!(form(urlencoded, "a=b&_charset_=EUC-KR&_charset_=utf-8", Charset::Utf8), Ok("EUC-KR"));
    assert_eq!(form("x", "_charset_=windows-1251", Charset::Strict), Ok("windows-1251"));
    assert_eq!(form("x", "a_charset_=koi8-r&b=_charset_=koi8-r", Charset::Strict), Ok(""));
    assert_eq!(form(urlencoded, "_charset_=utf-7", Charset::Utf8), Ok("Shift_JIS"));
    assert_eq!(form(urlencoded, "_charset_=utf-7", Charset::Strict), Err(415));
    // What separates the fields is no UTF-16.
    assert_eq!(form("x; charset=utf-16le", "a=b", Charset::Utf8), Ok(""));
    assert_eq!(form("x; charset=utf-16le", "a=b", Charset::Strict), Err(415));
    assert_eq!(form("x", "_charset_=utf-16", Charset::Strict), Err(415));
    assert_eq!(form(urlencoded, "_charset_=koi8-r", Charset::Keep), Ok(""));
}

#[test]
fn texts_become_utf8() {
    assert_eq!(
        converted("windows-1251", b"\xcf\xf0\xe8\xe2\xe5\xf2", true, ALL).as_deref(),
        Ok("\u{41f}\u{440}\u{438}\u{432}\u{435}\u{442}")
    );
    assert_eq!(converted("utf-16be", b"\x00a\xd8\x3d\xde\x00", true, ALL).as_deref(), Ok("a\u{1f600}"));
    assert_eq!(
        converted("latin1", b"\x80\xe4", true, ALL).as_deref(),
        Ok("\u{20ac}\u{e4}"),
        "latin1 is windows-1252, as everywhere on the web"
    );
    // Marks override what was declared, and are no text.
    assert_eq!(converted("shift_jis", b"\xef\xbb\xbf\xc3\xa4", true, ALL).as_deref(), Ok("\u{e4}"));
    assert_eq!(converted("utf-8", b"\xff\xfea\x00", true, ALL).as_deref(), Ok("a"));
    assert_eq!(converted("utf-16le", b"\xfe\xff\x00a", true, ALL).as_deref(), Ok("a"));
    // The second mark is text.
    assert_eq!(converted("utf-8", b"\xef\xbb\xbf\xef\xbb\xbf", true, ALL).as_deref(), Ok("\u{feff}"));
}

#[test]
fn malformed_sequences_are_replaced_or_refused_where_they_begin() {
    for (label, octets, text, at) in [
        ("utf-8", &b"ab\xe2\x82c\xff"[..], "ab\u{fffd}c\u{fffd}", 2),
        ("shift_jis", b"\x82\xa0\x82", "\u{3042}\u{fffd}", 2),
        ("utf-16le", b"a\x00\x3d\xd8b\x00", "a\u{fffd}b", 2),
        ("utf-16le", b"a\x00b", "a\u{fffd}", 2),
        ("gb18030", b"abc\x81\x30\x81", "abc\u{fffd}", 3),
        ("iso-2022-jp", b"\x1b$B$\"\x1b(B\xff", "\u{3042}\u{fffd}", 8),
    ] {
        assert_eq!(converted(label, octets, false, ALL).as_deref(), Ok(text), "{label}");
        assert_eq!(converted(label, octets, true, ALL), Err((400, Some(at))), "{label}");
    }
}

#[test]
fn what_is_the_same_is_known() {
    let is_same = |label: &str, text: &[u8]| is_the_same(Encoding::for_label(label.as_bytes()).expect("a label"), text);
    assert!(is_same("utf-8", "\u{e4}".as_bytes()) && is_same("shift_jis", b"abc\\~") && is_same("euc-kr", b""));
    assert!(!is_same("utf-8", b"\xe4") && !is_same("latin1", b"\xe4") && !is_same("utf-16", b"ab") && !is_same("iso-2022-jp", b"\x1b(J\\"));
}

/// A text that becomes three times as long ends at its bounds, wherever they are, and takes little more memory than they say.
#[test]
fn conversion_is_bounded() {
    let octets = b"\xb1".repeat(100_000);
    let whole = converted("shift_jis", &octets, true, ALL).expect("it is whole");
    assert_eq!(whole.len(), 300_000);
    for bound in [0, 1, 4095, 4096, 100_000, 250_000, 299_999] {
        assert_eq!(converted("shift_jis", &octets, false, Bounds { most: bound, ..ALL }), Err((413, None)), "{bound}");
        let mut into = String::new();
        let encoding = Encoding::for_label(b"shift_jis").expect("a label");
        let refused = convert(encoding, &octets, false, Bounds { room: bound, ..ALL }, &mut into);
        assert_eq!(refused.map_err(|refusal| refusal.status), Err(503), "{bound}");
        assert!(into.capacity() <= bound + 2 * STEP_BYTES, "{} for {bound}", into.capacity());
    }
    assert_eq!(converted("shift_jis", &octets, true, Bounds { most: 300_000, room: 310_000 }).map(|text| text.len()), Ok(300_000));
    // Nothing but malformed octets.
    assert_eq!(converted("utf-8", &b"\xff".repeat(100_000), false, Bounds { most: 299_999, ..ALL }), Err((413, None)));
    assert_eq!(converted("utf-8", &b"\xff".repeat(100_000), false, ALL), Ok("\u{fffd}".repeat(100_000)));
}
