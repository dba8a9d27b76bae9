//! The table of docs/topologies.md: every way to cut the rope, with every kind of load, in one command; progress on stderr, markdown on stdout.
//!
//!     cargo bench --bench topologies -- [--rounds 5] [--seconds 4] [--only inline,shards] [--loads plain,gzip]
//!
//! Server and load are processes of their own. The load is open: a request is due at its time whatever became of the one before, and its
//! latency counts from that time. What a request costs is the processor time of the server's process, by its own clock, over the requests that
//! it has answered in that time. Every round goes through all cells, so that whatever else the machine does meets all of them.

#[path = "../support/mod.rs"]
mod bench;
mod cells;
mod load;
#[path = "../../tests/support/mod.rs"]
mod support;
mod table;

use bench::{Process, Words};
use cells::{LOADS, Load, TOPOLOGIES, Topology};
use std::io::Read;
use std::time::Duration;
use support::host::{Options, Server, on_requests};
use support::secured::{self, Pair};
use table::Cell;

const PEM: &str = "INGEST_BENCH_PEM";
const CERT: &str = "INGEST_BENCH_CERT";

fn main() {
    let words = Words::given();
    let word = |at| words.get(at).unwrap_or_default();
    match word(0) {
        "serve" => serve(topology_of(word(1)), load_of(word(2))),
        "load" => load::run(load_of(word(1)), words.number("--port", 0) as u16, words.number("--seconds", 4), words.number("--pid", 0)),
        _ => measure(&words),
    }
}

fn topology_of(name: &str) -> &'static Topology {
    TOPOLOGIES.iter().find(|topology| topology.name == name).unwrap_or_else(|| panic!("no topology of the list is called {name}"))
}

fn load_of(name: &str) -> &'static Load {
    LOADS.iter().find(|load| load.name == name).unwrap_or_else(|| panic!("no load is called {name}"))
}

/// A server that says its port, or why there is none, and lives as long as its input is open.
fn serve(topology: &Topology, load: &Load) {
    match start(topology, load) {
        Ok(server) => {
            println!("{}", server.port());
            let _ = std::io::stdin().read(&mut [0]);
        }
        Err(text) => println!("{text}"),
    }
}

fn start(topology: &Topology, load: &Load) -> Result<Server, String> {
    let pem = std::env::var(PEM).expect("the first process hands it on");
    let (cert, key) = pem.split_at(pem.find("-----BEGIN PRIVATE").expect("certificate, then key"));
    let mut options = vec![("delivery", if load.consumers > 0 { "queue" } else { "inline" })];
    if load.secure {
        options.extend([("tls.cert", cert), ("tls.key", key)]);
    }
    options.extend(topology.options);
    for (name, value) in &options {
        Options::new(&[]).set(name, value).map_err(|refused| refused.text)?;
    }
    let mut server = Server::unstarted(&options);
    let busy_ms = load.host_ms;
    let handler = on_requests(move |host, request| {
        if busy_ms > 0 {
            std::thread::sleep(Duration::from_millis(busy_ms));
        }
        let _ = host.text(request.0.token, b"ok");
    });
    if load.consumers == 0 {
        server.call_back(handler.clone());
    }
    server.listen(if load.secure { "https://127.0.0.1:0" } else { "http://127.0.0.1:0" }).map_err(|refused| refused.text)?;
    server.start().map_err(|refused| refused.text)?;
    (0..load.consumers).for_each(|_| server.consume(handler.clone()));
    Ok(server)
}

/// One cell once: what the server said if it does not start, else its figures.
fn look(pair: &Pair, topology: &Topology, load: &Load, seconds: u64) -> Result<Cell, String> {
    let der: String = pair.der.iter().map(|octet| format!("{octet:02x}")).collect();
    let environment = [(CERT, der), (PEM, format!("{}\n{}", pair.cert, pair.key))];
    let mut server = Process::start_with(&["serve", topology.name, load.name], &environment);
    let port = server.line();
    if port.parse::<u16>().is_err() {
        server.end();
        return Err(port);
    }
    let (seconds_text, pid) = (seconds.to_string(), server.id().to_string());
    let words = ["load", load.name, "--port", &port, "--seconds", &seconds_text, "--pid", &pid];
    let mut figures = Process::start_with(&words, &environment).rest();
    server.end();
    let cpu_ns = figures.remove(0);
    Ok(Cell { cpu_ns: vec![cpu_ns as f64 / figures.len().max(1) as f64], latencies_ns: figures, offered: load.rate * seconds })
}

fn measure(words: &Words) {
    let (rounds, seconds) = (words.number("--rounds", 5), words.number("--seconds", 4));
    let chosen = |of: &str, name: &str| words.text(of).is_none_or(|list| list.split(',').any(|one| one == name));
    let mut topologies: Vec<&Topology> = TOPOLOGIES.iter().filter(|topology| chosen("--only", topology.name)).collect();
    let loads: Vec<&Load> = LOADS.iter().filter(|load| chosen("--loads", load.name)).collect();
    assert!(!topologies.is_empty() && !loads.is_empty(), "nothing is left to measure (see benches/topologies/cells.rs for the names)");
    let pair = secured::pair();
    let mut cells: Vec<Vec<Cell>> = Vec::new();
    for round in 1..=rounds {
        let mut row = 0;
        while row < topologies.len() {
            let seen: Result<Vec<Cell>, String> = loads
                .iter()
                .map(|load| {
                    eprintln!("round {round} of {rounds}: {}, {}", topologies[row].name, load.title);
                    look(pair, topologies[row], load, seconds)
                })
                .collect();
            match seen {
                Ok(seen) if round == 1 => cells.push(seen),
                Ok(seen) => cells[row].iter_mut().zip(seen).for_each(|(all, one)| all.add(one)),
                Err(text) => {
                    assert_eq!(round, 1, "{} has served before: {text}", topologies[row].name);
                    eprintln!("left out: {}: {text}", topologies[row].name);
                    topologies.remove(row);
                    continue;
                }
            }
            row += 1;
        }
    }
    table::print(&topologies, &loads, &cells, rounds, seconds);
}
