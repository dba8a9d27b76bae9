//! A host program as a process of its own: built from C, started behind any command, its lines read as they come, ended by its number.

use super::{PATIENCE, eventually};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Compiles a program of `tests/faults` against the library, which is copied beside it so that no build in between can exchange it.
pub fn build(name: &str, library: &Path, soname: &str, flags: &[&str]) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let variant: String = flags.concat().chars().filter(|letter| letter.is_ascii_alphanumeric()).collect();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults").join(format!("{}-{name}-{variant}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    let copy = folder.join(soname);
    std::fs::copy(library, &copy).unwrap_or_else(|error| panic!("cannot copy {}: {error}", library.display()));
    let is_shim = flags.contains(&"-shared");
    let program = folder.join(if is_shim { format!("{name}.so") } else { name.to_string() });
    let mut command = Command::new("cc");
    command.args(["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"]).args(flags);
    command.arg(format!("-I{}", root.join("include").display()));
    command.arg(root.join("tests/faults").join(format!("{name}.c"))).arg("-o").arg(&program);
    if !is_shim {
        command.arg(&copy).arg(format!("-Wl,-rpath,{}", folder.display()));
    }
    command.arg("-ldl");
    let output = command.output().unwrap_or_else(|error| panic!("cannot run cc: {error} (sudo apt-get install -y gcc libc6-dev)"));
    assert!(output.status.success(), "cc:\n{}", String::from_utf8_lossy(&output.stderr));
    program
}

/// Fails with the line that installs a tool which is not here.
pub fn need(tool: &str, package: &str) {
    let found = std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(tool).is_file()));
    assert!(found, "{tool} is not here: sudo apt-get install -y {package}");
}

/// What is put in front of a program so that strace meddles with its calls: one expression of `-e inject=` each.
pub fn injecting(expressions: &[&str]) -> Vec<String> {
    need("strace", "strace");
    let mut command: Vec<String> = ["strace", "-f", "-qq", "-o", "/dev/null"].map(str::to_owned).to_vec();
    let calls: Vec<&str> = expressions.iter().map(|expression| expression.split(':').next().expect("a call")).collect();
    command.push("-e".to_owned());
    command.push(format!("trace={}", calls.join(",")));
    for expression in expressions {
        command.push("-e".to_owned());
        command.push(format!("inject={expression}"));
    }
    command.push("--".to_owned());
    command
}

/// One running program. Dropping it kills what it started.
pub struct Guest {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    errors: Arc<Mutex<Vec<String>>>,
}

fn collect(stream: impl std::io::Read + Send + 'static) -> Arc<Mutex<Vec<String>>> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let theirs = Arc::clone(&lines);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            theirs.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    });
    lines
}

impl Guest {
    pub fn spawn(command: &mut Command) -> Guest {
        Guest::spawn_with_input(command, Stdio::null())
    }

    pub fn spawn_with_input(command: &mut Command, input: Stdio) -> Guest {
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let lines = collect(child.stdout.take().expect("it is piped"));
        let errors = collect(child.stderr.take().expect("it is piped"));
        Guest { child, lines, errors }
    }

    /// `serve` behind a wrapper, once it serves.
    pub fn serving(wrapper: &[String], program: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Guest {
        let mut words = wrapper.to_vec();
        words.push(program.display().to_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(arguments).envs(environment.iter().copied());
        let guest = Guest::spawn(&mut command);
        guest.wait_for("started");
        guest
    }

    fn read(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn lines(&self) -> Vec<String> {
        self.read().clone()
    }

    pub fn count(&self, part: &str) -> usize {
        self.read().iter().filter(|line| line.contains(part)).count()
    }

    pub fn wait_for(&self, part: &str) {
        let errors = || self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert!(eventually(|| self.count(part) > 0), "no {part:?} in {:?}, {:?}", self.lines(), errors());
    }

    fn numbers(&self, word: &str) -> Vec<i32> {
        self.read().iter().filter_map(|line| line.strip_prefix(word)?.trim().parse().ok()).collect()
    }

    /// The program itself, which is not the child if a wrapper stands before it.
    pub fn pid(&self) -> i32 {
        self.numbers("pid ")[0]
    }

    pub fn port(&self, index: usize) -> u16 {
        u16::try_from(self.numbers("port ")[index]).expect("a port")
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: the process is ours and has not been waited for.
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0);
    }

    /// Processor time of all its threads so far.
    pub fn cpu(&self) -> Duration {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("it lives");
        let fields: Vec<&str> = text.rsplit(')').next().expect("a name in parentheses").split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().expect("a number")).sum();
        // SAFETY: no pointers.
        Duration::from_millis(ticks * 1000 / unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as u64)
    }

    /// Whether it uses less than a twentieth of a processor over a second.
    pub fn rests(&self) -> bool {
        let before = self.cpu();
        std::thread::sleep(Duration::from_secs(1));
        self.cpu() - before < Duration::from_millis(50)
    }

    /// Its status once it has ended by itself.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        let mut status = None;
        let ended = eventually(|| {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        });
        assert!(ended, "it did not end within {PATIENCE:?}: {:?}", self.lines());
        status.expect("it has ended")
    }

    /// SIGTERM, and a clean end.
    pub fn finish(mut self) {
        self.signal(libc::SIGTERM);
        let status = self.wait();
        assert!(status.success(), "ended with {status}: {:?}", self.lines());
        assert!(eventually(|| self.count("freed 0") == 1), "{:?}", self.lines());
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            if let Some(pid) = self.numbers("pid ").first() {
                // SAFETY: a process that we started, and that has not ended.
                unsafe { libc::kill(*pid, libc::SIGKILL) };
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
