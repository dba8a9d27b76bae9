//! Stub: rows to come.
