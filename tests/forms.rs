//! Proves that forms, parts and JSON values reach the host as they were sent: by hand, by the clients that people use, and by a conformance suite.

mod support;

#[path = "forms/browser.rs"]
mod browser;
#[path = "forms/charset.rs"]
mod charset;
#[path = "forms/clients.rs"]
mod clients;
#[path = "forms/conformance.rs"]
mod conformance;
#[path = "forms/refusals.rs"]
mod refusals;
#[path = "forms/view.rs"]
#[allow(dead_code)] // the tests of bodies in files look at more of it
mod view;

use support::client::{Answer, Client};
use support::host::Server;
use support::posts;
use view::{Contents, Seen, watching};

/// Every way that a body takes through the library: beside its head, in a buffer of its own, chunked, beyond a cut.
const SHAPES: [&[(&str, &str)]; 2] = [&[], &[("topology", "cut"), ("io_threads", "2")]];

fn request(content_type: &str, body: &[u8]) -> Vec<u8> {
    posts::whole(&format!("Content-Type: {content_type}\r\n"), body)
}

fn chunked(content_type: &str, body: &[u8], size: usize) -> Vec<u8> {
    posts::chunked(&format!("Content-Type: {content_type}\r\n"), body, size)
}

fn ask(client: &mut Client, wire: impl AsRef<[u8]>) -> Answer {
    client.send(wire);
    client.answer()
}

/// Sends one body in every way, and looks at what arrived each time.
fn in_every_way(content_type: &str, body: &[u8], judge: &dyn Fn(&Contents)) {
    for options in SHAPES {
        let seen = Seen::default();
        let server = Server::serve(options, support::host::Delivery::Queue(1), watching(&seen));
        let mut client = server.connect();
        let mut looked_at = 0;
        let mut look = |client: &mut Client, wire: &[u8], pieces: usize| {
            for piece in wire.chunks(wire.len().div_ceil(pieces)) {
                client.send(piece);
            }
            assert_eq!(client.answer().status, 200);
            let contents = seen.take();
            assert_eq!(contents.body, body);
            judge(&contents);
            looked_at += 1;
        };
        look(&mut client, &request(content_type, body), 1);
        look(&mut client, &request(content_type, body), 7);
        look(&mut client, &chunked(content_type, body, 65_536), 1);
        look(&mut client, &chunked(content_type, body, 1 + body.len() / 9), 5);
        assert_eq!(looked_at, 4);
        server.finish();
    }
}

#[test]
fn a_body_that_is_left_coded_is_not_looked_into() {
    let seen = Seen::default();
    let server = Server::serve(&[("decode", "off")], support::host::Delivery::Queue(1), watching(&seen));
    let mut client = server.connect();
    for (lines, is_form) in [("", true), ("Content-Encoding: identity\r\nContent-Encoding: gzip\r\n", false)] {
        let head =
            format!("POST /f HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n{lines}Content-Length: 3\r\n\r\n");
        assert_eq!(ask(&mut client, format!("{head}a=b")).status, 200);
        assert_eq!(seen.take().form_text().is_some(), is_form, "{lines}");
    }
    server.finish();
}

#[test]
fn the_fields_of_a_form() {
    let judge = |contents: &Contents| {
        let expected = [("name", "J\u{f6}rg & S\u{f6}hne"), ("empty", ""), ("name", "2"), ("flag", ""), ("a b", "=+%")];
        assert_eq!(contents.form_text(), Some(expected.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()));
        assert!(contents.parts.is_none());
        assert_eq!(contents.first_form("name").as_deref(), Some("J\u{f6}rg & S\u{f6}hne".as_bytes()));
        assert_eq!((contents.first_form("empty"), contents.first_form("nobody")), (Some(vec![]), None));
    };
    let body = b"name=J%C3%B6rg+%26+S%c3%b6hne&empty=&name=2&&flag&a+b=%3D%2b%";
    in_every_way("application/x-www-form-urlencoded; charset=utf-8", body, &judge);
    in_every_way("application/x-www-form-urlencoded", b"", &|contents| assert_eq!(contents.form_text(), Some(vec![])));
}

#[test]
fn a_form_with_its_longest_values() {
    // Everything decoded, in a body that does not fit a letter.
    let value = "%FF+".repeat(100_000);
    let body = format!("a={value}&b={value}");
    in_every_way("application/x-www-form-urlencoded", body.as_bytes(), &|contents| {
        let form = contents.form.as_ref().expect("a form");
        assert_eq!(form.len(), 2);
        assert!(form.iter().all(|(_, value)| value == &b"\xff ".repeat(100_000)));
    });
}

