//! The log: a bounded ring of records that the host reads, and the way to its callback; what could repeat is said once in ten seconds.
#![forbid(unsafe_code)]

use crate::engine::sys;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Records that wait for the host; the oldest makes way.
pub const RECORDS_MAX: usize = 256;
/// Octets of one record's text; a longer one is cut at a character.
pub const TEXT_MAX: usize = 240;
/// What a peer or the system could repeat is said once in this time (limits, S01).
const SILENCE_NS: u64 = 10_000_000_000;

/// How urgent a record is; the numbers are those of `INGEST_LOG_...`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Level {
    Error = 1,
    Warn = 2,
    Info = 3,
}

/// What may repeat; each kind has a silence of its own.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// The system has no descriptor or memory left for a connection.
    Exhausted,
    /// A listener is unusable for ever.
    Broken,
    /// A panic was caught.
    Fault,
    /// As many connections are open as may be.
    Full,
    /// As much memory is in use as may be.
    Memory,
    /// One address has as many connections as it may.
    Crowded,
    /// As many handshakes are under way as may be.
    Handshakes,
    /// Bodies cannot be written to files.
    Spool,
    /// A queue stands.
    Overload,
}

const KINDS: usize = Kind::Overload as usize + 1;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub level: Level,
    /// CLOCK_REALTIME, since a log is read beside other logs.
    pub at_ns: u64,
    /// At most `TEXT_MAX` octets without control characters.
    pub text: String,
}

/// The host's callback.
pub trait LogSink: Send + Sync {
    fn take(&self, record: &Record);
}

#[derive(Default)]
struct Ring {
    records: VecDeque<Record>,
    /// Records that made way since the host was last told.
    lost: u64,
    /// When the last of them was made.
    lost_at_ns: u64,
    sink: Option<Arc<dyn LogSink>>,
}

/// When a kind may speak again, and how often it was silent.
#[derive(Debug, Default)]
struct Silence {
    until_ns: AtomicU64,
    unsaid: AtomicU64,
}

/// See the file's first line. The lock is held for a push or a pop, never while the host is called.
#[derive(Default)]
pub struct Log {
    ring: Mutex<Ring>,
    silences: [Silence; KINDS],
}

impl fmt::Debug for Log {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Log").field("silences", &self.silences).finish_non_exhaustive()
    }
}

impl Log {
    /// Sets the callback, or takes it away.
    pub fn set_sink(&self, sink: Option<Arc<dyn LogSink>>) {
        let before = std::mem::replace(&mut self.ring.lock().sink, sink);
        drop(before); // outside the lock
    }

    /// Keeps a record and gives it to the callback, on this thread.
    pub fn say(&self, level: Level, text: &str) {
        let record = Record { level, at_ns: realtime_ns(), text: line(text, TEXT_MAX) };
        let sink = {
            let mut ring = self.ring.lock();
            if ring.records.len() >= RECORDS_MAX {
                if let Some(oldest) = ring.records.pop_front() {
                    ring.lost += 1;
                    ring.lost_at_ns = oldest.at_ns;
                }
            }
            ring.records.push_back(record.clone());
            ring.sink.clone()
        };
        if let Some(sink) = sink {
            sink.take(&record);
        }
    }

    /// As `say`, but once in ten seconds for each kind; the next line tells how many were left out.
    pub fn say_seldom(&self, kind: Kind, level: Level, text: impl FnOnce() -> String) {
        self.say_seldom_at(sys::monotonic_ns(), kind, level, text);
    }

    fn say_seldom_at(&self, now_ns: u64, kind: Kind, level: Level, text: impl FnOnce() -> String) {
        let silence = &self.silences[kind as usize];
        let until_ns = silence.until_ns.load(Ordering::Relaxed);
        let speaks = now_ns >= until_ns
            && silence.until_ns.compare_exchange(until_ns, now_ns + SILENCE_NS, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if !speaks {
            silence.unsaid.fetch_add(1, Ordering::Relaxed);
            return;
        }
        match silence.unsaid.swap(0, Ordering::Relaxed) {
            0 => self.say(level, &text()),
            unsaid => {
                let more = format!("; {unsaid} more since the last such line");
                let text = line(&text(), TEXT_MAX - more.len().min(TEXT_MAX));
                self.say(level, &(text + &more));
            }
        }
    }

    /// The oldest record; before it, if some made way, one that counts them.
    pub fn next(&self) -> Option<Record> {
        let mut ring = self.ring.lock();
        match std::mem::take(&mut ring.lost) {
            0 => ring.records.pop_front(),
            lost => {
                let text = format!("{lost} records of the log were lost (call ingest_server_log_next more often)");
                Some(Record { level: Level::Warn, at_ns: ring.lost_at_ns, text })
            }
        }
    }
}

/// The text as one line of at most so many octets.
fn line(text: &str, most: usize) -> String {
    cut(text, most).chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// As many whole characters as fit into so many octets.
pub fn cut(text: &str, most: usize) -> &str {
    let mut length = text.len().min(most);
    while !text.is_char_boundary(length) {
        length -= 1;
    }
    &text[..length]
}

fn realtime_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(log: &Log) -> Vec<String> {
        std::iter::from_fn(|| log.next()).map(|record| record.text).collect()
    }

    #[test]
    fn what_is_lost_is_counted_before_what_is_left() {
        let log = Log::default();
        assert_eq!(log.next(), None);
        (0..RECORDS_MAX + 3).for_each(|number| log.say(Level::Info, &number.to_string()));
        let texts = texts(&log);
        assert_eq!(texts.len(), RECORDS_MAX + 1);
        assert!(texts[0].starts_with("3 records of the log were lost"), "{}", texts[0]);
        assert_eq!((texts[1].as_str(), texts[RECORDS_MAX].as_str()), ("3", "258"));
        log.say(Level::Info, "again");
        assert_eq!(log.next().map(|record| record.text), Some("again".to_owned()));
    }

    #[test]
    fn a_kind_is_silent_for_ten_seconds_and_then_counts() {
        let log = Log::default();
        let say = |at_ns, kind, text: &str| log.say_seldom_at(at_ns, kind, Level::Warn, || text.to_owned());
        say(5, Kind::Full, "first");
        say(6, Kind::Full, "second");
        say(7, Kind::Exhausted, "other kind");
        say(4 + SILENCE_NS, Kind::Full, "third");
        assert_eq!(texts(&log), ["first", "other kind"]);
        say(5 + SILENCE_NS, Kind::Full, &"x".repeat(TEXT_MAX));
        say(5 + 2 * SILENCE_NS, Kind::Full, "fifth");
        let texts = texts(&log);
        assert_eq!(texts[0].len(), TEXT_MAX);
        assert!(texts[0].ends_with("xx; 2 more since the last such line"), "{}", texts[0]);
        assert_eq!(texts[1], "fifth");
    }

    #[test]
    fn a_text_is_one_line_and_ends_at_a_character() {
        let log = Log::default();
        log.say(Level::Error, &format!("a\nb\0{}", "é".repeat(TEXT_MAX)));
        let text = log.next().expect("it was said").text;
        assert!(text.starts_with("a b é"), "{text}");
        assert_eq!(text.len(), TEXT_MAX);
        log.say(Level::Error, &format!("a{}", "é".repeat(TEXT_MAX)));
        assert_eq!(log.next().expect("it was said").text.len(), TEXT_MAX - 1);
    }
}
