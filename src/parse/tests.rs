//! Tests of `advance`: every split gives the same outcome, every limit is met at its edge.
#![forbid(unsafe_code)]

use super::sketch::Pair;
use super::*;

type Outcome = Result<Option<(Range<usize>, Vec<(String, String)>, Framing, u32)>, u16>;

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|octet| *octet as char).collect()
}

fn outcome_of(result: Result<Option<Range<usize>>, Refusal>, window: &[u8], sketch: &Sketch) -> Outcome {
    let Some(range) = result.map_err(|refusal| refusal.status)? else { return Ok(None) };
    let head = &window[range.clone()];
    assert_eq!(sketch.head_len, head.len());
    let pair = |pair: &Pair| (text(pair.name.of(head)), text(pair.value.of(head)));
    Ok(Some((range, sketch.headers.iter().map(pair).collect(), sketch.framing, sketch.flags)))
}

/// Feeds growing prefixes of the window, each `step` octets longer than the last, beginning with `first`.
fn feed(window: &[u8], first: usize, step: usize, limits: &Limits) -> Outcome {
    let (mut scan, mut sketch, mut end) = (HeadScan::default(), Sketch::default(), first.min(window.len()));
    loop {
        let result = advance(&mut scan, &window[..end], limits, false, &mut sketch);
        if end == window.len() || !matches!(result, Ok(None)) {
            return outcome_of(result, &window[..end], &sketch);
        }
        end = (end + step).min(window.len());
    }
}

/// The outcome, after making sure that it is the same for every way in which the window can arrive in two pieces or octet by octet.
fn judge(window: &[u8], limits: &Limits) -> Outcome {
    let whole = feed(window, window.len(), 1, limits);
    assert_eq!(feed(window, 1, 1, limits), whole, "octet by octet: {:?}", text(window));
    for cut in 0..window.len() {
        assert_eq!(feed(window, cut, window.len(), limits), whole, "cut at {cut}: {:?}", text(window));
    }
    whole
}

fn status(window: &str) -> u16 {
    judge(window.as_bytes(), &Limits::default()).map_or_else(|status| status, |found| if found.is_some() { 200 } else { 0 })
}

#[test]
fn a_head_is_found_behind_empty_lines_and_before_the_next() {
    let window = b"\r\n\r\nPOST /a?b HTTP/1.1\r\nHost: \tx:1 \r\nEmpty:\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n";
    let (range, headers, framing, flags) = judge(window, &Limits::default()).unwrap().unwrap();
    assert_eq!(range, 4..window.len() - 19);
    let pair = |name: &str, value: &str| (name.to_string(), value.to_string());
    assert_eq!(headers, [pair("Host", "x:1"), pair("Empty", ""), pair("Content-Length", "3")]);
    assert_eq!((framing, flags), (Framing::Length(3), INGEST_REQUEST_KEEP_ALIVE));
}

#[test]
fn incomplete_heads_wait() {
    for window in ["", "\r", "\r\n", "G", "GET / HTTP/1.1", "GET / HTTP/1.1\r", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r"] {
        assert_eq!(status(window), 0, "{window:?}");
    }
}

#[test]
fn refusals_come_as_soon_as_they_are_known() {
    for window in
        ["\x16\x03\x01", " ", "\n", "\rG", "GET / HTTP/1.1\n", "GE\rT", "GET /\r\n", "GET / HTTP/1.1\r\nA: b\rc", "GET / HTTP/1.1\r\n\n"]
    {
        assert_eq!(status(window), 400, "{window:?}");
    }
    assert_eq!(status("PRI * HTTP/2.0\r\n"), 505);
    assert_eq!(status(&"\r\n".repeat(8)), 0);
    assert_eq!(status(&"\r\n".repeat(9)), 400);
}

#[test]
fn malformed_fields_are_refused() {
    for field in [
        "Host : a",
        " Host: a",
        "Host: a\r\n b: c",
        "Ho st: a",
        ": a",
        "Host",
        "Host: a\r\nA: \x01",
        "Host: a\r\nA: \x7f",
        "Host: a\r\nA: \0",
    ] {
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{field}\r\n\r\n")), 400, "{field:?}");
    }
}

#[test]
fn values_and_names_of_any_length_are_read_alike_whole_and_in_pieces() {
    for length in [0, 1, 6, 7, 8, 9, 55, 63, 64, 65, 100, 130] {
        for filler in ["a", "\t", " ", "a\tb", "\u{ff}~", "x  "] {
            let value = filler.repeat(length);
            let name = "Na-m_e".repeat(length / 6 + 1);
            let window = format!("GET /{} HTTP/1.1\r\nHost: a\r\n{name}: {value}\r\nB:{value}\r\n\r\n", "p~".repeat(length));
            let (_, headers, ..) = judge(window.as_bytes(), &Limits::default()).unwrap().unwrap();
            let trimmed = text(value.as_bytes()).trim_matches([' ', '\t']).to_string();
            assert_eq!(headers[1..], [(name, trimmed.clone()), ("B".to_string(), trimmed)]);
        }
    }
}

