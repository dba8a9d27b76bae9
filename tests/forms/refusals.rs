//! What is malformed or too much never reaches the host: status, text, and a connection that closes.

use super::support::client::Answer;
use super::support::host::{Delivery, Server};
use super::view::{Seen, watching};
use super::{ask, chunked, request};

/// Asks a server with these options on a connection of its own; the host must not have seen it if it was refused.
fn answers(options: &[(&str, &str)], questions: &[(&str, &[u8])]) -> Vec<Answer> {
    let seen = Seen::default();
    let server = Server::serve(options, Delivery::Queue(1), watching(&seen));
    let mut answers = Vec::new();
    for (kind, body) in questions {
        for wire in [request(kind, body), chunked(kind, body, 1000)] {
            let mut client = server.connect();
            let answer = ask(&mut client, wire);
            if answer.status == 200 {
                seen.take();
            } else {
                assert!(seen.is_empty() && answer.says_close() && client.is_closed(), "{kind}: {}", answer.text());
            }
            answers.push(answer);
        }
    }
    server.finish();
    answers
}

fn statuses(options: &[(&str, &str)], questions: &[(&str, &[u8])]) -> Vec<u16> {
    let answers = answers(options, questions);
    answers.chunks(2).for_each(|pair| assert_eq!(pair[0].status, pair[1].status, "{}", pair[0].text()));
    answers.iter().step_by(2).map(|answer| answer.status).collect()
}

const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=b";
const PART: &[u8] = b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n";

fn parts(count: usize) -> Vec<u8> {
    [&PART.repeat(count)[..], b"--b--\r\n"].concat()
}

#[test]
fn limits_form_fields() {
    let (fits, over, million) = (b"a&".repeat(1000), b"a&".repeat(1001), b"a&".repeat(1_000_000));
    assert_eq!(statuses(&[], &[(FORM, &fits), (FORM, &over), (FORM, &million)]), [200, 413, 413]);
    assert_eq!(statuses(&[("form_fields", "2")], &[(FORM, b"a&b"), (FORM, b"a&b&c")]), [200, 413]);
}

#[test]
fn limits_parts_max() {
    assert_eq!(statuses(&[], &[(MULTIPART, &parts(256)), (MULTIPART, &parts(257))]), [200, 413]);
    assert_eq!(statuses(&[("parts_max", "1")], &[(MULTIPART, &parts(1)), (MULTIPART, &parts(2))]), [200, 413]);
}

#[test]
fn limits_part_heads() {
    let padded = |line: String| parts(1).replace_all(b"name=a\r\n", format!("name=a\r\n{line}").as_bytes());
    let room = 8192 - "Content-Disposition: form-data; name=a\r\nX: \r\n\r\n".len();
    let (fits, over) = (padded(format!("X: {}\r\n", "x".repeat(room))), padded(format!("X: {}\r\n", "x".repeat(room + 1))));
    assert_eq!(statuses(&[], &[(MULTIPART, &fits), (MULTIPART, &over)]), [200, 400]);
    let (fits, over) = (padded("X:\r\n".repeat(31)), padded("X:\r\n".repeat(32)));
    assert_eq!(statuses(&[], &[(MULTIPART, &fits), (MULTIPART, &over)]), [200, 400]);
    let with =
        |boundary: usize| (format!("multipart/form-data; boundary={}", "b".repeat(boundary)), format!("--{}--\r\n", "b".repeat(boundary)));
    let (fits, over) = (with(70), with(71));
    assert_eq!(statuses(&[], &[(&fits.0, fits.1.as_bytes()), (&over.0, over.1.as_bytes())]), [200, 400]);
}

#[test]
fn limits_json() {
    let json = "application/json";
    let options = [("decode.json", "validate"), ("json_depth", "3"), ("json_max", "10")];
    let questions: [(&str, &[u8]); 4] = [(json, b"[[[1]]]"), (json, b"[[[[]]]]"), (json, b"\"12345678\""), (json, b"\"123456789\"")];
    assert_eq!(statuses(&options, &questions), [200, 400, 200, 413]);
}

#[test]
fn n17_a_multipart_body_without_sense_never_reaches_the_host() {
    let whole = parts(2);
    let nested = b"--b\r\nContent-Disposition: form-data; name=a\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n--b--\r\n";
    let questions: [(&str, &[u8]); 8] = [
        ("multipart/form-data", &whole),
        ("multipart/form-data; boundary=\"\"", &whole),
        (MULTIPART, PART),
        (MULTIPART, &whole[..whole.len() - 4]),
        (MULTIPART, b""),
        (MULTIPART, b"no boundary at all"),
        // A longer boundary is no boundary for some readers and one for others, so it is neither.
        (MULTIPART, &whole.replace_all(b"\r\n--b\r\n", b"\r\n--bc\r\n")),
        // A body in a body is content like any other.
        (MULTIPART, nested),
    ];
    assert_eq!(statuses(&[], &questions), [400, 400, 400, 400, 400, 400, 400, 200]);
}

/// A mebibyte of what boundaries begin with, and a million parts, cost other clients nothing: each is answered while the next one waits.
#[test]
fn n17_boundaries_that_are_none_and_a_million_parts() {
    let filled = [PART, b"--b\r\nContent-Disposition: form-data; name=f\r\n\r\n", &b"\r\n--".repeat(1 << 18), b"\r\n--b--"].concat();
    let million = b"--b\r\n".repeat(1_000_000);
    assert_eq!(statuses(&[], &[(MULTIPART, &filled), (MULTIPART, &million), (MULTIPART, &parts(100_000))]), [200, 400, 413]);
}

