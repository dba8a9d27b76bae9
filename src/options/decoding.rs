//! The options that say what is undone of a body, and how much of it there may be.
#![forbid(unsafe_code)]

use super::row::*;
use super::words::*;
use super::{tls, values};
use crate::limits;

pub(super) const DECODE: Row = live(switch(
    "decode",
    "on",
    |o, v| values::choose(v, &tls::SWITCH).map(|choice| o.limits.decode = choice),
    "whether content-codings are undone: gzip, deflate, br and zstd; off delivers bodies as sent",
));

pub(super) const DECODE_FORM: Row = live(switch(
    "decode.form",
    "on",
    |o, v| values::choose(v, &tls::SWITCH).map(|choice| o.limits.rules.form = choice),
    "whether form bodies are split into fields and parts",
));

pub(super) const DECODE_JSON: Row = live(word(
    "decode.json",
    "off",
    "off,validate",
    |o, v| values::choose(v, &CHECKS).map(|choice| o.limits.rules.json = choice),
    "whether JSON bodies are checked; what is not well-formed is answered 400 with the offset",
));

pub(super) const DECODE_UTF8: Row = live(word(
    "decode.utf8",
    "keep",
    "keep,replace,refuse",
    |o, v| values::choose(v, &TEXTS).map(|choice| o.limits.rules.utf8 = choice),
    "what becomes of paths, and of names and values in queries and forms, that are not UTF-8: delivered as they are, with U+FFFD \
     (but not in paths), or 400",
));

pub(super) const DECODE_ESCAPES: Row = live(word(
    "decode.escapes",
    "keep",
    "keep,refuse",
    |o, v| values::choose(v, &ESCAPES).map(|choice| o.limits.rules.strict_escapes = choice),
    "what becomes of a percent sign in a path, query or form that no two hexadecimal digits follow: it stays, or 400",
));

pub(super) const DECODE_THREADS: Row = count(
    "decode_threads",
    "0",
    (0, limits::DECODE_THREADS_MAX, None),
    |o, n| o.limits.decode_threads = n,
    "threads for large bodies; 0 decodes on the I/O threads",
);

pub(super) const DECODE_OFFLOAD_BYTES: Row = live(size(
    "decode_offload_bytes",
    "256KiB",
    (1, TIB, None),
    |o, n| o.limits.decode_offload_bytes = n,
    "encoded bodies from this size on are decoded by the decode threads; chunked ones from this place on",
));

pub(super) const DECODE_CHARSET: Row = live(word(
    "decode.charset",
    "keep",
    "keep,utf-8,strict",
    |o, v| values::choose(v, &CHARSETS).map(|choice| o.limits.rules.charset = choice),
    "what becomes of text and forms in a declared charset: delivered as they came, in UTF-8, or refused (400, 415) if that fails",
));

pub(super) const DECODE_STATES_MAX: Row = live(count(
    "decode_states_max",
    "16",
    (1, limits::DECODE_STATES_CEILING, None),
    |o, n| o.limits.decode_states_max = n,
    "most long decodings that a thread goes on with in turns; more wait until one of them is done",
));

pub(super) const DECODED_MAX: Row =
    live(size("decoded_max", "64MiB", (1, TIB, None), |o, n| o.limits.decoded_max = n, "largest decoded body; over it 413"));

pub(super) const DECODE_RATIO: Row = live(count(
    "decode_ratio",
    "100",
    (1, 1 << 20, NO_LIMIT),
    |o, n| o.limits.decode_ratio = n,
    "most decoded octets per encoded one, once the output is over 1MiB; over it 413",
));

pub(super) const DECODE_LAYERS: Row =
    live(count("decode_layers", "1", (1, 2, None), |o, n| o.limits.decode_layers = n, "most content-codings on one body; over it 415"));
