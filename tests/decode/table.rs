//! The table in docs/decode.md is complete and true: each cell names a test that exists, or says why there is none.

use std::collections::BTreeSet;

#[test]
fn every_cell_names_a_test_that_exists() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/decode.md")).expect("docs/decode.md is there");
    let program = std::env::current_exe().expect("a test program knows where it lies");
    let listed = std::process::Command::new(program).args(["--list", "--format", "terse"]).output().expect("it can be started");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let tests: BTreeSet<&str> = listed.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    assert!(tests.len() > 40, "the list of tests cannot be read: {listed}");
    let mut named = BTreeSet::new();
    let (_, table) = text.split_once("## Attacks").expect("the table stands there");
    for row in table.lines().filter(|line| line.starts_with("| ") && line.contains('`')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).skip(1).collect();
        for cell in cells {
            let Some(test) = cell.split('`').nth(1) else {
                assert!(cell.starts_with('(') && cell.len() > 8, "a cell without a test says why: {cell:?} in {row}");
                continue;
            };
            assert!(tests.contains(test), "there is no test {test}");
            named.insert(test);
        }
    }
    let unnamed: Vec<_> = tests.iter().filter(|test| test.starts_with("attacks::") && !named.contains(*test)).collect();
    assert!(unnamed.is_empty(), "these stand in no cell: {unnamed:?}");
}
