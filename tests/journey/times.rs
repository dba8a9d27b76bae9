//! The journey of each request: which times are read in which mode, and that they make sense.

use crate::everywhere;
use crate::support::host::{Delivery, on_requests};
use crate::support::{PATIENCE, eventually};
use ingest::request::*;
use ingest::status::*;
use std::sync::{Arc, Mutex};
use std::time::Instant;

type Journeys = Arc<Mutex<Vec<Option<ingest_journey>>>>;

/// Runs so many requests on one connection of each shape in this mode, and looks at their journeys.
fn journeys(mode: &[(&'static str, &'static str)], requests: usize, check: impl Fn(&[Option<ingest_journey>])) {
    let journeys = Journeys::default();
    let record = Arc::clone(&journeys);
    let handler = on_requests(move |host, request| {
        let journey = request.journey();
        if let Some(journey) = journey {
            let (secure, first) = (request.0.flags & INGEST_REQUEST_TLS != 0, journey.flags & INGEST_JOURNEY_FIRST != 0);
            assert_eq!(journey.handshake_ns > 0, secure && first, "{journey:?}");
            let (began_ns, ended_ns) = (journey.handshake_began_at_ns, journey.handshake_ended_at_ns);
            assert_eq!(began_ns > 0 && ended_ns >= began_ns, secure && first, "{journey:?}");
            // A tick reads the clock once, and a thread for handshakes may be done while it lasts.
            assert!(
                ended_ns <= journey.delivered_at_ns + 50_000_000 && (!first || ended_ns - began_ns <= journey.handshake_ns),
                "{journey:?}"
            );
            assert_eq!(journey.decrypt_ns > 0, secure && journey.read_ns > 0, "{journey:?}");
        }
        record.lock().expect("no panic while held").push(request.journey());
        assert_eq!(host.text(request.0.token, b"ok"), INGEST_OK);
    });
    everywhere(mode, &handler, |server| {
        let mut client = server.connect();
        for index in 0..requests {
            client.send(format!("POST /?a=%41&b={index} HTTP/1.1\r\nHost: x\r\nCookie: c=1\r\nContent-Length: 4\r\n\r\nbody"));
            assert_eq!(client.answer().text(), "ok");
        }
        let taken = std::mem::take(&mut *journeys.lock().expect("no panic while held"));
        assert_eq!(taken.len(), requests);
        check(&taken);
    });
}

fn now_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is good for the call.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) }, 0);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn is_plausible(journey: &ingest_journey, start_ns: u64) {
    assert_eq!(journey.size as usize, std::mem::size_of::<ingest_journey>());
    let end_ns = now_ns();
    // One clock read per tick may lie a little before the moment that it stands for.
    let slack = 50_000_000;
    assert!(journey.received_at_ns + slack >= start_ns && journey.received_at_ns <= end_ns, "{journey:?}, from {start_ns} to {end_ns}");
    assert!(journey.delivered_at_ns >= journey.received_at_ns && journey.delivered_at_ns <= end_ns, "{journey:?}");
    let steps = [journey.accept_ns, journey.handshake_ns, journey.read_ns, journey.decrypt_ns, journey.parse_ns, journey.decode_ns];
    let waits = [journey.body_wait_ns, journey.queue_ns];
    for step in steps.iter().chain(&waits) {
        assert!(*step < PATIENCE.as_nanos() as u64, "{journey:?}");
    }
}

#[test]
fn steps_time_every_step_of_every_request() {
    let start_ns = now_ns();
    journeys(&[("journey", "steps")], 10, |journeys| {
        for (index, journey) in journeys.iter().enumerate() {
            let journey = journey.expect("every request has a journey");
            is_plausible(&journey, start_ns);
            assert!(journey.flags & INGEST_JOURNEY_EXACT != 0, "{journey:?}");
            assert_eq!(journey.flags & INGEST_JOURNEY_FIRST != 0, index == 0, "{journey:?}");
            assert!(journey.read_ns > 0 && journey.parse_ns > 0 && journey.decode_ns > 0, "{journey:?}");
            assert!(index != 0 || journey.accept_ns > 0, "{journey:?}");
        }
    });
}

#[test]
fn off_reads_no_clock() {
    journeys(&[("journey", "off")], 5, |journeys| {
        assert!(journeys.iter().all(Option::is_none), "{journeys:?}");
    });
}

#[test]
fn tick_shows_waits_alone() {
    let start_ns = now_ns();
    journeys(&[("journey", "tick")], 5, |journeys| {
        for journey in journeys {
            let journey = journey.expect("every request has a journey");
            is_plausible(&journey, start_ns);
            assert_eq!(journey.flags & INGEST_JOURNEY_EXACT, 0, "{journey:?}");
        }
    });
}

#[test]
fn sample_draws_one_in_so_many() {
    let start_ns = now_ns();
    journeys(&[("journey", "sample"), ("journey_sample", "4")], 40, |journeys| {
        let exact = journeys.iter().flatten().filter(|journey| journey.flags & INGEST_JOURNEY_EXACT != 0);
        for journey in exact.clone() {
            is_plausible(journey, start_ns);
            assert!(journey.read_ns > 0 && journey.parse_ns > 0, "{journey:?}");
        }
        assert!((8..=12).contains(&exact.clone().count()), "{} of 40 are exact", exact.count());
    });
}

#[test]
fn the_wait_in_a_queue_is_seen() {
    let server = crate::support::host::Server::queued(&[("journey", "steps")]);
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(eventually(|| server.queue().depth() == 1));
    std::thread::sleep(std::time::Duration::from_millis(50));
    let event = server.queue().take(1)[0];
    let request = crate::support::request_view::RequestView::of(&event).expect("a request");
    let journey = request.journey().expect("every request has a journey");
    assert!((45_000_000..5_000_000_000).contains(&journey.queue_ns), "{journey:?}");
    server.text(event.token, b"ok");
    assert_eq!(client.answer().text(), "ok");
    server.finish();
}

#[test]
fn the_wait_for_a_body_is_seen() {
    let journey = Arc::new(Mutex::new(None));
    let record = Arc::clone(&journey);
    let handler = on_requests(move |host, request| {
        *record.lock().expect("no panic while held") = request.journey();
        assert_eq!(host.text(request.0.token, b"ok"), INGEST_OK);
    });
    let server = crate::support::host::Server::serve(&[("journey", "steps")], Delivery::Inline, handler);
    let mut client = server.connect();
    let start = Instant::now();
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbo");
    std::thread::sleep(std::time::Duration::from_millis(60));
    client.send("dy");
    assert_eq!(client.answer().text(), "ok");
    let took = start.elapsed().as_nanos() as u64;
    let journey = journey.lock().expect("no panic while held").expect("every request has a journey");
    assert!((40_000_000..=took).contains(&journey.body_wait_ns), "{journey:?}");
    server.finish();
}
