//! What the benchmarks share: the words of their command line, the processes they start of themselves, and figures over many rounds.
#![allow(dead_code)] // each benchmark uses its own part of this

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

/// The words behind the program's name, but for the one that cargo adds.
pub struct Words(Vec<String>);

impl Words {
    pub fn given() -> Words {
        Words(std::env::args().skip(1).filter(|word| word != "--bench").collect())
    }

    pub fn get(&self, at: usize) -> Option<&str> {
        self.0.get(at).map(String::as_str)
    }

    /// The word behind this one.
    pub fn text(&self, name: &str) -> Option<&str> {
        let at = self.0.iter().position(|word| word == name)?;
        Some(self.0.get(at + 1).unwrap_or_else(|| panic!("{name} wants a word")))
    }

    /// The number behind this word.
    pub fn number(&self, name: &str, otherwise: u64) -> u64 {
        let at = self.0.iter().position(|word| word == name);
        at.map_or(otherwise, |at| self.0.get(at + 1).and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{name} wants a number")))
    }
}

/// This program, started once more in another role.
pub struct Process(Child, BufReader<ChildStdout>);

impl Process {
    pub fn start(words: &[&str]) -> Process {
        Process::start_with(words, &[])
    }

    pub fn start_with(words: &[&str], environment: &[(&str, String)]) -> Process {
        let mut command = Command::new(std::env::current_exe().expect("a program knows where it lies"));
        command.args(words).envs(environment.iter().map(|(name, value)| (name, value)));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it can be started");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        Process(child, output)
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// The next line that it says.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).expect("it says something");
        line.trim().to_owned()
    }

    /// The numbers that it says until it ends by itself.
    pub fn rest(mut self) -> Vec<u64> {
        let mut text = String::new();
        self.1.read_to_string(&mut text).expect("it ends");
        assert!(self.0.wait().expect("it can be waited for").success());
        text.lines().map(|line| line.parse().expect("a number")).collect()
    }

    /// Ends one that lives as long as its input is open, and says some numbers then.
    pub fn end_with_figures(mut self) -> Vec<u64> {
        drop(self.0.stdin.take());
        self.rest()
    }

    /// Ends one that lives as long as its input is open.
    pub fn end(mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// The value below which so many hundredths lie, in microseconds.
pub fn quantile(sorted_ns: &[u64], hundredths: usize) -> f64 {
    sorted_ns[(sorted_ns.len() * hundredths / 100).min(sorted_ns.len() - 1)] as f64 / 1000.0
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
