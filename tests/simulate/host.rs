//! The simulated host: answers at once, late, twice, never, out of order, in pieces; and checks what it is given and told.

use crate::plan::{How, Plan};
use crate::script::{ClientScript, Expected, Promise, octets_of};
use crate::support::request_view::{Delivered, RequestView};
use crate::uploads::Upload;
use ingest::engine::sim::{Random, now_ns};
use ingest::handoff::outlet::EventSink;
use ingest::memory::tail::Lent;
use ingest::request::*;
use ingest::server::{Head, Server};
use ingest::status::*;
use parking_lot::Mutex;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

/// How many octets of a stream were written, and whether it was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Fresh,
    Begun(usize),
    Done,
}

/// What became of one request.
#[derive(Debug)]
pub struct Record {
    pub token: u64,
    pub delivered: Delivered,
    /// When the library completed it, by its journey, and when the host got it.
    pub completed_ms: u64,
    pub delivered_ms: u64,
    /// A final answer was taken: when, and in which turn.
    pub answered: Option<(u64, usize)>,
    pub begun: bool,
    /// Octets of a streamed body that were taken.
    pub written: usize,
    pub abandoned: bool,
    stage: Stage,
    /// Still the host's memory.
    pub held: bool,
    /// Given back to the queue.
    pub returned: bool,
    sent_told: u32,
    released_told: u32,
    pub gone_told: u32,
    lent: bool,
    /// Its body, if that comes in events.
    pub upload: Option<Upload>,
    /// The batch in which the host was done with it: what that brings behind is of no interest.
    pub ended_batch: usize,
}

/// What the host is promised.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub in_flight_max: u64,
    /// Octets of a body that it may have without giving credit.
    pub window: u64,
    /// Everything goes well.
    pub calm: bool,
}

#[derive(Debug)]
pub struct Host {
    pub random: Random,
    pub promises: BTreeMap<u32, Promise>,
    pub plans: BTreeMap<u32, Plan>,
    pub records: BTreeMap<u32, Record>,
    pub by_token: BTreeMap<u64, u32>,
    pub faults: Vec<String>,
    pub trace: Vec<String>,
    pub turn: usize,
    /// A turn is running: this is its callback.
    pub in_turn: bool,
    /// Something was said for good since the last turn.
    pub posts: bool,
    pub bounds: Bounds,
    /// Batches of events so far.
    pub batch: usize,
    /// Nothing waits any more: every request is given back at once.
    pub gives_up: bool,
    pub stopped_told: bool,
}

type Called = (Arc<Mutex<Host>>, Weak<Server>);

thread_local! {
    /// Whom the callback calls: the whole world runs on one thread.
    static CALLED: RefCell<Option<Called>> = const { RefCell::new(None) };
}

/// The callback of inline delivery.
pub struct Callback;

impl Callback {
    pub fn set(host: &Arc<Mutex<Host>>, server: &Rc<Server>) {
        CALLED.set(Some((Arc::clone(host), Rc::downgrade(server))));
    }
}

impl EventSink for Callback {
    fn deliver(&self, events: &[ingest_event]) {
        CALLED.with_borrow(|called| {
            let Some((host, server)) = called.as_ref() else { return };
            if let Some(server) = server.upgrade() {
                host.lock().take(&server, events);
            }
        });
    }
}

fn now_ms() -> u64 {
    now_ns() / 1_000_000
}

impl Host {
    pub fn new(random: Random, promises: BTreeMap<u32, Promise>, plans: BTreeMap<u32, Plan>, bounds: Bounds) -> Host {
        Host {
            random,
            promises,
            plans,
            records: BTreeMap::new(),
            by_token: BTreeMap::new(),
            faults: Vec::new(),
            trace: Vec::new(),
            turn: 0,
            in_turn: false,
            posts: false,
            bounds,
            batch: 0,
            gives_up: false,
            stopped_told: false,
        }
    }

