//! What a host may set: one typed struct, filled by name and text through the table in `options/table.rs`.
#![forbid(unsafe_code)]

mod bodies;
mod decoding;
mod events;
mod overload;
mod processors;
mod row;
pub mod table;
pub mod tls;
pub mod values;
mod words;

pub use self::events::Events;

use crate::limits::{self, Limits};
use crate::status::{Failure, INGEST_E_OPTION, INGEST_E_UNSUPPORTED};
use table::{LISTENER, LIVE, TABLE, UNBUILT};

/// Where the route from accept to handoff is cut (design, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// `inline` with one I/O thread, else `shards`.
    Auto,
    Inline,
    Shards,
    Shared,
    Acceptor,
    Dispatch,
    Pipeline,
    /// Cut before parse, one thread beyond; only tests choose it.
    Cut,
    /// As `Cut`, with as many threads beyond as there are I/O threads.
    CutEach,
}

/// Who runs the loop that takes requests (design, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// `threads` if a callback was set, else `queue`.
    Auto,
    Queue,
    Threads,
    Inline,
}

/// How long a thread looks for work before it sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spin {
    Auto,
    Off,
    Microseconds(u32),
}

/// How often the clock is read for `ingest_request.journey`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JourneyMode {
    Off,
    Tick,
    Sample,
    Steps,
}

/// What happens to a pipelined request whose method is not safe (RFC 9112 section 9.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PipelineUnsafe {
    Serial,
    Parallel,
}

/// What submits operations to the kernel and reaps their results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineChoice {
    Auto,
    Epoll,
    Uring,
}

/// Every setting of one server, or the overrides of one listener.
#[derive(Clone, Debug)]
pub struct Options {
    pub topology: Topology,
    pub io_threads: u32,
    /// Where those are pinned to, in their order; empty does not pin.
    pub processors: Vec<u16>,
    pub engine: EngineChoice,
    pub delivery: Delivery,
    /// Zero: as many as the affinity mask has processors.
    pub handler_threads: u32,
    pub queues: u32,
    /// Most events of one batch.
    pub batch_max: u32,
    /// Which events are brought beside requests.
    pub events: Events,
    pub spin: Spin,
    pub journey: JourneyMode,
    /// With `JourneyMode::Sample`, one request in this many is timed exactly.
    pub journey_sample: u32,
    pub pipeline_unsafe: PipelineUnsafe,
    pub packed_inline_max: u64,
    /// Zero: the I/O threads do the handshakes.
    pub handshake_threads: u32,
    /// What listeners for TLS have unless their overrides say otherwise.
    pub tls: tls::Tls,
    /// Descriptors lie at or above this number.
    pub fd_floor: u32,
    /// Where bodies go with `body=spool`.
    pub spool_dir: String,
    pub limits: Limits,
    /// Bit `1 << row` for each row of the table that `set` has named.
    named: u128,
}

const _: () = assert!(TABLE.len() <= 128);

impl Default for Options {
    fn default() -> Self {
        Options {
            topology: Topology::Auto,
            io_threads: 1,
            processors: Vec::new(),
            engine: EngineChoice::Auto,
            delivery: Delivery::Auto,
            handler_threads: 0,
            queues: 1,
            batch_max: 64,
            events: Events::default(),
            spin: Spin::Auto,
            journey: JourneyMode::Sample,
            journey_sample: 64,
            pipeline_unsafe: PipelineUnsafe::Serial,
            packed_inline_max: 16 * 1024,
            handshake_threads: 0,
            tls: tls::Tls::default(),
            fd_floor: 0,
            spool_dir: "/var/tmp".to_owned(),
            limits: Limits::default(),
            named: 0,
        }
    }
}

