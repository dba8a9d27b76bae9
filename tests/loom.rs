//! Models of the hand-overs on the shipped code: loom runs every interleaving of two or three threads (`tests/run loom`).
//!
//! "Fails when" lines name changes of the shipped code that were tried and that the model below them caught.
#![cfg(loom)]
#![forbid(unsafe_code)]

mod models;