/// curl's `--data-binary @file` says that any file is a form: its user reads what to say instead, and is served then.
#[test]
fn who_sends_a_file_as_a_form_is_told_what_to_do() {
    let file = b"\x7fELF&".repeat(5000);
    let said = answers(&[], &[(FORM, &file)]);
    assert!(said.iter().all(|answer| answer.status == 413 && answer.text().contains("application/octet-stream")));
    assert_eq!(statuses(&[], &[("application/octet-stream", &file)]), [200]);
}

trait ReplaceAll {
    fn replace_all(&self, old: &[u8], new: &[u8]) -> Vec<u8>;
}

impl ReplaceAll for Vec<u8> {
    fn replace_all(&self, old: &[u8], new: &[u8]) -> Vec<u8> {
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).expect("it is ASCII");
        text(self).replace(&text(old), &text(new)).into_bytes()
    }
}

/// Where a boundary ends that is not in quotes: behind `b` for some readers, at the semicolon for others.
#[test]
fn a_boundary_that_readers_end_elsewhere_is_refused() {
    for end in ["b c", "b, boundary=c", "b\tc"] {
        let kind = format!("multipart/form-data; boundary={end}");
        let quoted = format!("multipart/form-data; boundary=\"{end}\"");
        let body = parts(1).replace_all(b"--b", format!("--{end}").as_bytes());
        assert_eq!(statuses(&[], &[(&kind, &body)]), [400], "{end}");
        let expected = if end.contains('\t') { 400 } else { 200 };
        assert_eq!(statuses(&[], &[(&quoted, &body)]), [expected], "{end}");
    }
}

#[test]
fn what_the_host_does_not_want_split_is_delivered_as_it_is() {
    let broken: [(&str, &[u8]); 3] = [(FORM, &b"a&".repeat(2000)), (MULTIPART, PART), ("multipart/form-data", b"")];
    assert_eq!(statuses(&[("decode.form", "off")], &broken), [200, 200, 200]);
    assert_eq!(statuses(&[], &broken), [413, 400, 400]);
}

#[test]
fn malformed_json_is_refused_with_its_offset() {
    let json = "application/vnd.api+json; charset=utf-8";
    let validate = [("decode.json", "validate"), ("json_depth", "3"), ("json_max", "64KiB")];
    let large = [b"[\"", &b"x".repeat(65_536)[..], b"\"]"].concat();
    let far = [b"[\"", &b"x".repeat(60_000)[..], b"\",]"].concat();
    let questions: [(&str, &[u8]); 7] = [
        (json, b"{\"a\": [true, {}]}"),
        (json, b"{\"a\": [true, ]}"),
        (json, b"[[[[]]]]"),
        (json, b"[\"\xff\"]"),
        (json, b""),
        (json, &large),
        (json, &far),
    ];
    let answers = answers(&validate, &questions);
    let texts: Vec<(u16, String)> = answers.iter().map(|answer| (answer.status, answer.text())).collect();
    for (index, status, part) in [
        (1, 400, "(offset 13 of the body)"),
        (2, 400, "flatter (offset 3 of the body)"),
        (3, 400, "utf-8 (offset 2 of the body)"),
        (4, 400, "(offset 0 of the body)"),
        (5, 413, "larger"),
        (6, 400, "(offset 60004 of the body)"),
    ] {
        for (found, text) in &texts[2 * index..2 * index + 2] {
            assert!(*found == status && text.contains(part), "{index}: {found} {text}");
        }
    }
    assert_eq!((texts[0].0, texts[1].0), (200, 200));
    assert_eq!(statuses(&[], &questions), [200; 7], "unless it is asked for nobody looks");
    // Other types are not JSON, whatever is in them.
    assert_eq!(statuses(&validate, &[("text/plain", b"{"), ("application/jsonp", b"{")]), [200, 200]);
}

#[test]
fn targets_as_the_host_wants_them() {
    let get = |options: &[(&str, &str)], target: &str| {
        let server = Server::serve(options, Delivery::Queue(1), watching(&Seen::default()));
        let answer = server.connect().get(target);
        server.finish();
        answer.status
    };
    for (target, escapes, utf8) in [
        ("/a%20b?c=%C3%A4", 200, 200),
        ("/%", 400, 200),
        ("/a?b=%4g", 400, 200),
        ("/a?%", 400, 200),
        ("/%ff", 200, 400),
        ("/a?%ff", 200, 400),
        ("/a?b=%C3", 200, 400),
        ("/a?b=%C3&c=%A4", 200, 400),
    ] {
        assert_eq!(get(&[], target), 200, "{target}");
        assert_eq!(get(&[("decode.escapes", "refuse")], target), escapes, "{target}");
        assert_eq!(get(&[("decode.utf8", "refuse")], target), utf8, "{target}");
        assert_eq!(get(&[("decode.utf8", "replace")], target), 200, "{target}");
    }
}

#[test]
fn a_body_that_is_still_coded_is_not_taken_apart() {
    let seen = Seen::default();
    let server = Server::serve(&[("decode.json", "validate")], Delivery::Queue(1), watching(&seen));
    for kind in [FORM, MULTIPART, "application/json"] {
        let wire = String::from_utf8(request(kind, b"\x1f")).expect("it is ASCII").replacen(
            "Host: x",
            "Host: x\r\nContent-Encoding: x-unknown",
            1,
        );
        let status = ask(&mut server.connect(), wire).status;
        // Delivered as it came, or refused because nobody knows the coding; never as if the octets were the form.
        assert!(status == 415 || (status == 200 && seen.take().form.is_none()), "{kind}: {status}");
    }
    server.finish();
}
