//! S15: the host forks without exec. Every call in the child says so, and the parent and its clients notice nothing.

use crate::program;
use crate::support::client::Client;
use crate::support::eventually;
use crate::support::guest_process::Guest;
use ingest::status::INGEST_E_FORKED;
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};

/// Functions that take no handle and touch nothing but constants.
const HARMLESS: [&str; 6] =
    ["ingest_version", "ingest_abi_version", "ingest_has", "ingest_status_name", "ingest_status_text", "ingest_options_free"];

#[test]
fn s15_every_call_in_a_forked_child_says_so() {
    let mut guest = Guest::spawn(&mut Command::new(program("forked", &[])));
    guest.wait_for("started");
    let mut client = Client::connect(guest.port(0));
    client.send("GET /held?a=1 HTTP/1.1\r\nHost: x\r\nCookie: c=2\r\n\r\n");
    // The child has ended before the parent answers.
    assert_eq!(client.answer().text(), "parent");
    assert_eq!(client.get("/next").text(), "after");
    let status = guest.wait();
    assert!(status.success(), "{status}: {:?}", guest.lines());
    assert!(eventually(|| guest.count("freed 0") == 1) && guest.count("child ended 0") == 1, "{:?}", guest.lines());
    let lines = guest.lines();
    let said: BTreeMap<&str, &str> = lines.iter().filter_map(|line| line.strip_prefix("called ")?.split_once(' ')).collect();
    let ledger = include_str!("../symbols.txt").lines().filter(|line| !line.starts_with('#'));
    let functions: Vec<&str> = ledger.filter_map(|line| line.split(' ').next()).filter(|name| !HARMLESS.contains(name)).collect();
    assert!(functions.len() > 50, "the ledger was not read: {functions:?}");
    for function in functions {
        let returned = said.get(function).unwrap_or_else(|| panic!("{function} was not called in the child"));
        let forked = *returned == INGEST_E_FORKED.to_string() || *returned == "null";
        assert!(forked, "{function} returned {returned} in the child");
    }
}

/// The child has every descriptor of its parent, and keeps nobody waiting and no port listening.
#[test]
fn s15_a_forked_child_holds_nothing_open() {
    let mut command = Command::new(program("forked", &[]));
    let options = ["hold", "topology", "shards", "io_threads", "2", "header_timeout", "1s", "linger_timeout", "300ms"];
    command.args(options);
    // The child sees the end of its input when this has ended.
    let mut holder = Command::new("sleep").arg("60").stdout(Stdio::piped()).spawn().expect("sleep runs");
    let input = holder.stdout.take().expect("it is piped");
    let mut guest = Guest::spawn_with_input(&mut command, input.into());
    guest.wait_for("started");
    let port = guest.port(0);
    let mut polite = Client::connect(port);
    assert_eq!(polite.get("/polite").text(), "ok");
    let mut slow = Client::connect(port);
    slow.send("GET /slow HTTP/1.1\r\n");
    assert_eq!(Client::connect(port).get("/fork").text(), "ok");
    // Who asks nothing more gets the end of the stream behind the answer.
    polite.send("GET /last HTTP/1.1\r\nHost: x\r\n\r\n");
    polite.finish_sending();
    assert_eq!(polite.answer().text(), "ok");
    assert!(polite.is_closed(), "the child keeps the connection open");
    // Who does not leave is thrown out.
    assert_eq!(slow.answer().status, 408);
    assert!(slow.is_closed());
    assert!(eventually(|| slow.try_send(b"x").is_err()), "the child keeps the connection open");
    assert_eq!(Client::connect(port).get("/stop").text(), "ok");
    assert!(eventually(|| guest.count("freed 0") == 1), "{:?}", guest.lines());
    // The child lives, and has the listening sockets.
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    assert!(Client::connect_to(address).is_err(), "the port of a server that has ended is still listened on");
    assert!(TcpListener::bind(address).is_ok(), "the next server cannot have the port");
    holder.kill().expect("it is ours");
    holder.wait().expect("it is ours");
    let status = guest.wait();
    assert!(status.success(), "{status}: {:?}", guest.lines());
}
