//! The real connection code on an engine in memory, driven by seeds: whatever peers and host do in whatever order, the promises hold.

mod support;

#[path = "simulate/answers.rs"]
mod answers;
#[path = "simulate/client.rs"]
mod client;
#[path = "simulate/deadlines.rs"]
mod deadlines;
#[path = "simulate/found.rs"]
mod found;
#[path = "simulate/host.rs"]
mod host;
#[path = "simulate/misuse.rs"]
mod misuse;
#[path = "simulate/plan.rs"]
mod plan;
#[path = "simulate/scenario.rs"]
mod scenario;
#[path = "simulate/script.rs"]
mod script;
#[path = "simulate/uploads.rs"]
mod uploads;
#[path = "simulate/world.rs"]
mod world;

use scenario::Scenario;
use std::ops::Range;

/// One seed: a run in which anything may happen, or a calm one whose octets are split in two ways, with the same result.
fn play(seed: u64, trace: bool) -> Result<(), String> {
    if seed % 3 != 0 {
        return world::run(Scenario::draw(seed, false), seed, trace).map(|_| ());
    }
    let first = world::run(Scenario::draw(seed, true), seed, trace)?;
    let second = world::run(Scenario::draw(seed, true), seed ^ (1 << 40), trace)?;
    if first.delivered != second.delivered {
        let ids: [Vec<&u32>; 2] = [&first, &second].map(|outcome| outcome.delivered.keys().collect());
        return Err(format!("split in another way, the same octets became other requests: {ids:?}"));
    }
    if first.answers != second.answers {
        let mut pairs = first.answers.iter().zip(&second.answers).enumerate();
        let other = pairs.find(|(_, (first, second))| first != second).map(|(client, (first, second))| {
            let ids = [first, second].map(|answers| answers.iter().map(|answer| (answer.status, answer.id)).collect::<Vec<_>>());
            format!("client {client}: {ids:?}")
        });
        return Err(format!("split in another way, the same octets got other answers: {other:?}"));
    }
    Ok(())
}

/// The seed of a replay; nothing else is played then.
fn asked_for() -> Option<u64> {
    let seed = std::env::var("INGEST_SIM_SEED").ok()?;
    Some(seed.parse().expect("INGEST_SIM_SEED is a number"))
}

fn play_all(seeds: Range<u64>) {
    if asked_for().is_some() {
        return;
    }
    let mut failed = Vec::new();
    for seed in seeds {
        let played = std::panic::catch_unwind(|| play(seed, false)).unwrap_or_else(|_| Err("a panic".into()));
        if let Err(wrong) = played {
            failed.push(format!(
                "seed {seed} failed: {wrong}; replay it with: INGEST_SIM_SEED={seed} cargo test --test simulate -- --nocapture"
            ));
        }
    }
    assert!(failed.is_empty(), "\n{} seeds failed:\n{}\n", failed.len(), failed[..failed.len().min(10)].join("\n"));
}

#[test]
fn a_hundred_seeds() {
    play_all(1..101);
}

#[test]
fn the_seeds_of_this_profile() {
    let full = std::env::var("INGEST_TEST_PROFILE").is_ok_and(|profile| profile == "full");
    play_all(101..if full { 10_001 } else { 301 });
}

/// `INGEST_SIM_SEED=N` prints what happens in that run.
#[test]
fn the_seed_that_was_asked_for() {
    let Some(seed) = asked_for() else { return };
    if let Err(wrong) = play(seed, true) {
        panic!("seed {seed} failed: {wrong}");
    }
}
