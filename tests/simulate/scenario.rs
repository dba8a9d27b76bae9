//! What a seed decides before anything runs: options, clients, what the host does with each request, and how much goes wrong.

use crate::plan::{Credit, How, Plan};
use crate::script::{self, ClientScript};
use ingest::engine::sim::{Chaos, Random};
use ingest::limits::BodyPolicy;
use ingest::options::{Delivery, JourneyMode, Options, PipelineUnsafe, Topology};
use std::collections::BTreeMap;

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finale {
    /// When nothing is left to do.
    Rest,
    Drain {
        at_step: usize,
    },
    /// Stopped twice.
    Stop {
        at_step: usize,
    },
}

#[derive(Clone, Debug)]
pub struct Scenario {
    pub options: Options,
    pub clients: Vec<ClientScript>,
    pub plans: BTreeMap<u32, Plan>,
    pub chaos: Chaos,
    pub finale: Finale,
    /// Only order and pieces are random: every request that is asked is answered.
    pub calm: bool,
    /// In a thousand: turns that nothing asks for, jumps of the clock, sleeps that last too long.
    pub needless_turns: u32,
    pub clock_jumps: u32,
    pub oversleeps: u32,
    pub poll_at_once: usize,
}

/// Seeds from here on have large bodies that come in events.
pub const UPLOADS: u64 = 1_000_000;

impl Scenario {
    /// What this seed decides; a calm one has the same result however its octets are split.
    pub fn draw(seed: u64, calm: bool) -> Scenario {
        let mut random = Random::new(seed, 4);
        let (random, uploads) = (&mut random, seed >= UPLOADS);
        let mut clients = Vec::new();
        let mut first_id = 1;
        for _ in 0..=random.below(5) {
            let mut client = script::client(random, first_id, calm, uploads);
            if calm {
                // What is behind a last request is thrown away up to linger_bytes; more of it ends in a reset, as it should.
                let last = client.messages.iter().position(|message| message.closes).map_or(client.messages.len(), |at| at + 1);
                client.messages.truncate(last + 1);
                client.messages.retain({
                    let last_id = first_id + last as u32;
                    move |message| message.id < last_id || message.octets.len() < 60_000
                });
            }
            first_id += client.messages.len() as u32;
            clients.push(client);
        }
        let mut options = options(random, calm);
        if uploads {
            options.limits.body = BodyPolicy::Stream;
            options.limits.body_window = *random.pick(&[16 * 1024, 32 * 1024]);
        }
        let tells = !options.events.is_empty();
        let queues = options.delivery == Delivery::Queue;
        let mut plans: BTreeMap<u32, Plan> = (1..first_id).map(|id| (id, plan(random, calm, tells, queues))).collect();
        for plan in plans.values_mut().filter(|_| uploads && queues && random.chance(100)) {
            plan.how = How::Returns;
        }
        for client in clients.iter().filter(|client| client.window < 1_000) {
            // Through a small window little goes in a while.
            let most = client.window * 32;
            for message in &client.messages {
                plans.entry(message.id).and_modify(|plan| plan.length = plan.length.min(most));
            }
        }
        for message in clients.iter().flat_map(|client| &client.messages).filter(|message| calm && message.is_old) {
            // Only the end of the connection can end a stream of unknown length there, and what is behind it may be served or not.
            plans.entry(message.id).and_modify(|plan| plan.how = How::Answers);
        }
        let finale = match random.below(if calm { 1 } else { 5 }) {
            3 => Finale::Drain { at_step: random.below(60) as usize },
            4 => Finale::Stop { at_step: random.below(60) as usize },
            _ => Finale::Rest,
        };
        Scenario {
            options,
            clients,
            plans,
            chaos: chaos(random, calm),
            finale,
            calm,
            needless_turns: *random.pick(&[0, 0, 30]),
            clock_jumps: if calm { 0 } else { *random.pick(&[0, 0, 2, 20]) },
            oversleeps: if calm { 0 } else { *random.pick(&[0, 0, 100]) },
            poll_at_once: *random.pick(&[1, 3, 64]),
        }
    }
}

