//! What the simulated host should not do: answers that are none, tokens that were made up, tokens that were used before.

use crate::host::Host;
use ingest::server::{Head, Server};
use ingest::status::*;

impl Host {
    /// Calls that must be refused, and change nothing.
    pub fn err(&mut self, server: &Server, id: u32, token: u64) {
        let alive = server.token_alive(token);
        let split = [(&b"X-Id"[..], &b"1\r\nX-Other: 2"[..])];
        let status = server.respond(token, Head { status: 200, close: false, fields: split.into_iter() }, b"");
        self.expect(id, "a split answer", status, INGEST_E_ARGUMENT);
        let status = server.respond(token, Head { status: 1000, close: false, fields: [].into_iter() }, b"");
        self.expect(id, "a status of 1000", status, INGEST_E_ARGUMENT);
        for made_up in [token ^ 1, token ^ (1 << 40), token ^ (1 << 55), token.wrapping_add(1 << 32), self.random.draw(), 0] {
            if made_up != token && !self.by_token.contains_key(&made_up) {
                let status = server.respond_typed(made_up, 200, None, b"made up");
                self.expect(id, "a made-up token", status, INGEST_E_GONE);
            }
        }
        if server.token_alive(token) != alive {
            self.fault(format!("calls that were refused have ended request {id}"));
        }
    }

    /// A token that was used is good for nothing.
    pub fn use_up(&mut self, server: &Server, id: u32, token: u64) {
        let head = || Head { status: 200, close: false, fields: [(&b"X-Id"[..], &b"0"[..])].into_iter() };
        let calls = [
            ("a second respond", server.respond(token, head(), b"twice")),
            ("a late abandon", server.abandon(token)),
            ("a late respond_begin", server.respond_begin(token, head(), None)),
            ("a late respond_write", server.respond_write(token, b"late")),
            ("a late respond_end", server.respond_end(token, [].into_iter())),
            ("a late respond_interim", server.respond_interim(token, 103, [].into_iter())),
            ("a late tag", server.token_tag(token, 1)),
        ];
        for (what, status) in calls {
            self.expect(id, what, status, INGEST_E_GONE);
        }
        if server.token_alive(token) != 0 || !server.token_request(token).is_null() {
            self.fault(format!("request {id} is alive after its answer"));
        }
    }

    /// Tokens of the past, once more.
    pub fn try_stale_tokens(&mut self, server: &Server) {
        let stale: Vec<(u64, u32)> = self.by_token.iter().map(|(token, id)| (*token, *id)).collect();
        if stale.is_empty() {
            return;
        }
        let (token, id) = *self.random.pick(&stale);
        let record = &self.records[&id];
        if !(record.held && record.token == token) {
            self.use_up(server, id, token);
        }
    }
}
