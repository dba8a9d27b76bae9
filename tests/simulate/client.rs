//! A simulated client: says its script in pieces, reads at its own pace, and checks every answer against what it asked.

use crate::answers::{Answer, End, Reader};
use crate::host::Host;
use crate::plan::How;
use crate::script::{ClientScript, Manner, octets_of};
use ingest::engine::sim::{LinkId, Net, Random};

#[derive(Debug)]
pub struct Client {
    pub number: usize,
    pub script: ClientScript,
    octets: Vec<u8>,
    pub link: Option<LinkId>,
    /// Nobody listened any more.
    pub refused: bool,
    said: usize,
    finished: bool,
    pub left: bool,
    pub reader: Reader,
    pub end: End,
}

/// How long answers may take, for what is judged by time.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub response_timeout_ms: u64,
}

impl Client {
    pub fn new(number: usize, script: ClientScript) -> Client {
        let octets = script.octets();
        Client {
            number,
            octets: octets[..script.length()].to_vec(),
            script,
            link: None,
            refused: false,
            said: 0,
            finished: false,
            left: false,
            reader: Reader::default(),
            end: End::Open,
        }
    }

    /// It has nothing more to do or to hear.
    pub fn is_over(&self) -> bool {
        self.refused || self.left || self.end != End::Open
    }

    /// What changes when it does something.
    pub fn progress(&self) -> (usize, usize, bool, End) {
        (self.said, self.reader.answers.len(), self.left, self.end)
    }

    /// For people: how far it has got.
    pub fn shown(&self) -> String {
        let (said, all, answers) = (self.said, self.octets.len(), self.reader.answers.len());
        let last = self.reader.answers.last().map(|answer| (answer.status, answer.id));
        format!("client {}: said {said} of {all}, has {answers} answers, last {last:?}, left: {}, {:?}", self.number, self.left, self.end)
    }

    /// Does one thing or another. True when it did something.
    pub fn act(&mut self, net: &mut Net, random: &mut Random, elapsed_ms: u64, surely: bool) -> Result<bool, String> {
        if self.is_over() || elapsed_ms < self.script.connects_after_ms {
            return Ok(false);
        }
        let Some(link) = self.link else {
            self.link = net.connect(self.script.window, self.script.is_local);
            self.refused = self.link.is_none();
            return Ok(true);
        };
        let mut acted = false;
        if self.said < self.octets.len() && net.links[link].inbound.len() < 64 * 1024 && (surely || random.chance(700)) {
            let piece = random.piece(self.octets.len() - self.said);
            net.write(link, &self.octets[self.said..self.said + piece]);
            self.said += piece;
            acted = true;
        }
        if random.chance(self.script.reads) || (surely && self.script.reads > 0) {
            let most = if random.chance(300) { 1 + random.below(100) as usize } else { 1 << 20 };
            acted |= self.read(net, link, most)?;
        }
        if self.said == self.octets.len() {
            acted |= self.conclude(net, link);
        }
        Ok(acted)
    }

    /// The script is said: what the client does then.
    fn conclude(&mut self, net: &mut Net, link: LinkId) -> bool {
        match self.script.manner {
            Manner::Finishes | Manner::FinishesEarly(_) if !self.finished => {
                self.finished = true;
                net.finish(link);
            }
            Manner::Leaves if self.reader.answers.len() >= self.script.messages.len() => self.leave(net, link),
            Manner::LeavesEarly(_) => self.leave(net, link),
            Manner::Resets(_) => {
                self.left = true;
                net.reset(link);
            }
            _ => return false,
        }
        true
    }

    fn leave(&mut self, net: &mut Net, link: LinkId) {
        self.left = true;
        net.leave(link);
    }

    /// The world ends: this client goes, whatever it waits for.
    pub fn go(&mut self, net: &mut Net) {
        if let (false, Some(link)) = (self.is_over(), self.link) {
            self.leave(net, link);
        }
    }

    fn read(&mut self, net: &mut Net, link: LinkId, most: usize) -> Result<bool, String> {
        let octets = net.read(link, most);
        let state = &net.links[link];
        self.end = match (state.outbound.is_empty(), state.reset, state.outbound_finished) {
            (false, ..) => End::Open,
            (_, true, _) => End::Reset,
            (_, _, true) => End::Finished,
            _ => End::Open,
        };
        let messages = &self.script.messages;
        let is_head = |at: usize| messages.get(at).is_some_and(|message| message.is_head);
        let acted = !octets.is_empty() || self.end != End::Open;
        let taken = self.reader.take(&octets, self.end, is_head);
        taken.map_err(|wrong| format!("client {} cannot read its answers: {wrong}", self.number))?;
        if self.end == End::Finished && self.reader.has_rest() {
            return Err(format!("client {} was sent part of an answer, and a polite end", self.number));
        }
        Ok(acted)
    }

