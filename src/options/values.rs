//! How the text of an option becomes a value: durations, sizes, counts, switches, words, and the nearest name to a wrong one.
#![forbid(unsafe_code)]

use super::table::{Row, Store};
use super::{Options, Spin};

/// What kind of text an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `250ms`, `30s`, `5m`, `1h`.
    Duration,
    /// Octets, or with a unit: `64KiB`, `16MiB`.
    Size,
    /// A number.
    Count,
    /// `on` or `off`.
    Switch,
    /// One of the words in the row's choices.
    Choice,
    /// Anything that the option's help describes.
    Text,
}

impl Kind {
    /// The name that `ingest_option_describe` gives.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Duration => "duration",
            Kind::Size => "size",
            Kind::Count => "count",
            Kind::Switch => "switch",
            Kind::Choice => "choice",
            Kind::Text => "text",
        }
    }
}

/// Parses, checks the range, and stores; the error says what the option takes.
pub(super) fn store(row: &Row, options: &mut Options, value: &str) -> Result<(), String> {
    match row.store {
        Store::Number { least, most, word, set } => {
            if let Some((text, number)) = word {
                if value == text {
                    set(options, number);
                    return Ok(());
                }
            }
            let number = number(row.kind, value)?;
            if number < least {
                let or = word.map_or(String::new(), |(text, _)| format!(", or the word {text}"));
                return Err(format!("it must be at least {}{or}", written(row.kind, least)));
            }
            if number > most {
                let or = word.map_or(String::new(), |(text, _)| format!(", or the word {text}"));
                return Err(format!("it can be at most {}{or}", written(row.kind, most)));
            }
            set(options, number);
            Ok(())
        }
        Store::Text(set) => set(options, value),
        Store::Unbuilt => Ok(()),
    }
}

fn number(kind: Kind, value: &str) -> Result<u64, String> {
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (figure, unit) = value.split_at(digits);
    let (factor, wanted) = match kind {
        Kind::Duration => (duration_unit(unit), "a duration is a whole number and a unit: 250ms, 30s, 5m or 1h"),
        Kind::Size => (size_unit(unit), "a size is a whole number of octets, or one with a unit: 64KiB, 16MiB or 1GiB"),
        Kind::Count | Kind::Switch | Kind::Choice | Kind::Text => {
            (if unit.is_empty() { Some(1) } else { None }, "a count is a whole number")
        }
    };
    let factor = factor.filter(|_| digits > 0).ok_or_else(|| wanted.to_owned())?;
    figure.parse::<u64>().ok().and_then(|figure| figure.checked_mul(factor)).ok_or_else(|| "the number is too large".to_owned())
}

fn duration_unit(unit: &str) -> Option<u64> {
    match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    }
}

fn size_unit(unit: &str) -> Option<u64> {
    match unit {
        "" => Some(1),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        "TiB" => Some(1 << 40),
        _ => None,
    }
}

/// A bound as the host would write it.
fn written(kind: Kind, number: u64) -> String {
    let units: &[(u64, &str)] = match kind {
        Kind::Duration => &[(3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")],
        Kind::Size => &[(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")],
        _ => &[],
    };
    match units.iter().find(|(factor, _)| number >= *factor && number % factor == 0) {
        Some((factor, unit)) => format!("{}{unit}", number / factor),
        None => match kind {
            Kind::Duration => format!("{number}ms"),
            _ => number.to_string(),
        },
    }
}

/// Picks the value of a word, or says which words there are.
pub(super) fn choose<T: Copy>(value: &str, words: &[(&str, T)]) -> Result<T, String> {
    match words.iter().find(|(word, _)| *word == value) {
        Some((_, choice)) => Ok(*choice),
        None => {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            Err(format!("it is one of {}", known.join(", ")))
        }
    }
}

/// Any text but one with a NUL in it, which no file name has.
pub(super) fn kept(value: &str) -> Result<String, String> {
    if value.contains('\0') { Err("it has a NUL in it".to_owned()) } else { Ok(value.to_owned()) }
}

/// Longest time that a thread may be told to look for work before it sleeps.
const SPIN_CEILING_MICROSECONDS: u32 = 10_000;

/// `auto`, `off`, or microseconds as in `30us`.
pub(super) fn spin(value: &str) -> Result<Spin, String> {
    match value {
        "auto" => Ok(Spin::Auto),
        "off" => Ok(Spin::Off),
        _ => match value.strip_suffix("us").filter(|digits| digits.bytes().all(|octet| octet.is_ascii_digit())).map(str::parse::<u32>) {
            Some(Ok(microseconds)) if (1..=SPIN_CEILING_MICROSECONDS).contains(&microseconds) => Ok(Spin::Microseconds(microseconds)),
            _ => Err(format!("it is auto, off, or a time from 1us to {SPIN_CEILING_MICROSECONDS}us")),
        },
    }
}

/// Host text in an error message: no control characters, and short enough that the reason still fits behind it.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 48;
    let mut shown: String = text.chars().take(MOST).map(|character| if character.is_control() { '?' } else { character }).collect();
    if text.chars().nth(MOST).is_some() {
        shown.push_str("...");
    }
    shown
}

/// How many single-letter edits lie between two names (Levenshtein), by the usual table of which only one row is kept.
pub(super) fn distance(known: &str, given: &str) -> usize {
    const MOST: usize = 64;
    let given: Vec<u8> = given.bytes().take(MOST).collect();
    let mut row: Vec<usize> = (0..=given.len()).collect();
    for (line, left) in known.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, right) in given.iter().enumerate() {
            let above = row[column + 1];
            let replace = diagonal + usize::from(left != *right);
            row[column + 1] = replace.min(above + 1).min(row[column] + 1);
            diagonal = above;
        }
    }
    row[given.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        for (left, right, edits) in [("", "", 0), ("abc", "", 3), ("", "abc", 3), ("kitten", "sitting", 3), ("same", "same", 0)] {
            assert_eq!(distance(left, right), edits, "{left} {right}");
        }
    }

    #[test]
    fn bounds_are_written_as_a_host_would() {
        assert_eq!(written(Kind::Duration, 90_000), "90s");
        assert_eq!(written(Kind::Duration, 0), "0ms");
        assert_eq!(written(Kind::Size, 65_536), "64KiB");
        assert_eq!(written(Kind::Size, 1000), "1000");
        assert_eq!(written(Kind::Count, 1024), "1024");
    }

    #[test]
    fn shown_text_is_short_and_printable() {
        assert_eq!(shown("a\nb"), "a?b");
        assert_eq!(shown(&"x".repeat(100)).len(), 51);
    }
}
