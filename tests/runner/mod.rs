//! Starts the example programs, asks them over loopback and stops them by their process id; for `examples.rs`, `cpp.rs` and `sanitizers.rs`.
#![allow(dead_code)] // each of them uses its own part

pub mod client;
pub mod cpp;
pub mod streams;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// Long enough for valgrind on a busy machine; nothing waits this long when all is well.
const PATIENCE: Duration = Duration::from_secs(120);

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What `make -C examples-c ARGUMENTS` made, or a panic with what it said.
pub fn make(arguments: &[&str]) {
    // Tests of one program run side by side, and two makes in one folder would take each other's files away.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let output = Command::new("make").arg("-C").arg(root().join("examples-c")).args(arguments).output().expect("make can be started");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "make -C examples-c {arguments:?} failed:\n{stdout}{stderr}");
}

pub fn built(program: &str) -> PathBuf {
    root().join("examples-c/build").join(program)
}

/// A running example. Dropped without `finish`, it is killed.
pub struct Server {
    child: Child,
    lines: mpsc::Receiver<String>,
    stderr: Option<std::thread::JoinHandle<String>>,
    /// What it printed after `listening on `, one for each listener.
    pub urls: Vec<String>,
}

/// How a program ended and what it said meanwhile.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: Vec<String>,
    pub stderr: String,
}

impl Server {
    /// Starts a program that announces `listeners` listeners as its first lines.
    pub fn start(command: &mut Command, listeners: usize) -> Server {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the example can be started");
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        let mut pipe = child.stderr.take().expect("stderr is piped");
        let stderr = std::thread::spawn(move || {
            let mut text = Vec::new();
            pipe.read_to_end(&mut text).expect("stderr can be read");
            String::from_utf8_lossy(&text).into_owned()
        });
        let mut server = Server { child, lines, stderr: Some(stderr), urls: Vec::new() };
        while server.urls.len() < listeners {
            match server.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    let url =
                        line.strip_prefix("listening on ").unwrap_or_else(|| panic!("an announcement was expected, it printed: {line}"));
                    server.urls.push(url.to_string());
                }
                Err(_) => {
                    let ended = server.finish();
                    panic!("it announced no listener: {:?}, {}", ended.status, ended.stderr);
                }
            }
        }
        server
    }

    pub fn port(&self) -> u16 {
        port_of(&self.urls[0])
    }

    pub fn process(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, number: i32) {
        let process = i32::try_from(self.child.id()).expect("a process id fits");
        // SAFETY: kill takes two numbers; the child is ours and not yet waited for, so its id is no one else's.
        assert_eq!(unsafe { libc::kill(process, number) }, 0, "the program has ended already");
    }

    /// Waits for its end, which someone has asked for.
    pub fn finish(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            assert!(Instant::now() < deadline, "the program did not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        let stderr = self.stderr.take().expect("taken once").join().expect("the reader ends with the pipe");
        Ended { status, stdout: self.lines.iter().collect(), stderr }
    }

    /// SIGTERM, then the end: it must be a clean one and within `bound`.
    pub fn stop_cleanly(self, bound: Duration) {
        let asked = Instant::now();
        self.signal(libc::SIGTERM);
        let ended = self.finish();
        assert_eq!(ended.stderr, "", "something was said on stderr");
        assert_eq!(ended.status.code(), Some(0), "ended with {:?}", ended.status);
        assert!(ended.stdout.is_empty(), "more than the announcements was printed: {:?}", ended.stdout);
        assert!(asked.elapsed() < bound, "the drain took {:?}", asked.elapsed());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn port_of(url: &str) -> u16 {
    let port = url.rsplit(':').next().and_then(|port| port.parse().ok());
    port.unwrap_or_else(|| panic!("no port in {url}"))
}

/// Runs a program that is expected to end by itself.
pub fn run(command: &mut Command) -> Ended {
    let output = command.stdin(Stdio::null()).output().expect("the program can be started");
    let stdout = String::from_utf8_lossy(&output.stdout).lines().map(String::from).collect();
    Ended { status: output.status, stdout, stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
}
