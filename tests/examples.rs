//! Proves that every program in `examples-c` builds without a warning, serves, drains and says clearly what is wrong.

#[path = "examples/tls.rs"]
mod tls;
#[path = "examples/upload.rs"]
mod upload;

mod runner;

use runner::client::{self, Asked, Client, Response};
use runner::streams::{self, Listener, News, Wire};
use runner::{Server, built, make, port_of, root, run};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;
use std::time::{Duration, Instant};

const ALL: [&str; 10] = ["hello", "queue", "own_loop", "turn", "late", "stream", "upload", "inspect", "tls", "prefork"];
const LISTEN: [&str; 2] = ["--listen", "http://127.0.0.1:0"];
const DRAIN: Duration = Duration::from_secs(10);

static BUILT: Once = Once::new();

/// A command for one of the examples, which are built first.
fn example(name: &str) -> Command {
    BUILT.call_once(|| make(&[]));
    Command::new(built(name))
}

fn serves_a_thousand(name: &str, arguments: &[&str], judge: fn(&Asked, &Response)) {
    let server = Server::start(example(name).args(LISTEN).args(arguments), 1);
    let mut idle = Client::connect(server.port());
    judge(&Asked { method: "GET", target: "/first".to_string(), body_length: 0 }, &idle_get(&mut idle));
    client::a_thousand_requests(server.port(), judge);
    // The idle connection stays open: it must not keep the server from ending.
    server.stop_cleanly(DRAIN);
}

fn idle_get(client: &mut Client) -> Response {
    client.send(b"GET /first HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: a=1; b=2\r\n\r\n");
    client.receive(false)
}

#[test]
fn hello_serves_a_thousand_requests() {
    serves_a_thousand("hello", &[], client::judge_hello);
}

#[test]
fn hello_serves_a_thousand_requests_from_two_shards() {
    serves_a_thousand("hello", &["--set", "topology=shards", "--set", "io_threads=2"], client::judge_hello);
}

#[test]
fn queue_serves_a_thousand_requests() {
    serves_a_thousand("queue", &[], client::judge_hello);
}

#[test]
fn queue_serves_a_thousand_requests_with_three_consumers_and_two_shards() {
    serves_a_thousand("queue", &["--consumers", "3", "--set", "topology=shards", "--set=io_threads=2"], client::judge_hello);
}

#[test]
fn own_loop_serves_a_thousand_requests() {
    serves_a_thousand("own_loop", &[], client::judge_own_loop);
}

#[test]
fn turn_serves_a_thousand_requests() {
    serves_a_thousand("turn", &[], client::judge_hello);
}

#[test]
fn late_serves_a_thousand_requests() {
    serves_a_thousand("late", &[], client::judge_hello);
}

#[test]
fn late_answers_after_the_time_in_the_path() {
    let server = Server::start(example("late").args(LISTEN), 1);
    let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(server.port())).collect();
    let began = Instant::now();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(client::get(if number % 2 == 0 { "/400" } else { "/1" }).as_bytes());
    }
    for client in clients.iter_mut().skip(1).step_by(2) {
        assert_eq!(client.receive(false).status, 200);
    }
    let short = began.elapsed();
    for client in clients.iter_mut().step_by(2) {
        assert_eq!(client.receive(false).status, 200);
    }
    let long = began.elapsed();
    assert!(long >= Duration::from_millis(400), "answers of 400 ms came after {long:?}");
    assert!(short < long / 2, "answers of 1 ms came after {short:?}");
    // A drain waits for the answers that are still to come.
    clients[0].send(client::get("/300").as_bytes());
    std::thread::sleep(Duration::from_millis(50));
    server.signal(libc::SIGTERM);
    assert_eq!(clients[0].receive(false).status, 200);
    server.stop_cleanly(DRAIN);
}

#[test]
fn stream_serves_a_thousand_requests() {
    serves_a_thousand("stream", &[], streams::judge_stream);
}

