//! Proves that the sources keep the house rules of the design (sections 4 and 12); each message names the rule and the fix.

mod source;

use source::{Source, Word};
use std::path::Path;

/// The rooms in the order of the journey, then what they stand on; `lib.rs` lists those that exist in this order.
const JOURNEY: [&str; 20] = [
    "accept",
    "read",
    "decrypt",
    "parse",
    "decode",
    "handoff",
    "respond",
    "connection",
    "request",
    "topology",
    "engine",
    "memory",
    "journey",
    "stats",
    "log",
    "options",
    "limits",
    "status",
    "server",
    "ffi",
];

/// One line of the import table: files under these paths may not name anything under those.
struct ImportRule {
    rooms: &'static [&'static str],
    except: &'static [&'static str],
    never: &'static [&'static str],
    why: &'static str,
}

const IMPORT_RULES: [ImportRule; 7] = [
    ImportRule {
        rooms: &["decrypt/", "parse/", "decode/", "respond/encode.rs"],
        except: &[],
        never: &[
            "std::net",
            "std::io",
            "std::fs",
            "std::thread",
            "std::os",
            "libc",
            "parking_lot",
            "crate::accept",
            "crate::read",
            "crate::handoff",
            "crate::connection",
            "crate::topology",
            "crate::engine",
            "crate::server",
            "crate::ffi",
        ],
        why: "the cores do no I/O and own no clock (design section 4): take bytes, time and buffers as arguments",
    },
    ImportRule {
        rooms: &["accept/", "read/", "handoff/", "respond/", "connection.rs"],
        except: &[],
        never: &["libc", "crate::topology", "crate::server", "crate::ffi"],
        why: "a step knows connections, cores and engine types only (design section 4): let topology call it with what it needs",
    },
    ImportRule {
        rooms: &["engine/"],
        except: &[],
        never: &[
            "crate::accept",
            "crate::read",
            "crate::decrypt",
            "crate::parse",
            "crate::decode",
            "crate::handoff",
            "crate::respond",
            "crate::connection",
            "crate::topology",
            "crate::server",
            "crate::ffi",
        ],
        why: "the engine moves octets and knows no protocol (design section 4): pass octets, descriptors and tokens",
    },
    ImportRule {
        rooms: &["memory/"],
        except: &[],
        never: &[
            "crate::accept",
            "crate::read",
            "crate::decrypt",
            "crate::decode",
            "crate::handoff",
            "crate::respond",
            "crate::connection",
            "crate::topology",
            "crate::server",
            "crate::ffi",
        ],
        why: "memory is what the rooms stand on (design section 4): pass in what it must hold",
    },
    ImportRule {
        rooms: &[""],
        except: &["engine/sys.rs", "engine/sys/", "engine/epoll.rs", "engine/uring.rs"],
        never: &["libc"],
        why: "every call of libc is wrapped once, in engine/sys.rs or engine/sys/ (design section 3): add the wrapper there",
    },
    ImportRule {
        rooms: &[""],
        except: &["decrypt/"],
        never: &["rustls", "aws_lc_rs", "x509_parser"],
        why: "rustls and what it stands on appear in decrypt/ only (design section 3): hide it behind decrypt/session.rs",
    },
    ImportRule {
        rooms: &[""],
        except: &["ffi/", "lib.rs"],
        never: &["crate::ffi"],
        why: "nobody imports ffi (design section 4): move what both need into the room that owns it",
    },
];

/// Where `unsafe` may stand; every other file forbids it.
const UNSAFE_ROOMS: [&str; 6] = ["engine/epoll.rs", "engine/uring.rs", "engine/sys.rs", "engine/sys/", "memory/", "ffi/"];

/// Words that end the host's process, print into its output, or say that the work is not done.
const BANNED_CALLS: [&str; 9] =
    ["todo!", "unimplemented!", "dbg!", "print!", "println!", "eprint!", "eprintln!", "process::exit", "process::abort"];