#[test]
fn the_parts_of_a_multipart_body() {
    let file = support::Random(5).bytes(300_000);
    let mut body =
        b"preamble\r\n--=bound ary\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\n\r\n--\r\n\r\n--=bound ary \r\n".to_vec();
    body.extend_from_slice(
        b"content-disposition: form-data; name=\"file\"; filename=\"a%22b.bin\"; filename*=UTF-8''%C3%A4\r\nContent-Type: image/png\r\nX-More: 1\r\n\r\n",
    );
    body.extend_from_slice(&file);
    body.extend_from_slice(
        b"\r\n--=bound ary\r\nContent-Disposition: form-data; name=\"file\"; filename=\"\"\r\n\r\n\r\n--=bound ary--\r\nepilogue",
    );
    in_every_way("multipart/form-data; boundary=\"=bound ary\"", &body, &|contents| {
        assert!(contents.form.is_none());
        let parts = contents.parts.as_ref().expect("parts");
        assert_eq!(parts.len(), 3);
        assert_eq!(
            (parts[0].name.as_slice(), parts[0].body.as_slice(), &parts[0].filename),
            (b"text".as_slice(), b"\r\n--\r\n".as_slice(), &None)
        );
        assert_eq!(parts[1].filename.as_deref(), Some(b"a\"b.bin".as_slice()));
        assert_eq!(parts[1].filename_extended.as_deref(), Some("\u{e4}".as_bytes()));
        assert_eq!(parts[1].content_type.as_deref(), Some(b"image/png".as_slice()));
        assert_eq!(
            parts[1].headers.iter().map(|(name, _)| name.as_slice()).collect::<Vec<_>>(),
            [b"content-disposition".as_slice(), b"Content-Type", b"X-More"]
        );
        assert!(parts[1].body == file);
        assert_eq!((parts[2].filename.as_deref(), parts[2].body.len()), (Some(b"".as_slice()), 0));
        assert!(contents.first_part("file").as_deref() == Some(&file), "the first of its name");
        assert_eq!((contents.first_part("nobody"), contents.first_form("text")), (None, None));
    });
}

#[test]
fn values_of_a_json_body() {
    let body = br#"{"a": [0, {"b": "\u0041"}], "long": "x", "a/b": 1, "a/b": 2}"#;
    // Validated or not, and whatever its type is.
    for (kind, options) in [("application/json", [("decode.json", "validate")]), ("text/plain", [("decode.json", "off")])] {
        let seen = Seen::default();
        let server = Server::serve(&options, support::host::Delivery::Queue(1), watching(&seen));
        assert_eq!(ask(&mut server.connect(), request(kind, body)).status, 200);
        let contents = seen.take();
        assert_eq!(
            contents.json,
            [
                ("", 0, Some(String::from_utf8_lossy(body).into_owned())),
                ("/a/1/b", 0, Some(r#""\u0041""#.to_owned())),
                ("/a/2", 0, None),
                ("/a~1b", 0, Some("2".to_owned())),
                ("a", -1, None),
            ]
            .map(|(pointer, status, value)| (pointer.to_owned(), status, value))
        );
        server.finish();
    }
}

/// No machine passes over eight megabytes in less than half a millisecond, so a journey that tells less has not counted it.
#[test]
fn what_taking_a_body_apart_costs_is_in_its_journey() {
    let seen = Seen::default();
    let options = [("journey", "steps"), ("decode.json", "validate"), ("decode.charset", "utf-8")];
    let server = Server::serve(&options, support::host::Delivery::Queue(1), watching(&seen));
    let mut client = server.connect();
    let long = b"[\"\\n\"]".iter().copied().chain(b" ".repeat(8_000_000)).collect::<Vec<u8>>();
    for kind in ["application/json", "application/x-www-form-urlencoded", "text/plain; charset=utf-16le"] {
        let body = if kind.ends_with("encoded") { b"%41".repeat(2_700_000) } else { long.clone() };
        assert_eq!(ask(&mut client, request(kind, &body)).status, 200);
        let spent_ns = seen.take().decode_ns;
        assert!(spent_ns > 500_000, "{kind}: {spent_ns} ns");
    }
    drop(client);
    server.finish();
}

#[test]
fn memory_is_back_when_bodies_were_taken_apart() {
    let seen = Seen::default();
    let server = Server::serve(&[], support::host::Delivery::Queue(1), watching(&seen));
    let part = "--b\r\nContent-Disposition: form-data; name=\"%22\"\r\n\r\nx\r\n";
    let parts = format!("{}--b--", part.repeat(200));
    let bodies = [("application/x-www-form-urlencoded", "a%20b=c&".repeat(900)), ("multipart/form-data; boundary=b", parts)];
    let mut client = server.connect();
    for round in 0..50 {
        for (kind, body) in &bodies {
            assert_eq!(ask(&mut client, request(kind, body.as_bytes())).status, 200, "round {round}");
            seen.take();
        }
    }
    // Refused ones give theirs back, too.
    for _ in 0..20 {
        assert_eq!(ask(&mut server.connect(), request(bodies[1].0, part.as_bytes())).status, 400);
    }
    drop(client);
    assert!(support::eventually(|| server.stats().memory_bytes == 0), "{} octets are still charged", server.stats().memory_bytes);
    server.finish();
}
