//! With tls.watch=on files are read again when they change: whole, in halves, behind links, and by the turns of a host.

use crate::reload::shown;
use crate::support::host::{Delivery, Host, Options, Server, abi, set_up};
use crate::support::secured::{self, Pair, certify};
use crate::support::{PATIENCE, alone, eventually, log_lines};
use crate::{Folder, telling};
use ingest::status::*;
use std::ffi::{CStr, CString, c_char, c_void};
use std::os::unix::fs::symlink;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const OFTEN: (&str, &str) = ("tls.watch_every", "100ms");
/// Long enough for a look at the files that has no reason to do anything.
const SEVERAL_LOOKS: Duration = Duration::from_millis(1000);

fn put(folder: &Folder, pair: &Pair) -> (String, String) {
    (folder.put("cert.pem", &pair.cert), folder.put("key.pem", &pair.key))
}

fn serve(cert: &str, key: &str, more: &[(&str, &str)]) -> Server {
    let options = [&[("tls.cert", cert), ("tls.key", key), ("tls.watch", "on"), OFTEN], more].concat();
    Server::serve(&options, Delivery::Inline, telling())
}

/// The lines about certificates that the log has got since it was read last.
fn said(host: Host) -> Vec<String> {
    log_lines(host).into_iter().filter(|line| line.contains("tls") || line.contains("certificates")).collect()
}

fn changes_to(server: &Server, pairs: &[&Pair], index: usize) -> bool {
    eventually(|| shown(server.port(), pairs) == index)
}

#[test]
fn n20_a_change_is_seen_and_said() {
    let (folder, old, new) = (Folder::new("watch"), certify(&["localhost"]), certify(&["localhost"]));
    let (cert, key) = put(&folder, &old);
    let server = serve(&cert, &key, &[("topology", "shards"), ("io_threads", "2")]);
    assert_eq!(shown(server.port(), &[&old, &new]), 0);
    put(&folder, &new);
    assert!(changes_to(&server, &[&old, &new], 1));
    std::thread::sleep(SEVERAL_LOOKS);
    let lines = said(server.host);
    assert!(lines.iter().any(|line| line == "listener 0: the files of tls have changed and were read again"), "{lines:?}");
    // What was written while it was read is read once more; nothing is said for ever.
    assert!(lines.len() <= 3, "{lines:?}");
    std::thread::sleep(SEVERAL_LOOKS);
    assert_eq!(said(server.host), Vec::<String>::new());
}

#[test]
fn n20_halves_of_a_pair_are_waited_for_and_complained_of_once() {
    let (folder, old, new) = (Folder::new("halves"), certify(&["localhost"]), certify(&["localhost"]));
    let (cert, key) = put(&folder, &old);
    let server = serve(&cert, &key, &[]);
    let pairs = [&old, &new];
    folder.put("cert.pem", &new.cert);
    let mut lines = Vec::new();
    assert!(eventually(|| {
        lines.append(&mut said(server.host));
        !lines.is_empty()
    }));
    std::thread::sleep(SEVERAL_LOOKS);
    lines.append(&mut said(server.host));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with("listener 0 keeps its old certificates until the files change again: tls.key "), "{lines:?}");
    assert!(lines[0].contains("does not belong"), "{lines:?}");
    assert_eq!(shown(server.port(), &pairs), 0);
    folder.put("key.pem", &new.key);
    assert!(changes_to(&server, &pairs, 1));
}

#[test]
fn n20_a_folder_of_links_that_is_exchanged_is_seen() {
    let (folder, old, new) = (Folder::new("links"), certify(&["localhost"]), certify(&["localhost"]));
    let at = |name: &str| folder.path(name);
    // As Kubernetes mounts a secret: the names are links into `..data`, which is a link to a folder with a date in its name.
    for (name, pair) in [("..2026_01", &old), ("..2026_02", &new)] {
        std::fs::create_dir(at(name)).expect("the folder can be written");
        std::fs::write(at(name) + "/tls.crt", &pair.cert).expect("the folder can be written");
        std::fs::write(at(name) + "/tls.key", &pair.key).expect("the folder can be written");
    }
    let link = |to: &str, name: &str| symlink(to, at(name)).expect("the folder can be written");
    link("..2026_01", "..data");
    link("..data/tls.crt", "tls.crt");
    link("..data/tls.key", "tls.key");
    let server = serve(&at("tls.crt"), &at("tls.key"), &[]);
    assert_eq!(shown(server.port(), &[&old, &new]), 0);
    link("..2026_02", "..data_tmp");
    std::fs::rename(at("..data_tmp"), at("..data")).expect("one link takes the place of another");
    std::fs::remove_dir_all(at("..2026_01")).expect("nobody needs it");
    assert!(changes_to(&server, &[&old, &new], 1));
}

