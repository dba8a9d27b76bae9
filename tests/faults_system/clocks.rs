//! S12, S13 and S22: the clock jumps, the process is stopped for a while, the only processor is busy.

use crate::support::client::Client;
use crate::support::guest_process::{Guest, need};
use crate::support::{PATIENCE, eventually};
use crate::{behind, full, program, serve, strings};
use std::path::PathBuf;
use std::time::{Duration, Instant};

fn faketime() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").expect("there is /usr/lib").filter_map(|entry| Some(entry.ok()?.path()));
    let found = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
    found.expect("libfaketime is not here: sudo apt-get install -y faketime")
}

/// The day of a Date field, as in `Sun, 06 Nov 1994 08:49:37 GMT`.
fn day(client: &mut Client) -> String {
    client.get("/date").header("date").expect("a Date field")[5..16].to_owned()
}

#[test]
fn s12_a_clock_that_jumps_moves_the_date_and_no_deadline() {
    let offset = std::env::temp_dir().join(format!("ingest-s12-{}", std::process::id()));
    std::fs::write(&offset, "+0\n").expect("the folder can be written");
    let environment = [
        ("LD_PRELOAD", &*strings(&faketime())),
        ("FAKETIME_TIMESTAMP_FILE", &*strings(&offset)),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ];
    let arguments = ["http://127.0.0.1:0", "keepalive_timeout=60s", "header_timeout=4s"];
    let guest = Guest::serving(&[], &program("serve", &[]), &arguments, &environment);
    let mut kept = Client::connect(guest.port(0));
    let today = day(&mut kept);
    for jump in ["+1d", "-1d"] {
        let mut slow = Client::connect(guest.port(0));
        slow.send("GET /slow HTTP/1.1\r\n");
        let start = Instant::now();
        std::fs::write(&offset, format!("{jump}\n")).expect("the folder can be written");
        assert!(eventually(|| day(&mut kept) != today), "{jump}: the Date stays {today}");
        // Neither is due: one would be by the wall clock.
        assert!(slow.is_silent(Duration::from_millis(500)), "{jump}: a deadline came early");
        assert_eq!(slow.answer().status, 408);
        let took = start.elapsed();
        assert!(took >= Duration::from_secs(3) && took < PATIENCE, "{jump}: it took {took:?}");
        assert_eq!(kept.get("/kept").text(), "/kept");
        std::fs::write(&offset, "+0\n").expect("the folder can be written");
        assert!(eventually(|| day(&mut kept) == today));
    }
    guest.finish();
    std::fs::remove_file(&offset).expect("it was written above");
}

#[test]
fn s13_a_process_that_was_stopped_closes_what_is_due_and_goes_on() {
    let (stopped, idle) = if full() { (Duration::from_secs(60), 1000) } else { (Duration::from_secs(3), 200) };
    let guest = serve(&[], &["keepalive_timeout=1s", "header_timeout=1s", "response_timeout=1s", "events=gone", "max_connections=4000"]);
    let mut kept: Vec<Client> = (0..idle).map(|_| Client::connect(guest.port(0))).collect();
    kept.iter_mut().for_each(|client| assert_eq!(client.get("/").status, 200));
    let mut slow = Client::connect(guest.port(0));
    slow.send("GET /slow HTTP/1.1\r\n");
    let mut held = Client::connect(guest.port(0));
    held.send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
    guest.wait_for("held");
    guest.signal(libc::SIGSTOP);
    std::thread::sleep(stopped);
    // It arrived while nobody looked, and is not late.
    let mut early = Client::connect(guest.port(0));
    early.send("GET /early HTTP/1.1\r\nHost: x\r\n\r\n");
    let before = guest.cpu();
    let start = Instant::now();
    guest.signal(libc::SIGCONT);
    assert_eq!(early.answer().text(), "/early");
    assert_eq!(slow.answer().status, 408);
    assert_eq!(held.answer().status, 504);
    for client in &mut kept {
        assert!(client.is_closed(), "an idle connection is still open");
    }
    assert!(start.elapsed() < PATIENCE / 2, "it took {:?}", start.elapsed());
    drop((kept, slow, held, early));
    assert!(guest.cpu() - before < Duration::from_secs(1), "it took {:?} of processor time", guest.cpu() - before);
    assert!(guest.rests(), "it does not come to rest");
    guest.finish();
}

/// A process of ours that only burns time, on the first processor that we may use.
struct Burner(std::process::Child);

impl Drop for Burner {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn s22_timers_fire_beside_a_busy_process_on_one_processor() {
    need("taskset", "util-linux");
    // SAFETY: plain data, for which zero is the empty set; the size is its own.
    let processor = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        assert_eq!(libc::sched_getaffinity(0, std::mem::size_of_val(&set), &mut set), 0);
        (0..1024).find(|number| libc::CPU_ISSET(*number, &set)).expect("there is a processor").to_string()
    };
    let pinned = ["taskset", "-c", &processor];
    let burn = |_| {
        Burner(std::process::Command::new(pinned[0]).args(&pinned[1..]).args(["sh", "-c", "while :; do :; done"]).spawn().expect("taskset"))
    };
    let burners: Vec<Burner> = (0..2).map(burn).collect();
    let guest = serve(&behind(&pinned), &["header_timeout=3s", "topology=shards", "io_threads=2"]);
    for _ in 0..2 {
        let mut slow = Client::connect(guest.port(0));
        slow.send("GET /slow HTTP/1.1\r\n");
        let start = Instant::now();
        assert_eq!(slow.answer().status, 408);
        let took = start.elapsed();
        assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(6), "it took {took:?}");
        assert_eq!(Client::connect(guest.port(0)).get("/other").text(), "/other");
    }
    guest.finish();
    drop(burners);
}
