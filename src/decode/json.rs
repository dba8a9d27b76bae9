//! JSON (RFC 8259) without a tree: one pass that checks every octet, keeps one bit per open bracket, and shows what it passes to a watcher.
#![forbid(unsafe_code)]

pub mod pointer;
mod strings;

#[cfg(test)]
mod tests;

use crate::limits::{JSON_DEPTH_CEILING, Limits};
use crate::parse::refusal::Refusal;

const TOO_LARGE: Refusal = Refusal::new(413, "json body larger than this server takes: send less");
const TOO_DEEP: Refusal = Refusal::new(400, "json nested deeper than this server takes: send it flatter");
const SYNTAX: Refusal = Refusal::new(400, "malformed json: send json as rfc 8259 has it");
const NOT_UTF8: Refusal = Refusal::new(400, "json that is not utf-8: send utf-8");

/// What is wrong with a text, at its octet `at`; at its length when it ends too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub at: usize,
    pub kind: FaultKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    Syntax,
    /// In a string; elsewhere such octets are plain syntax errors.
    NotUtf8,
    TooDeep,
}

/// Sees the values of a text as they are passed. Everything is inlined, so a watcher that does nothing costs nothing.
pub trait Watch {
    /// A value begins at `at`. Arrays and objects are values, too; `depth` of them are open.
    fn begins(&mut self, at: usize, depth: usize);
    /// The value that began last at this depth ended before `at`.
    fn ends(&mut self, at: usize, depth: usize);
    /// The name of the member whose value comes next, without its quotes; `depth` counts the object that it is in.
    fn name(&mut self, name: &[u8], depth: usize);
    /// An array or object was opened, and makes the depth that it says.
    fn opened(&mut self, is_object: bool, depth: usize);
}

/// For those who only want to know whether the text is well-formed.
struct Nobody;

impl Watch for Nobody {
    fn begins(&mut self, _: usize, _: usize) {}
    fn ends(&mut self, _: usize, _: usize) {}
    fn name(&mut self, _: &[u8], _: usize) {}
    fn opened(&mut self, _: bool, _: usize) {}
}

/// Refuses a body that is no well-formed JSON; the refusal says where it ceases to be.
pub fn validate(body: &[u8], limits: &Limits) -> Result<(), Refusal> {
    if body.len() as u64 > limits.json_max {
        return Err(TOO_LARGE);
    }
    let depth = usize::try_from(limits.json_depth).unwrap_or(JSON_DEPTH_CEILING);
    check(body, depth).map_err(|fault| {
        let refusal = match fault.kind {
            FaultKind::Syntax => SYNTAX,
            FaultKind::NotUtf8 => NOT_UTF8,
            FaultKind::TooDeep => TOO_DEEP,
        };
        refusal.at(fault.at)
    })
}

/// Whether a text is well-formed, with at most so many arrays and objects in each other.
pub fn check(text: &[u8], depth: usize) -> Result<(), Fault> {
    walk(text, depth, &mut Nobody)
}

/// Passes a whole text.
pub fn walk(text: &[u8], depth: usize, watch: &mut impl Watch) -> Result<(), Fault> {
    let most = depth.min(JSON_DEPTH_CEILING);
    let mut walk = Walk { text, at: 0, depth: 0, most, objects: [0; WORDS] };
    walk.run(watch)
}

const WORDS: usize = JSON_DEPTH_CEILING / 64;

/// Where the pass is, and for each open bracket one bit: set for an object.
struct Walk<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    most: usize,
    objects: [u64; WORDS],
}

impl Walk<'_> {
    fn run(&mut self, watch: &mut impl Watch) -> Result<(), Fault> {
        loop {
            // A value stands here, and in an object its name before it.
            self.skip_space();
            watch.begins(self.at, self.depth);
            match self.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    let is_object = bracket == b'{';
                    self.open(is_object)?;
                    watch.opened(is_object, self.depth);
                    self.skip_space();
                    if self.peek() != Some(bracket + 2) {
                        if is_object {
                            self.name(watch)?;
                        }
                        continue;
                    }
                    self.close();
                }
                Some(b'"') => {
                    self.string()?;
                }
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.word(b"true")?,
                Some(b'f') => self.word(b"false")?,
                Some(b'n') => self.word(b"null")?,
                _ => return Err(self.fault()),
            }
            watch.ends(self.at, self.depth);
            if self.is_last(watch)? {
                return Ok(());
            }
        }
    }

    /// What follows a value: brackets that close, then a comma or the end. True at the end.
    fn is_last(&mut self, watch: &mut impl Watch) -> Result<bool, Fault> {
        loop {
            self.skip_space();
            if self.depth == 0 {
                return if self.at == self.text.len() { Ok(true) } else { Err(self.fault()) };
            }
            let is_object = self.is_in_object();
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    if is_object {
                        self.skip_space();
                        self.name(watch)?;
                    }
                    return Ok(false);
                }
                Some(b'}') if is_object => self.close(),
                Some(b']') if !is_object => self.close(),
                _ => return Err(self.fault()),
            }
            watch.ends(self.at, self.depth);
        }
    }

    /// A member's name and its colon.
    fn name(&mut self, watch: &mut impl Watch) -> Result<(), Fault> {
        if self.peek() != Some(b'"') {
            return Err(self.fault());
        }
        let (start, end) = self.string()?;
        watch.name(&self.text[start..end], self.depth);
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.fault());
        }
        self.at += 1;
        Ok(())
    }

    fn open(&mut self, is_object: bool) -> Result<(), Fault> {
        if self.depth == self.most {
            return Err(Fault { at: self.at, kind: FaultKind::TooDeep });
        }
        let (word, bit) = (self.depth / 64, 1 << (self.depth % 64));
        match is_object {
            true => self.objects[word] |= bit,
            false => self.objects[word] &= !bit,
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    fn close(&mut self) {
        self.depth -= 1;
        self.at += 1;
    }

    fn is_in_object(&self) -> bool {
        let last = self.depth - 1;
        self.objects[last / 64] >> (last % 64) & 1 > 0
    }

    /// Passes a string; says where its inside lies.
    fn string(&mut self) -> Result<(usize, usize), Fault> {
        let start = self.at + 1;
        let end = strings::end(self.text, start)?;
        self.at = end + 1;
        Ok((start, end))
    }

    fn number(&mut self) -> Result<(), Fault> {
        self.at += usize::from(self.peek() == Some(b'-'));
        // No zeros in front (RFC 8259 section 6).
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.fault()) } else { Ok(()) }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Fault> {
        let common = word.iter().zip(&self.text[self.at..]).take_while(|(wanted, octet)| wanted == octet).count();
        self.at += common;
        if common == word.len() { Ok(()) } else { Err(self.fault()) }
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn fault(&self) -> Fault {
        Fault { at: self.at, kind: FaultKind::Syntax }
    }
}
