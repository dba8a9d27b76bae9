//! Reads Rust sources as words for `tests/tidy.rs`: comments and literals are left out, imports and functions are found.

use std::path::{Path, PathBuf};

/// One identifier, number or sign; `::` is one word.
pub struct Word {
    pub text: String,
    pub line: usize,
    /// It stands inside an item, or a file named `tests.rs`, that only tests and loom models build.
    pub in_test: bool,
}

pub struct Function {
    pub name: String,
    pub first_line: usize,
    pub last_line: usize,
}

pub struct Source {
    /// Below `src`, with `/`.
    pub path: String,
    pub text: String,
    pub words: Vec<Word>,
}

/// Every Rust file below a folder, in the order of their names.
pub fn all(folder: &Path) -> Vec<Source> {
    let mut files = Vec::new();
    walk(folder, &["rs"], &mut files);
    files.into_iter().map(|file| Source::read(folder, &file)).collect()
}

/// Adds the files with one of these endings; what a build made is left out.
pub fn walk(folder: &Path, endings: &[&str], files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("").to_string();
        if path.is_dir() && name != "build" && name != "target" {
            walk(&path, endings, files);
        } else if endings.iter().any(|ending| name.ends_with(&format!(".{ending}"))) {
            files.push(path);
        }
    }
}

/// Whether these words begin with what `pattern` says when it is split into words, at a word's border.
pub fn starts_with(words: &[Word], pattern: &str) -> bool {
    let wanted = split(pattern);
    words.len() >= wanted.len() && words.iter().zip(&wanted).all(|(word, wanted)| word.text == wanted.text)
}

impl Source {
    fn read(folder: &Path, file: &Path) -> Source {
        let text = std::fs::read_to_string(file).expect("a listed source can be read");
        Source::new(&file.strip_prefix(folder).expect("it was found below").to_string_lossy(), &text)
    }

    pub fn new(path: &str, text: &str) -> Source {
        let mut words = split(text);
        let only_tests = path.trim_end_matches(".rs").ends_with("tests");
        mark_tests(&mut words);
        words.iter_mut().for_each(|word| word.in_test |= only_tests);
        Source { path: path.to_string(), text: text.to_string(), words }
    }

    /// Whether the comment at or directly above this line, past attributes and the lines of the same statement, has this text.
    pub fn comment_above(&self, line: usize, wanted: &str) -> bool {
        let lines: Vec<&str> = self.text.lines().collect();
        let has = |at: usize| lines[at].contains(wanted);
        if has(line - 1) {
            return true;
        }
        let mut comment_seen = false;
        for at in (0..line - 1).rev() {
            let trimmed = lines[at].trim();
            if trimmed.starts_with("//") {
                if has(at) {
                    return true;
                }
                comment_seen = true;
            } else if comment_seen || trimmed.is_empty() || (!trimmed.starts_with("#[") && trimmed.ends_with([';', '{', '}'])) {
                return false;
            }
        }
        false
    }

    /// Every path that the file names outside its tests: `use` trees unfolded, `self` and `super` resolved, with its line.
    pub fn imports(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < self.words.len() {
            let word = &self.words[at];
            let starts_path = is_name(&word.text) && (at == 0 || self.words[at - 1].text != "::");
            if word.in_test || !starts_path {
                at += 1;
            } else if word.text == "use" {
                at = self.unfold(at + 1, "", &mut found);
            } else {
                let (end, path) = self.path_at(at);
                found.push((word.line, self.resolve(&path)));
                at = end;
            }
        }
        found
    }

    /// One tree of a `use`, which ends at `;`, `,` or `}`; returns where.
    fn unfold(&self, start: usize, prefix: &str, found: &mut Vec<(usize, String)>) -> usize {
        let (mut at, path) = self.path_at(start);
        let full = format!("{prefix}{path}");
        if self.text_at(at) == "{" {
            at += 1;
            while !matches!(self.text_at(at), "}" | "") {
                at = self.unfold(at, &full, found);
                if self.text_at(at) == "," {
                    at += 1;
                }
            }
            return at + 1;
        }
        found.push((self.words[start.min(self.words.len() - 1)].line, self.resolve(&full)));
        while !matches!(self.text_at(at), ";" | "," | "}" | "") {
            at += 1;
        }
        at
    }

    /// The longest `a::b::c` from here; a trailing `::` is kept, since a group follows it.
    fn path_at(&self, start: usize) -> (usize, String) {
        let mut at = start;
        let mut path = String::new();
        while is_name(self.text_at(at)) || self.text_at(at) == "::" {
            let follows_name = at > start && is_name(self.text_at(at)) && self.text_at(at - 1) != "::";
            if follows_name {
                break;
            }
            if !(path.is_empty() && self.text_at(at) == "::") {
                path.push_str(self.text_at(at));
            }
            at += 1;
        }
        (at.max(start + usize::from(self.text_at(start) == "*")), path)
    }