#[test]
fn files_may_be_gone_for_a_while() {
    let (folder, old, new) = (Folder::new("gone"), certify(&["localhost"]), certify(&["localhost"]));
    let (cert, key) = put(&folder, &old);
    let server = serve(&cert, &key, &[]);
    for (pair, index) in [(&old, 0), (&new, 1)] {
        std::fs::remove_file(&cert).expect("it is there");
        std::fs::remove_file(&key).expect("it is there");
        assert!(eventually(|| said(server.host).iter().any(|line| line.contains("cannot read tls.cert"))));
        assert_eq!(shown(server.port(), &[&old, &new]), 0, "what was there before is served on");
        put(&folder, pair);
        assert!(eventually(|| said(server.host).iter().any(|line| line.contains("were read again"))));
        assert_eq!(shown(server.port(), &[&old, &new]), index);
    }
}

#[test]
fn every_file_counts_and_only_for_its_listener() {
    let (folder, pair, other) = (Folder::new("every"), certify(&["localhost"]), certify(&["localhost"]));
    let (cert, key) = put(&folder, &pair);
    let (unwatched_cert, unwatched_key) = (folder.put("b.pem", &pair.cert), folder.put("b.key", &pair.key));
    let (keys, ca, staple) =
        (folder.put("keys", [1; 64]), folder.put("ca.pem", &pair.cert), [0x30, 10, 0x0a, 1, 0, 0xa0, 5, 0x30, 3, 2, 1]);
    let ocsp = folder.put("staple.der", [&staple[..], &[7]].concat());
    let mut server = Server::unstarted(&[("delivery", "inline"), ("tls.cert", &cert), ("tls.key", &key), OFTEN]);
    server.call_back(telling());
    let listen = |options: &[(&str, &str)]| {
        let (options, address) = (Options::new(options), CString::new("https://127.0.0.1:0").expect("no NUL"));
        // SAFETY: all pointers are good for the call.
        let listener = set_up(|error| unsafe { abi::ingest_server_listen(server.host.0, address.as_ptr(), options.0, error) });
        // SAFETY: the server lives.
        unsafe { abi::ingest_server_port(server.host.0, listener.expect("it listens")) as u16 }
    };
    let unwatched = listen(&[("tls.cert", &unwatched_cert), ("tls.key", &unwatched_key)]);
    listen(&[
        ("tls.watch", "on"),
        ("tls.ticket_keys", &keys),
        ("tls.ocsp", &ocsp),
        ("tls.client_ca", &ca),
        ("tls.client_auth", "optional"),
    ]);
    server.start().expect("the server starts");
    // What nobody watches changes, too, and cannot be used: the others are not held up by it.
    folder.put("b.pem", &other.cert);
    for (file, octets) in [("keys", vec![2; 64]), ("staple.der", [&staple[..], &[8]].concat()), ("ca.pem", other.cert.clone().into_bytes())]
    {
        folder.put(file, octets);
        let mut lines = Vec::new();
        let read = "listener 1: the files of tls have changed and were read again";
        assert!(eventually(|| {
            lines.append(&mut said(server.host));
            lines.iter().any(|line| line == read)
        }));
        // Quiet, so that the next file's line is not taken for this one's.
        std::thread::sleep(SEVERAL_LOOKS);
        lines.append(&mut said(server.host));
        assert!(lines.iter().all(|line| line == read), "{file}: {lines:?}");
    }
    assert_eq!(shown(unwatched, &[&pair, &other]), 0);
}

type Seen = Mutex<Vec<(String, bool)>>;

unsafe extern "C" fn see(userdata: *mut c_void, _server: *mut abi::ingest_server, name: *const c_char, started: i32) {
    // SAFETY: `userdata` is the list that the test keeps, and the name is terminated.
    let (seen, name) = unsafe { (&*userdata.cast::<Seen>(), CStr::from_ptr(name)) };
    seen.lock().unwrap_or_else(PoisonError::into_inner).push((name.to_str().expect("UTF-8").to_owned(), started == 1));
}

/// The names of this process's threads.
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("procfs");
    tasks.filter_map(|task| Some(std::fs::read_to_string(task.ok()?.path().join("comm")).ok()?.trim_end().to_owned())).collect()
}

