//! Text in any encoding: what it becomes in UTF-8, grown step by step within bounds, must be what encoding_rs makes of it in one go;
//! the same for each name and value of a form.
#![no_main]

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use ingest::decode::charset::{self, Bounds};
use ingest::decode::form;
use ingest::decode::rules::{Charset, Rules};
use ingest::limits::Limits;
use ingest::memory::contents::Contents;
use libfuzzer_sys::fuzz_target;

/// Every decoder that a label leads to, and a few labels of the same.
const LABELS: [&str; 40] = [
    "utf-8", "utf-16le", "utf-16be", "big5", "euc-jp", "iso-2022-jp", "shift_jis", "euc-kr", "gbk", "gb18030", "ibm866", "iso-8859-1",
    "iso-8859-2", "iso-8859-3", "iso-8859-4", "iso-8859-5", "iso-8859-6", "iso-8859-7", "iso-8859-8", "iso-8859-8-i", "iso-8859-10",
    "iso-8859-13", "iso-8859-14", "iso-8859-15", "iso-8859-16", "koi8-r", "koi8-u", "macintosh", "windows-874", "windows-1250",
    "windows-1251", "windows-1252", "windows-1253", "windows-1254", "windows-1255", "windows-1256", "windows-1257", "windows-1258",
    "x-mac-cyrillic", "x-user-defined",
];
const ALL: Bounds = Bounds { most: usize::MAX, room: usize::MAX };

fn converted(encoding: &'static Encoding, text: &[u8], is_strict: bool, bounds: Bounds) -> Result<String, (u16, Option<u32>)> {
    let mut into = String::new();
    let outcome = charset::convert(encoding, text, is_strict, bounds, &mut into);
    assert!(into.capacity() <= bounds.room.saturating_add(8 * 1024), "{} octets for the room of {}", into.capacity(), bounds.room);
    outcome.map(|()| into).map_err(|refusal| (refusal.status, refusal.offset()))
}

/// A whole text: bounds, strictness and a byte order mark.
fn whole(encoding: &'static Encoding, text: &[u8], bound: usize) {
    let (expected, _) = encoding.decode_without_bom_handling(text);
    let well_formed = encoding.decode_without_bom_handling_and_without_replacement(text).is_some();
    assert_eq!(converted(encoding, text, false, ALL).as_deref(), Ok(&*expected));
    match converted(encoding, text, true, ALL) {
        Ok(strict) => assert!(well_formed && strict == *expected),
        Err((status, offset)) => {
            // What stands before it is well formed, and the same as in the whole.
            let before = &text[..offset.expect("it says where") as usize];
            let good = encoding.decode_without_bom_handling_and_without_replacement(before).expect("the malformed sequence begins here");
            assert!(status == 400 && !well_formed && expected.starts_with(&*good));
        }
    }
    match converted(encoding, text, false, Bounds { most: bound, room: usize::MAX }) {
        Ok(within) => assert!(within == *expected && within.len() <= bound),
        Err(refused) => assert!(refused.0 == 413 && expected.len() > bound),
    }
    match converted(encoding, text, false, Bounds { most: usize::MAX, room: bound }) {
        Ok(within) => assert_eq!(within, *expected),
        // The most that an octet of any of them may become.
        Err(refused) => assert!(refused.0 == 503 && text.len() * 3 + 8 * 1024 > bound),
    }
    if charset::is_the_same(encoding, text) {
        assert_eq!(expected.as_bytes(), text);
    }
    let (marked, behind) = charset::marked(encoding, text);
    let (sniffed, of, _) = encoding.decode(text);
    assert_eq!((converted(marked, behind, false, ALL).as_deref(), marked), (Ok(&*sniffed), of));
}

fn unescaped(piece: &[u8]) -> Vec<u8> {
    let digit = |octet: Option<&u8>| octet.and_then(|octet| (*octet as char).to_digit(16));
    let (mut octets, mut at) = (Vec::new(), 0);
    while at < piece.len() {
        match (piece[at], digit(piece.get(at + 1)), digit(piece.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                octets.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) => octets.push(b' '),
            (octet, ..) => octets.push(octet),
        }
        at += 1;
    }
    octets
}

/// A form: fields are split before they are converted, and each begins anew.
fn fields(encoding: &'static Encoding, body: &[u8]) {
    let rules = Rules { charset: Charset::Utf8, ..Rules::default() };
    let limits = Limits { rules, ..Limits::default() };
    let mut contents = Contents::default();
    if form::split(body, Some(encoding), &limits, &mut contents).is_err() {
        return assert!(body.iter().filter(|octet| **octet == b'&').count() as u64 >= limits.form_fields);
    }
    let text = |piece: &[u8]| encoding.decode_without_bom_handling(&unescaped(piece)).0.into_owned();
    let expected: Vec<_> = body.split(|octet| *octet == b'&').filter(|segment| !segment.is_empty()).map(|segment| {
        let mut halves = segment.splitn(2, |octet| *octet == b'=');
        (text(halves.next().unwrap_or_default()), text(halves.next().unwrap_or_default()))
    }).collect();
    let string = |piece| String::from_utf8(contents.bytes(body, piece).to_vec()).expect("it is UTF-8 now");
    let found: Vec<_> = contents.fields.iter().map(|field| (string(field.name), string(field.value))).collect();
    assert_eq!(found, expected, "{}", encoding.name());
}

fuzz_target!(|data: &[u8]| {
    let [label, bound, times, text @ ..] = data else { return };
    let encoding = Encoding::for_label(LABELS[usize::from(*label) % LABELS.len()].as_bytes()).unwrap_or(UTF_8);
    // Longer than a step of growth now and then, so that sequences lie across two.
    let text = text.repeat(1 + usize::from(times / 8) * usize::from(times % 8));
    whole(encoding, &text, usize::from(*bound) * 64);
    // No form is in UTF-16, and none gets here that says so.
    if encoding != UTF_16LE && encoding != UTF_16BE {
        fields(encoding, &text);
    }
});