#[test]
fn stream_counts() {
    for shape in [&[][..], &["--set", "topology=shards", "--set", "io_threads=2"]] {
        let server = Server::start(example("stream").args(LISTEN).args(shape), 1);
        streams::numbers_arrive_whole(server.port());
        // A HEAD is told the same and gets no body; HTTP/1.0 knows no chunks and gets the body until the connection closes.
        let mut wire = Wire::connect(server.port());
        wire.send(&[client::get("/count?n=9").replacen("GET", "HEAD", 1), client::get("/events").replacen("GET", "HEAD", 1)].concat());
        assert_eq!([wire.section()[0].as_str(), wire.section()[0].as_str()], ["HTTP/1.1 200 OK"; 2]);
        wire.send(&client::get("/count?n=9"));
        streams::judge_numbers(&mut wire, 9);
        wire.send("GET /count?n=20000 HTTP/1.0\r\n\r\n");
        let head = wire.section();
        assert!(
            head[0].ends_with(" 200 OK") && !head.iter().any(|line| line.to_ascii_lowercase().starts_with("transfer-encoding")),
            "{head:?}"
        );
        assert!(wire.rest() == streams::numbers(20_000).0, "the octets of an HTTP/1.0 answer");
        for wrong in ["/count?n=", "/count?n=-1", "/count?n=1x", "/count?n=1000000000000000"] {
            assert_eq!(Client::connect(server.port()).get(wrong).status, 400, "{wrong}");
        }
        server.stop_cleanly(DRAIN);
    }
}

/// The most memory that a process had, in KiB.
fn memory_peak(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the child runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the line is always there");
    line.split_whitespace().nth(1).and_then(|kibibytes| kibibytes.parse().ok()).expect("it is a number")
}

#[test]
fn stream_waits_for_those_who_read_slowly() {
    let server = Server::start(example("stream").args(LISTEN), 1);
    let mut slow = Wire::get(server.port(), "/count?n=2000000");
    // The answers to these are some 900 MB each, of which nothing is read.
    let never: Vec<Wire> = (0..4).map(|_| Wire::get(server.port(), "/count?n=100000000")).collect();
    let mut listener = Listener::tune_in(server.port());
    for _ in 0..5 {
        listener.tick();
        streams::numbers_arrive_whole(server.port());
    }
    streams::judge_numbers(&mut slow, 2_000_000);
    never.into_iter().for_each(Wire::reset);
    listener.tick();
    let peak = memory_peak(server.process());
    assert!(peak < 64 * 1024, "{peak} KiB for answers that nobody reads");
    drop(listener);
    server.stop_cleanly(DRAIN);
}

#[test]
fn stream_sends_a_file() {
    let server = Server::start(example("stream").args(LISTEN), 1);
    streams::file_arrives_whole(server.port(), &std::fs::read(built("stream")).expect("it was built"));
    server.stop_cleanly(DRAIN);

    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("stream_sends_a_file");
    std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
    let path = folder.join("served");
    let large: Vec<u8> = (0..5_000_000_u32).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect();
    for content in [&b""[..], b"x", &large] {
        std::fs::write(&path, content).expect("the temporary folder can be written");
        let server = Server::start(example("stream").args(LISTEN).arg("--file").arg(&path), 1);
        streams::file_arrives_whole(server.port(), content);
        server.stop_cleanly(DRAIN);
    }
    std::fs::remove_file(&path).expect("it was written above");
    for absent in [&path, &folder] {
        let server = Server::start(example("stream").args(LISTEN).arg("--file").arg(absent), 1);
        let response = Client::connect(server.port()).get("/file");
        assert_eq!((response.status, response.body.as_slice()), (404, &b"the file cannot be read\n"[..]), "{}", absent.display());
        server.stop_cleanly(DRAIN);
    }
}

#[test]
fn stream_keeps_up_with_listeners_that_come_and_go() {
    for shape in [&[][..], &["--set", "topology=shards", "--set", "io_threads=2"]] {
        let server = Server::start(example("stream").args(LISTEN).args(shape), 1);
        let page = Client::connect(server.port()).get("/");
        assert!(page.head.contains("text/html") && String::from_utf8_lossy(&page.body).contains("new EventSource('/events')"));
        let stayed = streams::listeners_come_and_go(server.port());
        server.stop_cleanly(DRAIN);
        streams::judge_goodbye(stayed);
    }
}

#[test]
fn stream_ends_what_it_began_before_it_drains() {
    let server = Server::start(example("stream").args(LISTEN), 1);
    let mut listener = Listener::tune_in(server.port());
    listener.tick();
    let mut counting = Wire::get(server.port(), "/count?n=1000000");
    streams::judge_head_of_numbers(&mut counting); // so that it has begun
    server.signal(libc::SIGTERM);
    while !matches!(listener.next(), News::Goodbye) {}
    streams::judge_body_of_numbers(&mut counting, 1_000_000);
    assert!(counting.rest().is_empty(), "a drain closes the connection behind the answer");
    let ended = server.finish();
    assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""));
}

