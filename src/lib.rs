//! libingest takes a request from the wire to your function.
//!
//! ```text
//!  wire ──► accept ──► read ──► decrypt ──► parse ──► decode ──► handoff ──► process (the host)
//!             │          │         │          │          │          │              │
//!           admit     absorb     open      advance    finish     deliver           │
//!                                                                                  ▼
//!  wire ◄────────────────────── settle ◄──────────────────────────────────── respond (any thread)
//! ```
//!
//! The modules stand in the order of the journey. The C face is in `ffi`; `include/ingest.h` is generated from it.

#[cfg(not(all(target_os = "linux", target_pointer_width = "64", target_endian = "little")))]
compile_error!("libingest is built and tested for 64-bit little-endian Linux (x86-64, aarch64) only");

/// A step at which tests/faults_panics.rs can have the library panic; nothing at all without the feature `fail-points`.
macro_rules! fail_point {
    ($step:literal) => {
        #[cfg(feature = "fail-points")]
        fail::fail_point!($step);
    };
}

pub mod accept;
pub mod read;

pub mod decrypt;
pub mod parse;

pub mod decode;

pub mod handoff;
pub mod respond;

pub mod connection;
pub mod request;

pub mod topology;

pub mod engine;
pub mod memory;

pub mod journey;
pub mod stats;

pub mod log;

pub mod options;

pub mod limits;
pub mod status;

pub mod server;

pub mod ffi;