fn options(random: &mut Random, calm: bool) -> Options {
    let mut options = Options::default();
    options.topology = Topology::Inline;
    options.delivery = *random.pick(&[Delivery::Queue, Delivery::Queue, Delivery::Inline]);
    options.batch_max = *random.pick(&[1, 4, 64]);
    options.journey = *random.pick(&[JourneyMode::Tick, JourneyMode::Sample, JourneyMode::Steps]);
    options.pipeline_unsafe = *random.pick(&[PipelineUnsafe::Serial, PipelineUnsafe::Serial, PipelineUnsafe::Parallel]);
    if random.chance(500) {
        options.set("events", "all").expect("there is such an option");
    }
    options.set("spool_dir", "memory").expect("there is such an option");
    let limits = &mut options.limits;
    limits.body = *random.pick(&[BodyPolicy::Buffer, BodyPolicy::Buffer, BodyPolicy::Stream, BodyPolicy::Stream, BodyPolicy::Spool]);
    limits.body_buffer_max = *random.pick(&[64 * 1024, 1_000, 0]);
    limits.body_window = *random.pick(&[256 * 1024, 16 * 1024]);
    limits.max_connections = 64;
    limits.pipeline_max = *random.pick(&[1, 2, 16, 16]);
    if calm {
        return options;
    }
    limits.in_flight_max = *random.pick(&[16_384, 16_384, 1, 3]);
    limits.queue_max = *random.pick(&[1024, 1024, 1, 3]);
    limits.max_connections = *random.pick(&[64, 64, 1, 2]);
    limits.requests_per_connection = *random.pick(&[u64::MAX, u64::MAX, 3]);
    limits.memory_max = *random.pick(&[256 << 20, 256 << 20, 80_000, 8_000]);
    if limits.memory_max < 32 * 1024 {
        (limits.headers_max, limits.header_line_max, limits.target_max) = (4_096, 4_096, 1_024);
    }
    limits.drain_timeout_ms = *random.pick(&[30_000, 3_000, 300]);
    limits.response_timeout_ms = *random.pick(&[60_000, 8_000]);
    limits.queue_delay_target_ms = *random.pick(&[0, 0, 1, 30]);
    limits.queue_delay_interval_ms = *random.pick(&[1, 100]);
    options
}

fn plan(random: &mut Random, calm: bool, tells: bool, queues: bool) -> Plan {
    let how = match random.below(if calm { 12 } else { 16 }) {
        0..=5 => How::Answers,
        6 => How::Twice,
        7 if queues => How::Returns,
        8 | 9 => How::Streams { announced: true },
        10 | 11 => How::Streams { announced: false },
        12 => How::Abandons,
        13 => How::Never,
        14 | 15 => How::Breaks { announced: random.chance(500) },
        _ => How::Answers,
    };
    let length = *random.pick(&[0, 10, 10, 300, 20_000, 200_000]);
    let length = random.below(length + 1) as usize;
    let after_ms = match random.below(10) {
        0..=5 => 0,
        6..=8 => random.below(50),
        _ if calm => random.below(1_000),
        _ => random.below(90_000),
    };
    let whole = matches!(how, How::Answers | How::Twice | How::Returns);
    Plan {
        how,
        after_ms,
        length,
        status: *random.pick(&[200, 200, 200, 404, 204]),
        lends: tells && whole && random.chance(200),
        closes: random.chance(if calm { 0 } else { 50 }),
        errs: random.chance(100),
        interim: random.chance(60),
        early: !calm && random.chance(300),
        credit: match random.below(10) {
            0..=3 => Credit::AtOnce,
            4..=6 => Credit::Pieces,
            7 | 8 => Credit::Late { after_ms: random.below(if calm { 50 } else { 5_000 }) },
            _ if calm => Credit::AtOnce,
            _ => Credit::Never,
        },
    }
}

fn chaos(random: &mut Random, calm: bool) -> Chaos {
    let rarely = |random: &mut Random, most: u32| if calm || random.chance(700) { 0 } else { random.below(u64::from(most)) as u32 };
    Chaos {
        left_out: *random.pick(&[0, 100, 500, 900]),
        twice: *random.pick(&[0, 200]),
        interrupted: *random.pick(&[0, 0, 100]),
        accept_fails: rarely(random, 300),
        seat_fails: rarely(random, 100),
        short_reads: *random.pick(&[0, 300, 1000]),
        short_sends: *random.pick(&[0, 300, 1000]),
    }
}
