//! Builds the behaviour host in C, and asks what the library can do.

use crate::support::host;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCES: [&str; 6] = ["host.c", "trials.c", "memory.c", "answers.c", "rows.c", "streams.c"];

/// Compiles the host into the folder, with a copy of the library beside it so that no build in between can exchange it.
pub fn host(folder: &Path, library: &Path, soname: &str, flags: &[&str]) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::create_dir_all(folder).expect("the folder can be made");
    let copy = folder.join(soname);
    std::fs::copy(library, &copy).unwrap_or_else(|error| panic!("cannot copy {}: {error}", library.display()));
    let program = folder.join("host");
    let output = Command::new("cc")
        .args(["-std=c11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"])
        .args(flags)
        .arg(format!("-I{}", root.join("include").display()))
        .args(SOURCES.map(|source| root.join("tests/behaviour").join(source)))
        .arg(&copy)
        .arg(format!("-Wl,-rpath,{}", folder.display()))
        .arg("-o")
        .arg(&program)
        .output()
        .unwrap_or_else(|error| panic!("cannot run cc: {error} (install a C compiler)"));
    assert!(output.status.success(), "cc:\n{}", String::from_utf8_lossy(&output.stderr));
    program
}

/// `ingest_has`, and `events` for the option of that name.
pub fn has(feature: &str) -> bool {
    match feature {
        "events" => host::Options::new(&[]).set("events", "all").is_ok(),
        _ => host::has(feature),
    }
}