impl Options {
    /// Sets one option from text. On a failure nothing has changed.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        let Some(index) = TABLE.iter().position(|row| row.name == name) else {
            return Err(unknown(name));
        };
        let row = &TABLE[index];
        if row.flags & UNBUILT != 0 {
            if value != row.default {
                let text = format!("option {name} is not built yet (leave it at its default, \"{}\")", row.default);
                return Err(Failure::new(INGEST_E_OPTION, text));
            }
        } else {
            values::store(row, self, value).map_err(|why| {
                let text = format!("option {name} cannot be \"{}\": {why}", values::shown(value));
                Failure::new(INGEST_E_OPTION, text)
            })?;
        }
        self.named |= 1 << index;
        Ok(())
    }

    /// As `set`, for an option of a server that runs.
    pub fn set_live(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        self.set(name, value)?;
        let is_live = TABLE.iter().any(|row| row.name == name && row.flags & LIVE != 0);
        if is_live {
            return Ok(());
        }
        let text = format!("option {name} cannot change while a server runs (set it before ingest_server_new)");
        Err(Failure::new(INGEST_E_OPTION, text))
    }

    /// True if `set` has named this option, also when it was set to its default.
    pub fn is_named(&self, name: &str) -> bool {
        TABLE.iter().position(|row| row.name == name).is_some_and(|index| self.named & (1 << index) != 0)
    }

    /// The relations between options; called when a server starts.
    pub fn check(&self) -> Result<(), Failure> {
        let bounds = &self.limits;
        if self.topology == Topology::Inline && self.io_threads > 1 {
            return refuse(format!(
                "topology inline has one I/O thread, but io_threads is {} (set topology=shards, or io_threads=1)",
                self.io_threads
            ));
        }
        if bounds.header_line_max > bounds.headers_max {
            return refuse(format!(
                "header_line_max of {} octets is above headers_max of {} (lower the first or raise the second)",
                bounds.header_line_max, bounds.headers_max
            ));
        }
        if bounds.memory_max < bounds.headers_max {
            return refuse(format!(
                "memory_max of {} octets cannot hold one head of headers_max, {} octets (raise the first or lower the second)",
                bounds.memory_max, bounds.headers_max
            ));
        }
        if bounds.pipeline_max > limits::PIPELINE_CEILING {
            return refuse(format!("pipeline_max is {}, the most is {}", bounds.pipeline_max, limits::PIPELINE_CEILING));
        }
        if bounds.queue_max == 0 || u64::from(self.io_threads) > limits::IO_THREADS_MAX {
            return refuse("queue_max must be 1 or more and io_threads 256 or less".to_owned());
        }
        match self.topology {
            Topology::Auto | Topology::Inline | Topology::Shards | Topology::Shared | Topology::Acceptor | Topology::Dispatch => {}
            Topology::Cut | Topology::CutEach => {}
            Topology::Pipeline => {
                return unsupported(format!(
                    "topology {:?} is not built yet (set topology to auto, inline, shards, shared, acceptor or dispatch)",
                    self.topology
                ));
            }
        }
        if self.engine == EngineChoice::Uring {
            return unsupported("engine uring is not built yet (set engine to auto or epoll)".to_owned());
        }
        Ok(())
    }

    /// `fd_floor` as the engine takes it.
    pub fn descriptor_floor(&self) -> i32 {
        i32::try_from(self.fd_floor).unwrap_or(i32::MAX)
    }

    /// Refuses overrides that name an option which belongs to the whole server; called when a server listens.
    pub fn check_overrides(&self) -> Result<(), Failure> {
        for (index, row) in TABLE.iter().enumerate() {
            if self.named & (1 << index) != 0 && row.flags & LISTENER == 0 {
                return refuse(format!("option {} belongs to the server, not to one listener (set it before ingest_server_new)", row.name));
            }
        }
        Ok(())
    }
}

fn refuse(text: String) -> Result<(), Failure> {
    Err(Failure::new(INGEST_E_OPTION, text))
}

fn unsupported(text: String) -> Result<(), Failure> {
    Err(Failure::new(INGEST_E_UNSUPPORTED, text.to_lowercase()))
}

