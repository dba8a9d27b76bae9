//! The cases of PyPI's `multipart-form-data-conformance`.

use super::support::host::{Delivery, Server};
use super::view::{Seen, watching};
use std::path::{Path, PathBuf};
use std::process::Command;

pub use super::support::python::{python, run};

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
