//! Every number that bounds anything: its default, and the relations between them that the compiler checks.
#![forbid(unsafe_code)]

use crate::decode::deadline::Header;
use crate::decode::rules::Rules;
use std::sync::Arc;

/// Written out as `unlimited` in an option; a limit of zero never means unlimited.
pub const UNLIMITED: u64 = u64::MAX;

/// How a body reaches the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyPolicy {
    /// Whole, in memory.
    Buffer,
    /// In events, as it arrives.
    Stream,
    /// Whole: in memory up to `body_buffer_max` octets, else in a file.
    Spool,
}

/// The bounds of one server. Durations are milliseconds, sizes octets.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Zero until the server starts, then worked out from RLIMIT_NOFILE unless set.
    pub max_connections: u64,
    pub max_connections_per_ip: u64,
    pub listen_backlog: u64,
    pub accepts_per_wake: u64,
    pub header_timeout_ms: u64,
    pub keepalive_timeout_ms: u64,
    pub requests_per_connection: u64,
    pub target_max: u64,
    pub headers_max: u64,
    pub header_line_max: u64,
    pub header_count: u64,
    pub body_timeout_ms: u64,
    pub body_rate_min: u64,
    pub body_max: u64,
    pub chunk_ext_max: u64,
    pub body: BodyPolicy,
    /// With `BodyPolicy::Stream`, an announced length up to this is buffered all the same; with `BodyPolicy::Spool`, a body up to this.
    pub body_buffer_max: u64,
    /// With `BodyPolicy::Spool`, what all files may hold together.
    pub spool_max: u64,
    /// Octets of a streamed body that the host has not given back, at which reading stops.
    pub body_window: u64,
    /// Content-codings are undone.
    pub decode: bool,
    pub decode_layers: u64,
    pub decoded_max: u64,
    pub decode_ratio: u64,
    pub decode_states_max: u64,
    /// Threads for large bodies, and from which size on they are for them.
    pub decode_threads: u64,
    pub decode_offload_bytes: u64,
    pub trailers_max: u64,
    pub trailer_count: u64,
    pub memory_max: u64,
    pub in_flight_max: u64,
    pub queue_max: u64,
    pub queue_bytes: u64,
    pub queue_age_ms: u64,
    /// Zero: nothing is refused for the delay of a queue.
    pub queue_delay_target_ms: u64,
    pub queue_delay_interval_ms: u64,
    /// The field in which clients say how long they wait.
    pub deadline_header: Option<Arc<Header>>,
    pub response_timeout_ms: u64,
    pub write_timeout_ms: u64,
    pub write_rate_min: u64,
    pub linger_timeout_ms: u64,
    pub linger_bytes: u64,
    pub pipeline_max: u64,
    pub drain_timeout_ms: u64,
    pub form_fields: u64,
    pub parts_max: u64,
    pub json_depth: u64,
    pub json_max: u64,
    /// No numbers, but what decoding has to know beside them.
    pub rules: Rules,
    pub handshakes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_connections: 0,
            max_connections_per_ip: UNLIMITED,
            listen_backlog: 1024,
            accepts_per_wake: 64,
            header_timeout_ms: 10_000,
            keepalive_timeout_ms: 60_000,
            requests_per_connection: UNLIMITED,
            target_max: 8192,
            headers_max: 32 * 1024,
            header_line_max: 16 * 1024,
            header_count: 100,
            body_timeout_ms: 20_000,
            body_rate_min: 500,
            body_max: 16 * MIB,
            chunk_ext_max: 4 * 1024,
            body: BodyPolicy::Buffer,
            body_buffer_max: 64 * 1024,
            spool_max: 1024 * MIB,
            body_window: 256 * 1024,
            decode: true,
            decode_layers: 1,
            decoded_max: 64 * MIB,
            decode_ratio: 100,
            decode_states_max: 16,
            decode_threads: 0,
            decode_offload_bytes: 256 * 1024,
            trailers_max: 8 * 1024,
            trailer_count: 32,
            memory_max: 256 * MIB,
            in_flight_max: 16_384,
            queue_max: 1024,
            queue_bytes: 64 * MIB,
            queue_age_ms: 5_000,
            queue_delay_target_ms: 0,
            queue_delay_interval_ms: 100,
            deadline_header: None,
            response_timeout_ms: 60_000,
            write_timeout_ms: 20_000,
            write_rate_min: 240,
            linger_timeout_ms: 2_000,
            linger_bytes: 64 * 1024,
            pipeline_max: 16,
            drain_timeout_ms: 30_000,
            form_fields: 1000,
            parts_max: 256,
            json_depth: 128,
            json_max: 16 * MIB,
            rules: Rules::default(),
            handshakes_max: 64,
        }
    }
}

const MIB: u64 = 1024 * 1024;