const BANNED_NOTES: [&str; 2] = [concat!("FIX", "ME"), concat!("XX", "X")];

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

fn under(path: &str, rooms: &[&str]) -> bool {
    rooms.iter().any(|room| path.starts_with(room))
}

/// Runs one rule over every file of `src` and fails with all that it found.
fn check(rule: fn(&Source) -> Vec<String>) {
    let sources = source::all(&root().join("src"));
    assert!(!sources.is_empty(), "no sources found under src");
    report(sources.iter().flat_map(rule).collect());
}

fn report(found: Vec<String>) {
    assert!(found.is_empty(), "\n{} found:\n  {}\n", found.len(), found.join("\n  "));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn rooms_import_only_what_they_may() {
    check(imports);
}

fn imports(file: &Source) -> Vec<String> {
    let rules = IMPORT_RULES.iter().filter(|rule| under(&file.path, rule.rooms) && !under(&file.path, rule.except));
    let mut found = Vec::new();
    for rule in rules {
        for (line, import) in file.imports() {
            let bad = rule.never.iter().find(|never| import == **never || import.starts_with(&format!("{never}::")));
            if let Some(bad) = bad {
                found.push(format!("src/{}:{line}: names {import}, {bad} is not allowed here; {}", file.path, rule.why));
            }
        }
    }
    found.dedup();
    found
}

#[test]
fn unsafe_stays_in_its_rooms() {
    check(unsafe_rooms);
}

fn unsafe_rooms(file: &Source) -> Vec<String> {
    let allowed = under(&file.path, &UNSAFE_ROOMS);
    // A parent of such a room may only deny it, since `forbid` would reach its children.
    let wanted = if file.path == "engine/mod.rs" { "#![deny(unsafe_code)]" } else { "#![forbid(unsafe_code)]" };
    if allowed || file.path == "lib.rs" || file.text.lines().any(|line| line == wanted) {
        return Vec::new();
    }
    let rooms = UNSAFE_ROOMS.join(", ");
    vec![format!("src/{}:2: `#![forbid(unsafe_code)]` is missing; unsafe lives in {rooms} only (design section 4)", file.path)]
}

#[test]
fn every_unsafe_says_why_it_is_sound() {
    check(unsafe_reasons);
}

fn unsafe_reasons(file: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (at, word) in file.words.iter().enumerate() {
        let next = file.words.get(at + 1).map(|word| word.text.as_str());
        if word.text == "unsafe" && matches!(next, Some("{" | "impl")) && !file.comment_above(word.line, "// SAFETY:") {
            found.push(format!("src/{}:{}: no `// SAFETY:` above; say who promises what and where that was checked", file.path, word.line));
        }
    }
    found
}

#[test]
fn every_file_opens_with_what_may_be_in_it() {
    check(opening);
}

fn opening(file: &Source) -> Vec<String> {
    match file.text.lines().next() {
        Some(line) if line.starts_with("//! ") && line.len() > 12 => Vec::new(),
        _ => vec![format!("src/{}:1: the first line must be a `//!` sentence that says what may be in the file", file.path)],
    }
}

#[test]
fn files_are_short() {
    check(file_length);
}

fn file_length(file: &Source) -> Vec<String> {
    match file.text.lines().count() {
        0..=FILE_LINES_MAX => Vec::new(),
        lines => vec![format!("src/{}: {lines} lines, at most {FILE_LINES_MAX}; split it by idea", file.path)],
    }
}

#[test]
fn functions_are_short() {
    check(function_lengths);
}

fn function_lengths(file: &Source) -> Vec<String> {
    let long = file.functions().into_iter().filter(|function| {
        let lines = function.last_line + 1 - function.first_line;
        lines > FUNCTION_LINES_MAX && !file.comment_above(function.first_line, "// One table:")
    });
    long.map(|function| {
        let lines = function.last_line + 1 - function.first_line;
        format!(
            "src/{}:{}: `{}` has {lines} lines, at most {FUNCTION_LINES_MAX}; split it, or if it is a state machine that reads as one table, say so in a comment `// One table: ...` directly above",
            file.path, function.first_line, function.name
        )
    })
    .collect()
}

#[test]
fn banned_words_are_absent() {
    check(banned);
}

fn banned(file: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (at, word) in file.words.iter().enumerate() {
        let rest = &file.words[at..];
        for banned in BANNED_CALLS {
            if source::starts_with(rest, banned) && (at == 0 || file.words[at - 1].text != ".") {
                found.push(format!("src/{}:{}: {banned} is not for a library; return an error or log it", file.path, word.line));
            }
        }
    }
    for (at, line) in file.text.lines().enumerate() {
        if let Some(note) = BANNED_NOTES.iter().find(|note| line.contains(**note)) {
            found.push(format!("src/{}:{}: {note} is left behind; do it or write an issue", file.path, at + 1));
        }
    }
    found
}

#[test]
fn nothing_is_unwrapped_in_silence() {
    check(unwraps);
}

fn unwraps(file: &Source) -> Vec<String> {
    let calls = file.words.windows(3).filter(|three| {
        three[0].text == "." && matches!(three[1].text.as_str(), "unwrap" | "expect") && three[2].text == "(" && !three[0].in_test
    });
    calls
        .filter(|three| !file.comment_above(three[1].line, "cannot fail:"))
        .map(|three| {
            let (line, call) = (three[1].line, &three[1].text);
            format!(
                "src/{}:{line}: .{call}() can end the host; handle it, or say why it `cannot fail: ...` in a comment or in the expectation",
                file.path
            )
        })
        .collect()
}

#[test]
fn modules_stand_where_their_name_says() {
    check(module_paths);
}

fn module_paths(file: &Source) -> Vec<String> {
    let attribute = file.words.windows(3).find(|three| three[0].text == "[" && three[1].text == "path" && three[2].text == "=");
    attribute
        .map(|three| format!("src/{}:{}: no path attributes; put the file where its module is", file.path, three[0].line))
        .into_iter()
        .collect()
}

#[test]
fn lib_lists_the_journey_in_order() {
    let sources = source::all(&root().join("src"));
    let lib = sources.iter().find(|file| file.path == "lib.rs").expect("src/lib.rs exists");
    let listed: Vec<&Word> =
        lib.words.windows(3).filter(|three| three[0].text == "mod" && three[2].text == ";").map(|three| &three[1]).collect();
    let mut found = Vec::new();
    let mut furthest = 0;
    for word in listed {
        match JOURNEY.iter().position(|room| *room == word.text) {
            None => found.push(format!("src/lib.rs:{}: `{}` is no room of the floor plan (design section 3)", word.line, word.text)),
            Some(position) if position < furthest => {
                found.push(format!(
                    "src/lib.rs:{}: `{}` must stand before `{}`: lib.rs is the map of the journey",
                    word.line, word.text, JOURNEY[furthest]
                ));
            }
            Some(position) => furthest = position,
        }
    }
    report(found);
}

#[test]
fn every_c_file_says_what_it_is() {
    let mut files = Vec::new();
    for folder in ["examples-c", "tests", "bindings"] {
        source::walk(&root().join(folder), &["c", "h", "cpp", "hpp"], &mut files);
    }
    let silent = files.iter().filter(|path| {
        let text = std::fs::read_to_string(path).expect("a listed file can be read");
        !text.starts_with("/* ") && !text.starts_with("// ")
    });
    report(silent.map(|path| format!("{}:1: the first line must be a comment that says what the file is", path.display())).collect());
}

#[test]
fn no_test_is_switched_off() {
    let mut files = Vec::new();
    for folder in ["src", "tests"] {
        source::walk(&root().join(folder), &["rs"], &mut files);
    }
    let ignored = files.iter().filter(|path| {
        let text = std::fs::read_to_string(path).expect("a listed file can be read");
        text.contains(concat!("#[", "ignore"))
    });
    report(ignored.map(|path| format!("{}: a test is switched off; mend it or take it out", path.display())).collect());
}

/// A rule that finds nothing may be broken itself, so each is tried on a line that breaks it and on one that does not.
#[test]
fn every_rule_finds_what_it_looks_for() {
    type Trial = (fn(&Source) -> Vec<String>, &'static str, &'static str, &'static str);
    let trials: [Trial; 21] = [
        (imports, "parse/head.rs", "use std::{fmt, io::{self, Read}};", "use std::{fmt, mem::{self, swap}};"),
        (imports, "decode/mod.rs", "fn a() { let t = std::thread::current(); }", "fn a() { let t = \"std::thread::current()\"; }"),
        (imports, "respond/encode.rs", "use super::super::engine::Seat;", "use super::outbox::Outbox;"),
        (imports, "engine/mod.rs", "use crate::{limits, parse::head};", "use crate::{limits, memory::slab};"),
        (imports, "accept/mod.rs", "use libc::accept4 as admit;", "use crate::engine::Event;"),
        (imports, "topology/mod.rs", "use crate::ffi;", "/* crate::ffi */ // crate::ffi\nuse crate::server;"),
        (imports, "read/mod.rs", "use rustls::Session;", "#[cfg(test)]\nmod tests { use rustls::Session; }"),
        (unsafe_rooms, "server.rs", "//! A.\n", "//! A.\n#![forbid(unsafe_code)]\n"),
        (unsafe_rooms, "read/mod.rs", "", "//! A.\n#![forbid(unsafe_code)]"),
        (unsafe_reasons, "ffi/a.rs", "let a = unsafe { b() };", "// SAFETY: b asks for nothing.\nlet a =\n    unsafe { b() };"),
        (
            unsafe_reasons,
            "ffi/a.rs",
            "// SAFETY: old.\na();\nunsafe impl Send for A {}",
            "// SAFETY: A owns all.\n#[cfg(x)]\nunsafe impl Send for A {}",
        ),
        (opening, "read/mod.rs", "// What.\n", "//! What may be in this file.\n"),
        (banned, "read/mod.rs", "fn a() { println!(); }", "/// println!()\nfn a() { text(\"println!()\"); }"),
        (banned, "read/mod.rs", "fn a() { std::process::exit(1) }", "fn a() { process::id() }"),
        (unwraps, "read/mod.rs", "a.unwrap();", "a.unwrap_or(1);"),
        (unwraps, "read/mod.rs", "a\n  .expect(r#\"b\"#);", "#[cfg(test)]\nmod tests { fn a() { b.unwrap(); } }"),
        (unwraps, "memory/pool.rs", "a.expect(\"this holds\")", "a.expect(\"cannot fail: the size is a constant\")"),
        (unwraps, "read/mod.rs", "let c = '\"'; a.unwrap(); let c = '\"';", "// cannot fail: it was checked above\na.unwrap();"),
        (module_paths, "read/mod.rs", "#[path = \"a.rs\"] mod b;", "mod b;"),
        (function_lengths, "read/mod.rs", LONG, "fn a() {}\n"),
        (file_length, "read/mod.rs", LONG, "fn a() {}\n"),
    ];
    for (rule, path, bad, good) in trials {
        let bad_text = bad.replace(LONG, &format!("fn a() {{\n{}}}\n", "a();\n".repeat(FILE_LINES_MAX)));
        assert!(!rule(&Source::new(path, &bad_text)).is_empty(), "nothing found in {path}: {bad}");
        let wrongly = rule(&Source::new(path, good));
        assert!(wrongly.is_empty(), "found in {path}: {good}: {wrongly:?}");
    }
    let table = format!("// One table: states by octets.\n#[inline]\nfn a() {{\n{}}}\n", "a();\n".repeat(FILE_LINES_MAX));
    assert!(function_lengths(&Source::new("parse/head.rs", &table)).is_empty());
}

/// Stands for a function with more lines than a file may have.
const LONG: &str = "a long function";
