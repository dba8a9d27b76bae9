//! The one table of options: name, kind, default, flags, help, and where the value goes. Names are ABI.
#![forbid(unsafe_code)]

pub use super::row::{LISTENER, LIVE, Row, Store, UNBUILT};

use super::Events;
use super::bodies;
use super::decoding;
use super::overload;
use super::processors;
use super::row::*;
use super::tls;
use super::values::{self, Kind};
use super::words::*;
use crate::limits::{self, UNLIMITED};

/// Fits any number that a row bounds to 32 bits.
fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

const DURATION: Bounds = (1, DAY_MS, None);
const DURATION_OR_ZERO: Bounds = (0, DAY_MS, None);
const DURATION_OR_NONE: Bounds = (1, DAY_MS, NO_LIMIT);

/// Every option, grouped as a reader would look for them: threads and delivery, then the journey's order.
pub const TABLE: &[Row] = &[
    // Threads and delivery.
    word(
        "topology",
        "auto",
        "auto,inline,shards,shared,acceptor,dispatch,pipeline",
        |o, v| values::choose(v, &TESTED).or_else(|_| values::choose(v, &TOPOLOGIES)).map(|choice| o.topology = choice),
        "where the route of a request is cut into threads; auto is inline with one I/O thread, else shards; with shards each thread \
         accepts from a socket of its own, with shared all from the same one, with acceptor one thread more accepts for all, with \
         dispatch one accepts, reads and answers, and io_threads decrypt, parse and decode",
    ),
    count(
        "io_threads",
        "1",
        (1, limits::IO_THREADS_MAX, None),
        |o, n| o.io_threads = narrow(n),
        "threads that do the library's input and output; the one that only accepts with topology=acceptor comes on top, and so does the one that \
         reads with topology=dispatch",
    ),
    text(
        "io_threads.cpus",
        "",
        "",
        |o, v| processors::parse(v).map(|list| o.processors = list),
        "processors to pin threads to, as in 0-3,8: one for each I/O thread in turn, then for those that decrypt or parse, then for the one \
         that only accepts; empty does not pin",
    ),
    word(
        "engine",
        "auto",
        "auto,epoll,uring",
        |o, v| values::choose(v, &ENGINES).map(|choice| o.engine = choice),
        "what talks to the kernel; auto is epoll",
    ),
    word(
        "delivery",
        "auto",
        "auto,queue,threads,inline",
        |o, v| values::choose(v, &DELIVERIES).map(|choice| o.delivery = choice),
        "who takes requests: queue is the host itself, threads are library threads that call it, \
         inline is the I/O thread; auto is threads with a callback, else queue",
    ),
    count(
        "handler_threads",
        "auto",
        (0, limits::HANDLER_THREADS_MAX, AUTO),
        |o, n| o.handler_threads = narrow(n),
        "threads that call the host with delivery=threads; auto or 0 is one per processor of the affinity mask",
    ),
    count("queues", "1", (1, limits::QUEUES_MAX, None), |o, n| o.queues = narrow(n), "host queues; several consumers may share each"),
    count("batch_max", "64", (1, 1024, None), |o, n| o.batch_max = narrow(n), "most events that one call or callback brings"),
    text(
        "events",
        "",
        "gone,writable,released,sent,draining,stopped,fault,all",
        |o, v| Events::parse(v).map(|events| o.events = events),
        "kinds of event to bring beside requests, with commas between",
    ),
    word(
        "spin",
        "auto",
        "auto,off,30us",
        |o, v| values::spin(v).map(|spin| o.spin = spin),
        "how long a thread looks for work before it sleeps: auto, off, or microseconds",
    ),
    word(
        "journey",
        "sample",
        "off,tick,sample,steps",
        |o, v| values::choose(v, &JOURNEYS).map(|choice| o.journey = choice),
        "how often the clock is read: never, once per tick, at every step of one request in journey_sample, at every step",
    ),
    count(
        "journey_sample",
        "64",
        (1, 1 << 30, None),
        |o, n| o.journey_sample = narrow(n),
        "with journey=sample, one request in this many is timed exactly",
    ),
    count(
        "fd_floor",
        "0",
        (0, limits::FD_FLOOR_CEILING, None),
        |o, n| o.fd_floor = narrow(n),
        "the library's descriptors, accepted sockets too, lie at or above this number; those of the queues do not",
    ),
    live(size(
        "memory_max",
        "256MiB",
        (MIB, TIB, None),
        |o, n| o.limits.memory_max = n,
        "most octets for requests, bodies, partial heads and read-ahead together; bodies wait at seven eighths of it, everything at the whole",
    )),
    live(count(
        "in_flight_max",
        "16384",
        (1, limits::SLOTS_MAX as u64, None),
        |o, n| o.limits.in_flight_max = n,
        "most requests that the host may hold; at it no more is delivered",
    )),
    live(count(
        "queue_max",
        "1024",
        (1, limits::SLOTS_MAX as u64, None),
        |o, n| o.limits.queue_max = n,
        "most requests in a queue; at it reading stops",
    )),
    live(size("queue_bytes", "64MiB", (1, TIB, None), |o, n| o.limits.queue_bytes = n, "most octets in a queue; at it reading stops")),
    live(duration(
        "queue_age",
        "5s",
        DURATION,
        |o, n| o.limits.queue_age_ms = n,
        "a request that waited longer is answered 503 with Retry-After",
    )),
    overload::DELAY_TARGET,
    overload::DELAY_INTERVAL,
    overload::DEADLINE_HEADER,
    live(duration(
        "drain_timeout",
        "30s",
        DURATION_OR_ZERO,
        |o, n| o.limits.drain_timeout_ms = n,
        "how long a drain waits for open requests before it closes them",
    )),
    unbuilt(Kind::Text, "admin", "", "", "address of a listener for health, statistics and traces; empty has none"),
    size(
        "packed_inline_max",
        "16KiB",
        (1, 16 * MIB, None),
        |o, n| o.packed_inline_max = n,
        "largest body that a packed block carries itself",
    ),
    // Accept.
    live(count(
        "max_connections",
        "auto",
        (1, limits::SLOTS_MAX as u64, AUTO),
        |o, n| o.limits.max_connections = n,
        "most connections; at it listeners pause; auto is worked out from the descriptor limit, at most 16384",
    )),
    count(
        "max_connections_per_ip",
        "unlimited",
        (1, limits::SLOTS_MAX as u64, NO_LIMIT),
        |o, n| o.limits.max_connections_per_ip = n,
        "most connections from one IPv4 address or one /64 of IPv6; more are reset; unix sockets do not count",
    ),
    of_listener(count(
        "listen_backlog",
        "1024",
        (1, 1 << 20, None),
        |o, n| o.limits.listen_backlog = n,
        "connections that the kernel holds for us; its somaxconn caps it",
    )),
    count(
        "accepts_per_wake",
        "64",
        (1, 4096, None),
        |o, n| o.limits.accepts_per_wake = n,
        "most connections taken from one listener before the others get their turn",
    ),
    // Read.
    live(duration(
        "header_timeout",
        "10s",
        DURATION,
        |o, n| o.limits.header_timeout_ms = n,
        "for the first octet after accept, or after the handshake, then for each head from its first octet to its blank line; after it 408",
    )),
    live(duration(
        "keepalive_timeout",
        "60s",
        DURATION_OR_NONE,
        |o, n| o.limits.keepalive_timeout_ms = n,
        "how long an idle connection is kept",
    )),
    live(count(
        "requests_per_connection",
        "unlimited",
        (1, UNLIMITED - 1, NO_LIMIT),
        |o, n| o.limits.requests_per_connection = n,
        "the answer to the last of them says Connection: close",
    )),
    live(duration(
        "body_timeout",
        "20s",
        DURATION,
        |o, n| o.limits.body_timeout_ms = n,
        "longest pause between octets of a body; after it 408",
    )),
    live(size(
        "body_rate_min",
        "500",
        (1, TIB, NO_RATE),
        |o, n| o.limits.body_rate_min = n,
        "least octets per second of a body once it has taken 5s; below it 408",
    )),
    // Decrypt.
    of_listener(text(
        "tls.cert",
        "",
        "",
        |o, v| values::kept(v).map(|text| o.tls.cert = text),
        "file with the certificate chain in PEM, leaf first, or the PEM itself; several with commas between, chosen by the name that a \
         client asks for, the first for all others",
    )),
    of_listener(text(
        "tls.key",
        "",
        "",
        |o, v| values::kept(v).map(|text| o.tls.key = text),
        "file with the private key in PEM, or the PEM itself; as many as tls.cert has, in the same order",
    )),
    of_listener(text(
        "tls.client_ca",
        "",
        "",
        |o, v| values::kept(v).map(|text| o.tls.client_ca = text),
        "file with the certificates that may sign client certificates, in PEM, or the PEM itself",
    )),
    of_listener(word(
        "tls.client_auth",
        "none",
        "none,optional,required",
        |o, v| values::choose(v, &tls::CLIENT_AUTHS).map(|choice| o.tls.client_auth = choice),
        "whether clients are asked for a certificate; one that is sent has to be signed by tls.client_ca",
    )),
    of_listener(word("tls.min_version", "1.2", "1.2,1.3", tls::set_min_version, "lowest version of TLS")),
    of_listener(text(
        "tls.alpn",
        "http/1.1",
        "http/1.1",
        |o, v| tls::alpn(v).map(|text| o.tls.alpn = text),
        "the protocol to agree on; a client that offers others alone is refused; empty agrees on none",
    )),
    of_listener(text(
        "tls.ticket_keys",
        "",
        "",
        |o, v| values::kept(v).map(|text| o.tls.ticket_keys = text),
        "file with the keys of session tickets, 64 random octets each, for servers that share them: the first makes tickets, all open them; \
         it is as secret as a private key; empty makes keys of its own",
    )),
    of_listener(count("tls.tickets", "1", (0, 8, None), |o, n| o.tls.tickets = narrow(n), "session tickets per handshake; 0 sends none")),
    of_listener(text(
        "tls.ocsp",
        "",
        "",
        |o, v| values::kept(v).map(|text| o.tls.ocsp = text),
        "file with the OCSP answer to staple, in DER; as many as tls.cert has with commas between, where an entry may be empty; empty staples none",
    )),
    of_listener(text(
        "tls.keylog",
        "",
        "",
        |o, v| values::kept(v).map(|text| o.tls.keylog = text),
        "file to which session secrets are added, for debugging: whoever reads it can read all traffic; empty writes none",
    )),
    of_listener(switch(
        "tls.watch",
        "off",
        |o, v| values::choose(v, &tls::SWITCH).map(|choice| o.tls.watch = choice),
        "whether all files that the options of tls name are read again when they change, as ingest_server_reload_tls does",
    )),
    duration(
        "tls.watch_every",
        "5s",
        (100, 3_600_000, None),
        |o, n| o.tls.watch_every_ms = n,
        "how often files are looked at with tls.watch=on",
    ),
    of_listener(duration(
        "tls.handshake_timeout",
        "10s",
        DURATION,
        |o, n| o.tls.handshake_timeout_ms = n,
        "for a whole handshake, from the accept on; after it the connection closes",
    )),
    live(count(
        "tls.handshakes_max",
        "64",
        (1, 1 << 20, NO_LIMIT),
        |o, n| o.limits.handshakes_max = n,
        "most handshakes at once per I/O thread; more wait to be accepted",
    )),
    count(
        "handshake_threads",
        "0",
        (0, limits::HANDSHAKE_THREADS_MAX, None),
        |o, n| o.handshake_threads = narrow(n),
        "threads for handshakes alone; 0 does them on the I/O threads, few at a time",
    ),
    // Parse.
    live(size("target_max", "8KiB", (1, MIB, None), |o, n| o.limits.target_max = n, "longest request-target; over it 414")),
    live(size(
        "headers_max",
        "32KiB",
        (256, limits::HEADERS_CEILING, None),
        |o, n| o.limits.headers_max = n,
        "largest head of a request; over it 431",
    )),
    live(size(
        "header_line_max",
        "16KiB",
        (64, limits::HEADERS_CEILING, None),
        |o, n| o.limits.header_line_max = n,
        "longest field line, at most headers_max; over it 431",
    )),
    live(count(
        "header_count",
        "100",
        (1, limits::HEADER_COUNT_CEILING, None),
        |o, n| o.limits.header_count = n,
        "most field lines of a head; over it 431",
    )),
    live(size(
        "body_max",
        "16MiB",
        (1, TIB, NO_LIMIT),
        |o, n| o.limits.body_max = n,
        "largest body as it comes over the wire; over it 413",
    )),
    live(size(
        "chunk_ext_max",
        "4KiB",
        (1, MIB, None),
        |o, n| o.limits.chunk_ext_max = n,
        "most octets of chunk extensions in one body; over it 400",
    )),
    live(size(
        "trailers_max",
        "8KiB",
        (1, limits::HEADERS_CEILING, None),
        |o, n| o.limits.trailers_max = n,
        "largest trailer section; over it 431",
    )),
    live(count(
        "trailer_count",
        "32",
        (1, limits::HEADER_COUNT_CEILING, None),
        |o, n| o.limits.trailer_count = n,
        "most field lines of a trailer section; over it 431",
    )),
    live(count(
        "pipeline_max",
        "16",
        (1, limits::PIPELINE_CEILING, None),
        |o, n| o.limits.pipeline_max = n,
        "most requests of one HTTP/1 connection that are delivered before the first is answered",
    )),
    word(
        "pipeline_unsafe",
        "serial",
        "serial,parallel",
        |o, v| values::choose(v, &ORDERS).map(|choice| o.pipeline_unsafe = choice),
        "whether pipelined requests other than GET, HEAD, OPTIONS and TRACE are delivered one at a time",
    ),
    // Decode.
    decoding::DECODE,
    decoding::DECODE_FORM,
    decoding::DECODE_JSON,
    decoding::DECODE_UTF8,
    decoding::DECODE_ESCAPES,
    decoding::DECODE_THREADS,
    decoding::DECODE_OFFLOAD_BYTES,
    decoding::DECODE_CHARSET,
    decoding::DECODE_STATES_MAX,
    decoding::DECODED_MAX,
    decoding::DECODE_RATIO,
    decoding::DECODE_LAYERS,
    live(count(
        "form_fields",
        "1000",
        (1, limits::FORM_FIELDS_CEILING, None),
        |o, n| o.limits.form_fields = n,
        "most fields of a form; over it 413",
    )),
    live(count(
        "parts_max",
        "256",
        (1, limits::PARTS_CEILING, None),
        |o, n| o.limits.parts_max = n,
        "most parts of a multipart body; over it 413",
    )),
    live(size(
        "json_max",
        "16MiB",
        (1, limits::JSON_CEILING, None),
        |o, n| o.limits.json_max = n,
        "largest JSON body that is checked; over it 413",
    )),
    live(count(
        "json_depth",
        "128",
        (1, limits::JSON_DEPTH_CEILING as u64, None),
        |o, n| o.limits.json_depth = n,
        "most arrays and objects in each other of a JSON body that is checked; over it 400",
    )),
    bodies::POLICY,
    bodies::BUFFER_MAX,
    bodies::WINDOW,
    bodies::SPOOL_DIR,
    bodies::SPOOL_MAX,
    // Respond.
    live(duration(
        "response_timeout",
        "60s",
        DURATION_OR_NONE,
        |o, n| o.limits.response_timeout_ms = n,
        "how long the host may take; after it the client gets 504 and the token is stale",
    )),
    live(duration(
        "write_timeout",
        "20s",
        DURATION,
        |o, n| o.limits.write_timeout_ms = n,
        "longest pause in which a client reads nothing of an answer",
    )),
    live(size(
        "write_rate_min",
        "240",
        (1, TIB, NO_RATE),
        |o, n| o.limits.write_rate_min = n,
        "least octets per second that a client must read of an answer once it has taken 5s",
    )),
    live(duration(
        "linger_timeout",
        "2s",
        DURATION_OR_ZERO,
        |o, n| o.limits.linger_timeout_ms = n,
        "how long a closing connection is read so that its last answer is not lost to a reset",
    )),
    live(size(
        "linger_bytes",
        "64KiB",
        (0, 16 * MIB, None),
        |o, n| o.limits.linger_bytes = n,
        "most octets read from a closing connection",
    )),
];
