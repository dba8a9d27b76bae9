//! What the table has as rows, and with what kinds of load: one line each.

/// A row: one way to cut the rope.
#[derive(Debug)]
pub struct Topology {
    /// As `--only` takes it, and as the table shows it.
    pub name: &'static str,
    pub options: &'static [(&'static str, &'static str)],
}

/// What this build does not have is said on stderr and left out.
pub const TOPOLOGIES: &[Topology] = &[
    Topology { name: "inline", options: &[("topology", "inline")] },
    Topology { name: "shards", options: &[("topology", "shards"), ("io_threads", "2")] },
    Topology { name: "shared", options: &[("topology", "shared"), ("io_threads", "2")] },
    Topology { name: "acceptor", options: &[("topology", "acceptor"), ("io_threads", "2")] },
    Topology { name: "dispatch", options: &[("topology", "dispatch"), ("io_threads", "2")] },
    Topology { name: "pipeline", options: &[("topology", "pipeline")] },
    Topology { name: "inline+handshake", options: &[("topology", "inline"), ("handshake_threads", "1")] },
    Topology { name: "inline+decode", options: &[("topology", "inline"), ("decode_threads", "1")] },
];

/// A kind of load.
#[derive(Debug)]
pub struct Load {
    /// As `--loads` takes it.
    pub name: &'static str,
    /// As the table shows it.
    pub title: &'static str,
    pub kind: Kind,
    pub secure: bool,
    /// Requests a second, on so many connections, or by so many clients that connect for each.
    pub rate: u64,
    pub clients: u64,
    /// Threads of the host that take requests from the queue; with none the I/O thread calls the host.
    pub consumers: usize,
    /// How long the host sleeps over each request.
    pub host_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A GET on a connection that stays.
    Get,
    /// A connection, a full handshake, a GET and the end.
    Connect,
    /// A POST with a body in gzip, on a connection that stays.
    Gzip,
}

/// Octets of a body before it is coded. What is sent is above `decode_offload_bytes`.
pub const BODY_BYTES: usize = 2 << 20;

const PLAIN: Load =
    Load { name: "plain", title: "small plain", kind: Kind::Get, secure: false, rate: 4000, clients: 16, consumers: 0, host_ms: 0 };

/// Rates at which two processors have something to do and time to spare, the client's half included.
pub const LOADS: &[Load] = &[
    PLAIN,
    Load { name: "tls", title: "TLS handshakes", kind: Kind::Connect, secure: true, rate: 200, clients: 8, ..PLAIN },
    Load { name: "gzip", title: "gzip bodies", kind: Kind::Gzip, rate: 64, clients: 8, ..PLAIN },
    Load { name: "slow", title: "slow host", rate: 800, consumers: 8, host_ms: 5, ..PLAIN },
];
