//! How many entries one look takes: a fair part of what there is, and of a queue that stands first those that will be refused.
#![forbid(unsafe_code)]

use super::Entry;
use std::collections::VecDeque;

/// Where a queue that stands is divided by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cuts {
    /// Who came before has waited too long and will be refused.
    pub stale_ns: u64,
    /// Who came after has hardly waited.
    pub fresh_ns: u64,
}

/// At most `room`, for one of so many consumers. In a queue that stands that is all who waited too long, or a part of those that waited
/// longer than they should, so that the others do not come to wait in the hands of a consumer, where nobody sees it; or, if there are none of
/// either, a part of all.
pub fn share(entries: &VecDeque<Entry>, consumers: usize, room: usize, cuts: Option<Cuts>) -> usize {
    let depth = entries.len();
    let fair = |count: usize| if consumers > 1 { count.div_ceil(consumers) } else { count };
    let count = match cuts {
        None => fair(depth),
        Some(cuts) => {
            // Threads add what each has gathered in a tick, so the order is not exact; nothing depends on that.
            let before = |at_ns: u64| entries.partition_point(|entry| entry.at_ns < at_ns);
            match (before(cuts.stale_ns), before(cuts.fresh_ns)) {
                (0, 0) => fair(depth),
                (0, old) => fair(old),
                (stale, _) => stale,
            }
        }
    };
    count.min(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stale_come_first_and_the_fresh_stay() {
        let queue = |ages: &[u64]| -> VecDeque<Entry> { ages.iter().map(|age| Entry::new(*age, 1, 1000 - age, u64::MAX)).collect() };
        let cuts = Some(Cuts { stale_ns: 1000 - 20, fresh_ns: 1000 - 10 });
        let ages = [90, 50, 21, 20, 15, 12, 11, 10, 5, 0];
        assert_eq!(share(&queue(&ages), 1, 64, None), 10);
        assert_eq!(share(&queue(&ages), 4, 64, None), 3);
        assert_eq!(share(&queue(&ages), 4, 2, None), 2);
        assert_eq!(share(&queue(&ages), 4, 64, cuts), 3, "nobody's share: they are refused");
        assert_eq!(share(&queue(&ages), 4, 2, cuts), 2);
        assert_eq!(share(&queue(&ages[3..]), 1, 64, cuts), 4, "those above the target");
        assert_eq!(share(&queue(&ages[3..]), 3, 64, cuts), 2);
        assert_eq!(share(&queue(&ages[7..]), 1, 64, cuts), 3, "there are no others");
        assert_eq!(share(&queue(&ages[7..]), 2, 64, cuts), 2);
        assert_eq!(share(&queue(&[]), 1, 64, cuts), 0);
        assert_eq!(share(&queue(&ages), 1, 0, cuts), 0);
    }
}