#[test]
fn stream_is_cut_off_by_a_second_signal() {
    let server = Server::start(example("stream").args(LISTEN), 1);
    let mut never = Wire::get(server.port(), "/count?n=100000000");
    assert_eq!(never.section()[0], "HTTP/1.1 200 OK");
    server.signal(libc::SIGTERM);
    std::thread::sleep(Duration::from_millis(100));
    let again = Instant::now();
    server.signal(libc::SIGTERM);
    let ended = server.finish();
    assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""));
    assert!(again.elapsed() < Duration::from_secs(5), "it took {:?}", again.elapsed());
}

#[test]
fn inspect_serves_a_thousand_requests() {
    serves_a_thousand("inspect", &["--set", "journey=steps"], client::judge_inspect);
}

#[test]
fn inspect_shows_what_is_in_a_body() {
    let server = Server::start(example("inspect").args(LISTEN), 1);
    let ask = |kind: &str, body: &str| {
        let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
        let mut peer = Client::connect(server.port());
        peer.send([head.as_bytes(), body.as_bytes()].concat().as_slice());
        String::from_utf8(peer.receive(false).body).expect("JSON is UTF-8")
    };
    let part = "--b\r\nContent-Disposition: form-data; name=a; filename=\"f\"\r\n\r\nabc\r\n--b--\r\n";
    // The hash is the one that FIPS 180-4 gives as an example.
    let parts = r#""parts":[{"name":"a","filename":"f","filename_extended":null,"content_type":null,"headers":[["Content-Disposition","form-data; name=a; filename=\"f\""]],"size":3,"sha256":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}]"#;
    for (kind, body, shown) in [
        ("application/x-www-form-urlencoded", "a=b+c&d", r#""form":[["a","b c"],["d",""]],"parts":null,"json":null"#),
        ("multipart/form-data; boundary=b", part, parts),
        ("application/json", "[1]", r#""form":null,"parts":null,"json":"well-formed""#),
        ("application/json", "[1", r#""json":"malformed""#),
    ] {
        let answer = ask(kind, body);
        assert!(answer.contains(shown), "{shown} is not in {answer}");
    }
    server.stop_cleanly(DRAIN);
    // The same from a file.
    let server = Server::start(example("inspect").args(LISTEN).args(["--set", "body=spool", "--set", "body_buffer_max=1"]), 1);
    let mut peer = Client::connect(server.port());
    let head =
        format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: {}\r\n\r\n", part.len());
    peer.send([head.as_bytes(), part.as_bytes()].concat().as_slice());
    let answer = String::from_utf8(peer.receive(false).body).expect("JSON is UTF-8");
    let body = format!(r#""body_b64":"","body_len":{},"spooled":{{"sha256":""#, part.len());
    assert!(answer.contains(parts) && answer.contains(&body), "{answer}");
    server.stop_cleanly(DRAIN);
}

#[test]
fn inspect_shows_every_field() {
    let server = Server::start(example("inspect").args(LISTEN).args(LISTEN).args(["--set", "journey=steps"]), 2);
    let mut peer = Client::connect(port_of(&server.urls[1]));
    peer.send(b"PUT http://Example.org:81/a%20b/%e9?x=1+2&y=%22&flag HTTP/1.1\r\nHost: example.org:81\r\nNote:  caf\xe9 \"q\" \r\nContent-Length: 2\r\n\r\n\x00\xff");
    let body = String::from_utf8(peer.receive(false).body).expect("JSON is UTF-8");
    for part in [
        r#""method":"PUT""#,
        r#""target":"http://Example.org:81/a%20b/%e9?x=1+2&y=%22&flag""#,
        r#""path":"/a b/\u00e9""#,
        r#""headers":[["Host","example.org:81"],["Note","caf\u00e9 \"q\""],["Content-Length","2"]]"#,
        r#""trailers":[]"#,
        r#""query":[["x","1 2"],["y","\""],["flag",""]]"#,
        r#""cookies":[]"#,
        r#""body_b64":"AP8=""#,
        r#""peer":"127.0.0.1:"#,
        &format!(r#""listener":"{}""#, server.urls[1]),
        r#""journey":{"accept":"#,
        r#""queue":"#,
    ] {
        assert!(body.contains(part), "{part} is not in {body}");
    }
    assert!(body.to_ascii_lowercase().contains(r#""authority":"example.org:81""#), "{body}");
    server.stop_cleanly(DRAIN);

    let server = Server::start(example("inspect").args(LISTEN).args(["--set", "journey=off"]), 1);
    let body = String::from_utf8(Client::connect(server.port()).get("/").body).expect("JSON is UTF-8");
    assert!(!body.contains("journey\":{\""), "{body}");
    server.stop_cleanly(DRAIN);
}

#[test]
fn every_listener_is_announced_and_serves() {
    for name in ALL {
        let server = Server::start(example(name).args(LISTEN).args(LISTEN), 2);
        assert_ne!(server.urls[0], server.urls[1]);
        for url in &server.urls {
            assert!(url.starts_with("http://127.0.0.1:") && port_of(url) != 0, "{url}");
            assert_eq!(Client::connect(port_of(url)).get("/").status, 200);
        }
        server.stop_cleanly(DRAIN);
    }
}

#[test]
fn unix_sockets_are_announced_and_served() {
    let folder = std::env::temp_dir().join(format!("ingest-examples-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
    for name in ALL.into_iter().filter(|binds_tcp_alone| *binds_tcp_alone != "prefork") {
        let path = folder.join(format!("{name}.sock"));
        let server = Server::start(example(name).arg("--listen").arg(format!("http+unix:{}?mode=0600", path.display())), 1);
        assert_eq!(server.urls[0], format!("http+unix:{}", path.display()));
        assert_eq!(path.metadata().expect("the file is there").permissions().mode() & 0o777, 0o600);
        let mut client = Client::connect_local(&path);
        for _ in 0..3 {
            assert_eq!(client.get("/").status, 200, "{name}");
        }
        server.stop_cleanly(DRAIN);
        assert!(!path.exists(), "{name} has left its socket behind");
    }
    std::fs::remove_dir(&folder).expect("nothing is left in it");
}

#[test]
fn an_inherited_socket_is_served() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    let mut command = example("hello");
    command.args(["--listen", "http+fd:3", "--set", "topology=shards", "--set", "io_threads=2"]);
    let given = listener.as_raw_fd();
    // SAFETY: dup2 is async-signal-safe; the new descriptor 3 is not close-on-exec, and one that is 3 already is made so.
    unsafe {
        command.pre_exec(move || match given {
            3 if libc::fcntl(3, libc::F_SETFD, 0) == 0 => Ok(()),
            _ if libc::dup2(given, 3) == 3 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let server = Server::start(&mut command, 1);
    drop(listener);
    assert_eq!(server.urls[0], "http+fd:3");
    for _ in 0..10 {
        assert_eq!(Client::connect(port).get("/plaintext").body, b"Hello, World!");
    }
    server.stop_cleanly(DRAIN);
}

#[test]
fn sigint_drains_too() {
    for name in ALL {
        let server = Server::start(example(name).args(LISTEN), 1);
        server.signal(libc::SIGINT);
        let ended = server.finish();
        assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""), "{name}");
    }
}

#[test]
fn a_second_signal_stops_at_once() {
    for name in ["hello", "queue", "own_loop", "turn", "late", "stream", "prefork"] {
        let server = Server::start(example(name).args(LISTEN), 1);
        let mut half = TcpStream::connect(("127.0.0.1", server.port())).expect("the server accepts");
        half.write_all(b"POST /never HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf").expect("the server reads");
        std::thread::sleep(Duration::from_millis(50));
        server.signal(libc::SIGTERM);
        std::thread::sleep(Duration::from_millis(50));
        let again = Instant::now();
        // SAFETY: kill takes two numbers; if the first signal was enough the child is a zombie of ours, and its id is still its own.
        unsafe { libc::kill(i32::try_from(server.process()).expect("a process id fits"), libc::SIGTERM) };
        let ended = server.finish();
        assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""), "{name}");
        assert!(again.elapsed() < Duration::from_secs(5), "{name} took {:?}", again.elapsed());
    }
}

#[test]
fn a_taken_port_is_a_clear_error() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let address = taken.local_addr().expect("it is bound");
    for name in ALL {
        let ended = run(example(name).arg("--listen").arg(format!("http://{address}")));
        assert_eq!(ended.status.code(), Some(1), "{name}");
        assert!(ended.stdout.is_empty(), "{:?}", ended.stdout);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(ended.stderr.starts_with(&format!("{name}: ")) && ended.stderr.contains(&address.to_string()), "{}", ended.stderr);
        assert!(ended.stderr.contains("in use"), "{}", ended.stderr);
    }
}

#[test]
fn help_is_given_and_bad_usage_is_refused() {
    for name in ALL {
        let help = run(example(name).arg("--help"));
        assert_eq!((help.status.code(), help.stderr.as_str()), (Some(0), ""), "{name}");
        let text = help.stdout.join("\n");
        for part in ["usage: ", "--listen URL", "--set option=value", "io_threads=1", "keepalive_timeout="] {
            assert!(text.contains(part), "{part} is not in the help of {name}:\n{text}");
        }
        assert_eq!([text.contains("--consumers N"), text.contains("--workers N")], [name == "queue", name == "prefork"]);
        for (arguments, status) in [
            (&["--nonsense"][..], 2),
            (&["--listen"][..], 2),
            (&["--set", "io_threads"][..], 2),
            (&["--set", "no_such_option=1"][..], 1),
            (&["--set", "io_threads=many"][..], 1),
            (&["--listen", "gopher://127.0.0.1:0"][..], 1),
        ] {
            let ended = run(example(name).args(arguments));
            assert_eq!(ended.status.code(), Some(status), "{name} {arguments:?}: {}", ended.stderr);
            assert!(ended.stderr.starts_with(&format!("{name}: ")), "{name} {arguments:?}: {}", ended.stderr);
        }
    }
    assert_eq!(run(example("queue").args(["--consumers", "0"])).status.code(), Some(2));
    assert_eq!(run(example("prefork").args(["--workers", "x"])).status.code(), Some(2));
    assert_eq!(run(example("hello").args(["--consumers", "2"])).status.code(), Some(2));
}

#[test]
fn the_soft_descriptor_limit_is_raised() {
    let program = example("hello").get_program().to_owned();
    let server =
        Server::start(Command::new("sh").arg("-c").arg("ulimit -S -n 64; exec \"$0\" --listen http://127.0.0.1:0").arg(program), 1);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.process())).expect("the child runs");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("the line is always there");
    let numbers: Vec<&str> = line.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers[0], numbers[1], "{line}");
    server.stop_cleanly(DRAIN);
}

#[test]
fn programs_run_from_anywhere() {
    let server = Server::start(example("hello").args(LISTEN).current_dir("/").env_clear(), 1);
    assert_eq!(Client::connect(server.port()).get("/plaintext").body, b"Hello, World!");
    server.stop_cleanly(DRAIN);
}

/// The first C block of the README, as it stands there.
fn readme_server() -> String {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("there is a README");
    let block = readme.split("```c\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the README has a C block");
    block.to_string()
}

/// Compiles one C text as the README says and returns the program.
fn compile(text: &str, name: &str) -> PathBuf {
    let _ = example("hello"); // the library is built
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (source, program) = (folder.join(format!("{name}.c")), folder.join(name));
    std::fs::write(&source, text).expect("the temporary folder can be written");
    let library = built("").join(soname());
    let ended = run(Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(root().join("include"))
        .args(["-o".as_ref(), program.as_os_str(), source.as_os_str(), library.as_os_str()])
        .arg(format!("-Wl,-rpath,{}", built("").display())));
    assert!(ended.status.success(), "the server of the README does not compile:\n{}", ended.stderr);
    program
}

fn soname() -> String {
    let minor = env!("CARGO_PKG_VERSION_MINOR");
    let major = env!("CARGO_PKG_VERSION_MAJOR");
    if major == "0" { format!("libingest.so.0.{minor}") } else { format!("libingest.so.{major}") }
}

#[test]
fn the_server_of_the_readme_compiles_and_answers() {
    let text = readme_server();
    assert_eq!(text.lines().count(), 19, "the README says 19 lines:\n{text}");
    compile(&text, "readme_as_it_stands");
    // Only the port is exchanged: 8080 may be taken. It prints no port, so one that was free a moment ago is written in.
    for attempt in 0..5 {
        let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a port is free").port();
        assert!(text.contains("http://127.0.0.1:8080"), "the README's server listens elsewhere");
        let program = compile(&text.replace("127.0.0.1:8080", &format!("127.0.0.1:{port}")), &format!("readme_{attempt}"));
        let server = Server::start(&mut Command::new(program), 0);
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                let response = Client::connect(port).get("/");
                assert_eq!((response.status, response.body.as_slice()), (200, &b"hello\n"[..]));
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(server); // someone else took the port meanwhile
    }
    panic!("the server of the README did not come up");
}
