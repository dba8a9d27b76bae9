//! The C face: one file per group of `include/ingest.h`, in the header's order. Nothing in the library imports this folder.
#![allow(non_camel_case_types)]
// What a caller must promise stands in each function's Ownership and Thread lines, which reach the C header; a Safety section would
// say the same again.
#![allow(clippy::missing_safety_doc)]

mod boundary;

pub mod version;

pub mod options;

pub mod server;

pub mod listen;

pub mod life;

pub mod observe;

pub mod queue;

mod packed;

pub mod request;

pub mod respond;

pub mod stream;