    fn resolve(&self, path: &str) -> String {
        let mut module: Vec<&str> = self.path.trim_end_matches(".rs").split('/').filter(|part| *part != "mod" && *part != "lib").collect();
        let mut parts: Vec<&str> = path.split("::").filter(|part| !part.is_empty()).collect();
        if !matches!(parts.first(), Some(&"self" | &"super")) {
            return parts.join("::");
        }
        while let Some(first @ (&"self" | &"super")) = parts.first() {
            if *first == "super" {
                module.pop();
            }
            parts.remove(0);
        }
        [vec!["crate"], module, parts].concat().join("::")
    }

    fn text_at(&self, at: usize) -> &str {
        self.words.get(at).map_or("", |word| word.text.as_str())
    }

    /// Every function with a body outside the tests.
    pub fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for at in 0..self.words.len() {
            if self.text_at(at) != "fn" || !is_name(self.text_at(at + 1)) || self.words[at].in_test {
                continue;
            }
            let mut body = at;
            while !matches!(self.text_at(body), "{" | ";" | "") {
                body += 1;
            }
            if self.text_at(body) == "{" {
                let last_line = self.words[closing(&self.words, body)].line;
                found.push(Function { name: self.words[at + 1].text.clone(), first_line: self.words[at].line, last_line });
            }
        }
        found
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// The word that closes the brace at `open`.
fn closing(words: &[Word], open: usize) -> usize {
    let mut depth = 0;
    for (at, word) in words.iter().enumerate().skip(open) {
        match word.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    words.len() - 1
}

/// Marks the item that follows each `#[cfg(test)]` or `#[cfg(loom)]`: up to its closing brace, or its semicolon if that comes first.
fn mark_tests(words: &mut [Word]) {
    for at in 0..words.len() {
        if !["#[cfg(test)]", "#[cfg(all(test", "#[cfg(loom)]"].iter().any(|mark| starts_with(&words[at..], mark)) {
            continue;
        }
        let Some(open) = words[at..].iter().position(|word| matches!(word.text.as_str(), "{" | ";")).map(|offset| at + offset) else {
            continue;
        };
        let end = if words[open].text == "{" { closing(words, open) } else { open };
        for word in &mut words[at..=end] {
            word.in_test = true;
        }
    }
}

/// Splits Rust text into words. Comments, strings and characters are left out; lifetimes are too.
fn split(text: &str) -> Vec<Word> {
    let characters: Vec<char> = text.chars().collect();
    let mut words = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < characters.len() {
        let end = match literal_end(&characters, at) {
            Some(end) => end,
            None if is_word(characters[at]) => {
                let end = at + characters[at..].iter().take_while(|character| is_word(**character)).count();
                words.push(Word { text: characters[at..end].iter().collect(), line, in_test: false });
                end
            }
            None => {
                let end = if characters[at..].starts_with(&[':', ':']) { at + 2 } else { at + 1 };
                if !characters[at].is_whitespace() {
                    words.push(Word { text: characters[at..end].iter().collect(), line, in_test: false });
                }
                end
            }
        };
        line += characters[at..end.min(characters.len())].iter().filter(|character| **character == '\n').count();
        at = end;
    }
    words
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Where the comment or literal that starts here ends, if one does.
fn literal_end(characters: &[char], at: usize) -> Option<usize> {
    let rest = &characters[at..];
    if rest.starts_with(&['/', '/']) {
        return Some(at + rest.iter().position(|character| *character == '\n').unwrap_or(rest.len()));
    }
    if rest.starts_with(&['/', '*']) {
        return Some(block_comment_end(characters, at));
    }
    if at > 0 && is_word(characters[at - 1]) {
        return None; // the r, b or c of a string stands at the start of a word
    }
    let letters = rest.iter().take_while(|character| matches!(character, 'b' | 'c' | 'r')).count().min(2);
    let raw = rest[..letters].contains(&'r');
    let hashes = if raw { rest[letters..].iter().take_while(|character| **character == '#').count() } else { 0 };
    match rest.get(letters + hashes) {
        Some('"') if raw => Some(raw_string_end(characters, at + letters + hashes + 1, hashes)),
        Some('"') => Some(quoted_end(characters, at + letters + 1, '"')),
        Some('\'') if hashes == 0 && letters <= 1 => {
            let open = at + letters;
            let is_character = characters.get(open + 1) == Some(&'\\') || characters.get(open + 2) == Some(&'\'');
            let lifetime = || open + 1 + characters[open + 1..].iter().take_while(|character| is_word(**character)).count();
            Some(if is_character { quoted_end(characters, open + 1, '\'') } else { lifetime() })
        }
        _ => None,
    }
}

fn block_comment_end(characters: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at < characters.len() {
        if characters[at..].starts_with(&['/', '*']) {
            depth += 1;
            at += 2;
        } else if characters[at..].starts_with(&['*', '/']) {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn quoted_end(characters: &[char], start: usize, quote: char) -> usize {
    let mut at = start;
    while at < characters.len() && characters[at] != quote {
        at += if characters[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn raw_string_end(characters: &[char], start: usize, hashes: usize) -> usize {
    let closing: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    let mut at = start;
    while at < characters.len() && !characters[at..].starts_with(&closing) {
        at += 1;
    }
    at + closing.len()
}