/// Names the known option that is nearest, so that a typing error is found at a glance.
fn unknown(name: &str) -> Failure {
    let nearest = TABLE.iter().min_by_key(|row| values::distance(row.name, name)).map_or("topology", |row| row.name);
    Failure::new(INGEST_E_OPTION, format!("unknown option {} (did you mean {nearest}?)", values::shown(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_in_the_table_are_the_defaults_of_the_struct() {
        let mut options = Options::default();
        for row in TABLE {
            options.set(row.name, row.default).unwrap_or_else(|failure| panic!("{}: {}", row.name, failure.text));
            assert!(options.is_named(row.name));
        }
        options.named = 0;
        assert_eq!(format!("{options:?}"), format!("{:?}", Options::default()));
        assert!(options.check().is_ok());
    }

    #[test]
    fn names_are_unique_and_rows_are_explained() {
        for (index, row) in TABLE.iter().enumerate() {
            assert!(TABLE[..index].iter().all(|other| other.name != row.name), "{} is listed twice", row.name);
            assert!(!row.help.is_empty() && !row.help.ends_with('.'), "{}", row.name);
        }
    }

    #[test]
    fn sets_each_kind_of_value() {
        let mut options = Options::default();
        for (name, value) in [
            ("keepalive_timeout", "5m"),
            ("header_timeout", "250ms"),
            ("body_max", "unlimited"),
            ("headers_max", "64KiB"),
            ("target_max", "9000"),
            ("body_rate_min", "unlimited"),
            ("topology", "shards"),
            ("io_threads", "4"),
            ("delivery", "inline"),
            ("spin", "30us"),
            ("journey", "steps"),
            ("pipeline_unsafe", "parallel"),
            ("max_connections", "5000"),
        ] {
            options.set(name, value).unwrap_or_else(|failure| panic!("{}", failure.text));
        }
        assert_eq!(options.limits.keepalive_timeout_ms, 300_000);
        assert_eq!(options.limits.header_timeout_ms, 250);
        assert_eq!(options.limits.body_max, limits::UNLIMITED);
        assert_eq!(options.limits.headers_max, 65_536);
        assert_eq!(options.limits.target_max, 9000);
        assert_eq!(options.limits.body_rate_min, 0);
        assert_eq!(options.limits.max_connections, 5000);
        assert_eq!((options.topology, options.io_threads, options.delivery), (Topology::Shards, 4, Delivery::Inline));
        assert_eq!((options.spin, options.journey), (Spin::Microseconds(30), JourneyMode::Steps));
        assert_eq!(options.pipeline_unsafe, PipelineUnsafe::Parallel);
        assert!(options.check().is_ok());
    }

    #[test]
    fn refuses_with_what_to_do_and_changes_nothing() {
        let before = format!("{:?}", Options::default());
        for (name, value, part) in [
            ("keepalive_timout", "5m", "did you mean keepalive_timeout?"),
            ("keepalive_timeout", "5", "unit"),
            ("keepalive_timeout", "0s", "unlimited"),
            ("header_timeout", "unlimited", "duration"),
            ("header_timeout", "0ms", "at least 1ms"),
            ("body_max", "0", "unlimited"),
            ("body_max", "16MB", "KiB"),
            ("body_max", "99999999999999999999", "too large"),
            ("body_max", "9999999999999TiB", "too large"),
            ("body_max", "-1", "octets"),
            ("batch_max", "1025", "at most 1024"),
            ("queue_max", "0", "at least 1"),
            ("pipeline_max", "65", "at most 64"),
            ("topology", "ring", "inline"),
            ("events", "gone,left", "left is no kind of event"),
            ("fd_floor", "2000000", "at most 1048576"),
            ("spin", "30", "us"),
            ("tls.watch", "yes", "on, off"),
            ("tls.watch_every", "50ms", "at least 100ms"),
            ("tls.alpn", "h2", "http/1.1"),
            ("tls.client_auth", "off", "none, optional, required"),
            ("decode_layers", "3", "at most 2"),
            ("decode", "no", "on, off"),
            ("io_threads", "", "count"),
        ] {
            let mut options = Options::default();
            let failure = options.set(name, value).expect_err(name);
            assert_eq!(failure.status, INGEST_E_OPTION);
            assert!(failure.text.contains(part), "{name}={value}: {}", failure.text);
            assert_eq!(format!("{options:?}"), before, "{name}={value}");
        }
    }

    #[test]
    fn checks_relations() {
        let status = |pairs: &[(&str, &str)]| {
            let mut options = Options::default();
            for (name, value) in pairs {
                options.set(name, value).unwrap_or_else(|failure| panic!("{}", failure.text));
            }
            options.check().map_or_else(|failure| failure.status, |()| 0)
        };
        assert_eq!(status(&[("topology", "inline"), ("io_threads", "2")]), INGEST_E_OPTION);
        assert_eq!(status(&[("headers_max", "8KiB")]), INGEST_E_OPTION);
        assert_eq!(status(&[("headers_max", "8KiB"), ("header_line_max", "8KiB")]), 0);
        assert_eq!(status(&[("memory_max", "1MiB"), ("headers_max", "2MiB")]), INGEST_E_OPTION);
        assert_eq!(status(&[("topology", "pipeline")]), INGEST_E_UNSUPPORTED);
        assert_eq!(status(&[("engine", "uring")]), INGEST_E_UNSUPPORTED);
        assert_eq!(status(&[("topology", "shards"), ("io_threads", "256")]), 0);
    }

    #[test]
    fn overrides_name_listener_options_only() {
        let mut overrides = Options::default();
        overrides.set("listen_backlog", "16").expect("an option of a listener");
        assert!(overrides.check_overrides().is_ok());
        overrides.set("io_threads", "1").expect("an option of a server");
        assert!(overrides.check_overrides().is_err_and(|failure| failure.text.contains("io_threads")));
    }
}
