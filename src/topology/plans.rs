//! The plan table: each topology by name, where it cuts the route, and how many threads hold each piece.
#![forbid(unsafe_code)]

use crate::options::{Delivery, Options, Topology};
use crate::status::{Failure, INGEST_E_OPTION, INGEST_E_STATE, INGEST_E_UNSUPPORTED};

/// The six steps that the library does, in the order of the journey.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Station {
    Accept,
    Read,
    Decrypt,
    Parse,
    Decode,
    Handoff,
}

/// The whole route.
pub const ROUTE: [Station; 6] = [Station::Accept, Station::Read, Station::Decrypt, Station::Parse, Station::Decode, Station::Handoff];

/// How many threads hold each piece of the rope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crew {
    /// Nobody: there is no cut.
    None,
    One,
    /// `io_threads`; those that accept have a listening socket of their own each.
    Each,
}

impl Crew {
    fn count(self, io_threads: usize) -> usize {
        match self {
            Crew::None => 0,
            Crew::One => 1,
            Crew::Each => io_threads,
        }
    }
}

/// One way to cut the rope.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub topology: Topology,
    pub name: &'static str,
    /// A cut stands before each of these stations.
    pub cuts: &'static [Station],
    pub crew: Crew,
    /// Who holds what lies beyond the cuts. The last step is at home again, where the descriptors are.
    pub beyond: Crew,
    /// The machinery for it exists.
    pub built: bool,
}

pub const PLANS: [Plan; 8] = [
    Plan { topology: Topology::Inline, name: "inline", cuts: &[], crew: Crew::One, beyond: Crew::None, built: true },
    Plan { topology: Topology::Shards, name: "shards", cuts: &[], crew: Crew::Each, beyond: Crew::None, built: true },
    Plan { topology: Topology::Shared, name: "shared", cuts: &[], crew: Crew::Each, beyond: Crew::None, built: false },
    Plan { topology: Topology::Acceptor, name: "acceptor", cuts: &[Station::Read], crew: Crew::One, beyond: Crew::Each, built: false },
    Plan { topology: Topology::Dispatch, name: "dispatch", cuts: &[Station::Decrypt], crew: Crew::One, beyond: Crew::Each, built: false },
    Plan {
        topology: Topology::Pipeline,
        name: "pipeline",
        cuts: &[Station::Read, Station::Decrypt, Station::Parse, Station::Decode, Station::Handoff],
        crew: Crew::One,
        beyond: Crew::One,
        built: false,
    },
    // For the tests alone: every seat's baton travels, so that what the topologies with cuts need is true before they arrive.
    Plan { topology: Topology::Cut, name: "cut", cuts: &[Station::Parse], crew: Crew::Each, beyond: Crew::One, built: true },
    Plan { topology: Topology::CutEach, name: "cut-each", cuts: &[Station::Parse], crew: Crew::Each, beyond: Crew::Each, built: true },
];

/// What the options come to.
#[derive(Clone, Copy, Debug)]
pub struct Chosen {
    pub plan: &'static Plan,
    /// Threads that hold the rope, or its first piece.
    pub io_threads: usize,
    /// Threads that hold what lies beyond a cut.
    pub far_threads: usize,
}

/// Chooses the plan that the options ask for.
pub fn choose(options: &Options) -> Result<Chosen, Failure> {
    let wanted = match options.topology {
        Topology::Auto if options.io_threads == 1 => Topology::Inline,
        Topology::Auto => Topology::Shards,
        other => other,
    };
    let plan = PLANS.iter().find(|plan| plan.topology == wanted);
    let plan = plan.ok_or_else(|| Failure::new(INGEST_E_OPTION, "this topology has no plan (set topology=auto)"))?;
    if !plan.built {
        let text = format!("topology {} is not built yet (set topology to inline or shards)", plan.name);
        return Err(Failure::new(INGEST_E_UNSUPPORTED, text));
    }
    if plan.crew == Crew::One && options.io_threads > 1 {
        let text = format!("topology {} has one thread, io_threads is {} (set topology=shards)", plan.name, options.io_threads);
        return Err(Failure::new(INGEST_E_OPTION, text));
    }
    let io_threads = options.io_threads as usize;
    Ok(Chosen { plan, io_threads, far_threads: plan.beyond.count(io_threads) })
}

/// Chooses who takes the requests; `auto` depends on whether the host has set a callback.
pub fn delivery(options: &Options, has_callback: bool) -> Result<Delivery, Failure> {
    match (options.delivery, has_callback) {
        (Delivery::Auto, true) => Ok(Delivery::Threads),
        (Delivery::Auto, false) => Ok(Delivery::Queue),
        (Delivery::Inline | Delivery::Threads, false) => Err(Failure::new(
            INGEST_E_STATE,
            "this delivery needs a callback (call ingest_server_on_events before the start, or set delivery=queue)",
        )),
        (delivery, _) => Ok(delivery),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_is_in_the_order_of_the_route() {
        for plan in &PLANS {
            assert!(plan.cuts.windows(2).all(|pair| pair[0] < pair[1]), "{}", plan.name);
            assert!(plan.cuts.iter().all(|cut| ROUTE[1..].contains(cut)), "{}", plan.name);
        }
    }

    #[test]
    fn threads_are_beyond_a_cut_and_nowhere_else() {
        for plan in &PLANS {
            assert_eq!(plan.beyond == Crew::None, plan.cuts.is_empty(), "{}", plan.name);
            assert!(plan.crew != Crew::None, "{}", plan.name);
        }
        let mut options = Options::default();
        (options.topology, options.io_threads) = (Topology::CutEach, 3);
        assert_eq!(choose(&options).unwrap().far_threads, 3);
        options.topology = Topology::Cut;
        assert_eq!(choose(&options).unwrap().far_threads, 1);
        options.topology = Topology::Shards;
        assert_eq!(choose(&options).unwrap().far_threads, 0);
    }

    #[test]
    fn auto_follows_the_number_of_threads() {
        let mut options = Options::default();
        assert_eq!(choose(&options).unwrap().plan.name, "inline");
        options.io_threads = 3;
        assert_eq!(choose(&options).unwrap().plan.name, "shards");
        options.topology = Topology::Inline;
        assert_eq!(choose(&options).unwrap_err().status, INGEST_E_OPTION);
    }
}
