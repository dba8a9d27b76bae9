//! Whether connections end in time, as a client can tell who knows its script: heads, bodies, answers, idleness, lingering.

use crate::host::Record;
use crate::world::{World, now_ms};

/// A deadline is looked at this late at most: two grains of the timer wheel, and what is rounded.
const LATE_MS: u64 = 20;

impl World {
    /// After a turn at this very time, no connection is open that should have ended by now.
    pub fn check_deadlines(&mut self) -> Result<(), String> {
        for at in 0..self.clients.len() {
            self.check_deadline(at)?;
        }
        Ok(())
    }

    fn check_deadline(&mut self, at: usize) -> Result<(), String> {
        let (client, limits) = (&self.clients[at], &self.scenario.options.limits);
        let Some(link) = client.link else { return Ok(()) };
        let facts = self.network.with(|net| {
            let link = &net.links[link];
            let silent = link.outbound.is_empty() && !link.reset && !link.sending;
            let quiet_ms = link.received_ms.max(link.sent_ms);
            (
                link.accepted_ms,
                link.closed,
                silent,
                link.outbound_finished,
                link.received as usize,
                (quiet_ms, link.sent_ms),
                link.finished_ms,
            )
        });
        let (Some(_), false, silent, finished, received, (quiet_ms, sent_ms), finished_ms) = facts else { return Ok(()) };
        // An answer that ends without an octet on the wire ends a wait all the same.
        let heard_ms = self.host.lock().last_answer_turn(&client.script).and_then(|turn| self.turns.get(turn + 1)).copied();
        let quiet_ms = quiet_ms.max(heard_ms.unwrap_or(0));
        let late = |limit_ms: u64, since_ms: u64, what: &str| {
            // While an answer is being sent only that has a deadline.
            let due_ms = since_ms.saturating_add(limit_ms).max(sent_ms).saturating_add(LATE_MS);
            // A clock that has jumped may pass one deadline before another could be set: a turn a grain later has seen both.
            let seen_ms = self.turns.get(self.turns.partition_point(|turn_ms| *turn_ms <= due_ms));
            if seen_ms.is_some_and(|seen_ms| now_ms() > seen_ms + LATE_MS) {
                return Err(format!("client {at}: {what}, since {} ms, limit {limit_ms} ms", now_ms() - since_ms));
            }
            Ok(())
        };
        if finished {
            return late(limits.linger_timeout_ms, finished_ms.max(quiet_ms), "lingers");
        }
        if !silent {
            return Ok(());
        }
        if self.host.lock().speaks_to(&client.script) {
            // A stream lasts as long as the host wants.
            return Ok(());
        }
        // Where in the script the server is.
        let mut start = 0;
        let mut complete = 0;
        let messages = &client.script.messages;
        while complete < messages.len() && received >= start + messages[complete].octets.len() {
            start += messages[complete].octets.len();
            complete += 1;
        }
        let answered = client.reader.answers.len();
        if complete > answered {
            return self.check_owed(at, answered, quiet_ms, &late);
        }
        if received == start {
            let limit_ms = if complete == 0 { limits.header_timeout_ms } else { limits.keepalive_timeout_ms };
            return late(limit_ms, quiet_ms, "is idle");
        }
        let stats = self.server.stats();
        if complete != answered || stats.in_flight >= limits.in_flight_max || stats.queued >= limits.queue_max {
            // Nothing is read while the host has no room: a head then begins when it has some again.
            self.head_began.remove(&(at, complete));
            return Ok(());
        }
        let began_ms = *self.head_began.entry((at, complete)).or_insert_with(now_ms);
        if received - start < messages[complete].head_length {
            return late(limits.header_timeout_ms, began_ms, "sends a head");
        }
        let host = self.host.lock();
        let moved_ms = host.records.get(&messages[complete].id).and_then(|record| self.moved_ms(record));
        // While the window is full the host is waited for, else the peer; each move begins one of the two times anew.
        let limit_ms = moved_ms.map_or(limits.body_timeout_ms, |_| limits.body_timeout_ms.max(limits.response_timeout_ms));
        late(limit_ms, quiet_ms.max(moved_ms.unwrap_or(0)), "sends a body")
    }

    /// When the server has heard what the host did last with a body that comes in events.
    fn moved_ms(&self, record: &Record) -> Option<u64> {
        let upload = record.upload.as_ref()?;
        Some(self.turns.get(upload.moved_turn + 1).copied().unwrap_or_else(now_ms))
    }

    /// The oldest answer is owed by the host, or by the queue.
    fn check_owed(
        &self,
        at: usize,
        answered: usize,
        quiet_ms: u64,
        late: &dyn Fn(u64, u64, &str) -> Result<(), String>,
    ) -> Result<(), String> {
        let limits = &self.scenario.options.limits;
        let host = self.host.lock();
        let Some(record) = host.records.get(&self.clients[at].script.messages[answered].id) else { return Ok(()) };
        if record.begun || record.answered.is_some() || record.abandoned {
            return Ok(());
        }
        // Those behind it wait for it, and so does what it waits for itself.
        let since_ms = self.moved_ms(record).map_or(record.completed_ms, |moved_ms| moved_ms.max(quiet_ms));
        late(limits.response_timeout_ms.max(limits.queue_age_ms), since_ms, "waits for the host")
    }
}