/// Bodies and answers may take this long before their least rate counts.
pub const RATE_GRACE_MS: u64 = 5_000;
/// At `memory_max` reading stops; what waited for room so long is answered 503.
pub const MEMORY_WAIT_MS: u64 = 5_000;
/// Heads and targets are addressed with 32-bit offsets, so nothing may be configured to reach this.
pub const HEADERS_CEILING: u64 = 16 * MIB;
/// The most field lines a head or a trailer section may be configured to have.
pub const HEADER_COUNT_CEILING: u64 = 1000;
/// Empty lines tolerated before a request line (RFC 9112 section 2.2 asks for at least one).
pub const EMPTY_LINES_MAX: u32 = 8;
/// What a request line may hold beside its target: method, spaces, version (RFC 9112 section 3 asks for 8,000 octets in all).
pub const REQUEST_LINE_SPARE: u64 = 64;
/// The most query pairs, and the most cookies, that one request may bring.
pub const PAIRS_MAX: usize = 1000;
/// The most fields of a form, and parts of a multipart body, that may be asked for: their tables are sized by the peer.
pub const FORM_FIELDS_CEILING: u64 = 1 << 20;
pub const PARTS_CEILING: u64 = 1 << 16;
/// A boundary of a multipart body (RFC 2046 section 5.1.1).
pub const BOUNDARY_BYTES: usize = 70;
/// The head of one part: its octets and its fields. Clients send three fields at most.
pub const PART_HEAD_BYTES: usize = 8 * 1024;
pub const PART_FIELDS_MAX: usize = 32;
/// How deep `json_depth` may allow arrays and objects to nest, and how deep `ingest_request_json` looks.
pub const JSON_DEPTH_CEILING: usize = 512;
/// Offsets in a refusal have 32 bits, so larger bodies are not validated.
pub const JSON_CEILING: u64 = 1 << 31;
/// Hexadecimal digits of a chunk size; sixteen fill 64 bits, and the value is checked against 63.
pub const CHUNK_SIZE_DIGITS: u32 = 16;
/// Chunk framing may cost this much, and once the data again, before it is taken for an attack.
pub const CHUNK_OVERHEAD_BASE: u64 = 16 * 1024;
/// The most codings that `decode_layers` may be configured to undo.
pub const CODINGS_MAX: usize = 2;
/// `decode_ratio` counts once a body has decoded to more: text of a few kilobytes may well shrink to a hundredth.
pub const RATIO_FREE_BYTES: u64 = MIB;
/// A decoded body's size and ratio are looked at each time that it has grown by this much, and memory for it is had in such steps.
pub const DECODE_MARK_BYTES: usize = 256 * 1024;
/// Coded octets go to a decoder in pieces that end at multiples of this, and count for the ratio in such pieces.
pub const DECODE_PIECE_BYTES: usize = 4 * 1024;
/// The largest window of zstd (RFC 9659 section 3). That of br is 16 MiB by its format.
pub const ZSTD_WINDOW_BYTES: usize = 8 << 20;
/// What one body may decode before the others get their turn, and what all bodies of a thread may decode in a tick, counted in octets that
/// are made. The slowest coding makes 250 octets a microsecond, so a tick is held up for 4 ms (docs/decode.md).
pub const DECODE_SHARE: usize = 256 * 1024;
pub const DECODE_TICK: usize = 1 << 20;
/// Coded octets that a body gathers before they go to a decode thread, and so the most of them that are there at once; and what is decoded
/// there, counted as above, before it comes home to be weighed and others have their turn.
pub const ERRAND_BYTES: usize = 256 * 1024;
pub const ERRAND_SHARE: usize = 1 << 20;
/// And the least, however little memory there is.
pub const ERRAND_SHARE_LEAST: usize = 64 * 1024;
/// The window of br that may be filled at a stretch on a thread that serves, if there are others; as the power of two.
pub const BR_LIGHT_BITS: u8 = 20;
/// A thread's read slab: the size of a read caps the size of a batch.
pub const SLAB_BYTES: usize = 64 * 1024;
/// Room behind a body whose length is known, for the receive that finds out that there is no more.
pub const BODY_SPARE_BYTES: usize = 1;
/// What is read at once where a head is expected: a larger body behind it is received where it stays, and not copied.
pub const FRONT_BYTES: usize = 16 * 1024;
/// Read-ahead of one connection while earlier answers are outstanding.
pub const READ_AHEAD_BYTES: usize = 64 * 1024;
/// Most octets one connection may read in one tick, of a body, before the others get their turn; of heads it is a slab.
pub const READ_PER_TICK_BYTES: usize = 256 * 1024;
/// An answer that is given before the body of its request has come ends its connection, unless no more than this is still to come.
pub const UNREAD_BYTES: usize = 64 * 1024;
/// Answers gathered for one connection before they are sent although more input is waiting.
pub const FLUSH_BYTES: usize = 64 * 1024;
/// Ciphertext of one connection that is no whole record, or no whole handshake message, yet: the largest message that TLS has here, the
/// headers of the records that it may be cut into, and a record more.
pub const TLS_CARRIED_BYTES: usize = 96 * 1024;
/// Openings in one tick that bring a handshake further, on a thread that serves as well; what comes beyond them waits for the next tick.
/// Each takes some 0.2 ms, so who has a session waits a millisecond at most.
pub const HANDSHAKES_PER_TICK: u32 = 4;
/// At `tls.handshakes_max` a handshake whose client does not go on is closed after so long, to make room.
pub const HANDSHAKE_PATIENCE_MS: u64 = 500;
/// In a drain, how long a client that has connected and not asked anything yet has time for it: its first octets may be on their way.
pub const FIRST_REQUEST_MS: u64 = 500;
/// How long a client may come back with a session ticket.
pub const TICKET_LIFETIME_S: u32 = 12 * 60 * 60;
/// Keys of tickets that a file may hold.
pub const TICKET_KEYS_MAX: usize = 64;
/// How often files are looked at with `tls.watch=on`, unless `tls.watch_every` says otherwise.
pub const WATCH_EVERY_MS: u64 = 5_000;
/// So many looks at files that cannot be used, and it is said in the log.
pub const WATCH_TRIES: u32 = 3;
/// Plain octets that are sealed before they are sent: what a peer that reads nothing costs.
pub const SEAL_BYTES: usize = 64 * 1024;
/// Text that a client's certificate may make: its subject, its issuer and all its alternative names, each. What is longer is not shown.
pub const CERTIFICATE_TEXT_BYTES: usize = 16 * 1024;
/// Alternative names of a client's certificate; of one that has more, none is shown.
pub const CERTIFICATE_NAMES_MAX: usize = 256;
/// Octets of one streamed answer that wait to be sent.
pub const STREAM_BUFFER_BYTES: usize = 64 * 1024;
/// Octets of interim answers to one request that wait to be sent.
pub const INTERIM_BYTES: usize = 16 * 1024;
/// Most octets of one answer that are sent before the other connections get their turn.
pub const SEND_PER_TICK_BYTES: u64 = 256 * 1024;
/// Octets of a file that one system call sends.
pub const FILE_STEP_BYTES: usize = 256 * 1024;
/// So many faults of the library's own within so long, and the server says that it is unhealthy (docs/faults/hosts.md, H22).
pub const UNHEALTHY_FAULTS: usize = 100;
pub const UNHEALTHY_MS: u64 = 60_000;
/// How long a thread of ours sleeps at most: a host that closes our descriptors takes the wake-up away with them (H16).
/// Not in unit tests, where a wake-up that is lost has to show.
pub const LOOK_UP_MS: i32 = if cfg!(test) { 60_000 } else { 1000 };
/// And a consumer in a queue, of which there are more.
pub const CONSUMER_LOOK_UP_MS: i64 = 5000;
/// Most octets that the field lines of one answer hold together; no client takes as much, and what is copied has to be bounded.
pub const RESPONSE_FIELDS_BYTES: usize = 1 << 20;
/// A slot keeps a reply buffer up to this size for its next answer.
pub const REPLY_KEPT_BYTES: usize = 4 * 1024;
/// The most that `pipeline_max` may be configured to be.
pub const PIPELINE_CEILING: u64 = 64;
/// Exchanges one server can have open: twenty bits of the token.
pub const SLOTS_MAX: usize = 1 << 20;
/// The most that `fd_floor` may be: the kernel's own ceiling on descriptors (fs.nr_open) is 2^20 unless it was raised.
pub const FD_FLOOR_CEILING: u64 = 1 << 20;
/// I/O threads of one server.
pub const IO_THREADS_MAX: u64 = 256;
/// Threads for handshakes of one server.
pub const HANDSHAKE_THREADS_MAX: u64 = 256;
/// Threads for large bodies of one server.
pub const DECODE_THREADS_MAX: u64 = 256;
/// The most that `decode_states_max` may be configured to be.
pub const DECODE_STATES_CEILING: u64 = 4096;
/// Queues of one server.
pub const QUEUES_MAX: u64 = 64;
/// Handler threads of one server.
pub const HANDLER_THREADS_MAX: u64 = 1024;

const _: () = assert!(READ_AHEAD_BYTES >= SLAB_BYTES);
const _: () = assert!(TLS_CARRIED_BYTES > SLAB_BYTES);
const _: () = assert!(READ_PER_TICK_BYTES >= SLAB_BYTES);
const _: () = assert!(ERRAND_SHARE_LEAST <= ERRAND_SHARE);
const _: () = assert!(HEADERS_CEILING < (1 << 31));
