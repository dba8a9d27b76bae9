//! Tests of the chunked coding: the grammar, every split, every limit, and what may stand in a trailer section.
#![forbid(unsafe_code)]

use super::chunked::*;
use super::sketch::Pair;
use crate::limits::Limits;

type Outcome = Result<(Vec<u8>, usize, bool, Trailers), u16>;

/// Feeds the stream in pieces that end at the given offsets.
fn feed(stream: &[u8], cuts: &[usize], limits: &Limits) -> Outcome {
    let (mut chunked, mut data, mut consumed, mut complete, mut start) = (Chunked::default(), Vec::new(), 0, false, 0);
    for cut in cuts.iter().copied().chain([stream.len()]) {
        let mut piece = stream[start..cut].to_vec();
        let done = chunked.compact(&mut piece, limits).map_err(|refusal| refusal.status)?;
        assert!(done.complete || done.consumed == piece.len());
        assert_eq!(piece[done.consumed..], stream[start + done.consumed..cut], "what follows the body is not touched");
        data.extend_from_slice(&piece[..done.kept]);
        (consumed, complete, start) = (consumed + done.consumed, done.complete, cut);
    }
    Ok((data, consumed, complete, chunked.take_trailers()))
}

fn judge(stream: &[u8], limits: &Limits) -> Outcome {
    let whole = feed(stream, &[], limits);
    for cut in 0..stream.len() {
        assert_eq!(feed(stream, &[cut], limits), whole, "cut at {cut}");
    }
    assert_eq!(feed(stream, &(0..stream.len()).collect::<Vec<_>>(), limits), whole);
    whole
}

fn status(stream: &str) -> u16 {
    judge(stream.as_bytes(), &Limits::default()).map_or_else(|status| status, |(_, _, complete, _)| if complete { 200 } else { 0 })
}

#[test]
fn data_is_compacted_and_the_rest_left_alone() {
    let stream = b"5;a=b\r\nhello\r\n00006 ; c = \"d\\\";\"\t;e\r\n world\r\n0\r\n\r\nGET /";
    let (data, consumed, complete, trailers) = judge(stream, &Limits::default()).unwrap();
    assert_eq!((data.as_slice(), consumed, complete), (&b"hello world"[..], stream.len() - 5, true));
    assert_eq!(trailers, Trailers::default());
}

#[test]
fn incomplete_bodies_wait() {
    for stream in ["", "5", "5\r", "5\r\nhell", "5\r\nhello\r", "0\r\n", "0\r\n\r", "0\r\nA: b\r\n", "5;a=\"\r"] {
        let expected = if stream.contains('"') { 400 } else { 0 };
        assert_eq!(status(stream), expected, "{stream:?}");
    }
}

#[test]
fn malformed_framing_is_refused() {
    for stream in [
        "\r\n",
        "\n",
        "g",
        "-1\r\n",
        "+1\r\n",
        " 1\r\n",
        "0x1\r\n",
        "1_0\r\n",
        "1 \r\n",
        "1\n",
        "1\rx",
        "1;\r\n",
        "1;a=\r\n",
        "1;a =\r\n",
        "1;a \r\n",
        "1;=b\r\n",
        "1;a=b c\r\n",
        "1;a=\"b\r\n",
        "1;a=\"b\"c\r\n",
        "1;a=\"\\\r\n",
        "1;a\rb\r\n",
        "1;a\n",
        "1;a=\"\n",
        "1;;a\r\n",
        "1;a[\r\n",
        "1\r\nab\r\n",
        "1\r\na\n",
        "1\r\na\rb",
        "1\r\n\r\n\r\n0",
        "00000000000000001\r\n",
        "0\r\n\n",
        "0\r\n\rx",
    ] {
        assert_eq!(status(stream), 400, "{stream:?}");
    }
    for stream in ["1000001\r\n", "7fffffffffffffff\r\n", "8000000000000000\r\n", "ffffffffffffffff\r\n", "1\r\na\r\n1000000;"] {
        assert_eq!(status(stream), 413, "{stream:?}");
    }
}

#[test]
fn trailers_are_kept_and_framing_fields_are_not() {
    let stream = b"0\r\nA: b \r\nContent-Type:\r\nA:\tc\r\n\r\n";
    let (_, _, complete, trailers) = judge(stream, &Limits::default()).unwrap();
    let pair = |pair: &Pair| (pair.name.of(&trailers.bytes).to_vec(), pair.value.of(&trailers.bytes).to_vec());
    let pairs: Vec<_> = trailers.pairs.iter().map(pair).collect();
    assert!(complete);
    assert_eq!(pairs, [(b"A".to_vec(), b"b".to_vec()), (b"Content-Type".to_vec(), Vec::new()), (b"A".to_vec(), b"c".to_vec())]);
    for name in
        ["Content-Length", "transfer-encoding", "HOST", "TE", "Trailer", "Connection", "Upgrade", "Content-Encoding", "Content-Range"]
    {
        assert_eq!(status(&format!("0\r\n{name}: 1\r\n\r\n")), 400, "{name}");
    }
    for line in ["A : b", "A", ": b", " A: b", "A: b\r\n c", "A: \x01", "A: \x7f", "A: b\rc", "A: b\nC: d", "Ä: b"] {
        assert_eq!(status(&format!("0\r\n{line}\r\n\r\n")), 400, "{line:?}");
    }
}

#[test]
fn limits_are_met_exactly() {
    let limits = Limits { body_max: 10, chunk_ext_max: 8, trailers_max: 12, trailer_count: 2, ..Limits::default() };
    let judged = |stream: &str| judge(stream.as_bytes(), &limits).map_or_else(|status| status, |done| if done.2 { 200 } else { 0 });
    assert_eq!(judged("5\r\n12345\r\n5\r\n12345\r\n0\r\n\r\n"), 200);
    assert_eq!(judged("5\r\n12345\r\n6\r\n"), 413);
    assert_eq!(judged("1;ab=\r\n"), 400);
    assert_eq!(judged("1;ab\r\n1\r\n1;cd=e\r\n2\r\n0\r\n\r\n"), 200);
    assert_eq!(judged("1;ab\r\n1\r\n1;cd=ef\r\n"), 400);
    assert_eq!(judged("0\r\nA: b\r\nC: d\r\n\r\n"), 200);
    assert_eq!(judged("0\r\nA: b\r\nC: de\r\n"), 431);
    assert_eq!(judged("0\r\nA:\r\nB:\r\nC"), 0);
    assert_eq!(judged("0\r\nA:\r\nB:\r\nC\r\n"), 431);
}

#[test]
fn framing_may_not_outweigh_the_data() {
    let chunks = |count: usize, limits: &Limits| feed("1\r\na\r\n".repeat(count).as_bytes(), &[], limits).map(|done| done.0.len());
    let limits = Limits::default();
    assert_eq!(chunks(4000, &limits), Ok(4000));
    assert_eq!(chunks(5000, &limits), Err(400));
    // Two framing octets a data octet would be too many, one is not.
    assert_eq!(feed("8\r\n12345678\r\n".repeat(20_000).as_bytes(), &[], &limits).map(|done| done.0.len()), Ok(160_000));
}
