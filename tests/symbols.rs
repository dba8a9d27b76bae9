//! Proves that the shared library exports exactly the functions of the ledger `tests/symbols.txt`, nothing else, under the right soname.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::Command;

#[path = "abi/library.rs"]
mod library;

/// Name and the version in which it came, one function a line; lines that start with # are comments.
fn ledger() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/symbols.txt")).expect("the ledger is committed");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, since) = line.split_once(' ').unwrap_or_else(|| panic!("the ledger line {line:?} is not: name since"));
            (name.to_owned(), since.to_owned())
        })
        .collect()
}

fn tool(name: &str, arguments: &[&str], library: &Path) -> String {
    let output = Command::new(name)
        .args(arguments)
        .arg(library)
        .output()
        .unwrap_or_else(|error| panic!("cannot run {name}: {error} (install the binary utilities, binutils)"));
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("plain text")
}

#[test]
fn the_library_exports_the_ledger_and_nothing_else() {
    let symbols = tool("nm", &["-D", "--defined-only"], &library::find());
    let mut exported: Vec<&str> = symbols.lines().filter_map(|line| line.split_whitespace().next_back()).collect();
    exported.sort_unstable();
    let ledger = ledger();
    let mut listed: Vec<&str> = ledger.iter().map(|(name, _)| name.as_str()).collect();
    listed.sort_unstable();
    for name in &exported {
        assert!(name.starts_with("ingest_"), "{name} is exported, but only ingest_* may be");
        assert!(listed.contains(name), "{name} is exported but not in tests/symbols.txt (add it with the version in which it comes)");
    }
    for name in &listed {
        assert!(exported.contains(name), "{name} is in tests/symbols.txt but not exported: a released function cannot be taken away");
    }
    assert_eq!(exported, listed, "a name stands twice");
}

#[test]
fn symbols_are_functions() {
    for line in tool("nm", &["-D", "--defined-only"], &library::find()).lines() {
        assert_eq!(line.split_whitespace().nth(1), Some("T"), "{line}: only functions are exported, no variables");
    }
}

#[test]
fn the_soname_carries_the_version() {
    let dynamic = tool("readelf", &["-d", "-W"], &library::find());
    let soname = library::soname();
    assert!(dynamic.contains(&format!("[{soname}]")), "no soname {soname} in:\n{dynamic}");
    assert!(dynamic.contains("NODELETE"), "the library is not linked with -z nodelete:\n{dynamic}");
}

#[test]
fn the_ledger_and_the_header_name_the_same_functions() {
    let header = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("include/ingest.h")).expect("the header is committed");
    let mut since = "";
    let mut declared = Vec::new();
    for line in header.lines() {
        if let Some(version) = line.strip_prefix("// Since: ") {
            since = version;
        } else if !line.starts_with(['/', '#', ' ']) && !line.starts_with("typedef") {
            if let Some((before, _)) = line.split_once('(') {
                let name = before.rsplit([' ', '*']).next().unwrap_or(before);
                declared.push((name.to_owned(), since.to_owned()));
            }
        }
    }
    assert_eq!(declared, ledger(), "left is include/ingest.h, right is tests/symbols.txt (same order, same versions)");
}

/// A host may bring another zlib, brotli or zstd; two copies of a C library in one process crash it. Our decoders are Rust alone.
#[test]
fn no_c_library_for_decoding_comes_along() {
    let archive = library::find().with_file_name("libingest.a");
    let archive = if archive.exists() { archive } else { library::find().parent().expect("a folder").join("../libingest.a") };
    let symbols = tool("nm", &["-g", "--defined-only"], &archive);
    assert!(symbols.contains("ingest_server_new"), "the archive can be read");
    // Lines of one word name a member of the archive.
    let names = symbols.lines().filter(|line| line.contains(' ')).filter_map(|line| line.split_whitespace().next_back());
    let prefixes = ["inflate", "deflate", "crc32", "adler32", "uncompress", "gz", "zlib", "Brotli", "ZSTD_", "HUF_", "FSE_", "XXH"];
    let foreign: Vec<&str> = names.filter(|name| prefixes.iter().any(|prefix| name.starts_with(prefix))).collect();
    assert!(foreign.is_empty(), "libingest.a defines {foreign:?}");
}
