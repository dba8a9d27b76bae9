//! Tells a forked child that it is one, at the price of one load: a page that the kernel wipes on fork. Where it does not, at the
//! price of asking for the number of the process.

use std::sync::OnceLock;

struct Page {
    mark: *const u8,
    /// Who made it.
    process: u32,
}

// SAFETY: the page is never unmapped and only read.
unsafe impl Send for Page {}
// SAFETY: as above; a read of one octet cannot tear.
unsafe impl Sync for Page {}

static PAGE: OnceLock<Page> = OnceLock::new();

/// Makes the mark; called when the first handle is made, before there is anything that a child must not touch.
pub fn set() {
    PAGE.get_or_init(|| Page { mark: crate::engine::sys::wipe_on_fork_page(), process: std::process::id() });
}

/// Whether this process was forked from the one that made the first handle.
pub fn forked() -> bool {
    match PAGE.get() {
        Some(page) if !page.mark.is_null() => {
            // SAFETY: the page is mapped for the life of the process; volatile, since the kernel may change it.
            unsafe { page.mark.read_volatile() == 0 }
        }
        // No MADV_WIPEONFORK here: an old kernel, or a filter (limits, S24).
        Some(page) => page.process != std::process::id(),
        None => false,
    }
}