#[test]
fn host_rules() {
    let with = |version: &str, fields: &str| status(&format!("GET / HTTP/{version}\r\n{fields}\r\n"));
    assert_eq!(with("1.1", ""), 400);
    assert_eq!(with("1.0", ""), 200);
    assert_eq!(with("1.1", "Host:\r\n"), 200);
    assert_eq!(with("1.1", "Host: a\r\nhost: a\r\n"), 400);
    assert_eq!(with("1.0", "Host: a b\r\n"), 400);
    assert_eq!(with("1.1", "Host: a\r\nContent-Type: a/b\r\ncontent-type: a/b\r\n"), 400);
}

fn sketch_of(window: &str, secure: bool) -> Sketch {
    let mut sketch = Sketch::default();
    let found = advance(&mut HeadScan::default(), window.as_bytes(), &Limits::default(), secure, &mut sketch);
    assert_eq!(found, Ok(Some(0..window.len())));
    sketch
}

#[test]
fn persistence_follows_version_and_connection() {
    let keeps = |version: &str, connection: &str| {
        sketch_of(&format!("GET / HTTP/{version}\r\nHost: a\r\nConnection: {connection}\r\n\r\n"), false).keep_alive
    };
    assert!(keeps("1.1", "") && keeps("1.2", "te") && keeps("1.0", "TE ,\tKeep-Alive"));
    assert!(!keeps("1.1", "x, Close") && !keeps("1.0", "") && !keeps("1.0", "keep-alive, close") && !keeps("1.0", "keep-alives"));
    assert!(!sketch_of("GET / HTTP/1.1\r\nHost: a\r\nConnection: a\r\nConnection: close\r\n\r\n", false).keep_alive);
}

#[test]
fn expectations_need_a_body_and_a_version() {
    let expects = |version: &str, fields: &str| {
        sketch_of(&format!("POST / HTTP/{version}\r\nHost: a\r\nExpect: 100-Continue\r\n{fields}\r\n\r\n"), false).expects_continue
    };
    assert!(expects("1.1", "Content-Length: 1") && expects("1.1", "Transfer-Encoding: chunked"));
    assert!(!expects("1.1", "Content-Length: 0") && !expects("1.1", "A: b") && !expects("1.0", "Content-Length: 1"));
}

#[test]
fn an_absolute_target_names_scheme_and_authority() {
    let window = "HEAD HTTPS://b:1/c HTTP/1.1\r\nHost: a\r\n\r\n";
    let sketch = sketch_of(window, true);
    assert_eq!(sketch.bytes(window.as_bytes(), sketch.scheme), b"https");
    assert_eq!(sketch.bytes(window.as_bytes(), sketch.authority), b"b:1");
    assert_eq!(sketch.flags, INGEST_REQUEST_TLS | INGEST_REQUEST_HEAD | INGEST_REQUEST_KEEP_ALIVE);
    let window = "GET /c HTTP/1.1\r\nHost: a\r\n\r\n";
    let sketch = sketch_of(window, true);
    assert_eq!((sketch.scheme.len, sketch.authority.of(window.as_bytes())), (0, &b"a"[..]));
}

#[test]
fn limits_are_met_exactly() {
    let limits = Limits { target_max: 10, headers_max: 40, header_line_max: 20, header_count: 3, ..Limits::default() };
    let judged =
        |window: &str| judge(window.as_bytes(), &limits).map_or_else(|status| status, |found| if found.is_some() { 200 } else { 0 });
    let request = |target: &str, fields: &str| judged(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    assert_eq!(request("/123456789", ""), 200);
    assert_eq!(request("/1234567890", ""), 414);
    assert_eq!(judged(&format!("GET /{}", "1".repeat(70))), 0);
    assert_eq!(judged(&format!("GET /{}", "1".repeat(71))), 414);
    assert_eq!(judged(&"G".repeat(76)), 400);
    assert_eq!(request("/", "A: 34567890123456789\r\n"), 200);
    assert_eq!(request("/", "A: 3456789012345678901\r\n"), 431);
    assert_eq!(judged("GET / HTTP/1.1\r\nA: 345678901234567890"), 0);
    assert_eq!(judged("GET / HTTP/1.1\r\nA: 34567890123456789012"), 431);
    assert_eq!(request("/", "A: b\r\nA: c\r\n"), 200);
    assert_eq!(request("/", "A: b\r\nA: c\r\nA: d\r\n"), 431);
    assert_eq!(request("/", "A: 345678901\r\nB: 3456789012\r\n"), 200);
    assert_eq!(request("/", "A: 3456789012\r\nB: 34567890123\r\n"), 200);
    assert_eq!(request("/", "A: 3456789012\r\nB: 345678901234\r\n"), 431);
}

#[test]
fn hundreds_of_fields_are_read_when_allowed() {
    let limits = Limits { header_count: 1000, ..Limits::default() };
    for count in [15, 16, 99, 100, 999] {
        let window = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(count));
        let (_, headers, ..) = feed(window.as_bytes(), window.len(), 1, &limits).unwrap().unwrap();
        assert_eq!(headers.len(), count + 1);
    }
}

#[test]
fn empty_lines_do_not_begin_a_request() {
    let (mut scan, mut sketch) = (HeadScan::default(), Sketch::default());
    assert_eq!(advance(&mut scan, b"\r\n\r\n", &Limits::default(), false, &mut sketch), Ok(None));
    assert!(!scan.begun());
    assert_eq!(advance(&mut scan, b"\r\n\r\nG", &Limits::default(), false, &mut sketch), Ok(None));
    assert!(scan.begun());
}
