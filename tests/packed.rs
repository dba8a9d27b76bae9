//! Proves that packed blocks carry what the structs carry, lose nothing for want of room, and survive every octet in them.

#[path = "abi/library.rs"]
mod library;
mod support;

#[path = "packed/block.rs"]
mod block;
#[path = "packed/hostile.rs"]
mod hostile;
#[path = "packed/readers.rs"]
mod readers;

use block::{Block, Reply, answers};
use ingest::request::{INGEST_EVENT_REQUEST, ingest_event, ingest_token};
use ingest::status::{INGEST_E_ARGUMENT, INGEST_E_GONE, INGEST_E_SPACE, INGEST_E_STOPPED};
use support::client::Client;
use support::eventually;
use support::host::{Host, Queue, Server, abi, blank_event};
use support::request_view::{RequestView, octets};

/// Waits until so many requests are in the queue.
fn fill_queue(queue: Queue, count: usize) {
    assert!(eventually(|| queue.depth() == count as i32), "{} requests instead of {count}", queue.depth());
}

fn request_of(host: Host, token: ingest_token) -> ingest_event {
    // SAFETY: the server lives; any number may be asked about.
    let request = unsafe { abi::ingest_token_request(host.0, token) };
    assert!(!request.is_null(), "the request is held");
    ingest_event { kind: INGEST_EVENT_REQUEST, token, request, ..blank_event() }
}

/// `ingest_request_body_read`.
fn body_read(host: Host, token: ingest_token, offset: u64, buffer: &mut [u8]) -> i64 {
    // SAFETY: the server lives, the buffer is as long as is said.
    unsafe { abi::ingest_request_body_read(host.0, token, offset, buffer.as_mut_ptr().cast(), buffer.len()) }
}

fn whole_body(host: Host, token: ingest_token) -> Vec<u8> {
    let (mut body, mut piece) = (Vec::new(), vec![0; 40_000]);
    loop {
        let count = body_read(host, token, body.len() as u64, &mut piece);
        assert!(count >= 0, "{count}");
        if count == 0 {
            return body;
        }
        body.extend_from_slice(&piece[..count as usize]);
    }
}

