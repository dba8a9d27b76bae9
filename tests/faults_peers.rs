//! The rows N of the fault matrix that concern HTTP/1, plain and with TLS, and every limit that a peer can cross; `docs/faults/peers.md` lists them.
//! `cargo test` leaves it out, since it needs slowhttptest, nft and root; `tests/run faults` runs it.

mod support;

#[path = "support/crowd.rs"]
mod crowd;
#[path = "support/far.rs"]
mod far;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/survival.rs"]
mod survival;

#[path = "faults_peers/addresses.rs"]
mod addresses;
#[path = "faults_peers/burdens.rs"]
mod burdens;
#[path = "faults_peers/endings.rs"]
mod endings;
#[path = "faults_peers/limits.rs"]
mod limits;
#[path = "faults_peers/limits_time.rs"]
mod limits_time;
#[path = "faults_peers/network.rs"]
mod network;
#[path = "faults_peers/slow.rs"]
mod slow;
#[path = "faults_peers/turns.rs"]
mod turns;

use far::FarServer;

/// How many of something: the number in the full profile.
fn many(quick: usize, full: usize) -> usize {
    if std::env::var("INGEST_TEST_PROFILE").is_ok_and(|profile| profile == "full") { full } else { quick }
}

#[test]
fn a_far_server_serves_reports_and_ends() {
    if far::is_far() {
        return far::serve();
    }
    let server = FarServer::start(&[("max_connections", "7")]);
    let mut client = server.connect();
    assert_eq!(client.get("/here").text(), "/here");
    assert_eq!(client.get("/late/1").text(), "/late/1");
    assert_eq!(client.get("/big/3").text(), "xxx");
    assert_eq!(client.get("/stream/100000").body.len(), 100_000);
    assert!(support::eventually(|| server.report().streamed == 100_000), "counted once the write has returned: {:?}", server.report());
    let report = server.report();
    assert_eq!((report.open, report.accepted, report.strangers, report.streamed), (1, 1, 4, 100_000));
    assert!(report.heap > 0 && report.resident > 0 && report.descriptors > 3, "{report:?}");
    drop(client);
    server.settles_at(0);
    server.finish();
}
