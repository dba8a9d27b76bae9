//! Hosts that are late, wrong, hostile or dying: rows H of the fault matrix (docs/faults/hosts.md), each test named after its row.

#[path = "abi/library.rs"]
mod library;
mod runner;
mod support;

#[path = "faults_hosts/arguments.rs"]
mod arguments;
#[path = "faults_hosts/callbacks.rs"]
mod callbacks;
#[path = "faults_hosts/lives.rs"]
mod lives;
#[path = "faults_hosts/memory.rs"]
mod memory;
#[path = "faults_hosts/overload.rs"]
mod overload;
#[path = "faults_hosts/process.rs"]
mod process;
#[path = "faults_hosts/program.rs"]
mod program;
#[path = "faults_hosts/tokens.rs"]
mod tokens;

/// How many, in the full profile and in the quick one.
fn many(full: usize, quick: usize) -> usize {
    if std::env::var("INGEST_TEST_PROFILE").is_ok_and(|profile| profile == "full") { full } else { quick }
}
