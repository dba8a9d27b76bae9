//! Memory that crosses rooms and threads: its budget, the read slab, sealed letters and their pools, the hand-overs, the waker.

pub mod budget;
pub mod contents;
pub mod fork_mark;
pub mod letter;
pub mod mailbox;
pub mod notices;
pub mod pool;
pub mod queue;
pub mod reply;
pub mod secured;
pub mod slots;
pub mod spooled;
pub mod sync;
pub mod tail;
pub mod unfolded;
pub mod waker;
pub mod wire;