    /// Judges every answer that has come.
    pub fn check(&self, host: &Host, terms: Terms, turns: &[u64]) -> Result<(), String> {
        for (at, answer) in self.reader.answers.iter().enumerate() {
            let wrong = |what: &str| Err(format!("client {}, answer {at} ({}, for {:?}): {what}", self.number, answer.status, answer.id));
            let Some(message) = self.script.messages.get(at) else {
                let idle = at == 0 && matches!(answer.status, 408 | 503);
                if idle {
                    continue;
                }
                return wrong("there is no request for it");
            };
            let judged = match (answer.id, &message.expected) {
                (Some(id), _) if id != message.id => Err(format!("request {} was answered by it", message.id)),
                // Of a body that comes in events the bad end may come behind the answer.
                (Some(id), None) if message.beginning.is_some() => answered(answer, id, false, host),
                (Some(_), None) => Err("a request that is none was answered".to_owned()),
                (Some(id), Some(_)) => answered(answer, id, message.is_head, host),
                (None, None) if (400..600).contains(&answer.status) => Ok(()),
                (None, None) => Err("a request that is none was served".to_owned()),
                (None, Some(_)) => refused(answer, message.id, host, terms, turns),
            };
            if let Err(what) = judged {
                return wrong(&what);
            }
        }
        Ok(())
    }

    /// When everything is over: nothing that was promised to this client is missing.
    pub fn check_end(&self, host: &Host, net: &Net, calm: bool) -> Result<(), String> {
        let Some(link) = self.link else { return Ok(()) };
        if !self.script.is_polite() || self.end == End::Open {
            return Ok(());
        }
        for (at, message) in self.script.messages.iter().enumerate() {
            if self.reader.answers.len() > at {
                continue;
            }
            let taken = host.records.get(&message.id).is_some_and(|record| record.answered.is_some());
            let cut = self.script.messages[..at].iter().any(|earlier| host.plans.get(&earlier.id).is_some_and(|plan| plan.cuts()));
            let closed = self.reader.answers.last().is_some_and(|answer| answer.closes);
            if taken && !closed && !cut && !net.links[link].reset {
                return Err(format!("client {}: request {} was answered, and the answer never came", self.number, message.id));
            }
            let abandons = host.plans.get(&message.id).is_some_and(|plan| plan.cuts() || plan.how == How::Abandons);
            let all_said = self.script.messages[..=at].iter().map(|message| message.octets.len()).sum::<usize>() <= self.said;
            if calm && all_said && !closed && !cut && !abandons {
                return Err(format!("client {}: request {} got no answer ({:?})", self.number, message.id, self.end));
            }
        }
        Ok(())
    }
}

/// An answer of the host's.
fn answered(answer: &Answer, id: u32, is_head: bool, host: &Host) -> Result<(), String> {
    let record = host.records.get(&id).ok_or("it was never delivered")?;
    let plan = &host.plans[&id];
    // Of an answer that was begun a client has all when its announced length is there, or when it has no body.
    let announced = matches!(plan.how, How::Streams { announced: true } | How::Breaks { announced: true });
    let whole = record.begun && (is_head || answer.status == 204 || (announced && record.written == plan.length));
    if record.answered.is_none() && !whole {
        return Err("the host has not answered it, but the answer looks complete".into());
    }
    if answer.status != plan.status {
        return Err(format!("the host said {}", plan.status));
    }
    let body: &[u8] = if is_head || answer.status == 204 { b"" } else { octets_of(id, plan.length) };
    if answer.body != body {
        return Err(format!("{} octets of body instead of the {} that the host gave", answer.body.len(), body.len()));
    }
    Ok(())
}

/// An answer of the library's own to a request that is good.
fn refused(answer: &Answer, id: u32, host: &Host, terms: Terms, turns: &[u64]) -> Result<(), String> {
    let record = host.records.get(&id);
    match (answer.status, record) {
        // 413 is for what memory_max could never hold.
        (503 | 408 | 413, None) => Ok(()),
        // It was in the queue again.
        (503, Some(record)) if record.returned && record.answered.is_none() => Ok(()),
        // Of a body that comes in events the host had the beginning.
        (503 | 408 | 413, Some(record)) if record.has_part() && record.answered.is_none() => Ok(()),
        (503 | 408, Some(_)) => Err("the host was given it all the same".into()),
        (504, None) => Ok(()),
        (504, Some(record)) => {
            let due_ms = record.completed_ms + terms.response_timeout_ms;
            let Some((_, turn)) = record.answered else { return Ok(()) };
            // Turns are numbered from the one that runs; the next one would have taken the answer.
            match turns.get(turn + 1) {
                Some(&next_ms) if next_ms < due_ms => Err("the host had answered in time".into()),
                _ => Ok(()),
            }
        }
        _ => Err("the request was good".into()),
    }
}