#[test]
fn one_thread_watches_while_it_has_to_and_ends_at_once() {
    alone("watch::one_thread_watches_while_it_has_to_and_ends_at_once", || {
        let folder = Folder::new("thread");
        let (cert, key) = put(&folder, secured::pair());
        let (files, [(_, cert_text), (_, key_text)]) = ((cert.as_str(), key.as_str()), secured::options());
        let texts = (cert_text, key_text);
        for (watch, (cert, key), tls, expected) in
            [("on", files, true, 1), ("off", files, true, 0), ("on", texts, true, 0), ("on", files, false, 0)]
        {
            for polite in [true, false] {
                let seen = Seen::default();
                // Nobody could wait for the next look.
                let options =
                    [("delivery", "inline"), ("tls.cert", cert), ("tls.key", key), ("tls.watch", watch), ("tls.watch_every", "1h")];
                let mut server = Server::unstarted(&options);
                let userdata: *mut c_void = (&raw const seen).cast_mut().cast();
                // SAFETY: the server lives, and `seen` outlives it.
                assert_eq!(unsafe { abi::ingest_server_on_thread(server.host.0, Some(see), userdata) }, INGEST_OK);
                server.call_back(telling());
                server.listen(if tls { "https://127.0.0.1:0" } else { "http://127.0.0.1:0" }).expect("loopback");
                server.start().expect("the server starts");
                assert_eq!(server.connect().get("/").status, 200);
                assert!(eventually(|| threads().iter().filter(|name| *name == "ingest-watch").count() == expected), "{:?}", threads());
                if polite {
                    server.drain(5000);
                } else {
                    server.stop();
                    server.stop();
                }
                assert_eq!(server.join(PATIENCE.as_millis() as i32), INGEST_OK);
                assert!(!threads().iter().any(|name| name.starts_with("ingest-")), "{:?}", threads());
                let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let of: Vec<bool> = seen.iter().filter(|(name, _)| name == "ingest-watch").map(|(_, started)| *started).collect();
                assert_eq!(of, [true, false][..2 * expected], "{seen:?}");
                server.finish();
            }
        }
    });
}

fn turn(host: Host, timeout_ms: i32) -> i32 {
    // SAFETY: the server lives.
    unsafe { abi::ingest_server_turn(host.0, timeout_ms) }
}

/// Whether the descriptor becomes readable in time.
fn readable(fd: i32, limit: Duration) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, good for the call.
    unsafe { libc::poll(&mut poll, 1, limit.as_millis() as i32) == 1 }
}

#[test]
fn turns_of_the_host_look_and_nothing_does_between_them() {
    let (folder, old, new) = (Folder::new("turns"), certify(&["localhost"]), certify(&["localhost"]));
    let (cert, key) = put(&folder, &old);
    let mut server = Server::unstarted(&[("topology", "inline"), ("tls.cert", &cert), ("tls.key", &key), ("tls.watch", "on"), OFTEN]);
    server.call_back(telling());
    server.listen("https://127.0.0.1:0").expect("loopback");
    assert_eq!(turn(server.host, 0), 0);
    put(&folder, &new);
    std::thread::sleep(SEVERAL_LOOKS);
    assert_eq!(said(server.host), Vec::<String>::new(), "nothing runs between turns");
    // The first of these turns looks; the next would be too early, but ends when the look is due, and the one after it looks again.
    for pair in [&new, &old] {
        put(&folder, pair);
        let start = Instant::now();
        while said(server.host).is_empty() {
            assert_eq!(turn(server.host, 60_000), 0);
            // A turn that nothing ends looks after its listeners once in ten seconds.
            assert!(start.elapsed() < Duration::from_secs(8), "the turn slept on");
        }
    }
    put(&folder, &new);
    // SAFETY: the server lives.
    let fd = unsafe { abi::ingest_server_fd(server.host.0) };
    assert!(readable(fd, PATIENCE), "a look is due");
    assert_eq!(turn(server.host, 0), 0);
    // It may have come a moment before the look was due.
    assert!(eventually(|| turn(server.host, -1) == 0 && !said(server.host).is_empty()));
    let (host, port) = (server.host, server.port());
    std::thread::scope(|scope| {
        let client = scope.spawn(move || shown(port, &[&old, &new]));
        assert!(eventually(|| turn(host, 10) == 0 && client.is_finished()));
        assert_eq!(client.join().expect("a handshake"), 1);
    });
}
