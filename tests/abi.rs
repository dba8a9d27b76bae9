//! Proves that Rust and a C compiler agree on every size, offset and constant of the header, and that every call checks its arguments.
#![forbid(unsafe_code)]

use ingest::ffi::observe::*;
use ingest::ffi::options::*;
use ingest::ffi::respond::*;
use ingest::ffi::server::*;
use ingest::ffi::version::*;
use ingest::request::*;
use ingest::status::*;
use std::mem::{align_of, offset_of, size_of};
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "abi/library.rs"]
mod library;

/// The size of a field, whose type the compiler finds.
fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

fn type_line<T>(name: &str) -> String {
    format!("type {name} {} {}", size_of::<T>(), align_of::<T>())
}

macro_rules! describe {
    ($lines:ident, $type:ident, $($field:ident),+) => {
        $lines.push(type_line::<$type>(stringify!($type)));
        $($lines.push(format!(
            "field {}.{} {} {}",
            stringify!($type),
            stringify!($field),
            offset_of!($type, $field),
            size_of_field::<$type, _>(|value| &value.$field)
        ));)+
    };
}

macro_rules! constants {
    ($lines:ident, $($name:ident),+) => {
        $($lines.push(format!("constant {} {}", stringify!($name), $name));)+
    };
}

/// What Rust makes of it, in the order of tests/abi/layout.c.
fn expected() -> Vec<String> {
    let mut lines = vec![
        type_line::<ingest_status>("ingest_status"),
        type_line::<ingest_token>("ingest_token"),
        type_line::<ingest_on_events>("ingest_on_events"),
        type_line::<ingest_on_log>("ingest_on_log"),
        type_line::<ingest_on_thread>("ingest_on_thread"),
    ];
    describe!(lines, ingest_slice, ptr, len);
    describe!(lines, ingest_header, name, value);
    describe!(lines, ingest_error, status, os_errno, text);
    describe!(lines, ingest_peer, size, family, port, address, text);
    describe!(
        lines,
        ingest_tls,
        size,
        flags,
        version,
        cipher_suite,
        group,
        reserved,
        server_name,
        alpn,
        client_certificate,
        client_subject,
        client_issuer,
        client_serial,
        client_fingerprint,
        client_names,
        client_name_count,
        client_not_before,
        client_not_after
    );
    describe!(lines, ingest_pairs, size, count, items);
    describe!(
        lines,
        ingest_part,
        size,
        flags,
        name,
        filename,
        filename_extended,
        content_type,
        headers,
        header_count,
        body,
        body_fd,
        reserved,
        body_offset,
        body_len
    );
    describe!(lines, ingest_parts, size, count, items);
    describe!(
        lines,
        ingest_journey,
        size,
        flags,
        received_at_ns,
        delivered_at_ns,
        accept_ns,
        handshake_ns,
        read_ns,
        decrypt_ns,
        parse_ns,
        decode_ns,
        body_wait_ns,
        queue_ns,
        handshake_began_at_ns,
        handshake_ended_at_ns,
        spool_ns
    );
    describe!(
        lines,
        ingest_request,
        size,
        flags,
        token,
        method_id,
        http_version,
        listener,
        reserved,
        method,
        target,
        path,
        query,
        scheme,
        authority,
        headers,
        header_count,
        body,
        body_fd,
        body_len,
        peer,
        tls,
        query_pairs,
        cookies,
        form,
        trailers,
        journey,
        encoded_len,
        decoded,
        parts,
        charset,
        deadline_ns
    );
    describe!(lines, ingest_event, kind, flags, reason, token, tag, request, data);
    describe!(lines, ingest_response, size, status, flags, headers, header_count, body, content_length, lend, reserved);
    describe!(lines, ingest_option_info, size, flags, name, kind, default_value, choices, help);
    describe!(
        lines,
        ingest_stats,
        size,
        flags,
        connections_open,
        connections_accepted,
        requests_delivered,
        requests_answered,
        requests_refused,
        requests_timed_out,
        requests_abandoned,
        in_flight,
        queued,
        memory_bytes,
        bytes_received,
        bytes_sent,
        wakeups_sent,
        panics,
        accepts_failed,
        receives,
        batches_delivered,
        sends,
        refused_400,
        refused_408,
        refused_413,
        refused_414,
        refused_421,
        refused_431,
        refused_501,
        refused_503,
        refused_505,
        refused_others,
        limit_max_connections,
        limit_connections_per_ip,
        limit_header_timeout,
        limit_keepalive_timeout,
        limit_body,
        limit_write,
        limit_linger,
        limit_queue,
        limit_queue_age,
        limit_in_flight,
        limit_memory,
        connections_idle,
        connections_in_head,
        connections_in_body,
        connections_in_exchange,
        connections_sending,
        connections_lingering,
        memory_requests_bytes,
        memory_bodies_bytes,
        memory_read_ahead_bytes,
        memory_pooled_bytes,
        in_flight_max,
        queue_oldest_ns,
        connections_max,
        memory_max_bytes,
        handshakes,
        handshake_failures,
        limit_handshake,
        connections_in_handshake,
        limit_handshakes_max,
        handshakes_displaced,
        refused_415,
        decodings_offloaded,
        bodies_spooled,
        limit_spool,
        spool_failures,
        spool_bytes,
        spool_files,
        consumers,
        consumer_requests_least,
        consumer_requests_most,
        io_requests_least,
        io_requests_most,
        io_connections_least,
        io_connections_most,
        limit_queue_delay,
        limit_deadline,
        deadlines_unread,
        requests_left,
        queues_standing,
        queue_overloads
    );
    describe!(lines, ingest_log_record, size, level, at_ns, text);
    describe!(lines, ingest_trace, size, flags, token, journey, host_ns, respond_ns, send_ns, status, listener, reserved);
    constants!(
        lines,
        INGEST_JOURNEY_EXACT,
        INGEST_JOURNEY_FIRST,
        INGEST_REQUEST_TLS,
        INGEST_TLS_RESUMED,
        INGEST_TLS_CLIENT_READ,
        INGEST_TLS_CLIENT_NAMES_UNREAD,
        INGEST_REQUEST_KEEP_ALIVE,
        INGEST_REQUEST_HEAD,
        INGEST_REQUEST_PATH_HAS_ENCODED_SLASH,
        INGEST_REQUEST_PATH_HAS_ENCODED_NUL,
        INGEST_REQUEST_PATH_HAS_MALFORMED_ESCAPE,
        INGEST_REQUEST_CHUNKED,
        INGEST_REQUEST_EXPECTS_CONTINUE,
        INGEST_REQUEST_STREAMED,
        INGEST_METHOD_OTHER,
        INGEST_METHOD_GET,
        INGEST_METHOD_HEAD,
        INGEST_METHOD_POST,
        INGEST_METHOD_PUT,
        INGEST_METHOD_DELETE,
        INGEST_METHOD_OPTIONS,
        INGEST_METHOD_TRACE,
        INGEST_METHOD_PATCH,
        INGEST_EVENT_REQUEST,
        INGEST_EVENT_BODY,
        INGEST_EVENT_BODY_END,
        INGEST_EVENT_GONE,
        INGEST_EVENT_WRITABLE,
        INGEST_EVENT_RELEASED,
        INGEST_EVENT_SENT,
        INGEST_EVENT_DRAINING,
        INGEST_EVENT_STOPPED,
        INGEST_EVENT_MESSAGE,
        INGEST_EVENT_FAULT,
        INGEST_GONE_READ_CLOSED,
        INGEST_GONE_RESET,
        INGEST_ABI_VERSION,
        INGEST_OPTION_LIVE,
        INGEST_OPTION_LISTENER,
        INGEST_OPTION_UNBUILT,
        INGEST_STATS_UNHEALTHY,
        INGEST_STATS_OVERLOADED,
        INGEST_LOG_ERROR,
        INGEST_LOG_WARN,
        INGEST_LOG_INFO,
        INGEST_LOG_DEBUG,
        INGEST_RESPONSE_CLOSE,
        INGEST_OK,
        INGEST_E_ARGUMENT,
        INGEST_E_STATE,
        INGEST_E_OPTION,
        INGEST_E_ADDRESS,
        INGEST_E_SYSTEM,
        INGEST_E_TLS,
        INGEST_E_MEMORY,
        INGEST_E_UNSUPPORTED,
        INGEST_E_GONE,
        INGEST_E_BUSY,
        INGEST_E_SPACE,
        INGEST_E_STOPPED,
        INGEST_E_INTERRUPTED,
        INGEST_E_FORKED,
        INGEST_E_PANIC,
        INGEST_E_MALFORMED
    );
    lines
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn c_and_rust_agree() {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("abi_layout");
    let output = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror"])
        .arg(format!("-I{}", root().join("include").display()))
        .arg(root().join("tests/abi/layout.c"))
        .arg("-o")
        .arg(&program)
        .output()
        .unwrap_or_else(|error| panic!("cannot run cc: {error} (install a C compiler)"));
    assert!(output.status.success(), "cc:\n{}", String::from_utf8_lossy(&output.stderr));
    let output = Command::new(&program).output().expect("the program runs");
    assert!(output.status.success());
    let printed = String::from_utf8(output.stdout).expect("plain text");
    let printed: Vec<&str> = printed.lines().collect();
    let expected = expected();
    for (c, rust) in printed.iter().zip(&expected) {
        assert_eq!(c, rust, "left is C, right is Rust");
    }
    assert_eq!(printed.len(), expected.len(), "tests/abi/layout.c and tests/abi.rs list a different number of things");
}

#[test]
fn frozen_sizes_stay() {
    assert_eq!(size_of::<ingest_slice>(), 16);
    assert_eq!(size_of::<ingest_header>(), 32);
    assert_eq!(size_of::<ingest_event>(), 48);
    assert_eq!(size_of::<ingest_error>(), 256);
}

/// Every constant and every field of the header stands in layout.c, so a new one cannot be forgotten.
#[test]
fn nothing_of_the_header_is_left_out() {
    let header = std::fs::read_to_string(root().join("include/ingest.h")).expect("the header is committed");
    let layout = std::fs::read_to_string(root().join("tests/abi/layout.c")).expect("layout.c is committed");
    let mut inside: Option<String> = None;
    let mut seen = 0;
    for line in header.lines().filter(|line| !line.trim_start().starts_with("//")) {
        let mut words = line.split_whitespace();
        let wanted = match (words.next(), words.next(), words.next()) {
            (Some("#define"), Some(name), Some(_)) => format!("CONSTANT({name});"),
            (Some("typedef"), Some("struct"), Some(name)) if line.ends_with('{') => {
                inside = Some(name.to_owned());
                format!("TYPE({name});")
            }
            (Some("typedef"), Some("struct"), _) => continue,
            (Some("typedef"), Some(_), Some(name)) if line.ends_with(';') => format!("TYPE({});", name.trim_end_matches(';')),
            (Some("}"), _, _) => {
                inside = None;
                continue;
            }
            _ => match (&inside, line.strip_suffix(';').and_then(|field| field.split([' ', '*']).next_back())) {
                (Some(name), Some(field)) => format!("FIELD({name}, {});", field.split('[').next().unwrap_or(field)),
                _ => continue,
            },
        };
        seen += 1;
        assert!(layout.contains(&wanted), "tests/abi/layout.c lacks {wanted} (add it there and to tests/abi.rs)");
    }
    assert!(seen > 150, "only {seen} things were found in the header: has its shape changed?");
}

/// Every function is called with what it must refuse, and every call that is not built with what it would take.
#[test]
fn arguments_are_checked() {
    let library = library::find();
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("abi_arguments");
    let output = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g"])
        .arg(format!("-I{}", root().join("include").display()))
        .arg(root().join("tests/abi/arguments.c"))
        .arg(&library)
        .arg("-o")
        .arg(&program)
        .output()
        .unwrap_or_else(|error| panic!("cannot run cc: {error} (install a C compiler)"));
    assert!(output.status.success(), "cc:\n{}", String::from_utf8_lossy(&output.stderr));
    // The loader looks for the soname, which only an installed library has as its file name.
    let named = Path::new(env!("CARGO_TARGET_TMPDIR")).join(library::soname());
    std::fs::copy(&library, &named).unwrap_or_else(|error| panic!("cannot copy {}: {error}", library.display()));
    let output = Command::new(&program).env("LD_LIBRARY_PATH", env!("CARGO_TARGET_TMPDIR")).output().expect("the program runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}:\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("all arguments are checked"), "{said}");
}
