//! Large answers, which are sealed in portions: that all of one is sent, whatever comes or is due between two portions.

use crate::support::host::{Delivery, Server, on_requests};
use crate::support::secured;

const BODY: &[u8] = &[b'x'; 8 << 20];

#[test]
fn a_large_answer_that_closes_is_sent_whole() {
    let server = Server::serve(&secured::options(), Delivery::Inline, on_requests(|host, request| {
        host.text(request.0.token, BODY);
    }));
    for request in ["GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"] {
        for _ in 0..10 {
            let mut client = server.connect();
            client.send(request);
            assert_eq!(client.answer().body.len(), BODY.len(), "{request}");
            assert_eq!(client.read_to_end().expect("close_notify comes before the end"), b"");
        }
    }
}
