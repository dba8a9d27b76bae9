//! A handler that holds the thread that calls it until the test releases it.

use super::PATIENCE;
use super::host::{Handler, Host, on_requests};
use super::request_view::RequestView;
use ingest::status::INGEST_OK;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Keeps the thread that serves `/hold` busy.
pub struct Hold {
    began: Mutex<Receiver<()>>,
    release: Sender<()>,
}

impl Hold {
    pub fn has_begun(&self) {
        self.began.lock().expect("no thread panicked").recv_timeout(PATIENCE).expect("the request to hold is delivered");
    }

    pub fn release(&self) {
        self.release.send(()).expect("the handler waits");
    }
}

/// Answers with the thread that serves; one that is asked to hold does so until it is released, or a test has failed.
pub fn holding() -> (Hold, Handler) {
    let ((begin, began), (release, released)) = (channel(), channel());
    let (begin, released) = (Mutex::new(begin), Mutex::new(released));
    let handler = on_requests(move |host: Host, request: RequestView| {
        if request.path() == b"/hold" {
            let _ = begin.lock().expect("no thread panicked").send(());
            let _ = released.lock().expect("no thread panicked").recv_timeout(2 * PATIENCE);
        }
        assert_eq!(host.text(request.0.token, format!("{:?}", std::thread::current().id()).as_bytes()), INGEST_OK);
    });
    (Hold { began: Mutex::new(began), release }, handler)
}
