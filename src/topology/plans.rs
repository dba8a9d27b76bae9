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

/// How many threads hold a piece of the rope, or how many sockets listen on one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crew {
    /// Nobody: there is no such piece.
    None,
    One,
    /// `io_threads`.
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

/// One way to cut the rope. The piece that begins with read, or with accept where no cut parts them, is the home: there the
/// descriptors are, there answers go, and a baton that went beyond comes back. What lies ahead of the home is passed once.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub topology: Topology,
    pub name: &'static str,
    /// A cut stands before each of these stations.
    pub cuts: &'static [Station],
    /// Sockets that listen on one address.
    pub sockets: Crew,
    /// Who accepts, if a cut stands before read.
    pub ahead: Crew,
    pub home: Crew,
    /// Who holds what lies beyond the other cuts.
    pub beyond: Crew,
    /// The machinery for it exists.
    pub built: bool,
}

/// A plan without a cut: each thread of the home holds the whole rope.
const WHOLE: Plan = Plan {
    topology: Topology::Inline,
    name: "inline",
    cuts: &[],
    sockets: Crew::One,
    ahead: Crew::None,
    home: Crew::One,
    beyond: Crew::None,
    built: true,
};

pub const PLANS: [Plan; 8] = [
    WHOLE,
    Plan { topology: Topology::Shards, name: "shards", sockets: Crew::Each, home: Crew::Each, ..WHOLE },
    Plan { topology: Topology::Shared, name: "shared", home: Crew::Each, ..WHOLE },
    Plan { topology: Topology::Acceptor, name: "acceptor", cuts: &[Station::Read], ahead: Crew::One, home: Crew::Each, ..WHOLE },
    Plan { topology: Topology::Dispatch, name: "dispatch", cuts: &[Station::Decrypt], beyond: Crew::Each, ..WHOLE },
    Plan {
        topology: Topology::Pipeline,
        name: "pipeline",
        cuts: &[Station::Read, Station::Decrypt, Station::Parse, Station::Decode, Station::Handoff],
        ahead: Crew::One,
        beyond: Crew::One,
        built: false,
        ..WHOLE
    },
    // For the tests alone: every seat's baton travels, so that what the topologies with cuts need is true before they arrive.
    Plan { topology: Topology::Cut, name: "cut", cuts: &[Station::Parse], beyond: Crew::One, ..SPREAD },
    Plan { topology: Topology::CutEach, name: "cut-each", cuts: &[Station::Parse], beyond: Crew::Each, ..SPREAD },
];

/// As `shards`.
const SPREAD: Plan = Plan { sockets: Crew::Each, home: Crew::Each, ..WHOLE };

/// What the options come to.
#[derive(Clone, Copy, Debug)]
pub struct Chosen {
    pub plan: &'static Plan,
    /// Threads that only accept.
    pub ahead_threads: usize,
    /// Threads of the home, which hold the descriptors and get the answers.
    pub io_threads: usize,
    /// Threads that hold what lies beyond a cut.
    pub far_threads: usize,
    /// Threads for handshakes, which cut no rope: a connection goes there and comes back until its session is established.
    pub handshake_threads: usize,
    /// Threads for large bodies, which cut no rope either: only decoders go there.
    pub decode_threads: usize,
}

impl Chosen {
    /// Who reads does not open what is sealed: it travels.
    pub fn sends_sealed(&self) -> bool {
        self.plan.cuts.contains(&Station::Decrypt)
    }

    /// Threads that accept.
    pub fn accepting_threads(&self) -> usize {
        if self.ahead_threads > 0 { self.ahead_threads } else { self.io_threads }
    }
}

/// The plan that the options name, built or not.
fn named(options: &Options) -> Option<&'static Plan> {
    let wanted = match options.topology {
        Topology::Auto if options.io_threads == 1 => Topology::Inline,
        Topology::Auto => Topology::Shards,
        other => other,
    };
    PLANS.iter().find(|plan| plan.topology == wanted)
}

/// How many sockets an address gets; known before the start, since errors are heard when the host listens.
pub fn sockets(options: &Options) -> usize {
    named(options).map_or(1, |plan| plan.sockets.count(options.io_threads as usize))
}

/// How many threads will be woken from outside: those of the home, and behind them who accepts ahead of it.
pub fn reachable(options: &Options) -> usize {
    let ahead = named(options).map_or(0, |plan| plan.ahead.count(options.io_threads as usize));
    named(options).map_or(0, |plan| plan.home.count(options.io_threads as usize)) + ahead
}

/// Chooses the plan that the options ask for.
pub fn choose(options: &Options) -> Result<Chosen, Failure> {
    let plan = named(options).ok_or_else(|| Failure::new(INGEST_E_OPTION, "this topology has no plan (set topology=auto)"))?;
    if !plan.built {
        let text = format!("topology {} is not built yet (set topology to inline, shards, shared, acceptor or dispatch)", plan.name);
        return Err(Failure::new(INGEST_E_UNSUPPORTED, text));
    }
    if plan.home == Crew::One && plan.beyond != Crew::Each && options.io_threads > 1 {
        let text = format!("topology {} has one thread, io_threads is {} (set topology=shards)", plan.name, options.io_threads);
        return Err(Failure::new(INGEST_E_OPTION, text));
    }
    let threads = options.io_threads as usize;
    let (ahead_threads, io_threads, far_threads) = (plan.ahead.count(threads), plan.home.count(threads), plan.beyond.count(threads));
    let (handshake_threads, decode_threads) = (options.handshake_threads as usize, options.limits.decode_threads as usize);
    Ok(Chosen { plan, ahead_threads, io_threads, far_threads, handshake_threads, decode_threads })
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
    fn threads_are_where_a_cut_makes_a_piece_and_nowhere_else() {
        for plan in &PLANS {
            assert_eq!(plan.ahead == Crew::None, !plan.cuts.contains(&Station::Read), "{}", plan.name);
            assert_eq!(plan.beyond == Crew::None, plan.cuts.iter().all(|cut| *cut == Station::Read), "{}", plan.name);
            assert!(plan.home != Crew::None && plan.sockets != Crew::None, "{}", plan.name);
        }
    }

    #[test]
    fn nobody_is_left_without_a_socket_and_no_socket_without_a_thread() {
        for plan in &PLANS {
            let who_accepts = if plan.ahead == Crew::None { plan.home } else { plan.ahead };
            assert!(plan.sockets == Crew::One || plan.sockets == who_accepts, "{}", plan.name);
        }
    }

    #[test]
    fn threads_and_sockets_are_counted() {
        let mut options = Options::default();
        options.io_threads = 3;
        for (topology, sockets, ahead, home, beyond) in [
            (Topology::Shards, 3, 0, 3, 0),
            (Topology::Shared, 1, 0, 3, 0),
            (Topology::Acceptor, 1, 1, 3, 0),
            (Topology::Dispatch, 1, 0, 1, 3),
            (Topology::Cut, 3, 0, 3, 1),
            (Topology::CutEach, 3, 0, 3, 3),
        ] {
            options.topology = topology;
            let chosen = choose(&options).unwrap();
            assert_eq!((chosen.ahead_threads, chosen.io_threads, chosen.far_threads), (ahead, home, beyond), "{topology:?}");
            assert_eq!((super::sockets(&options), reachable(&options)), (sockets, home + ahead), "{topology:?}");
        }
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
