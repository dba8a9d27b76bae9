//! Form bodies: fields must be what the crate form_urlencoded makes of them, and what is not UTF-8 is replaced as it does.
#![no_main]

use ingest::memory::contents::Contents;
use ingest::decode::form;
use ingest::decode::rules::{Rules, Utf8};
use ingest::limits::Limits;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let rules = Rules { utf8: Utf8::Replace, ..Rules::default() };
    let limits = Limits { rules, ..Limits::default() };
    let expected: Vec<_> = form_urlencoded::parse(body).collect();
    let mut contents = Contents::default();
    match form::split(body, None, &limits, &mut contents) {
        Ok(()) => {
            assert_eq!(contents.fields.len(), expected.len());
            for (field, (name, value)) in contents.fields.iter().zip(&expected) {
                assert_eq!(contents.bytes(body, field.name), name.as_bytes());
                assert_eq!(contents.bytes(body, field.value), value.as_bytes());
            }
        }
        Err(refusal) => assert!(refusal.status == 413 && expected.len() as u64 > limits.form_fields),
    }
    // Refusing text that is not UTF-8 is refusing what was replaced.
    let strict = Limits { rules: Rules { utf8: Utf8::Refuse, ..rules }, ..limits.clone() };
    let kept = Limits { rules: Rules::default(), ..limits };
    if form::split(body, None, &kept, &mut contents).is_ok() {
        let is_text = |piece| std::str::from_utf8(contents.bytes(body, piece)).is_ok();
        let all = contents.fields.iter().all(|field| is_text(field.name) && is_text(field.value));
        assert_eq!(form::split(body, None, &strict, &mut Contents::default()).is_ok(), all);
    }
});
