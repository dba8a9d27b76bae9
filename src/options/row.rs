//! One row of the table of options: what is known of an option, and the few ways in which a row is written.
#![forbid(unsafe_code)]

use super::Options;
use super::values::Kind;
use crate::limits::UNLIMITED;

/// May be changed while the server runs.
pub const LIVE: u32 = 1;
/// May be overridden for one listener.
pub const LISTENER: u32 = 2;
/// Known, but nothing reads it yet: only its default is taken.
pub const UNBUILT: u32 = 4;

/// Where the parsed value of a row goes.
#[derive(Clone, Copy)]
pub enum Store {
    Number { least: u64, most: u64, word: Option<(&'static str, u64)>, set: fn(&mut Options, u64) },
    Text(fn(&mut Options, &str) -> Result<(), String>),
    Unbuilt,
}

/// One option.
#[derive(Clone, Copy)]
pub struct Row {
    pub name: &'static str,
    pub kind: Kind,
    /// The default as a host would write it.
    pub default: &'static str,
    /// `LIVE`, `LISTENER`, `UNBUILT`.
    pub flags: u32,
    /// The words of a choice, or the word that a number may be replaced by; commas between.
    pub choices: &'static str,
    /// One line for people.
    pub help: &'static str,
    pub store: Store,
}

pub(super) const MIB: u64 = 1 << 20;
pub(super) const TIB: u64 = 1 << 40;
/// The longest timeout that can be set; what should never end says `unlimited`.
pub(super) const DAY_MS: u64 = 86_400_000;
pub(super) const NO_LIMIT: Option<(&str, u64)> = Some(("unlimited", UNLIMITED));
/// A least rate is lifted by a rate of nothing.
pub(super) const NO_RATE: Option<(&str, u64)> = Some(("unlimited", 0));
/// The library works the value out; in the struct that is zero.
pub(super) const AUTO: Option<(&str, u64)> = Some(("auto", 0));

/// Switched off by that word; in the struct that is zero.
pub(super) const OFF: Option<(&str, u64)> = Some(("off", 0));

pub(super) type Bounds = (u64, u64, Option<(&'static str, u64)>);

pub(super) const fn number(
    kind: Kind,
    name: &'static str,
    default: &'static str,
    bounds: Bounds,
    set: fn(&mut Options, u64),
    help: &'static str,
) -> Row {
    let (least, most, word) = bounds;
    let choices = match word {
        Some((text, _)) => text,
        None => "",
    };
    Row { name, kind, default, flags: 0, choices, help, store: Store::Number { least, most, word, set } }
}

pub(super) const fn duration(
    name: &'static str,
    default: &'static str,
    bounds: Bounds,
    set: fn(&mut Options, u64),
    help: &'static str,
) -> Row {
    number(Kind::Duration, name, default, bounds, set, help)
}

pub(super) const fn size(name: &'static str, default: &'static str, bounds: Bounds, set: fn(&mut Options, u64), help: &'static str) -> Row {
    number(Kind::Size, name, default, bounds, set, help)
}

pub(super) const fn count(
    name: &'static str,
    default: &'static str,
    bounds: Bounds,
    set: fn(&mut Options, u64),
    help: &'static str,
) -> Row {
    number(Kind::Count, name, default, bounds, set, help)
}

pub(super) const fn word(
    name: &'static str,
    default: &'static str,
    choices: &'static str,
    set: fn(&mut Options, &str) -> Result<(), String>,
    help: &'static str,
) -> Row {
    Row { name, kind: Kind::Choice, default, flags: 0, choices, help, store: Store::Text(set) }
}

pub(super) const fn text(
    name: &'static str,
    default: &'static str,
    choices: &'static str,
    set: fn(&mut Options, &str) -> Result<(), String>,
    help: &'static str,
) -> Row {
    Row { kind: Kind::Text, ..word(name, default, choices, set, help) }
}

pub(super) const fn switch(
    name: &'static str,
    default: &'static str,
    set: fn(&mut Options, &str) -> Result<(), String>,
    help: &'static str,
) -> Row {
    Row { kind: Kind::Switch, ..word(name, default, "on,off", set, help) }
}

pub(super) const fn unbuilt(kind: Kind, name: &'static str, default: &'static str, choices: &'static str, help: &'static str) -> Row {
    Row { name, kind, default, flags: UNBUILT, choices, help, store: Store::Unbuilt }
}

pub(super) const fn of_listener(mut row: Row) -> Row {
    row.flags |= LISTENER;
    row
}

pub(super) const fn live(mut row: Row) -> Row {
    row.flags |= LIVE;
    row
}
