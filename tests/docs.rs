//! Proves that header, option table, `docs/options.md`, `CHANGELOG.md` and `README.md` tell the same story.
#![forbid(unsafe_code)]

use ingest::options::table::{LISTENER, LIVE, Row, TABLE, UNBUILT};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("cannot read {path}: {error}"))
}

/// Each function of the header with its comment.
fn functions(header: &str) -> Vec<(String, Vec<String>)> {
    let mut comment: Vec<String> = Vec::new();
    let mut found = Vec::new();
    for line in header.lines() {
        if let Some(text) = line.strip_prefix("//") {
            comment.push(text.trim().to_owned());
            continue;
        }
        if !line.starts_with(['#', ' ', '/']) && !line.starts_with("typedef") {
            if let Some((before, _)) = line.split_once('(') {
                let name = before.rsplit([' ', '*']).next().unwrap_or(before);
                found.push((name.to_owned(), comment.clone()));
            }
        }
        comment.clear();
    }
    found
}

#[test]
fn every_function_has_its_five_lines() {
    let functions = functions(&read("include/ingest.h"));
    assert!(functions.len() > 50, "only {} functions were found in the header: has its shape changed?", functions.len());
    for (name, comment) in functions {
        let mut last = 0;
        for fixed in ["Ownership: ", "Thread: ", "Blocks: ", "Returns: ", "Since: "] {
            let place = comment.iter().position(|line| line.starts_with(fixed));
            let place = place.unwrap_or_else(|| panic!("{name}: its comment lacks the line {fixed:?} (write it in src/ffi)"));
            assert!(place > last, "{name}: {fixed:?} does not come in the fixed order, after a description");
            last = place;
        }
        assert_eq!(last, comment.len() - 1, "{name}: the comment goes on after its Since line");
    }
}

/// A row as a line of docs/options.md.
fn line(row: &Row) -> String {
    let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
    let choices = if row.choices.is_empty() { String::new() } else { format!(": `{}`", row.choices.replace(',', "` `")) };
    let mut notes = Vec::new();
    for (flag, note) in [(LIVE, "live"), (LISTENER, "per listener"), (UNBUILT, "not built yet")] {
        if row.flags & flag != 0 {
            notes.push(note);
        }
    }
    let notes = if notes.is_empty() { String::new() } else { format!(" *({})*", notes.join(", ")) };
    format!("| `{}` | {}{choices} | {} | {}{notes} |", row.name, row.kind.name(), code(row.default), row.help)
}

fn options_page() -> String {
    let mut page = String::from(
        "# Options\n\n\
        Every option of libingest, from the table in `src/options/table.rs` (the same that `ingest_option_describe` lists).\n\
        `INGEST_BLESS=1 cargo test --test docs` writes this page.\n\n\
        An option is set by name and text before the server is made: `ingest_options_set(options, \"keepalive_timeout\", \"30s\", &error)`.\n\n\
        | kind | is written |\n|---|---|\n\
        | duration | a whole number with a unit: `250ms` `30s` `5m` `1h`, up to `24h` |\n\
        | size | octets, or a whole number with a unit: `1000` `64KiB` `16MiB` `1GiB` |\n\
        | count | a whole number |\n\
        | switch | `on` or `off` |\n\
        | choice | one of the words listed |\n\
        | text | as explained |\n\n\
        A limit of zero never means unlimited: where there may be none, the word `unlimited` is listed and has to be written out.\n\
        *per listener*: may also be given to `ingest_server_listen` for one listener. *live*: may be changed with `ingest_server_set`.\n\
        *not built yet*: takes its default only. Options that depend on each other are compared when the server starts: `header_line_max` is at\n\
        most `headers_max`, `memory_max` holds at least one head, `topology=inline` has one I/O thread.\n\n\
        | option | kind | default | meaning |\n|---|---|---|---|\n",
    );
    for row in TABLE {
        writeln!(page, "{}", line(row)).expect("a string takes everything");
    }
    page
}

#[test]
fn the_page_of_options_is_what_the_table_says() {
    let page = options_page();
    if std::env::var_os("INGEST_BLESS").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(root().join("docs")).expect("the folder can be made");
        std::fs::write(root().join("docs/options.md"), &page).expect("the page can be written");
    }
    let committed = read("docs/options.md");
    for row in TABLE {
        assert!(
            committed.contains(&line(row)),
            "docs/options.md lacks or misstates {} (run INGEST_BLESS=1 cargo test --test docs)",
            row.name
        );
    }
    assert!(committed == page, "docs/options.md differs from the table (run INGEST_BLESS=1 cargo test --test docs)");
}

#[test]
fn the_changelog_names_every_function() {
    let changelog = read("CHANGELOG.md");
    for (name, _) in functions(&read("include/ingest.h")) {
        assert!(changelog.contains(&format!("`{name}`")), "CHANGELOG.md does not name `{name}`");
    }
}

/// Every word that begins with `ingest_` and does not end in an underscore, as `ingest_*` does.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'))
        .filter(|word| word.starts_with("ingest_") && !word.ends_with('_'))
}

fn names_only_what_exists(path: &Path) {
    let header = read("include/ingest.h");
    let known: Vec<&str> = words(&header).collect();
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    for word in words(&text) {
        assert!(known.contains(&word), "{} names {word}, which include/ingest.h does not have", path.display());
    }
}

#[test]
fn readme_and_changelog_name_only_what_exists() {
    for path in ["README.md", "CHANGELOG.md"] {
        names_only_what_exists(&root().join(path));
    }
}
