//! Looking into a held request by name and by token.

use crate::support::host::abi::*;
use crate::support::request_view::{RequestView, octets};
use crate::with_a_queue;
use ingest::request::*;
use ingest::status::*;
use std::ffi::c_char;

type Lookup = unsafe extern "C" fn(*const ingest_request, *const c_char, usize) -> ingest_slice;

/// None when it is absent, which is not the same as empty.
fn found(lookup: Lookup, request: &ingest_request, name: &str) -> Option<String> {
    // SAFETY: the request is held by the caller, the name is good for the call.
    let value = unsafe { lookup(request, name.as_ptr().cast(), name.len()) };
    (!value.ptr.is_null()).then(|| String::from_utf8_lossy(octets(&value)).into_owned())
}

#[test]
fn values_are_found_by_name() {
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        client.send(
            "POST /x?a=1&b=&a=2&c%20d=%2F&Sum=3 HTTP/1.1\r\nHost: example.test\r\nX-Empty:\r\nX-Twice: one\r\nx-twice: two\r\n\
             Cookie: id=7; Theme=dark\r\nContent-Length: 2\r\n\r\nok",
        );
        let event = server.queue().take(1)[0];
        let request = RequestView::of(&event).expect("a request").0;
        let some = |text: &str| Some(text.to_string());

        assert_eq!(found(ingest_request_header, request, "HOST"), some("example.test"));
        assert_eq!(found(ingest_request_header, request, "X-TWICE"), some("one"), "the first one");
        assert_eq!(found(ingest_request_header, request, "x-empty"), some(""));
        for absent in ["x-none", "hos", "hostx", ""] {
            assert_eq!(found(ingest_request_header, request, absent), None, "{absent:?}");
        }
        assert_eq!(found(ingest_request_query, request, "a"), some("1"), "the first one");
        assert_eq!(found(ingest_request_query, request, "b"), some(""));
        assert_eq!(found(ingest_request_query, request, "c d"), some("/"));
        assert_eq!(found(ingest_request_query, request, "sum"), None, "names in a query are case-sensitive");
        assert_eq!(found(ingest_request_cookie, request, "Theme"), some("dark"));
        assert_eq!(found(ingest_request_cookie, request, "theme"), None, "so are names of cookies");
        for absent in [ingest_request_form as Lookup, ingest_request_part] {
            assert_eq!(found(absent, request, "a"), None);
        }
        server.text(event.token, b"ok");
        assert_eq!(client.answer().text(), "ok");
    });
}

#[test]
fn null_finds_nothing() {
    for lookup in [ingest_request_header as Lookup, ingest_request_query, ingest_request_cookie] {
        // SAFETY: NULL is what these calls have to take.
        let value = unsafe { lookup(std::ptr::null(), c"x".as_ptr(), 1) };
        assert!(value.ptr.is_null());
    }
}

#[test]
fn a_token_leads_to_its_request_while_it_is_held() {
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        client.send("GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
        let event = server.queue().take(1)[0];
        // SAFETY: the server lives; any number may be asked about.
        let request_of = |token: u64| unsafe { ingest_token_request(server.host.0, token) };
        assert_eq!(request_of(event.token), event.request);
        assert!(request_of(event.token ^ 1).is_null());
        assert_eq!(server.text(event.token, b"ok"), INGEST_OK);
        assert!(request_of(event.token).is_null());
        assert_eq!(client.answer().text(), "ok");
    });
}

#[test]
fn a_token_stays_alive_when_its_client_sends_no_more() {
    with_a_queue(&[], |server| {
        let mut client = server.connect();
        client.send("GET /half HTTP/1.1\r\nHost: x\r\n\r\n");
        let event = server.queue().take(1)[0];
        assert_eq!(server.alive(event.token), 2);
        client.finish_sending();
        std::thread::sleep(std::time::Duration::from_millis(30));
        assert!(server.alive(event.token) >= 1, "FIN ends no right to answer");
        assert_eq!(server.text(event.token, b"ok"), INGEST_OK);
        assert_eq!(server.alive(event.token), 0);
        assert_eq!(client.answer().text(), "ok");
    });
}
