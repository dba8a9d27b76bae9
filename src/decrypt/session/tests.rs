//! Proves that a session opens what a real client seals, whatever the splits, and breaks off over anything else.
#![forbid(unsafe_code)]
