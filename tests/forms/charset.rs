//! Text and forms in other encodings, made by Python's codecs, arrive in UTF-8 on request, whatever way they take; what cannot is refused.

use super::support::client::Client;
use super::support::host::{Delivery, Server};
use super::view::{Contents, Seen, watching};
use super::{SHAPES, ask, chunked, request};
use std::process::Command;

/// Codec of Python, label, name in the WHATWG standard. Where Python's tables differ from the standard's, the texts do not go.
const ENCODINGS: [(&str, &str, &str); 16] = [
    ("shift_jis", "Shift_JIS", "Shift_JIS"),
    ("euc_jp", "x-euc-jp", "EUC-JP"),
    ("iso2022_jp", "iso-2022-jp", "ISO-2022-JP"),
    ("gb18030", "GB18030", "gb18030"),
    ("gbk", "gb2312", "GBK"),
    ("big5", "big5-hkscs", "Big5"),
    ("euc_kr", "ks_c_5601-1987", "EUC-KR"),
    ("cp1251", "windows-1251", "windows-1251"),
    ("koi8_r", "koi8-r", "KOI8-R"),
    ("iso8859_1", "iso-8859-1", "windows-1252"),
    ("cp1252", "us-ascii", "windows-1252"),
    ("iso8859_5", "iso-8859-5", "ISO-8859-5"),
    ("utf_16_le", "utf-16", "UTF-16LE"),
    ("utf_16_be", "utf-16be", "UTF-16BE"),
    ("utf_16", "utf-8", "UTF-16LE"),
    ("utf_8_sig", "shift_jis", "UTF-8"),
];

/// One line for each encoding: a text in it, the same text in UTF-8, and a form with it as name and value, each in hexadecimal.
const SCRIPT: &str = r#"
import sys, urllib.parse
texts = {'shift_jis': 'これは日本語のテキスト、表示とソ。ABC 123', 'gb18030': '简体中文和😀𠀀', 'gbk': '简体中文测试',
         'big5': '繁體中文測試', 'euc_kr': '한국어 텍스트', 'cp1251': 'Русский текст, «да»', 'iso8859_1': 'Zürich, coûte 5 £ ÿ',
         'cp1252': 'coûte 5 € “oui”', 'utf_16_le': 'все 漢字 😀 ÿ', 'utf_8_sig': 'все 漢字 😀'}
alike = {'euc_jp': 'shift_jis', 'iso2022_jp': 'shift_jis', 'koi8_r': 'gbk', 'iso8859_5': 'gbk', 'utf_16_be': 'utf_16_le', 'utf_16': 'utf_16_le'}
alike |= {'koi8_r': 'russian', 'iso8859_5': 'russian'}
texts['russian'] = 'Русский текст'
for codec in sys.argv[2:]:
    text = texts[alike.get(codec, codec)] * int(sys.argv[1])
    form = urllib.parse.urlencode({text: '&=+%' + text, 'plain': 'a b'}, encoding=codec)
    print(text.encode(codec).hex(), text.encode().hex(), form.encode().hex())
"#;

struct Sample {
    label: &'static str,
    name: &'static str,
    octets: Vec<u8>,
    text: Vec<u8>,
    form: Vec<u8>,
}

fn samples(times: usize) -> Vec<Sample> {
    let codecs = ENCODINGS.map(|(codec, _, _)| codec);
    let made = Command::new("python3").args(["-c", SCRIPT, &times.to_string()]).args(codecs).output().expect("python3 is there");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let lines = String::from_utf8(made.stdout).expect("hexadecimal digits");
    let octets = |digits: &str| {
        let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("digits"));
        pairs.map(|pair| u8::from_str_radix(pair, 16).expect("digits")).collect::<Vec<u8>>()
    };
    let samples: Vec<Sample> = lines
        .lines()
        .zip(ENCODINGS)
        .map(|(line, (_, label, name))| {
            let [came, text, form] = line.split(' ').map(octets).collect::<Vec<_>>().try_into().expect("three of them");
            Sample { label, name, octets: came, text, form }
        })
        .collect();
    assert_eq!(samples.len(), ENCODINGS.len());
    samples
}

