//! Where the shared library under test lies, and under which name a loader looks for it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The shared library that cargo built beside this test, or builds now into the same folder.
pub fn find() -> PathBuf {
    let test = std::env::current_exe().expect("this test has a path");
    let dependencies = test.parent().expect("it lies in a folder");
    let profile = dependencies.parent().expect("which lies in that of the profile");
    let candidates = [dependencies.join("libingest.so"), profile.join("libingest.so")];
    if let Some(found) = candidates.iter().find(|path| path.exists()) {
        return found.clone();
    }
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--lib", "--manifest-path"]).arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    build.arg("--target-dir").arg(profile.parent().expect("the target folder"));
    if profile.file_name().is_some_and(|name| name == "release") {
        build.arg("--release");
    }
    assert!(build.status().expect("cargo runs").success(), "cargo build --lib failed");
    candidates.iter().find(|path| path.exists()).cloned().expect("cargo build --lib makes libingest.so")
}

/// `libingest.so.0.MINOR` before 1.0, then `libingest.so.MAJOR` (build.rs).
pub fn soname() -> String {
    match (env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR")) {
        ("0", minor) => format!("libingest.so.0.{minor}"),
        (major, _) => format!("libingest.so.{major}"),
    }
}
