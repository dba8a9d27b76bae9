//! Proves that docs/faults is complete and true: every row of the fault matrix has an entry, every test that it names exists, and every
//! change that is to break one can be applied. That the changes do break them is for `tests/mutations` to show.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The files, the letter of their rows, and how many rows there are.
const FILES: [(&str, char, usize); 3] = [("system.md", 'S', 24), ("peers.md", 'N', 22), ("hosts.md", 'H', 26)];
/// Entries that are no rows of the matrix: what the simulator has to find, and the limits that a peer can cross.
const SIMULATOR: &str = "simulate.md";
const LIMITS: &str = "limits.md";

struct Entry {
    row: String,
    title: String,
    /// Target and function.
    tests: Vec<(String, String)>,
    changes: Vec<Change>,
}

struct Change {
    file: String,
    old: String,
    new: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The texts between backticks, if the line is made of `parts` with such texts between them.
fn quoted(line: &str, parts: &[&str]) -> Option<Vec<String>> {
    let mut rest = line.strip_prefix(parts[0])?;
    let mut found = Vec::new();
    for part in &parts[1..] {
        let (text, behind) = rest.strip_prefix('`')?.split_once('`')?;
        found.push(text.to_string());
        rest = behind.strip_prefix(part)?;
    }
    rest.is_empty().then_some(found)
}

/// The entries of a text, and what cannot be read in it.
fn parse(text: &str) -> (Vec<Entry>, Vec<String>) {
    let (mut entries, mut wrong): (Vec<Entry>, Vec<String>) = (Vec::new(), Vec::new());
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            let (row, title) = heading.split_once(' ').unwrap_or((heading, ""));
            entries.push(Entry { row: row.into(), title: title.into(), tests: Vec::new(), changes: Vec::new() });
        } else if line.starts_with("- test:") || line.starts_with("- breaks:") {
            let Some(entry) = entries.last_mut() else {
                wrong.push(format!("it stands before the first entry: {line}"));
                continue;
            };
            if let Some(test) = quoted(line, &["- test: ", " ", ""]) {
                entry.tests.push((test[0].clone(), test[1].clone()));
            } else if let Some(change) = quoted(line, &["- breaks: ", ": ", " becomes ", ""]) {
                if entry.tests.is_empty() {
                    wrong.push(format!("{}: a change stands before its test", entry.row));
                }
                entry.changes.push(Change { file: change[0].clone(), old: change[1].clone(), new: change[2].clone() });
            } else {
                wrong.push(format!("{}: cannot be read (docs/faults.md shows the form): {line}", entry.row));
            }
        }
    }
    (entries, wrong)
}

fn entries_of(file: &str) -> Vec<Entry> {
    let path = root().join("docs/faults").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("docs/faults/{file}: {error}"));
    let (entries, wrong) = parse(&text);
    assert!(wrong.is_empty(), "docs/faults/{file}:\n  {}", wrong.join("\n  "));
    entries
}

fn expect_none(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{} found:\n  {}\n", wrong.len(), wrong.join("\n  "));
}

/// Rows that are missing, doubled, unknown, or neither tested nor waiting for something.
fn rows(file: &str) {
    let (_, letter, count) = FILES.into_iter().find(|(name, _, _)| *name == file).expect("one of the three");
    let entries = entries_of(file);
    let mut wrong = Vec::new();
    let wanted: BTreeSet<String> = (1..=count).map(|number| format!("{letter}{number:02}")).collect();
    let mut seen = BTreeMap::new();
    for entry in &entries {
        *seen.entry(entry.row.clone()).or_insert(0) += 1;
        if !wanted.contains(&entry.row) {
            wrong.push(format!("docs/faults/{file}: {} is no row of the matrix", entry.row));
        }
        let waits = entry.title.starts_with('(');
        if waits != entry.tests.is_empty() {
            wrong.push(format!("docs/faults/{file}: {} has to name a test, or say `({})` and what it waits for", entry.row, entry.row));
        }
        if !waits && entry.changes.is_empty() {
            wrong.push(format!("docs/faults/{file}: {} does not say which change breaks it", entry.row));
        }
        let start = format!("{}_", entry.row.to_lowercase());
        for (_, test) in entry.tests.iter().filter(|(_, test)| !test.starts_with(&start)) {
            wrong.push(format!("docs/faults/{file}: the name of {test} has to begin with {start}"));
        }
    }
    wrong.extend(wanted.iter().filter(|row| !seen.contains_key(*row)).map(|row| format!("docs/faults/{file}: {row} has no entry")));
    wrong.extend(seen.iter().filter(|(_, count)| **count > 1).map(|(row, _)| format!("docs/faults/{file}: {row} has two entries")));
    expect_none(wrong);
}

#[test]
fn every_row_about_the_system_has_an_entry() {
    rows("system.md");
}

#[test]
fn every_row_about_peers_has_an_entry() {
    rows("peers.md");
}

#[test]
fn every_row_about_hosts_has_an_entry() {
    rows("hosts.md");
}

#[test]
fn every_limit_that_is_listed_has_its_test_and_its_change() {
    let entries = entries_of(LIMITS);
    let complete = |entry: &Entry| {
        // Those of the whole server stand with the journey, where every topology runs them.
        let named = entry.tests.iter().all(|(target, test)| test.starts_with("limits_") || target == "journey");
        entry.row == "LIMIT" && named && !entry.tests.is_empty() && !entry.changes.is_empty()
    };
    let wrong = entries.iter().filter(|entry| !complete(entry));
    expect_none(
        wrong.map(|entry| format!("docs/faults/{LIMITS}: {} {} has no test limits_*, or no change", entry.row, entry.title)).collect(),
    );
    assert!(entries.len() > 20, "the limits of HTTP/1 and of connections are more than {}", entries.len());
}