/// Sends the request and says what the host saw.
fn seen_of(client: &mut Client, seen: &Seen, pieces: &[&[u8]]) -> Contents {
    pieces.iter().for_each(|piece| client.send(piece));
    let answer = client.answer();
    assert_eq!(answer.status, 200, "{}", answer.text());
    seen.take()
}

#[test]
fn texts_arrive_in_utf8_however_they_are_cut() {
    for options in SHAPES {
        let seen = Seen::default();
        let options = [options, &[("decode.charset", "strict")]].concat();
        let server = Server::serve(&options, Delivery::Queue(1), watching(&seen));
        let mut client = server.connect();
        let mut judge = |sample: &Sample, pieces: &[&[u8]]| {
            let contents = seen_of(&mut client, &seen, pieces);
            assert!(contents.body == sample.text, "{}: {}", sample.label, String::from_utf8_lossy(&contents.body));
            assert_eq!(contents.charset.as_deref(), Some(sample.name));
            assert_eq!(contents.encoded_len, sample.octets.len() as u64);
        };
        for sample in samples(1) {
            let kind = format!("text/plain; charset={}", sample.label);
            let wire = request(&kind, &sample.octets);
            for cut in wire.len() - sample.octets.len()..wire.len() {
                judge(&sample, &[&wire[..cut], &wire[cut..]]);
            }
            judge(&sample, &[&wire]);
            judge(&sample, &[&chunked(&kind, &sample.octets, 1)]);
        }
        // Longer than a letter holds.
        for sample in samples(5_000) {
            let kind = format!("application/x+xml; charset=\"{}\"", sample.label);
            judge(&sample, &[&request(&kind, &sample.octets)]);
            judge(&sample, &[&chunked(&kind, &sample.octets, 4_001)]);
        }
        drop(client);
        assert!(super::support::eventually(|| server.stats().memory_bytes == 0), "{} octets", server.stats().memory_bytes);
        server.finish();
    }
}

#[test]
fn forms_arrive_in_utf8() {
    let seen = Seen::default();
    let server = Server::serve(&[("decode.charset", "strict")], Delivery::Queue(1), watching(&seen));
    let mut client = server.connect();
    let mut forms = 0;
    for sample in samples(1).iter().chain(&samples(300)).filter(|sample| !sample.name.starts_with("UTF")) {
        let text = sample.text.clone();
        let expected = [(text.clone(), [b"&=+%", &text[..]].concat()), (b"plain".to_vec(), b"a b".to_vec())];
        let by_type = request(&format!("application/x-www-form-urlencoded; charset={}", sample.label), &sample.form);
        let field = [&sample.form[..], b"&_charset_=", sample.label.as_bytes()].concat();
        let by_field = request("application/x-www-form-urlencoded", &field);
        for (wire, count) in [(by_type, 2), (by_field, 3)] {
            let contents = seen_of(&mut client, &seen, &[&wire]);
            assert_eq!(contents.charset.as_deref(), Some(sample.name));
            assert_eq!(contents.form.as_ref().map(|form| (form.len(), &form[..2])), Some((count, &expected[..])), "{}", sample.label);
            // What is between the fields is as it came.
            assert!(contents.body.starts_with(&sample.form));
            forms += 1;
        }
    }
    assert_eq!(forms, 2 * 2 * 12);
    server.finish();
}

#[test]
fn what_is_not_asked_for_or_not_known_stays_as_it_came() {
    let octets = b"a=\x82\xa0&b=\xff";
    for (mode, kind, charset) in [
        ("keep", "text/plain; charset=shift_jis", None),
        ("utf-8", "text/plain", None),
        ("utf-8", "text/plain; charset=utf-7", None),
        ("utf-8", "text/plain; charset=iso-2022-kr", None),
        ("utf-8", "application/json; charset=shift_jis", None),
        ("utf-8", "application/octet-stream; charset=shift_jis", None),
        ("utf-8", "application/x-www-form-urlencoded; charset=utf-16", None),
        ("strict", "application/octet-stream; charset=nothing", None),
        ("utf-8", "application/x-www-form-urlencoded; charset=windows-1252", Some("windows-1252")),
    ] {
        let seen = Seen::default();
        let server = Server::serve(&[("decode.charset", mode)], Delivery::Queue(1), watching(&seen));
        let contents = seen_of(&mut server.connect(), &seen, &[&request(kind, octets)]);
        assert_eq!((&contents.body[..], contents.charset.as_deref()), (&octets[..], charset), "{mode}: {kind}");
        server.finish();
    }
}

