//! The way back: answers are validated and flattened where they are given, settled in order where the connection lives.
#![forbid(unsafe_code)]

mod credit;
pub mod encode;
pub mod fields;
pub mod post;
pub mod settle;
pub mod speak;
pub mod streamed;

pub use credit::credit;
pub use post::{Body, abandon, give_up_memory, give_up_undelivered, give_up_unspoken, post, post_typed, refuse_queued, release};
pub use settle::{LATE, fail, refuse, settle, write_ready};
pub use speak::{begin, end, interim, write};
