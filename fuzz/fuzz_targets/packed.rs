//! Packed blocks: one of any octets is judged and read as a reference reader judges it; one that was written is read back whole.
#![no_main]

use ingest::handoff::packed::{Answer, Answers, Place, Writer};
use libfuzzer_sys::fuzz_target;

const HEADER: usize = 32;
const RECORD: usize = 40;

/// One answer, as the reference reads it and as the writer is given it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plain {
    token: u64,
    status: u16,
    close: bool,
    content_type: Option<Vec<u8>>,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
}

/// One answer as the library hands it on: the content type is a field line like the others, unless it is all there is.
#[derive(Debug, PartialEq, Eq)]
struct Flat {
    token: u64,
    status: u16,
    close: bool,
    typed_only: Option<Option<Vec<u8>>>,
    lines: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
}

/// Numbers of any width at any offset, as `docs/packed.md` lays them out; wide enough that nothing turns over.
fn number(block: &[u8], at: u128, width: u128) -> Option<u128> {
    octets(block, at, width).map(|octets| octets.iter().rev().fold(0, |value, octet| value << 8 | u128::from(*octet)))
}

fn octets(block: &[u8], at: u128, length: u128) -> Option<&[u8]> {
    (at + length <= block.len() as u128).then(|| &block[at as usize..(at + length) as usize])
}

/// The octets of the place that stands there; absent and empty ones have none.
fn place(block: &[u8], at: u128) -> Option<Vec<u8>> {
    let (offset, length) = (number(block, at, 4)?, number(block, at + 4, 4)?);
    match (offset, length) {
        (_, 0) => Some(Vec::new()),
        (0, _) => None,
        _ => octets(block, offset, length).map(<[u8]>::to_vec),
    }
}

fn reference(block: &[u8]) -> Option<Vec<Plain>> {
    let head = |at| number(block, at, 4);
    let used = head(8)?;
    if octets(block, 0, 4)? != b"INPR" || head(4)? != 1 || used < HEADER as u128 || number(block, 24, 8)? != 0 {
        return None;
    }
    let (count, record, first) = (head(12)?, head(16)?, head(20)?);
    let block = octets(block, 0, used)?;
    if record < RECORD as u128 || (count > 0 && first < HEADER as u128) {
        return None;
    }
    octets(block, first, count * record)?;
    (0..count).map(|index| reference_record(block, first + index * record)).collect()
}

fn reference_record(block: &[u8], at: u128) -> Option<Plain> {
    let flags = number(block, at + 10, 2)?;
    let (table, count) = (number(block, at + 24, 4)?, number(block, at + 28, 4)?);
    if flags > 1 || number(block, at + 12, 4)? != 0 || count > 65_536 || (count > 0 && table < HEADER as u128) {
        return None;
    }
    let content_type = place(block, at + 16)?;
    let entries = (0..count).map(|index| table + index * 16);
    Some(Plain {
        token: number(block, at, 8)? as u64,
        status: number(block, at + 8, 2)? as u16,
        close: flags == 1,
        content_type: (number(block, at + 16, 4)? != 0).then_some(content_type),
        fields: entries.map(|entry| Some((place(block, entry)?, place(block, entry + 8)?))).collect::<Option<_>>()?,
        body: place(block, at + 32)?,
    })
}

fn flat(answer: Plain) -> Flat {
    let Plain { token, status, close, content_type, fields, body } = answer;
    let typed_only = (fields.is_empty() && !close).then(|| content_type.clone());
    let lines = content_type.map(|value| (b"Content-Type".to_vec(), value)).into_iter().chain(fields).collect();
    Flat { token, status, close, typed_only, lines, body }
}

fn read(block: &[u8]) -> Option<Vec<Flat>> {
    let flat = |answer: Answer<'_>| Flat {
        token: answer.token,
        status: answer.status,
        close: answer.close,
        typed_only: answer.is_typed_only().map(|value| value.map(<[u8]>::to_vec)),
        lines: answer.fields.clone().map(|(name, value)| (name.to_vec(), value.to_vec())).collect(),
        body: answer.body.to_vec(),
    };
    Some(Answers::read(block)?.iter().map(|answer| flat(answer.expect("all were looked at"))).collect())
}