    pub fn fault(&mut self, text: String) {
        self.faults.push(text);
    }

    /// Events, from a poll or in the callback.
    pub fn take(&mut self, server: &Server, events: &[ingest_event]) {
        self.batch += 1;
        for event in events {
            match RequestView::of(event) {
                Some(view) => {
                    let streamed = view.0.flags & INGEST_REQUEST_STREAMED != 0;
                    let body = if streamed { view.body().to_vec() } else { view.whole_body() };
                    let delivered = Delivered { body, ..view.to_owned() };
                    self.take_request(server, event.token, delivered, view.journey());
                }
                None => self.take_news(event),
            }
        }
        if self.in_turn && self.random.chance(300) {
            // A callback may just as well speak of what came before.
            self.act(server, false);
        }
        let held = self.records.values().filter(|record| record.held).count() as u64;
        if held > self.bounds.in_flight_max {
            self.fault(format!("{held} requests are held, in_flight_max is {}", self.bounds.in_flight_max));
        }
    }

    fn take_request(&mut self, server: &Server, token: u64, delivered: Delivered, journey: Option<ingest_journey>) {
        let target = String::from_utf8_lossy(&delivered.target).into_owned();
        let id = target.strip_prefix("/r/").and_then(|rest| rest.split('?').next()).and_then(|id| id.parse::<u32>().ok());
        let Some((id, promise)) = id.and_then(|id| Some((id, self.promises.get(&id)?))) else {
            return self.fault(format!("a request was delivered that nobody may serve: {target}"));
        };
        let streamed = delivered.flags & INGEST_REQUEST_STREAMED != 0;
        // Its body and its trailers come in events.
        let bare = |expected: &Expected| Expected { body: Vec::new(), trailers: Vec::new(), ..expected.clone() };
        let expected = if promise.streamed { bare(&promise.expected) } else { promise.expected.clone() };
        let as_promised = streamed == promise.streamed;
        let seen = Expected {
            method: delivered.method.clone(),
            target: delivered.target.clone(),
            headers: delivered.headers.clone(),
            body: delivered.body.clone(),
            trailers: delivered.trailers.clone(),
        };
        if seen != expected || !as_promised {
            let text = format!(
                "request {id} was delivered otherwise than it was sent: {} {} octets, streamed: {streamed}",
                seen.headers.len(),
                seen.body.len()
            );
            self.fault(text);
        }
        // What waited for a callback may be given to it although its client has left meanwhile.
        let dead = server.token_request(token).is_null();
        if token == 0 || token >> 63 != 0 || delivered.token != token || dead {
            self.fault(format!("request {id} has a token that is none"));
        }
        let now_ms = now_ms();
        self.trace.push(format!("  host gets {id}"));
        if let Some(record) = self.records.get_mut(&id) {
            let again = record.returned && !record.held;
            if !again || record.token == token {
                return self.fault(format!("request {id} was delivered twice"));
            }
            (record.token, record.held, record.gone_told) = (token, true, 0);
        } else {
            let completed_ms = journey.map_or(now_ms, |journey| journey.delivered_at_ns / 1_000_000);
            self.records.insert(id, Record::new(token, delivered, completed_ms, now_ms));
        }
        let turn = self.turn;
        self.records.entry(id).and_modify(|record| record.upload = streamed.then(|| Upload::begin(turn, now_ms)));
        if self.by_token.insert(token, id).is_some() {
            self.fault(format!("the token of request {id} was used before"));
        }
        if server.token_tag(token, u64::from(id)) != INGEST_OK {
            self.fault(format!("request {id} could not be tagged"));
        }
        // In the callback of inline delivery, and within a poll, an answer is as good as later.
        if self.plans[&id].after_ms == 0 && self.random.chance(700) {
            self.deal_with(server, id);
        }
    }