/// Requests of every shape, each on a connection of its own.
fn varied() -> Vec<Vec<u8>> {
    let mut random = support::Random(0x5EED);
    let mut all: Vec<Vec<u8>> = [
        "GET / HTTP/1.1\r\nHost: example.test\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "HEAD /a%20b/c?x=1&y=%41+b&&z HTTP/1.1\r\nHost: example.test:81\r\nCookie: a=1; b=\"two\"; c\r\nX-Empty:\r\n\r\n",
        "GET /plain? HTTP/1.1\r\nHost: h\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET http://other.test/p%2Fq?r HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n",
        "BREW /pot HTTP/1.1\r\nHost: h\r\nX-Twice: 1\r\nx-twice: 2\r\n\r\n",
        "POST /chunked HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;e=1\r\ndefg\r\n0\r\nX-Sum: 7\r\nX-Other: o\r\n\r\n",
        "POST /none HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ]
    .into_iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    for length in [0, 1, 16 * 1024, 16 * 1024 + 1, 1024 * 1024] {
        let mut request = format!("PUT /body/{length} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        request.extend_from_slice(&random.bytes(length));
        all.push(request);
    }
    all
}

#[test]
fn every_field_is_as_in_the_struct() {
    for journey in ["steps", "off"] {
        let server = Server::queued(&[("journey", journey)]);
        let queue = server.queue();
        let sent = varied();
        let mut clients: Vec<Client> = Vec::new();
        for request in &sent {
            let mut client = server.connect();
            client.send(request);
            clients.push(client);
            fill_queue(queue, clients.len());
        }
        let mut block = Block::new(256 * 1024);
        assert_eq!(block.poll(queue), sent.len() as i32);
        let stats = server.stats();
        assert_eq!((stats.consumers, stats.consumer_requests_least), (1, sent.len() as u64));
        assert_eq!((block.count(), block.needed(), block.capacity()), (sent.len(), 0, 256 * 1024));
        for index in 0..block.count() {
            compare(*server, &block, index);
        }
        let tokens: Vec<ingest_token> = (0..block.count()).map(|index| block.token(index)).collect();
        let replies: Vec<Reply<'_>> = tokens.iter().map(|token| Reply::new(*token, 204, b"")).collect();
        assert_eq!(answers(&replies).respond(*server), sent.len() as i32);
        for (client, request) in clients.iter_mut().zip(&sent) {
            let answer = client.read_answer(request.starts_with(b"HEAD")).expect("an answer").expect("before the end");
            assert_eq!(answer.status, 204);
        }
        assert_eq!(body_read(*server, tokens[0], 0, &mut [0; 8]), i64::from(INGEST_E_GONE));
        server.finish();
    }
}

/// One record with the struct that the library holds.
fn compare(host: Host, block: &Block, index: usize) {
    let token = block.token(index);
    let event = request_of(host, token);
    let view = RequestView::of(&event).expect("a request");
    let mut expected = view.to_owned();
    let (mut packed, inline) = block.delivered(index);
    let length = view.body().len();
    assert_eq!(inline.is_some(), !view.0.body.ptr.is_null() && length <= 16 * 1024, "inline body of {length}");
    if let Some(inline) = inline {
        assert!(inline == expected.body);
    }
    assert!(whole_body(host, token) == expected.body, "body of {length}");
    expected.body.clear();
    packed.body.clear();
    assert_eq!(format!("{packed:?}"), format!("{expected:?}"));
    // SAFETY: the peer is never NULL and lives as long as the request is held.
    let peer = unsafe { &*view.0.peer };
    assert_eq!(block.peer(index), (peer.family, peer.port, octets(&peer.address).to_vec()));
    let times = view.journey().map_or([0; 11], |journey| {
        [
            u64::from(journey.flags),
            journey.received_at_ns,
            journey.delivered_at_ns,
            journey.accept_ns,
            journey.handshake_ns,
            journey.read_ns,
            journey.decrypt_ns,
            journey.parse_ns,
            journey.decode_ns,
            journey.body_wait_ns,
            journey.queue_ns,
        ]
    });
    assert_eq!(block.times(index), times);
    assert!(view.journey().is_none_or(|journey| journey.received_at_ns > 0 && journey.queue_ns > 0));
}

#[test]
fn a_block_too_small_loses_nothing() {
    let server = Server::queued(&[]);
    let queue = server.queue();
    let mut clients: Vec<Client> = Vec::new();
    for number in 0..3 {
        let mut client = server.connect();
        client.send(format!("GET /{number} HTTP/1.1\r\nHost: h\r\n\r\n"));
        clients.push(client);
        fill_queue(queue, number + 1);
    }
    assert_eq!(Block::new(24).poll(queue), INGEST_E_ARGUMENT);
    let mut needed = 0;
    for capacity in [32, 40, 288, 320] {
        let mut block = Block::new(capacity);
        assert_eq!(block.poll(queue), INGEST_E_SPACE, "capacity {capacity}");
        assert_eq!((block.count(), block.used()), (0, 32));
        needed = block.needed();
        assert!(needed > 320 && needed % 8 == 0);
        assert_eq!(queue.depth(), 3);
        assert!(is_readable(queue.fd()));
    }
    assert_eq!(Block::new(needed - 8).poll(queue), INGEST_E_SPACE);
    // The three are of one size, so two fit here and the third comes with the next call.
    let mut two = Block::new(32 + (needed - 32) * 3 - 8);
    assert_eq!(two.poll(queue), 2);
    assert_eq!((two.needed(), queue.depth()), (0, 1));
    let mut one = Block::new(needed);
    assert_eq!(one.poll(queue), 1);
    assert_eq!(one.used(), needed);
    assert_eq!(one.poll(queue), 0);
    assert_eq!((one.count(), one.used()), (0, 32));
    assert!(!is_readable(queue.fd()));
    for (token, client) in [two.token(0), two.token(1)].into_iter().zip(&mut clients) {
        assert_eq!(answers(&[Reply::new(token, 200, b"ok")]).respond(*server), 1);
        assert_eq!(client.answer().body, b"ok");
    }
    // Only the last is still held: its struct is there, the others' are not.
    Client::connect(server.port()).send("GET /after HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(server.stats().in_flight, 1);
    server.finish();
}

fn is_readable(descriptor: i32) -> bool {
    let mut wanted = libc::pollfd { fd: descriptor, events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, as is said.
    unsafe { libc::poll(&raw mut wanted, 1, 0) == 1 }
}

#[test]
fn batches_are_answered_in_one_call() {
    let server = Server::queued(&[]);
    let queue = server.queue();
    for (connections, expected) in [(8, &[64][..]), (40, &[256, 64][..])] {
        let mut clients: Vec<Client> = (0..connections).map(|_| server.connect()).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            let burst: String = (0..8).map(|each| format!("GET /{number}/{each} HTTP/1.1\r\nHost: h\r\n\r\n")).collect();
            client.send(burst);
        }
        fill_queue(queue, connections * 8);
        let mut block = Block::new(256 * 1024);
        for count in expected {
            assert_eq!(block.poll(queue), *count);
            let bodies: Vec<Vec<u8>> = (0..block.count()).map(|index| block.delivered(index).0.path).collect();
            let replies: Vec<Reply<'_>> =
                bodies.iter().enumerate().map(|(index, body)| Reply::new(block.token(index), 200, body)).collect();
            assert_eq!(answers(&replies).respond(*server), *count);
        }
        assert_eq!(block.poll(queue), 0);
        for (number, client) in clients.iter_mut().enumerate() {
            for each in 0..8 {
                assert_eq!(client.answer().text(), format!("/{number}/{each}"));
            }
        }
    }
    server.finish();
}

#[test]
fn only_open_requests_with_answers_that_can_be_sent_count() {
    let server = Server::queued(&[]);
    let queue = server.queue();
    let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("GET /{number} HTTP/1.1\r\nHost: h\r\n\r\n"));
        fill_queue(queue, number + 1);
    }
    let mut block = Block::new(64 * 1024);
    assert_eq!(block.poll(queue), 4);
    let token = |index| block.token(index);
    assert_eq!(server.text(token(0), b"before"), 0);
    let replies = [
        Reply::new(token(0), 200, b"again"),
        Reply { content_type: Some("text/html"), headers: &[("X-A", "1"), ("X-B", "")], close: true, ..Reply::new(token(1), 201, b"one") },
        Reply::new(token(2), 99, b"no status"),
        Reply { headers: &[("X A", "1")], ..Reply::new(token(3), 200, b"no name") },
        Reply::new(0, 200, b""),
        Reply::new(u64::MAX, 200, b""),
    ];
    assert_eq!(answers(&replies).respond(*server), 1);
    assert_eq!(clients[0].answer().text(), "before");
    let answer = clients[1].answer();
    assert_eq!((answer.status, answer.text().as_str(), answer.says_close()), (201, "one", true));
    let fields = [answer.header("content-type"), answer.header("x-a"), answer.header("x-b")];
    assert_eq!(fields, [Some("text/html"), Some("1"), Some("")]);
    assert!(clients[1].is_closed());
    let again = [Reply::new(token(2), 200, b"two"), Reply::new(token(1), 200, b""), Reply::new(token(3), 599, b"three")];
    assert_eq!(answers(&again).respond(*server), 2);
    assert_eq!(clients[2].answer().text(), "two");
    assert_eq!(clients[3].answer().status, 599);
    server.finish();
}

#[test]
fn a_body_is_read_from_anywhere() {
    let server = Server::queued(&[("packed_inline_max", "4")]);
    let queue = server.queue();
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nabcde");
    fill_queue(queue, 1);
    let mut block = Block::new(4096);
    assert_eq!(block.poll(queue), 1);
    let (delivered, inline) = block.delivered(0);
    assert_eq!((delivered.body_len, inline), (5, None));
    let mut buffer = [0; 3];
    for (offset, expected) in [(0, &b"abc"[..]), (1, b"bcd"), (3, b"de"), (5, b""), (6, b""), (u64::MAX, b"")] {
        assert_eq!(body_read(*server, block.token(0), offset, &mut buffer), expected.len() as i64, "from {offset}");
        assert_eq!(&buffer[..expected.len()], expected);
    }
    assert_eq!(body_read(*server, block.token(0), 0, &mut []), 0);
    assert_eq!(body_read(*server, block.token(0) + 1, 0, &mut buffer), i64::from(INGEST_E_GONE));
    assert_eq!(server.text(block.token(0), b""), 0);
    client.answer();
    assert_eq!(body_read(*server, block.token(0), 0, &mut buffer), i64::from(INGEST_E_GONE));
    server.finish();
}

#[test]
fn the_end_of_the_server_is_heard() {
    let server = Server::queued(&[]);
    let mut block = Block::new(4096);
    assert_eq!(block.poll(server.queue()), 0);
    server.stop();
    assert_eq!(server.join(10_000), 0);
    assert_eq!(block.poll(server.queue()), INGEST_E_STOPPED);
    assert_eq!(block.count(), 0);
    server.finish();
}
