//! Proves that the committed `include/ingest.h` is what the source says, and that it compiles as C11 and as C++17 without a warning.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The sources of the header, in the order in which it shows them.
const SOURCES: [&str; 13] = [
    "src/status.rs",
    "src/request.rs",
    "src/ffi/version.rs",
    "src/ffi/options.rs",
    "src/ffi/server.rs",
    "src/ffi/listen.rs",
    "src/ffi/life.rs",
    "src/ffi/observe.rs",
    "src/ffi/queue.rs",
    "src/ffi/packed.rs",
    "src/ffi/request.rs",
    "src/ffi/respond.rs",
    "src/ffi/stream.rs",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn generate() -> String {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).expect("cbindgen.toml can be read");
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(root().join(source));
    }
    let mut octets = Vec::new();
    builder.generate().expect("cbindgen understands the sources").write(&mut octets);
    String::from_utf8(octets).expect("the header is UTF-8")
}

#[test]
fn the_committed_header_is_what_the_source_says() {
    let path = root().join("include/ingest.h");
    let generated = generate();
    if std::env::var_os("INGEST_BLESS").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(root().join("include")).expect("the folder can be made");
        std::fs::write(&path, &generated).expect("the header can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    if committed == generated {
        return;
    }
    let different = committed.lines().zip(generated.lines()).position(|(left, right)| left != right);
    let line = different.unwrap_or_else(|| committed.lines().count().min(generated.lines().count()));
    panic!(
        "include/ingest.h differs from the source at line {}:\n  committed: {}\n  generated: {}\n\
         run INGEST_BLESS=1 cargo test --test header, and look at the difference",
        line + 1,
        committed.lines().nth(line).unwrap_or("(end)"),
        generated.lines().nth(line).unwrap_or("(end)"),
    );
}

#[test]
fn every_file_of_the_face_is_in_the_header() {
    for entry in std::fs::read_dir(root().join("src/ffi")).expect("src/ffi can be listed") {
        let name = entry.expect("an entry").file_name();
        let name = format!("src/ffi/{}", name.to_string_lossy());
        if name.ends_with(".rs") && !name.ends_with("/mod.rs") && !name.ends_with("/boundary.rs") {
            assert!(SOURCES.contains(&name.as_str()), "{name} is missing in SOURCES of tests/header.rs (add it in header order)");
        }
    }
}

/// Compiles a program that includes the header twice and uses what a host would.
fn compile(compiler: &str, language: &str, standard: &str) {
    let program = "#include <ingest.h>\n#include <ingest.h>\n\
        static void take(void *u, ingest_server *s, const ingest_event *e, size_t n) { (void)u; (void)s; (void)e; (void)n; }\n\
        int main(void) {\n\
          ingest_response response = { sizeof(ingest_response), 200, INGEST_RESPONSE_CLOSE, NULL, 0, { NULL, 0 }, 0, 0, 0 };\n\
          ingest_on_events callback = take;\n\
          ingest_status status = INGEST_E_GONE;\n\
          return (int)(response.status + (callback == NULL) + (status == INGEST_OK)) == 200 ? 0 : 1;\n\
        }\n";
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let source = folder.join(format!("header_{standard}.{language}").replace("++", "pp"));
    std::fs::write(&source, program).expect("the program can be written");
    let output = Command::new(compiler)
        .args([
            &format!("-std={standard}"),
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Wconversion",
            "-Wstrict-overflow",
            "-Werror",
            "-fsyntax-only",
        ])
        .arg(format!("-I{}", root().join("include").display()))
        .arg(&source)
        .output()
        .unwrap_or_else(|error| panic!("cannot run {compiler}: {error} (install a C and a C++ compiler)"));
    assert!(output.status.success(), "{compiler} -std={standard}:\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn it_compiles_as_c11() {
    compile("cc", "c", "c11");
}

#[test]
fn it_compiles_as_cpp17() {
    compile("c++", "cpp", "c++17");
}
