//! Proves that a host may answer early, late, twice, from anywhere, or never, and that nothing worse than a status comes of it: the table in
//! `tests/behaviour/README.md`, played by a host in C against every delivery.

#[path = "behaviour/build.rs"]
mod build;
#[path = "behaviour/driver.rs"]
mod driver;
#[path = "abi/library.rs"]
mod library;
mod runner;
mod support;

use driver::{Library, SHAPES};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The host in C, built once against the library beside this test.
fn host() -> Command {
    static HOST: OnceLock<PathBuf> = OnceLock::new();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("behaviour");
    Command::new(HOST.get_or_init(|| build::host(&folder, &library::find(), &library::soname(), &[])))
}

fn play(name: &str) {
    let shape = SHAPES.iter().find(|shape| shape.name == name).unwrap_or_else(|| panic!("there is no shape {name}"));
    let played = driver::play(shape, &host, &Library { has: &build::has });
    assert!(played > 200, "only {played} trials were played");
}

macro_rules! shapes {
    ($($test:ident $name:literal),+ $(,)?) => {
        $(#[test]
        fn $test() {
            play($name);
        })+

        #[test]
        fn every_shape_is_played() {
            assert_eq!([$($name),+], SHAPES.map(|shape| shape.name));
        }
    };
}

shapes! {
    inline "inline",
    queue_with_one_consumer "queue, one consumer",
    queue_with_four_consumers "queue, four consumers",
    threads "threads",
    inline_on_shards "inline on shards",
    queue_with_one_consumer_on_shards "queue, one consumer, shards",
    queue_with_four_consumers_on_shards "queue, four consumers, shards",
    threads_on_shards "threads on shards",
    inline_cut_before_parse "inline, cut before parse",
    queue_with_four_consumers_cut_before_parse "queue, four consumers, cut before parse",
    threads_cut_before_parse "threads, cut before parse",
    inline_behind_an_acceptor "inline behind an acceptor",
    queue_with_four_consumers_on_a_shared_socket "queue, four consumers, one shared socket",
    turns_with_a_callback "turns with a callback",
    turns_with_a_queue "turns with a queue",
}

#[test]
fn every_row_is_known_to_the_host_and_no_other() {
    driver::compare_rows(&mut host());
}

/// What the table needs is built: a row that could not be played would be no proof.
#[test]
fn every_row_can_be_played() {
    let missing: Vec<String> = driver::table::read()
        .into_iter()
        .filter(|row| row.needs != "-" && !build::has(&row.needs))
        .map(|row| format!("{} needs {}", row.name, row.needs))
        .collect();
    assert!(missing.is_empty(), "this build cannot play every row: {missing:?}");
    assert!(build::has("events"), "this build has no events");
}
