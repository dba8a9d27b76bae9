//! JSON: what is well-formed is what serde_json takes, and a pointer leads where it leads there. The first line is the pointer.
#![no_main]

use ingest::decode::json::pointer::{Trouble, find};
use ingest::decode::json::{FaultKind, check};
use ingest::limits::JSON_DEPTH_CEILING;
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let end = data.iter().position(|octet| *octet == b'\n').unwrap_or(data.len());
    let (pointer, text) = (&data[..end], data.get(end + 1..).unwrap_or(&[]));
    let checked = check(text, JSON_DEPTH_CEILING);
    if checked.is_err_and(|fault| fault.kind == FaultKind::TooDeep) {
        return;
    }
    match std::str::from_utf8(text) {
        Ok(text) => {
            let theirs = serde_json::from_str::<IgnoredAny>(text);
            assert_eq!(checked.is_ok(), theirs.is_ok(), "{checked:?} {theirs:?}");
        }
        Err(error) => {
            let fault = checked.expect_err("it is not UTF-8");
            assert!(fault.at <= error.valid_up_to());
            assert!(fault.kind != FaultKind::NotUtf8 || fault.at == error.valid_up_to());
        }
    }
    let found = find(text, pointer);
    if let Err(fault) = checked {
        assert!(matches!(found, Err(Trouble::Pointer)) || found == Err(Trouble::Text(fault)));
        return;
    }
    // What a tree of values cannot hold, an unpaired surrogate or a number out of range, has no second opinion.
    let (Ok(found), Ok(pointer), Ok(tree)) = (found, std::str::from_utf8(pointer), serde_json::from_slice::<Value>(text)) else { return };
    let value = found.map(|range| serde_json::from_slice::<Value>(&text[range]).expect("a value of a well-formed text is well-formed"));
    assert_eq!(value.as_ref(), tree.pointer(pointer));
});