    fn take_news(&mut self, event: &ingest_event) {
        match event.kind {
            INGEST_EVENT_DRAINING => return,
            INGEST_EVENT_STOPPED => return self.stopped_told = true,
            INGEST_EVENT_FAULT => return self.fault("the library caught a fault of its own".into()),
            _ => {}
        }
        let Some(&id) = self.by_token.get(&event.token) else { return self.fault("news of a token that was never given".into()) };
        if event.tag != u64::from(id) {
            self.fault(format!("news of request {id} with the tag {}", event.tag));
        }
        if self.take_upload(id, event) {
            return;
        }
        let Some(record) = self.records.get_mut(&id) else { return };
        let counted = match event.kind {
            INGEST_EVENT_SENT => &mut record.sent_told,
            INGEST_EVENT_RELEASED => &mut record.released_told,
            INGEST_EVENT_GONE if event.reason == INGEST_GONE_RESET => &mut record.gone_told,
            _ => return,
        };
        *counted += 1;
        let (twice, answered) = (*counted > 1, record.answered.is_some());
        if twice {
            self.fault(format!("request {id} was told event {} twice", event.kind));
        } else if !answered && event.kind != INGEST_EVENT_GONE {
            self.fault(format!("request {id} was told event {} without an answer", event.kind));
        }
        self.trace.push(format!("  host hears {} of {id}", event.kind));
    }

    /// Takes what the queue has. True when there was something.
    pub fn poll(&mut self, server: &Server, most: usize) -> bool {
        let Some(queue) = server.queue(0) else { return false };
        let mut events = vec![std::mem::MaybeUninit::<ingest_event>::uninit(); most];
        let count = queue.poll(&mut events);
        if count < 0 {
            if count != INGEST_E_STOPPED {
                self.fault(format!("a poll said {count}"));
            }
            return false;
        }
        // SAFETY: poll has written so many events, and their requests are held from here on.
        let events: Vec<ingest_event> = events[..count as usize].iter().map(|event| unsafe { event.assume_init() }).collect();
        self.take(server, &events);
        count > 0
    }

    /// Deals with some of what is held, in any order. True when it did something.
    pub fn act(&mut self, server: &Server, surely: bool) -> bool {
        let mut ids: Vec<u32> = self.records.iter().filter(|(_, record)| record.held).map(|(id, _)| *id).collect();
        self.random.shuffle(&mut ids);
        let mut acted = false;
        for id in ids {
            if surely || self.random.chance(700) {
                acted |= self.deal_with(server, id);
            }
        }
        acted
    }

    /// It has begun answers that it does not mean to end.
    pub fn keeps_some(&self) -> bool {
        self.records.values().any(|record| record.held && record.stage == Stage::Done)
    }

    /// An answer for this client was begun, and not ended.
    pub fn speaks_to(&self, script: &ClientScript) -> bool {
        let mut records = script.messages.iter().filter_map(|message| self.records.get(&message.id));
        records.any(|record| record.begun && record.answered.is_none())
    }

    /// Behind which turn an answer for this client was given last.
    pub fn last_answer_turn(&self, script: &ClientScript) -> Option<usize> {
        let records = script.messages.iter().filter_map(|message| self.records.get(&message.id));
        records.filter_map(|record| record.answered).map(|(_, turn)| turn).max()
    }

    /// When the next of what is held is dealt with.
    pub fn next_ms(&self) -> Option<u64> {
        let held = self.records.iter().filter(|(_, record)| record.held);
        held.filter_map(|(id, record)| self.due_ms(*id, record)).min()
    }

    fn due_ms(&self, id: u32, record: &Record) -> Option<u64> {
        let plan = &self.plans[&id];
        let rests = matches!(plan.how, How::Never) || (matches!(plan.how, How::Breaks { .. }) && record.stage == Stage::Done);
        let credits = record.upload.as_ref().and_then(|upload| upload.credit_due_ms(plan.credit, self.gives_up));
        if self.waits_for_body(id, record) {
            return credits;
        }
        (!rests || self.gives_up).then_some(record.delivered_ms + plan.after_ms).into_iter().chain(credits).min()
    }

