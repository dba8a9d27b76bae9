//! The words that options take, and what each of them stands for.
#![forbid(unsafe_code)]

use super::{Delivery, EngineChoice, JourneyMode, PipelineUnsafe, Topology};
use crate::decode::rules::{Charset, Utf8};

pub(super) const TOPOLOGIES: [(&str, Topology); 7] = [
    ("auto", Topology::Auto),
    ("inline", Topology::Inline),
    ("shards", Topology::Shards),
    ("shared", Topology::Shared),
    ("acceptor", Topology::Acceptor),
    ("dispatch", Topology::Dispatch),
    ("pipeline", Topology::Pipeline),
];
/// Taken like the others, but listed nowhere: they are for the library's own tests, and no promise.
pub(super) const TESTED: [(&str, Topology); 2] = [("cut", Topology::Cut), ("cut-each", Topology::CutEach)];
pub(super) const ENGINES: [(&str, EngineChoice); 3] =
    [("auto", EngineChoice::Auto), ("epoll", EngineChoice::Epoll), ("uring", EngineChoice::Uring)];
pub(super) const DELIVERIES: [(&str, Delivery); 4] =
    [("auto", Delivery::Auto), ("queue", Delivery::Queue), ("threads", Delivery::Threads), ("inline", Delivery::Inline)];
pub(super) const JOURNEYS: [(&str, JourneyMode); 4] =
    [("off", JourneyMode::Off), ("tick", JourneyMode::Tick), ("sample", JourneyMode::Sample), ("steps", JourneyMode::Steps)];
pub(super) const ORDERS: [(&str, PipelineUnsafe); 2] = [("serial", PipelineUnsafe::Serial), ("parallel", PipelineUnsafe::Parallel)];

pub(super) const CHECKS: [(&str, bool); 2] = [("off", false), ("validate", true)];
pub(super) const TEXTS: [(&str, Utf8); 3] = [("keep", Utf8::Keep), ("replace", Utf8::Replace), ("refuse", Utf8::Refuse)];
pub(super) const ESCAPES: [(&str, bool); 2] = [("keep", false), ("refuse", true)];
pub(super) const CHARSETS: [(&str, Charset); 3] = [("keep", Charset::Keep), ("utf-8", Charset::Utf8), ("strict", Charset::Strict)];
