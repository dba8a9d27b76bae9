//! Builds `tests/faults/host.c` against the library beside this test, and starts it.

use crate::library;
use crate::runner::Server;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The host, built once.
pub fn host() -> Command {
    static HOST: OnceLock<PathBuf> = OnceLock::new();
    Command::new(HOST.get_or_init(|| build("host", &["tests/faults/host.c"], &library::find())))
}

/// The same host with a library as it is shipped, without debug assertions: with them std itself ends the process when a descriptor that it
/// closes was closed before.
pub fn shipped_host() -> Command {
    static HOST: OnceLock<PathBuf> = OnceLock::new();
    Command::new(HOST.get_or_init(|| build("shipped_host", &["tests/faults/host.c"], &shipped_library())))
}

fn shipped_library() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shipped");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--lib", "--config", "profile.dev.debug-assertions=false"]);
    cargo.arg("--manifest-path").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).arg("--target-dir").arg(&target);
    let output = cargo.output().expect("cargo can be started");
    assert!(output.status.success(), "cargo build:\n{}", String::from_utf8_lossy(&output.stderr));
    target.join("debug/libingest.so")
}

/// Compiles a program in a folder of its own, with a copy of the library beside it so that no build in between can exchange it.
pub fn build(name: &str, sources: &[&str], library: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults_hosts").join(name);
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    let copy = folder.join(library::soname());
    std::fs::copy(library, &copy).expect("the library can be copied");
    let program = folder.join(name);
    let output = Command::new("cc")
        .args(["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"])
        .arg(format!("-I{}", root.join("include").display()))
        .args(sources.iter().map(|source| root.join(source)))
        .arg(&copy)
        .arg(format!("-Wl,-rpath,{}", folder.display()))
        .arg("-o")
        .arg(&program)
        .output()
        .unwrap_or_else(|error| panic!("cannot run cc: {error} (apt-get install gcc libc6-dev)"));
    assert!(output.status.success(), "cc:\n{}", String::from_utf8_lossy(&output.stderr));
    program
}

/// The host with these arguments, listening.
pub fn start(arguments: &[&str]) -> Server {
    Server::start(host().args(arguments), 1)
}