    fn deal_with(&mut self, server: &Server, id: u32) -> bool {
        let plan = self.plans[&id];
        if !self.records[&id].held {
            return false;
        }
        let credited = self.give_credit(server, id);
        let record = &self.records[&id];
        let (token, stage) = (record.token, record.stage);
        if self.waits_for_body(id, record) {
            return credited;
        }
        if self.gives_up {
            // The end of the world: everything goes back.
            self.abandon(server, id, token);
            return true;
        }
        if record.delivered_ms + plan.after_ms > now_ms() || self.due_ms(id, record).is_none() {
            return credited;
        }
        if plan.errs && stage == Stage::Fresh {
            self.err(server, id, token);
        }
        if plan.interim && stage == Stage::Fresh {
            let status = server.respond_interim(token, 103, [(&b"Link"[..], &b"</style.css>"[..])].into_iter());
            self.must_match(server, id, token, status, "respond_interim");
        }
        match plan.how {
            How::Returns if !self.records[&id].returned && !plan.interim => self.give_back(server, id, token, plan),
            How::Answers | How::Returns => self.answer(server, id, token, plan),
            How::Twice => {
                self.answer(server, id, token, plan);
                self.use_up(server, id, token);
            }
            How::Abandons => self.abandon(server, id, token),
            How::Never => return credited,
            How::Streams { announced } => return self.stream(server, id, token, plan, announced, true),
            How::Breaks { announced } => return self.stream(server, id, token, plan, announced, false),
        }
        true
    }

    pub fn expect(&mut self, id: u32, what: &str, status: i32, wanted: i32) {
        self.trace.push(format!("  host: {what} {id}: {status}"));
        if status != wanted {
            self.fault(format!("{what} of request {id} said {status} instead of {wanted}"));
        }
    }

    /// A call that leaves the request with the host: it works as long as the token is alive.
    fn must_match(&mut self, server: &Server, id: u32, token: u64, status: i32, what: &str) {
        let wanted = if server.token_alive(token) != 0 { INGEST_OK } else { INGEST_E_GONE };
        if status != INGEST_E_BUSY {
            self.expect(id, what, status, wanted);
        }
    }

    fn answer(&mut self, server: &Server, id: u32, token: u64, plan: Plan) {
        let alive = server.token_alive(token) != 0;
        let name = id.to_string();
        let fields = [(&b"X-Id"[..], name.as_bytes()), (&b"Content-Length"[..], &b"1"[..])];
        let head = Head { status: plan.status, close: plan.closes, fields: fields.into_iter() };
        let body = octets_of(id, plan.length);
        let status = if plan.lends {
            // SAFETY: the pattern lives as long as the program.
            let lent = unsafe { Lent::new(body) };
            server.respond_lent(token, head, lent)
        } else {
            server.respond(token, head, body)
        };
        self.expect(id, "respond", status, if alive { INGEST_OK } else { INGEST_E_GONE });
        self.ended(id, alive, plan.lends && alive);
    }

    fn ended(&mut self, id: u32, answered: bool, lent: bool) {
        let (turn, batch) = (self.turn, self.batch);
        self.posts |= answered && !self.in_turn;
        self.records.entry(id).and_modify(|record| {
            (record.held, record.ended_batch) = (false, batch);
            record.lent = lent;
            record.answered = answered.then_some((now_ms(), turn));
        });
    }

