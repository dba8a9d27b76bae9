//! The cases of PyPI's `multipart-form-data-conformance`, which a script sends from a virtual environment under the target folder.

use super::support::host::{Delivery, Server};
use super::view::{Seen, watching};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Pinned, with everything that they bring.
const PACKAGES: [&str; 6] = [
    "multipart-form-data-conformance==0.1a0",
    "requests==2.32.4",
    "urllib3==2.5.0",
    "certifi==2025.8.3",
    "charset-normalizer==3.4.3",
    "idna==3.10",
];

pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error} (tests/run installs what is needed)"));
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{command:?} failed ({}):\n{out}\n{err}", output.status);
    out
}

/// A Python with those packages. It is made once, and again when their list has changed.
pub fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("forms-python");
        let (python, mark) = (folder.join("bin/python"), folder.join("packages"));
        let wanted = PACKAGES.join("\n");
        if std::fs::read_to_string(&mark).is_ok_and(|have| have == wanted) {
            return python;
        }
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]).args(PACKAGES));
        std::fs::write(mark, wanted).expect("the folder was made");
        python
    })
}

pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/forms").join(name)
}

#[test]
fn every_case_of_the_suite_but_five() {
    // Whether bodies are in memory or in files.
    for options in [&[][..], &[("body", "spool"), ("body_buffer_max", "0")]] {
        let server = Server::serve(options, Delivery::Queue(1), watching(&Seen::default()));
        let report = run(Command::new(python()).arg(script("conformance.py")).arg(server.port().to_string()));
        assert!(report.starts_with("58 cases, 5 left out, 0 failures"), "{report}");
        assert_eq!(server.stats().bodies_spooled > 40, !options.is_empty());
        server.finish();
    }
}
