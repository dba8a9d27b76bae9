//! What the test programs share: safe wrappers over the C ABI (`host`), a small blocking client (`client`), and the reader of `tests/cases` (`case_file`).
#![allow(dead_code)] // each test program uses its own part of this

pub mod case_file;
pub mod client;
pub mod coders;
pub mod guest_process;
pub mod hold;
pub mod host;
pub mod posts;
pub mod python;
pub mod request_view;
pub mod secured;

use std::time::{Duration, Instant};

/// How long a test waits for something that must happen; long, since the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Asks again and again until the answer is yes, and says whether it became so in time.
pub fn eventually(mut question: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if question() {
            return true;
        }
        if start.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs the body in a process of its own, for what is about the whole process: descriptors, threads, signals, output. The
/// test program starts itself again with this test alone.
pub fn alone(test: &str, body: impl FnOnce()) {
    alone_behind(&[], test, body);
}

/// As `alone`, with a command in front that changes what the process may do.
pub fn alone_behind(wrapper: &[&str], test: &str, body: impl FnOnce()) {
    const MARK: &str = "INGEST_ALONE";
    if std::env::var(MARK).is_ok_and(|name| name == test) {
        return body();
    }
    let program = std::env::current_exe().expect("a test program knows where it lies");
    let mut command = match wrapper {
        [] => std::process::Command::new(program),
        [first, rest @ ..] => {
            let mut command = std::process::Command::new(first);
            command.args(rest).arg(program);
            command
        }
    };
    let output = command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(MARK, test).output().expect("it can be started");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{test} failed alone ({}):\n{}\n{}", output.status, text[0], text[1]);
    assert!(text[0].contains("1 passed"), "{test} was not run alone:\n{}", text[0]);
}

/// FNV-1a: enough to see that a body arrived whole and in order.
pub fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A small generator (xorshift), so that a failing run can be repeated from its seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Octets that contain everything, CR, LF and NUL included.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

/// Every line of a server's log that was not read yet.
pub fn log_lines(host: host::Host) -> Vec<String> {
    use host::abi::{ingest_log_record, ingest_server_log_next};
    let mut lines = Vec::new();
    loop {
        // SAFETY: every field is an integer or a pointer, for which zero is a value.
        let mut record: ingest_log_record = unsafe { std::mem::zeroed() };
        record.size = std::mem::size_of::<ingest_log_record>() as u32;
        let mut text = [0u8; 512];
        // SAFETY: the server lives, the record has the size it says and the buffer the length that is said.
        if unsafe { ingest_server_log_next(host.0, &mut record, text.as_mut_ptr().cast(), text.len()) } != 0 {
            return lines;
        }
        let length = text.iter().position(|octet| *octet == 0).unwrap_or(text.len());
        lines.push(String::from_utf8_lossy(&text[..length]).into_owned());
    }
}
