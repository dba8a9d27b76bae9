//! The bounds of bodies in files: body_max, decoded_max, decode_ratio, spool_max, and what has to be in memory to be looked at.

use super::support::coders::encode;
use super::support::eventually;
use super::support::host::{Delivery, Server};
use super::{SPOOL, ask, chunked, is_clean, post, telling, told};
use ingest::status::INGEST_OK;

fn serve(options: &[(&str, &str)]) -> Server {
    Server::serve(&[&SPOOL[..], options].concat(), Delivery::Queue(1), telling())
}

#[test]
fn limits_of_the_wire_hold() {
    let server = serve(&[("body_max", "200000")]);
    let body = vec![3; 200_001];
    for (wire, status) in
        [(post("", &body[1..]), 200), (chunked("", &body[1..], 50_000), 200), (post("", &body), 413), (chunked("", &body, 50_000), 413)]
    {
        assert_eq!(ask(&mut server.connect(), wire).status, status);
    }
    assert!(is_clean(&server));
    server.finish();
}

#[test]
fn limits_of_decoding_hold() {
    let server = serve(&[("decoded_max", "3MiB")]);
    let fits = super::support::Random(5).bytes(300_000).repeat(10);
    let over = vec![b'x'; 4 << 20];
    for (body, status) in [(&fits, 200), (&over, 413)] {
        let answer = ask(&mut server.connect(), post("Content-Encoding: zstd\r\n", &encode("zstd", body)));
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    // An octet less than the bound, and an octet more.
    let exact = [&fits[..], &super::support::Random(6).bytes((3 << 20) - 3_000_000)].concat();
    for (body, status) in [(exact.clone(), 200), ([&exact[..], b"x"].concat(), 413)] {
        let coded = encode("zstd", &body);
        assert_eq!(ask(&mut server.connect(), post("Content-Encoding: zstd\r\n", &coded)).status, status);
    }
    // A ratio above a hundred, once a mebibyte was made.
    let answer = ask(&mut server.connect(), chunked("Content-Encoding: gzip\r\n", &encode("gzip", &over[..2 << 20]), 1_000));
    assert_eq!(answer.status, 413, "{}", answer.text());
    assert!(is_clean(&server));
    server.finish();
}

#[test]
fn memory_max_does_not_bound_bodies_in_files() {
    let server = serve(&[("memory_max", "1MiB"), ("packed_inline_max", "1KiB")]);
    let body = super::support::Random(6).bytes(6 << 20);
    let mut client = server.connect();
    assert_eq!(ask(&mut client, post("", &body)).text(), told("file", &body));
    assert_eq!(ask(&mut client, chunked("", &body, 100_000)).text(), told("file", &body));
    let coded = encode("gzip", &body);
    assert_eq!(ask(&mut client, post("Content-Encoding: gzip\r\n", &coded)).text(), told("file", &body));
    server.finish();
}

#[test]
fn limits_spool_max() {
    let server = Server::queued(&[&SPOOL[..], &[("spool_max", "300000")]].concat());
    let body = vec![9; 200_000];
    let mut holder = server.connect();
    holder.send(post("", &body));
    let held = server.queue().take(1).pop().expect("one was taken");
    assert_eq!((server.stats().spool_bytes, server.stats().spool_files), (200_000, 1));
    // It would fit an empty server: later perhaps. One that never fits is told so.
    for (wire, status, retry) in [
        (post("", &body), 503, true),
        (chunked("", &body, 10_000), 503, true),
        (post("Expect: 100-continue\r\n", &vec![9; 300_001]), 413, false),
        (chunked("", &vec![9; 300_001], 10_000), 503, true),
    ] {
        let mut client = server.connect();
        let _ = client.try_send(&wire);
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("retry-after").is_some()), (status, retry), "{}", answer.text());
        assert!(answer.says_close());
    }
    assert!(eventually(|| server.stats().spool_files == 1), "only what is held is left");
    assert_eq!((server.stats().limit_spool, server.stats().spool_failures), (3, 0));
    assert_eq!(server.text(held.token, b"x"), INGEST_OK);
    assert_eq!(holder.answer().status, 200);
    assert!(is_clean(&server));
    // There is room again, exactly. Nobody knows how long a chunked body will be.
    let mut client = server.connect();
    let _ = client.try_send(&chunked("", &vec![9; 300_001], 300_001));
    let answer = client.answer();
    assert!(answer.status == 503 && answer.text().contains("too many large bodies"), "{}", answer.text());
    assert!(is_clean(&server));
    holder.send(chunked("", &vec![9; 300_000], 300_000));
    let held = server.queue().take(1).pop().expect("one was taken");
    assert_eq!(server.text(held.token, b"x"), INGEST_OK);
    assert_eq!(holder.answer().status, 200);
    assert!(is_clean(&server));
    holder.send(post("", &vec![9; 300_000]));
    let held = server.queue().take(1).pop().expect("one was taken");
    assert_eq!(server.text(held.token, b"x"), INGEST_OK);
    assert_eq!(holder.answer().status, 200);
    server.set("spool_max", "100000").expect("it is live");
    let mut client = server.connect();
    let _ = client.try_send(&post("", &body));
    assert_eq!(client.answer().status, 413);
    server.finish();
}

#[test]
fn limits_of_what_has_to_be_in_memory() {
    let server = serve(&[("decode.json", "validate")]);
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let json = "Content-Type: application/json\r\n";
    let (fits, over) = (vec![b'1'; 65_536], vec![b'1'; 65_537]);
    for kind in [form, json] {
        for (body, status) in [(&fits, 200), (&over, 413)] {
            for wire in [post(kind, body), chunked(kind, body, 20_000)] {
                assert_eq!(ask(&mut server.connect(), wire).status, status, "{kind}");
            }
        }
    }
    assert!(is_clean(&server));
    server.finish();
    // What nobody wants looked into may be any size.
    let server = serve(&[("decode.form", "off")]);
    for kind in [form, json] {
        assert_eq!(ask(&mut server.connect(), post(kind, &over)).text(), told("file", &over));
    }
    server.finish();
}

#[test]
fn limits_parts_max_in_a_file() {
    let server = serve(&[("parts_max", "3"), ("body_buffer_max", "10")]);
    let part = "--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n";
    for (count, status) in [(3, 200), (4, 413)] {
        let body = format!("{}--b--\r\n", part.repeat(count));
        let kind = "Content-Type: multipart/form-data; boundary=b\r\n";
        for wire in [post(kind, body.as_bytes()), chunked(kind, body.as_bytes(), 7)] {
            assert_eq!(ask(&mut server.connect(), wire).status, status);
        }
    }
    server.finish();
}