#[test]
fn malformed_text_is_replaced_or_refused() {
    let statuses = |mode: &str, kind: &str, body: &[u8]| {
        let seen = Seen::default();
        let server = Server::serve(&[("decode.charset", mode)], Delivery::Queue(1), watching(&seen));
        let answer = ask(&mut server.connect(), request(kind, body));
        assert_eq!(seen.is_empty(), answer.status != 200);
        assert_eq!(answer.header("accept-encoding"), None);
        server.finish();
        let body = if answer.status == 200 { seen.take().body } else { Vec::new() };
        (answer.status, answer.text(), body)
    };
    let text = "text/plain; charset=utf-8";
    assert_eq!(statuses("utf-8", text, b"ab\xffc").2, "ab\u{fffd}c".as_bytes());
    let (status, said, _) = statuses("strict", text, b"ab\xffc");
    assert!(status == 400 && said.contains("offset 2 "), "{said}");
    // The offset counts from the body's begin, its mark included; a form's says where the name or value begins.
    let (status, said, _) = statuses("strict", text, b"\xef\xbb\xbfab\xff");
    assert!(status == 400 && said.contains("offset 5 "), "{said}");
    let (status, said, _) = statuses("strict", "application/x-www-form-urlencoded; charset=utf-8", b"a=b&cd=%FF");
    assert!(status == 400 && said.contains("offset 7 "), "{said}");
    assert_eq!(statuses("strict", "text/plain; charset=utf-7", b"+ADw-").0, 415);
    assert_eq!(statuses("strict", "application/json; charset=utf-16", b"{}").0, 415);
}

/// Half-width kana are three octets in UTF-8: what fits as it comes does not fit as it is delivered.
#[test]
fn limits_decoded_text() {
    let kana = b"\xb1".repeat(300_000);
    for (kind, body) in [
        ("text/plain; charset=shift_jis", kana.clone()),
        ("application/x-www-form-urlencoded; charset=shift_jis", kana.clone()),
        ("application/x-www-form-urlencoded", [b"_charset_=shift_jis&a=%B1", &kana[..]].concat()),
    ] {
        for (options, status) in [(("decoded_max", "1MiB"), 200), (("decoded_max", "800KiB"), 413), (("memory_max", "16MiB"), 200)] {
            let seen = Seen::default();
            let server = Server::serve(&[("decode.charset", "strict"), options], Delivery::Queue(1), watching(&seen));
            assert_eq!(ask(&mut server.connect(), request(kind, &body)).status, status, "{options:?} {kind}");
            assert_eq!(seen.is_empty(), status != 200);
            assert!(super::support::eventually(|| server.stats().memory_bytes == 0));
            server.finish();
        }
    }
}

/// What can never fit is not to be tried again, although it is the room that ends first.
#[test]
fn a_text_that_would_never_fit_the_memory_is_too_large() {
    let kana = b"\xb1".repeat(500_000);
    for kind in ["text/plain; charset=shift_jis", "application/x-www-form-urlencoded; charset=shift_jis"] {
        let options = [("decode.charset", "utf-8"), ("memory_max", "2MiB")];
        let server = Server::serve(&options, Delivery::Queue(1), watching(&Seen::default()));
        assert_eq!(ask(&mut server.connect(), request(kind, &kana)).status, 413, "{kind}");
        // Nor does a form whose value is as long again when its escapes are undone.
        let spaces = [b"a=".as_slice(), &b"+".repeat(1_000_000)].concat();
        assert_eq!(ask(&mut server.connect(), request("application/x-www-form-urlencoded", &spaces)).status, 413);
        server.finish();
    }
}
