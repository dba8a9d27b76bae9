//! Keep-alive and pipelining: answers come in the order of the requests, whichever thread answers, and in whichever order it does.

use crate::support::Random;
use crate::support::host::on_requests;
use crate::support::request_view::RequestView;
use crate::{everywhere, with_a_queue};
use ingest::request::ingest_event;
use ingest::status::*;
use std::time::Duration;

fn echo_target() -> crate::Handler {
    on_requests(|host, request| {
        assert_eq!(host.text(request.0.token, request.target()), INGEST_OK);
    })
}

fn pipeline(count: usize) -> String {
    (0..count).map(|index| format!("GET /{index} HTTP/1.1\r\nHost: example.test\r\n\r\n")).collect()
}

fn target_of(event: &ingest_event) -> String {
    let request = RequestView::of(event).expect("a request");
    String::from_utf8_lossy(request.target()).into_owned()
}

#[test]
fn keep_alive_serves_many_requests() {
    everywhere(&[], &echo_target(), |server| {
        let mut client = server.connect();
        for index in 0..300 {
            let target = format!("/{index}");
            assert_eq!(client.get(&target).text(), target);
        }
        let stats = server.stats();
        assert_eq!((stats.connections_accepted, stats.requests_delivered), (1, 300));
    });
}

#[test]
fn many_connections_one_after_the_other_and_at_once() {
    everywhere(&[], &echo_target(), |server| {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for index in 0..50 {
                        let target = format!("/{thread}/{index}");
                        assert_eq!(server.connect().get(&target).text(), target);
                    }
                });
            }
        });
        let mut clients: Vec<_> = (0..64).map(|_| server.connect()).collect();
        for (index, client) in clients.iter_mut().enumerate() {
            client.send(format!("GET /{index} HTTP/1.1\r\nHost: x\r\n\r\n"));
        }
        for (index, client) in clients.iter_mut().enumerate().rev() {
            assert_eq!(client.answer().text(), format!("/{index}"));
        }
    });
}

#[test]
fn pipelined_answers_keep_their_order() {
    everywhere(&[], &echo_target(), |server| {
        let mut client = server.connect();
        for depth in [16, 100, 16, 1000] {
            client.send(pipeline(depth));
            for index in 0..depth {
                assert_eq!(client.answer().text(), format!("/{index}"), "{depth} deep");
            }
        }
    });
}

#[test]
fn unsafe_methods_in_a_pipeline_keep_their_order() {
    let handler = on_requests(|host, request| {
        let answer = [request.method(), b" ", request.target(), b" ", request.body()].concat();
        assert_eq!(host.text(request.0.token, &answer), INGEST_OK);
    });
    everywhere(&[], &handler, |server| {
        let mut client = server.connect();
        let mut wire = String::new();
        for index in 0..60 {
            match index % 3 {
                0 => wire += &format!("GET /{index} HTTP/1.1\r\nHost: x\r\n\r\n"),
                1 => wire += &format!("POST /{index} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"),
                _ => {
                    wire +=
                        &format!("PUT /{index} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n")
                }
            }
        }
        client.send(wire);
        for index in 0..60 {
            let expected = match index % 3 {
                0 => format!("GET /{index} "),
                1 => format!("POST /{index} body"),
                _ => format!("PUT /{index} body"),
            };
            assert_eq!(client.answer().text(), expected);
        }
    });
}

#[test]
fn an_unsafe_method_waits_for_what_came_before_and_holds_what_comes_after() {
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        client.send("GET /1 HTTP/1.1\r\nHost: x\r\n\r\nDELETE /2 HTTP/1.1\r\nHost: x\r\n\r\nGET /3 HTTP/1.1\r\nHost: x\r\n\r\n");
        for expected in ["/1", "/2", "/3"] {
            let event = server.queue().take(1)[0];
            assert_eq!(target_of(&event), expected);
            std::thread::sleep(Duration::from_millis(30));
            assert_eq!(server.queue().depth(), 0, "something was delivered beside {expected}");
            assert_eq!(server.text(event.token, expected.as_bytes()), INGEST_OK);
            assert_eq!(client.answer().text(), expected);
        }
    });
}

#[test]
fn answers_in_reverse_keep_the_wire_in_order() {
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        for _ in 0..5 {
            client.send(pipeline(16));
            let events = server.queue().take(16);
            for event in events.iter().rev() {
                assert_eq!(server.text(event.token, target_of(event).as_bytes()), INGEST_OK);
            }
            for index in 0..16 {
                assert_eq!(client.answer().text(), format!("/{index}"));
            }
        }
    });
}

#[test]
fn an_early_answer_is_parked() {
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        client.send(pipeline(3));
        let events = server.queue().take(3);
        assert_eq!(server.text(events[2].token, b"third"), INGEST_OK);
        assert_eq!(server.text(events[1].token, b"second"), INGEST_OK);
        assert!(client.is_silent(Duration::from_millis(50)), "an answer overtook the first one");
        assert_eq!(server.text(events[0].token, b"first"), INGEST_OK);
        assert_eq!([client.answer().text(), client.answer().text(), client.answer().text()], ["first", "second", "third"]);
    });
}

#[test]
fn at_most_pipeline_max_are_delivered_at_once() {
    with_a_queue(&[("pipeline_max", "4")], |server| {
        let mut client = server.connect();
        client.send(pipeline(10));
        let events = server.queue().take(4);
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(server.queue().depth(), 0, "more than pipeline_max were delivered");
        for event in events {
            server.text(event.token, target_of(&event).as_bytes());
        }
        for _ in 4..10 {
            let event = server.queue().take(1)[0];
            server.text(event.token, target_of(&event).as_bytes());
        }
        for index in 0..10 {
            assert_eq!(client.answer().text(), format!("/{index}"));
        }
    });
}

#[test]
fn answers_from_many_threads_in_any_order() {
    with_a_queue(&[], |server| {
        let mut clients: Vec<_> = (0..8).map(|_| server.connect()).collect();
        for round in 0..10 {
            for client in &mut clients {
                client.send(pipeline(16));
            }
            let mut events = server.queue().take(8 * 16);
            let mut random = Random(round + 1);
            for index in (1..events.len()).rev() {
                events.swap(index, random.next() as usize % (index + 1));
            }
            let work: Vec<(u64, String)> = events.iter().map(|event| (event.token, target_of(event))).collect();
            let host = server.host;
            std::thread::scope(|scope| {
                for part in work.chunks(32) {
                    scope.spawn(move || {
                        for (token, target) in part {
                            assert_eq!(host.text(*token, target.as_bytes()), INGEST_OK);
                        }
                    });
                }
            });
            for client in &mut clients {
                for index in 0..16 {
                    assert_eq!(client.answer().text(), format!("/{index}"));
                }
            }
        }
    });
}

#[test]
fn a_callback_hands_its_requests_to_other_threads() {
    let handler = on_requests(|host, request| {
        let (token, target) = (request.0.token, request.target().to_vec());
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(target.len() as u64 % 3));
            // The test may have ended in a failure, so the outcome is for the client to see.
            host.text(token, &target);
        });
    });
    everywhere(&[], &handler, |server| {
        let mut client = server.connect();
        client.send(pipeline(40));
        for index in 0..40 {
            assert_eq!(client.answer().text(), format!("/{index}"));
        }
    });
}
