//! A Python with pinned packages, in a virtual environment under the target folder, and programs that have to succeed.

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