fn judge(block: &[u8]) {
    assert_eq!(read(block), reference(block).map(|answers| answers.into_iter().map(flat).collect()));
}

/// The next so many octets at most, and what is left.
fn cut<'a>(data: &mut &'a [u8], most: usize) -> &'a [u8] {
    let length = data.first().map_or(0, |first| *first as usize % (most + 1));
    let (piece, rest) = data.get(1..).unwrap_or(&[]).split_at(length.min(data.len().saturating_sub(1)));
    *data = rest;
    piece
}

/// Answers out of octets: some with a type, some with fields, some empty.
fn answers_of(mut data: &[u8]) -> Vec<Plain> {
    let mut answers = Vec::new();
    while let [mode, low, high, rest @ ..] = data {
        data = rest;
        let mut answer =
            Plain { token: u64::from(*low) << 32, status: u16::from_le_bytes([*low, *high]), close: mode & 1 > 0, ..Plain::default() };
        answer.content_type = (mode & 2 > 0).then(|| cut(&mut data, 20).to_vec());
        for _ in 0..mode >> 2 & 3 {
            answer.fields.push((cut(&mut data, 12).to_vec(), cut(&mut data, 40).to_vec()));
        }
        answer.body = cut(&mut data, 200).to_vec();
        answers.push(answer);
        if answers.len() == 16 {
            break;
        }
    }
    answers
}

/// Writes them as a host would, into a block of that size; how many octets it takes.
fn write(block: &mut [u8], answers: &[Plain], record: usize) -> usize {
    let mut writer = Writer::new(block, HEADER + answers.len() * record);
    let tables: Vec<Place> = answers.iter().map(|answer| writer.table(answer.fields.len())).collect();
    for (index, (answer, table)) in answers.iter().zip(tables).enumerate() {
        for (entry, (name, value)) in answer.fields.iter().enumerate() {
            for (half, text) in [name, value].into_iter().enumerate() {
                let place = writer.append(Some(text));
                writer.place(table.offset as usize + entry * 16 + half * 8, place);
            }
        }
        let content_type = writer.append(answer.content_type.as_deref());
        let body = writer.append(Some(&answer.body));
        let at = HEADER + index * record;
        writer.clear(at, record);
        writer.u64(at, answer.token);
        writer.u16(at + 8, answer.status);
        writer.u16(at + 10, u16::from(answer.close));
        for (offset, place) in [(16, content_type), (24, table), (32, body)] {
            writer.place(at + offset, place);
        }
    }
    writer.align();
    let used = writer.end();
    writer.clear(0, HEADER);
    let head = [u32::from_le_bytes(*b"INPR"), 1, used as u32, answers.len() as u32, record as u32, HEADER as u32];
    for (index, number) in head.into_iter().enumerate() {
        writer.u32(index * 4, number);
    }
    used
}

fuzz_target!(|data: &[u8]| {
    judge(data);
    // Most octets are no block at all, so a block is written from them, read back, and then damaged in one place.
    let [damage, at, number @ .., a, b, c, d] = data else { return };
    let record = RECORD + usize::from(damage >> 4) * 8;
    let answers = answers_of(number);
    let measured = write(&mut [], &answers, record);
    let mut block = vec![0xA5; measured + 64];
    assert_eq!(write(&mut block, &answers, record), measured, "what was measured is what is written");
    assert!(block[measured..].iter().all(|octet| *octet == 0xA5), "written behind its end");
    // A block that is too small gets what fits, and nothing outside it is touched.
    let mut small = vec![0xA5; measured + 64];
    assert_eq!(write(&mut small[..measured / 2], &answers, record), measured);
    assert!(small[measured / 2..].iter().all(|octet| *octet == 0xA5), "written behind its end");
    let whole = read(&block).expect("what was written well is well formed");
    assert_eq!(whole, answers.into_iter().map(flat).collect::<Vec<_>>());
    let at = (usize::from(*at) * 4 + usize::from(damage & 3)) % measured;
    for (place, octet) in block[at..measured].iter_mut().zip([a, b, c, d]) {
        *place = *octet;
    }
    judge(&block);
    block.truncate(measured - 1 - usize::from(*a) % measured);
    judge(&block);
});
