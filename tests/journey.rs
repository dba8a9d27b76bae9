//! The same black-box cases for every topology and delivery, plain and with TLS: bodies, order, answers, deadlines, overload, listeners, life, and the journey's times.

mod support;

#[path = "journey/answers.rs"]
mod answers;
#[path = "journey/bodies.rs"]
mod bodies;
#[path = "journey/bounds.rs"]
mod bounds;
#[path = "journey/coded.rs"]
mod coded;
#[path = "journey/deadlines.rs"]
mod deadlines;
#[path = "journey/events.rs"]
mod events;
#[path = "journey/full.rs"]
mod full;
#[path = "journey/given.rs"]
mod given;
#[path = "journey/life.rs"]
mod life;
#[path = "journey/listeners.rs"]
mod listeners;
#[path = "journey/local.rs"]
mod local;
#[path = "journey/lookups.rs"]
mod lookups;
#[path = "journey/order.rs"]
mod order;
#[path = "journey/overload.rs"]
mod overload;
#[path = "journey/sharing.rs"]
mod sharing;
#[path = "journey/shortage.rs"]
mod shortage;
#[path = "journey/socket_files.rs"]
mod socket_files;
#[path = "journey/spread.rs"]
mod spread;
#[path = "journey/streams.rs"]
mod streams;
#[path = "journey/times.rs"]
mod times;
#[path = "journey/tokens.rs"]
mod tokens;

use support::host::{Delivery, Handler, Server};
use support::secured;

/// One way to run a server.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub options: [(&'static str, &'static str); 3],
    pub delivery: Delivery,
    /// Its clients speak TLS.
    pub secure: bool,
}

impl Shape {
    /// What makes a server of this shape.
    pub fn with(&self, extra: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
        let mut options = self.options.to_vec();
        if self.secure {
            options.extend(secured::options());
        }
        options.extend_from_slice(extra);
        options
    }
}

/// Says which shape failed, since the panic itself comes from the test that all shapes share.
struct Witness(Shape);

impl Drop for Witness {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this happened with {:?}", self.0);
        }
    }
}

/// Every topology with every delivery that this build has.
pub fn shapes() -> Vec<Shape> {
    /// The default.
    const NONE: (&str, &str) = ("handshake_threads", "0");
    let topologies = [
        [("topology", "inline"), ("io_threads", "1"), NONE],
        [("topology", "shards"), ("io_threads", "2"), NONE],
        // Not listed anywhere: cut before parse, so that batons travel (docs/decisions.md).
        [("topology", "cut"), ("io_threads", "1"), NONE],
        [("topology", "cut-each"), ("io_threads", "2"), NONE],
    ];
    // Whole ropes as those of shards, but for how they come by their connections: two deliveries show that.
    let accepting = [[("topology", "shared"), ("io_threads", "2"), NONE], [("topology", "acceptor"), ("io_threads", "2"), NONE]];
    // Without TLS it is cut as cut-each is.
    let dispatch = [("topology", "dispatch"), ("io_threads", "2"), NONE];
    let deliveries = [Delivery::Inline, Delivery::Queue(1), Delivery::Queue(4), Delivery::Threads];
    let mut shapes = Vec::new();
    for options in topologies {
        shapes.extend(deliveries.iter().filter(|delivery| delivery.is_built()).map(|delivery| Shape {
            options,
            delivery: *delivery,
            secure: false,
        }));
    }
    for options in accepting {
        shapes.extend([Delivery::Inline, Delivery::Queue(1)].map(|delivery| Shape { options, delivery, secure: false }));
    }
    // What a session changes lies between the kernel and the parser: one delivery of each rope shows it.
    let secure = [(topologies[0], Delivery::Inline), (topologies[1], Delivery::Queue(4)), (topologies[2], Delivery::Threads)];
    shapes.extend(secure.map(|(options, delivery)| Shape { options, delivery, secure: true }));
    shapes.push(Shape { options: dispatch, delivery: Delivery::Queue(1), secure: false });
    shapes.extend([Delivery::Inline, Delivery::Threads].map(|delivery| Shape { options: dispatch, delivery, secure: true }));
    shapes.extend([topologies[0], topologies[3], accepting[1], dispatch].map(|options| Shape {
        options,
        delivery: Delivery::Queue(1),
        secure: true,
    }));
    // Handshakes on a thread of their own: what a connection is afterwards must be the same.
    let quarantine = ("handshake_threads", "1");
    shapes.extend(
        [(topologies[1], Delivery::Inline), (topologies[2], Delivery::Queue(1)), (dispatch, Delivery::Queue(1))]
            .map(|([topology, threads, _], delivery)| Shape { options: [topology, threads, quarantine], delivery, secure: true }),
    );
    assert!(shapes.len() >= 16, "inline and queue are always built: {shapes:?}");
    shapes
}

/// Those of which other kinds of sockets are tried.
pub fn plain_shapes() -> Vec<Shape> {
    shapes().into_iter().filter(|shape| !shape.secure).collect()
}

/// Runs the test on a server of each shape, with these options on top.
pub fn everywhere(extra: &[(&'static str, &'static str)], handler: &Handler, test: impl Fn(&Server)) {
    for shape in shapes() {
        let _witness = Witness(shape);
        let options = shape.with(extra);
        let server = Server::serve(&options, shape.delivery, handler.clone());
        test(&server);
        let stats = server.stats();
        assert_eq!(stats.panics, 0, "the library caught a fault of its own");
        server.finish();
    }
}

/// Runs the test on a server of each topology whose queue the test polls itself.
pub fn with_a_queue(extra: &[(&'static str, &'static str)], test: impl Fn(&Server)) {
    for shape in shapes().into_iter().filter(|shape| shape.delivery == Delivery::Queue(1)) {
        let _witness = Witness(Shape { delivery: Delivery::Queue(0), ..shape });
        let options = shape.with(extra);
        let server = Server::queued(&options);
        test(&server);
        server.finish();
    }
}
