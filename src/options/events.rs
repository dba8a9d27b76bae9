//! Which events the host wants beside requests: what the option `events` comes to.
#![forbid(unsafe_code)]

use crate::memory::slots;
use crate::request::{
    INGEST_EVENT_DRAINING, INGEST_EVENT_FAULT, INGEST_EVENT_GONE, INGEST_EVENT_RELEASED, INGEST_EVENT_SENT, INGEST_EVENT_STOPPED,
    INGEST_EVENT_WRITABLE,
};

/// A bit for the number of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events(u32);

const KINDS: [(&str, u16); 7] = [
    ("gone", INGEST_EVENT_GONE),
    ("writable", INGEST_EVENT_WRITABLE),
    ("released", INGEST_EVENT_RELEASED),
    ("sent", INGEST_EVENT_SENT),
    ("draining", INGEST_EVENT_DRAINING),
    ("stopped", INGEST_EVENT_STOPPED),
    ("fault", INGEST_EVENT_FAULT),
];

impl Events {
    /// Kinds with commas between, or `all`; nothing at all is no kind.
    pub fn parse(text: &str) -> Result<Events, String> {
        let words = text.split(',').map(str::trim).filter(|_| !text.trim().is_empty());
        words.into_iter().try_fold(Events::default(), |events, word| match KINDS.iter().find(|(name, _)| *name == word) {
            Some((_, kind)) => Ok(Events(events.0 | 1 << kind)),
            None if word == "all" => Ok(Events(KINDS.iter().fold(0, |all, (_, kind)| all | 1 << kind))),
            None => Err(format!(
                "{} is no kind of event (name some of gone, writable, released, sent, draining, stopped, fault, or all)",
                super::values::shown(word)
            )),
        })
    }

    pub fn has(self, kind: u16) -> bool {
        self.0 & 1 << kind != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those about a request, as a slot knows them.
    pub fn marks(self) -> u64 {
        let kinds = [
            (INGEST_EVENT_GONE, slots::GONE),
            (INGEST_EVENT_WRITABLE, slots::WRITABLE),
            (INGEST_EVENT_SENT, slots::SENT),
            (INGEST_EVENT_RELEASED, slots::RELEASED),
        ];
        kinds.into_iter().filter(|(kind, _)| self.has(*kind)).map(|(_, mark)| mark).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_kinds_with_commas_between() {
        let some = Events::parse("gone, sent").unwrap();
        assert!(some.has(INGEST_EVENT_GONE) && some.has(INGEST_EVENT_SENT) && !some.has(INGEST_EVENT_WRITABLE));
        assert_eq!(some.marks(), slots::GONE | slots::SENT);
        assert!(Events::parse("").unwrap().is_empty() && Events::parse(" ").unwrap().is_empty());
        assert!(KINDS.iter().all(|(_, kind)| Events::parse("all").unwrap().has(*kind)));
        for wrong in ["gone,", ",", "left", "GONE", "request"] {
            assert!(Events::parse(wrong).unwrap_err().contains("is no kind of event"), "{wrong}");
        }
    }
}
