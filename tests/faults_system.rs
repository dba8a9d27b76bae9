//! The rows of the fault matrix about the system (S01 to S24): each is made to happen, and each test is named after its row.

#[path = "abi/library.rs"]
mod library;
mod support;

#[path = "faults_system/accepting.rs"]
mod accepting;
#[path = "faults_system/calls.rs"]
mod calls;
#[path = "faults_system/clocks.rs"]
mod clocks;
#[path = "faults_system/descriptors.rs"]
mod descriptors;
#[path = "faults_system/forks.rs"]
mod forks;
#[path = "faults_system/memory.rs"]
mod memory;
#[path = "faults_system/processes.rs"]
mod processes;
#[path = "faults_system/starting.rs"]
mod starting;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use support::guest_process::{self, Guest};
use support::secured;

/// Refuses memory for S09, and is the system's allocator otherwise.
#[global_allocator]
static ALLOCATOR: memory::Refusing = memory::Refusing;

/// Whether the numbers of the issue are asked for, or small ones.
pub fn full() -> bool {
    std::env::var("INGEST_TEST_PROFILE").is_ok_and(|profile| profile == "full")
}

/// A program of `tests/faults`, built once a run.
pub fn program(name: &'static str, flags: &[&'static str]) -> PathBuf {
    static BUILT: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let key = format!("{name} {flags:?}");
    built.entry(key).or_insert_with(|| guest_process::build(name, &library::find(), &library::soname(), flags)).clone()
}

/// `serve` on loopback behind a wrapper, once it serves.
pub fn serve(wrapper: &[String], options: &[&str]) -> Guest {
    let mut arguments = vec!["http://127.0.0.1:0"];
    arguments.extend_from_slice(options);
    Guest::serving(wrapper, &program("serve", &[]), &arguments, &[])
}

/// The same with a second port, for TLS. What is no option is one more address.
pub fn serve_both(wrapper: &[String], options: &[&str], environment: &[(&str, &str)]) -> Guest {
    let pair = secured::options().map(|(name, text)| format!("{name}={text}"));
    let (options, more): (Vec<&str>, Vec<&str>) = options.iter().partition(|option| option.contains('='));
    let addresses = [&["http://127.0.0.1:0", "https://127.0.0.1:0"][..], &more].concat().join(",");
    let arguments = [&[addresses.as_str(), &pair[0], &pair[1]][..], &options].concat();
    let guest = Guest::serving(wrapper, &program("serve", &[]), &arguments, environment);
    secured::note(guest.port(1), true);
    guest
}

/// Words as a wrapper.
pub fn behind(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| word.to_string()).collect()
}

pub fn strings(path: &Path) -> String {
    path.display().to_string()
}

/// A copy of a program with its library where every user can read it.
pub fn for_everybody(program: &Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let folder = std::env::temp_dir().join(format!("ingest-faults-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    for entry in program.parent().expect("it lies in a folder").read_dir().expect("it can be read") {
        let from = entry.expect("an entry").path();
        let to = folder.join(from.file_name().expect("a name"));
        std::fs::copy(&from, &to).expect("it can be copied");
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    folder.join(program.file_name().expect("a name"))
}
