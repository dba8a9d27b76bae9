//! How the scanners are called, and what of their reports is a finding; all that they say is printed.

use std::path::PathBuf;
use std::process::Command;

/// A folder that goes with the test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("ingest-scanners-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temp folder can be written");
        Folder(path)
    }

    /// Writes a file and says where it is.
    pub fn put(&self, name: &str, text: &str) -> String {
        std::fs::write(self.0.join(name), text).expect("the folder can be written");
        self.path(name)
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("an ordinary name").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a scanner to its end, and prints what it says.
fn run(command: &mut Command, hint: &str) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error} ({hint})"));
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    println!("{command:?}\n{text}");
    text
}

/// In what the server on this port differs from one of Mozilla's profiles. The file holds whom to trust: a chain that nobody trusts would
/// be a finding about the test.
pub fn sslyze(port: u16, profile: &str, ca: &str) -> Vec<String> {
    let python = std::env::var_os("INGEST_PYTHON").expect("INGEST_PYTHON names the python that has sslyze (run tests/run tls)");
    let mut command = Command::new(python);
    // One after the other: a server that serves one client at a time has to be scanned, too.
    command.args(["-W", "ignore", "-m", "sslyze", "--slow_connection", "--certinfo_ca_file", ca]);
    command.args([&format!("--mozilla_config={profile}"), &format!("localhost:{port}{{127.0.0.1}}")]);
    let text = run(&mut command, "run tests/run tls");
    let findings: Vec<String> = text.lines().filter_map(|line| line.strip_prefix("        * ")).map(str::to_owned).collect();
    // It is silent about a server that it cannot reach, and a scan that fails has no findings either.
    let verdict = if findings.is_empty() { ": OK - Compliant." } else { ": FAILED - Not compliant." };
    assert!(text.contains(verdict), "sslyze has no verdict {verdict:?}:\n{text}");
    findings
}

/// What has to be in every report of testssl.sh, or it has not looked.
const LOOKED_FOR: &str = "SSLv2 SSLv3 TLS1 TLS1_1 TLS1_2 TLS1_3 ALPN cipherlist_NULL cipherlist_aNULL cipherlist_EXPORT cipherlist_LOW \
    cipherlist_3DES_IDEA cipherlist_AVERAGE cipherlist_STRONG PFS heartbleed CCS ticketbleed ROBOT secure_renego secure_client_renego CRIME_TLS BREACH \
    POODLE_SSL fallback_SCSV SWEET32 FREAK DROWN LOGJAM LUCKY13 RC4";
/// Begins of what is said about the test rather than about the server: its certificate, names, and the fields of its answers.
const LISTED: [&str; 6] = ["cert", "DNS", "HTTP", "HSTS", "security_headers", "DROWN_hint"];

/// Everything at or above LOW among protocols, ciphers, forward secrecy and vulnerabilities.
pub fn testssl(port: u16, folder: &Folder) -> Vec<String> {
    let report = folder.path("report.csv");
    let mut command = Command::new("testssl");
    command.args(["--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--openssl", "/usr/bin/openssl"]);
    command.args(["--ip", "127.0.0.1", "--csvfile", &report, "-p", "-s", "-f", "-U", &format!("localhost:{port}")]);
    let text = run(&mut command, "apt-get install testssl.sh");
    let report = std::fs::read_to_string(&report).unwrap_or_else(|error| panic!("testssl wrote no report: {error}\n{text}"));
    // One line a finding: "id","host/address","port","severity","finding","cve","cwe".
    let lines: Vec<Vec<&str>> = report.lines().skip(1).map(|line| line.trim_matches('"').split("\",\"").collect()).collect();
    for id in LOOKED_FOR.split_whitespace() {
        assert!(lines.iter().any(|line| line[0] == id), "testssl did not look for {id}:\n{text}");
    }
    let mut findings = Vec::new();
    for line in lines {
        let [id, _, _, severity, finding, ..] = line[..] else { panic!("testssl has an odd line: {line:?}") };
        // What is neither fine nor a remark counts, also WARN and FATAL, by which it says that it could not look.
        if matches!(severity, "OK" | "INFO" | "DEBUG") {
            continue;
        }
        let finding = format!("{id} {severity}: {finding}");
        if LISTED.iter().any(|begin| id.starts_with(begin)) {
            println!("listed, not judged: {finding}");
        } else {
            findings.push(finding);
        }
    }
    findings
}
