//! Which processors a thread may run on, and the calls that ask and that pin it to one.

use std::io;
use std::mem::{size_of, zeroed};

/// The processors that the calling thread may run on; `None` where the kernel does not say, for instance since it has more of them
/// than the set.
fn allowed() -> Option<libc::cpu_set_t> {
    // SAFETY: cpu_set_t is plain data, all zeros is the empty set.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: the pointer and the size describe one cpu_set_t.
    let status = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    (status == 0).then_some(set)
}

/// How many processors this thread may run on.
pub fn processors() -> usize {
    // SAFETY: the set was filled by the kernel.
    allowed().map_or(1, |set| unsafe { libc::CPU_COUNT(&set) }.max(1) as usize)
}

/// Whether this thread may run on a processor.
pub fn may_run_on(processor: u16) -> bool {
    // SAFETY: the number was compared with what the set can hold.
    allowed().is_some_and(|set| holds(processor) && unsafe { libc::CPU_ISSET(usize::from(processor), &set) })
}

/// From now on the calling thread runs on this processor alone.
pub fn pin(processor: u16) -> io::Result<()> {
    if !holds(processor) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: cpu_set_t is plain data, all zeros is the empty set.
    let mut set: libc::cpu_set_t = unsafe { zeroed() };
    // SAFETY: the number was compared with what the set can hold.
    unsafe { libc::CPU_SET(usize::from(processor), &mut set) };
    // SAFETY: the pointer and the size describe one cpu_set_t; 0 is the calling thread.
    if unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn holds(processor: u16) -> bool {
    usize::from(processor) < 8 * size_of::<libc::cpu_set_t>()
}
