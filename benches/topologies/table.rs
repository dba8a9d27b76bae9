//! From figures to markdown: a table for each kind of load, with the best of each column in bold.

use crate::bench::median;
use crate::cells::{Load, Topology};

/// What was seen of one topology with one kind of load, over all rounds.
pub struct Cell {
    /// Processor time for each request, of each round.
    pub cpu_ns: Vec<f64>,
    /// Of all rounds together.
    pub latencies_ns: Vec<u64>,
    /// Requests that were due.
    pub offered: u64,
}

impl Cell {
    pub fn add(&mut self, other: Cell) {
        self.cpu_ns.extend(other.cpu_ns);
        self.latencies_ns.extend(other.latencies_ns);
        self.offered += other.offered;
    }

    /// Processor time, p50, p99 and p999 in microseconds, and the share of what was offered that is missing.
    fn columns(&self) -> [f64; 5] {
        let mut sorted = self.latencies_ns.clone();
        sorted.sort_unstable();
        let at = |thousandths: usize| sorted.get((sorted.len() * thousandths / 1000).min(sorted.len().saturating_sub(1))).copied();
        let latency = |thousandths| at(thousandths).map_or(f64::INFINITY, |ns| ns as f64 / 1000.0);
        let missing = self.offered.saturating_sub(sorted.len() as u64) as f64 / self.offered.max(1) as f64;
        // Below a thousand requests it would be the slowest of all.
        let slowest = if sorted.len() < 1000 { f64::INFINITY } else { latency(999) };
        [median(self.cpu_ns.clone()) / 1000.0, latency(500), latency(990), slowest, missing]
    }
}

/// Microseconds with as many digits as say something.
fn shown(value: f64) -> String {
    match value {
        _ if value.is_infinite() => "too few".to_owned(),
        _ if value < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

pub fn print(topologies: &[&Topology], loads: &[&Load], cells: &[Vec<Cell>], rounds: u64, seconds: u64) {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.split('-').next().unwrap_or_default().trim();
    println!("{processors} processors, Linux {kernel}, {rounds} rounds of {seconds} s; microseconds; the best within 2 % is bold\n");
    for (column, load) in loads.iter().enumerate() {
        let host =
            if load.consumers > 0 { format!(", {} consumers that sleep {} ms", load.consumers, load.host_ms) } else { String::new() };
        println!("**{}**: {} requests/s, {} clients{host}\n", load.title, load.rate, load.clients);
        println!("| topology | CPU per request | p50 | p99 | p999 | missing |\n|---|---:|---:|---:|---:|---:|");
        let rows: Vec<[f64; 5]> = cells.iter().map(|row| row[column].columns()).collect();
        for (topology, row) in topologies.iter().zip(&rows) {
            let figures: Vec<String> = (0..4)
                .map(|at| {
                    let best = rows.iter().map(|row| row[at]).fold(f64::INFINITY, f64::min);
                    if row[at].is_finite() && row[at] <= 1.02 * best { format!("**{}**", shown(row[at])) } else { shown(row[at]) }
                })
                .collect();
            println!("| `{}` | {} | {:.1} % |", topology.name, figures.join(" | "), 100.0 * row[4]);
        }
        println!();
    }
}