    fn stream(&mut self, server: &Server, id: u32, token: u64, plan: Plan, announced: bool, ends: bool) -> bool {
        let alive = server.token_alive(token) != 0;
        let body = octets_of(id, plan.length);
        match self.records[&id].stage {
            Stage::Fresh => {
                let name = id.to_string();
                let head = Head { status: plan.status, close: plan.closes, fields: [(&b"X-Id"[..], name.as_bytes())].into_iter() };
                let status = server.respond_begin(token, head, announced.then_some(body.len() as u64));
                self.expect(id, "respond_begin", status, if alive { INGEST_OK } else { INGEST_E_GONE });
                self.records.entry(id).and_modify(|record| {
                    (record.stage, record.begun, record.held) = (Stage::Begun(0), alive, alive);
                });
            }
            Stage::Begun(at) => {
                let stop = if ends { body.len() } else { body.len() / 2 };
                if at < stop {
                    let piece = self.random.piece(stop - at);
                    let taken = server.respond_write(token, &body[at..at + piece]);
                    if taken == INGEST_E_BUSY {
                        return false;
                    }
                    let gone = taken == INGEST_E_GONE && !alive;
                    if !gone && !(1..=piece as i32).contains(&taken) {
                        self.fault(format!("respond_write of {piece} octets of request {id} said {taken}, alive: {alive}"));
                    }
                    self.trace.push(format!("  host writes {piece} of {id}: {taken}"));
                    let next = if gone { stop } else { at + taken.max(0) as usize };
                    let written = at + taken.max(0) as usize;
                    self.records.entry(id).and_modify(|record| (record.stage, record.written) = (Stage::Begun(next), written));
                    if !ends && next == stop && alive && id % 3 != 0 {
                        // At once, so that what was written last is still on its way.
                        self.abandon(server, id, token);
                    }
                } else if ends {
                    let status = server.respond_end(token, [(&b"X-End"[..], &b"1"[..])].into_iter());
                    self.expect(id, "respond_end", status, if alive { INGEST_OK } else { INGEST_E_GONE });
                    self.ended(id, alive, false);
                } else {
                    self.records.entry(id).and_modify(|record| record.stage = Stage::Done);
                }
            }
            Stage::Done => return false,
        }
        true
    }

    fn give_back(&mut self, server: &Server, id: u32, token: u64, plan: Plan) {
        let Some(queue) = server.queue(0) else { return };
        // What the host was handed of a body cannot be handed to another.
        let untouched = self.records[&id].upload.as_ref().is_none_or(Upload::is_untouched);
        let alive = server.token_alive(token) != 0;
        let back = queue.give_back(&[token]);
        self.expect(id, "return", back, i32::from(alive && untouched));
        if !untouched {
            return self.answer(server, id, token, plan);
        }
        let batch = self.batch;
        self.records.entry(id).and_modify(|record| (record.held, record.returned, record.ended_batch) = (false, true, batch));
    }

    fn abandon(&mut self, server: &Server, id: u32, token: u64) {
        let alive = server.token_alive(token) != 0;
        let status = server.abandon(token);
        self.expect(id, "abandon", status, if alive { INGEST_OK } else { INGEST_E_GONE });
        self.posts |= alive && !self.in_turn;
        let batch = self.batch;
        self.records.entry(id).and_modify(|record| (record.held, record.abandoned, record.ended_batch) = (false, true, batch));
    }

    /// What every lent body and every answer must have been told by now.
    pub fn check_told(&mut self, wants_all: bool) {
        let untold: Vec<u32> =
            self.records.iter().filter(|(_, record)| wants_all && record.lent && record.released_told == 0).map(|(id, _)| *id).collect();
        for id in untold {
            self.fault(format!("the body lent for request {id} was never released"));
        }
    }
}

impl Record {
    fn new(token: u64, delivered: Delivered, completed_ms: u64, delivered_ms: u64) -> Record {
        Record {
            token,
            delivered,
            completed_ms,
            delivered_ms,
            answered: None,
            begun: false,
            written: 0,
            abandoned: false,
            stage: Stage::Fresh,
            held: true,
            returned: false,
            sent_told: 0,
            released_told: 0,
            gone_told: 0,
            lent: false,
            upload: None,
            ended_batch: 0,
        }
    }
}