#[test]
fn the_simulator_is_to_find_answers_that_are_swapped() {
    let swap = entries_of(SIMULATOR).into_iter().find(|entry| entry.row == "SWAP").expect("docs/faults/simulate.md has an entry SWAP");
    assert!(!swap.tests.is_empty() && !swap.changes.is_empty(), "the entry SWAP names a test and a change");
}

/// Every file of entries there is, so that one which is not written yet hides nothing about the others.
fn all() -> Vec<(String, Entry)> {
    let folder = std::fs::read_dir(root().join("docs/faults")).expect("docs/faults can be read");
    let mut files: Vec<String> = folder.map(|file| file.expect("it can be read").file_name().to_string_lossy().into_owned()).collect();
    files.sort();
    let known = |file: &String| [SIMULATOR, LIMITS].contains(&file.as_str()) || FILES.iter().any(|(name, _, _)| name == file);
    assert!(files.iter().all(known), "docs/faults holds a file that docs/faults.md does not list: {files:?}");
    files.iter().flat_map(|file| entries_of(file).into_iter().map(|entry| (file.clone(), entry))).collect()
}

fn sources_below(path: &Path, texts: &mut Vec<String>) {
    let Ok(folder) = std::fs::read_dir(path) else { return };
    for path in folder.flatten().map(|file| file.path()) {
        if path.is_dir() {
            sources_below(&path, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push(std::fs::read_to_string(&path).expect("a source can be read"));
        }
    }
}

/// The sources that can hold the tests of a target: its root, its rooms, and what any of these names by a path.
fn sources_of(target: &str) -> Vec<String> {
    let mut texts = Vec::new();
    if target == "lib" {
        sources_below(&root().join("src"), &mut texts);
        return texts;
    }
    let mut files: Vec<PathBuf> = vec![root().join(format!("tests/{target}.rs"))];
    files.retain(|file| file.exists());
    if files.is_empty() {
        return texts;
    }
    sources_below(&root().join("tests").join(target), &mut texts);
    let rooted = std::fs::read_to_string(&files[0]).expect("a source can be read");
    for path in rooted.lines().filter_map(|line| line.trim().strip_prefix("#[path = \"")?.strip_suffix("\"]")) {
        texts.extend(std::fs::read_to_string(root().join("tests").join(path)));
    }
    for name in rooted.lines().filter_map(|line| line.trim().trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';')) {
        sources_below(&root().join("tests").join(name), &mut texts);
    }
    texts.push(rooted);
    texts
}

#[test]
fn every_test_that_is_named_exists() {
    let mut wrong = Vec::new();
    let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (file, entry) in all() {
        for (target, test) in &entry.tests {
            let texts = known.entry(target.clone()).or_insert_with(|| sources_of(target));
            if !texts.iter().any(|text| text.contains(&format!("fn {test}("))) {
                wrong.push(format!("docs/faults/{file}: {}: there is no test {test} in {target}", entry.row));
            }
        }
    }
    expect_none(wrong);
}

#[test]
fn every_change_can_be_applied() {
    let mut wrong = Vec::new();
    for (file, entry) in all() {
        for change in &entry.changes {
            let path = root().join(&change.file);
            let Ok(text) = std::fs::read_to_string(&path) else {
                wrong.push(format!("docs/faults/{file}: {}: there is no file {}", entry.row, change.file));
                continue;
            };
            let times = text.matches(&change.old).count();
            if times != 1 {
                wrong.push(format!("docs/faults/{file}: {}: `{}` stands {times} times in {}", entry.row, change.old, change.file));
            }
            let in_library = change.file.starts_with("src/") || change.file == "build.rs";
            if change.old == change.new || !in_library {
                wrong.push(format!("docs/faults/{file}: {}: a change has to change the library: {}", entry.row, change.file));
            }
        }
    }
    expect_none(wrong);
}

/// The reader of entries may be wrong itself.
#[test]
fn what_is_malformed_is_noticed() {
    let good = "### H07 twice\nText.\n- test: `a` `h07_b`\n- breaks: `src/a.rs`: `x += 1` becomes `x += 2`\n### N13 (HTTP/2) waits\n";
    let (entries, wrong) = parse(good);
    assert!(wrong.is_empty() && entries.len() == 2 && entries[1].title == "(HTTP/2) waits", "{wrong:?}");
    assert_eq!(entries[0].tests, [("a".to_string(), "h07_b".to_string())]);
    assert_eq!((entries[0].changes[0].old.as_str(), entries[0].changes[0].new.as_str()), ("x += 1", "x += 2"));
    for bad in [
        "- test: `a` `b`",
        "### H07 t\n- test: a b",
        "### H07 t\n- test: `a` `b` ",
        "### H07 t\n- breaks: `src/a.rs`: `x` becomes `y`",
        "### H07 t\n- test: `a` `b`\n- breaks: `src/a.rs`: `x` to `y`",
        "### H07 t\n- test: `a` `b`\n- breaks: `src/a.rs`: `x`y` becomes `y`",
    ] {
        assert!(!parse(bad).1.is_empty(), "{bad} was taken");
    }
}
