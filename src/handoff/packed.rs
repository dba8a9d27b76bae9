//! The flat blocks of `docs/packed.md`: their layout as numbers, a writer that cannot leave its block, a reader that believes nothing.
#![forbid(unsafe_code)]

use crate::request::{ingest_event, ingest_request};

/// The first four octets of a block of requests: `INPQ`.
pub const REQUESTS_MAGIC: u32 = u32::from_ne_bytes(*b"INPQ");
/// The first four octets of a block of answers: `INPR`.
pub const ANSWERS_MAGIC: u32 = u32::from_ne_bytes(*b"INPR");
/// The version of both layouts.
pub const VERSION: u32 = 1;

/// Octets of the header of either block.
pub const HEADER: usize = 32;
/// Octets of a request's record.
pub const REQUEST_RECORD: usize = 256;
/// Octets of an answer's record.
pub const ANSWER_RECORD: usize = 40;
/// Octets of an entry of a table: name offset, name length, value offset, value length.
pub const ENTRY: usize = 16;
/// Everything that is not octets begins at a multiple of this.
pub const ALIGNMENT: usize = 8;
/// Most octets of a block that are used: offsets have 32 bits.
pub const CAPACITY_MAX: usize = u32::MAX as usize & !(ALIGNMENT - 1);
/// Most requests in one block.
pub const BATCH_MAX: usize = 256;

/// The answer's only flag: the connection closes after it.
const ANSWER_CLOSE: u16 = 1;
/// More field lines than any client takes.
const FIELDS_CEILING: usize = 65_536;

/// What takes requests out of a queue as long as they fit.
pub trait Packer {
    /// How many more requests it may take, however small.
    fn room(&self) -> usize;
    /// How many events without a request it may take; `put` follows without `fits`.
    fn news_room(&self) -> usize;
    /// Whether this request fits too; if so, `put` follows.
    fn fits(&mut self, request: *const ingest_request) -> bool;
    fn put(&mut self, event: ingest_event);
}

/// Where something lies in a block. Offset 0, the header's, says that it is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub offset: u32,
    pub length: u32,
}

/// Writes at given offsets, and appends octets behind all that was appended before. What would lie outside the block is left out
/// but counted, so that a writer on an empty block measures.
#[derive(Debug)]
pub struct Writer<'a> {
    block: &'a mut [u8],
    end: usize,
}

impl<'a> Writer<'a> {
    /// Appends from `end` on.
    pub fn new(block: &'a mut [u8], end: usize) -> Self {
        Writer { block, end }
    }

    /// How far was appended.
    pub fn end(&self) -> usize {
        self.end
    }

    fn put(&mut self, offset: usize, octets: &[u8]) {
        let place = offset.checked_add(octets.len()).and_then(|end| self.block.get_mut(offset..end));
        if let Some(place) = place {
            place.copy_from_slice(octets);
        }
    }

    pub fn u16(&mut self, offset: usize, number: u16) {
        self.put(offset, &number.to_ne_bytes());
    }

    pub fn u32(&mut self, offset: usize, number: u32) {
        self.put(offset, &number.to_ne_bytes());
    }

    pub fn u64(&mut self, offset: usize, number: u64) {
        self.put(offset, &number.to_ne_bytes());
    }

    /// Offset and length in eight octets.
    pub fn place(&mut self, offset: usize, place: Place) {
        self.u32(offset, place.offset);
        self.u32(offset + 4, place.length);
    }

    /// Sets octets to zero, so that nothing of what the host had there shows through.
    pub fn clear(&mut self, offset: usize, length: usize) {
        if let Some(place) = offset.checked_add(length).and_then(|end| self.block.get_mut(offset..end)) {
            place.fill(0);
        }
    }

    /// Appends octets; `None` is absent.
    pub fn append(&mut self, octets: Option<&[u8]>) -> Place {
        let Some(octets) = octets else { return Place::default() };
        let place = Place { offset: narrow(self.end), length: narrow(octets.len()) };
        self.put(self.end, octets);
        self.end = self.end.saturating_add(octets.len());
        place
    }

    /// Keeps room for a table; its entries are written by `place`. The place's length is a count.
    pub fn table(&mut self, count: usize) -> Place {
        if count == 0 {
            return Place::default();
        }
        let place = Place { offset: narrow(self.end), length: narrow(count) };
        self.end = self.end.saturating_add(count.saturating_mul(ENTRY));
        place
    }

    /// Appends zeros until the end is aligned.
    pub fn align(&mut self) {
        let padding = self.end.wrapping_neg() % ALIGNMENT;
        self.clear(self.end, padding);
        self.end = self.end.saturating_add(padding);
    }
}

/// Offsets never exceed what fits, except while measuring something that will be refused.
fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The header of a block of requests.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestsHeader {
    pub capacity: usize,
    pub used: usize,
    pub count: usize,
    pub needed: usize,
}

impl RequestsHeader {
    pub fn write(&self, writer: &mut Writer<'_>) {
        let numbers = [
            REQUESTS_MAGIC,
            VERSION,
            narrow(self.capacity),
            narrow(self.used),
            narrow(self.count),
            narrow(self.needed),
            REQUEST_RECORD as u32,
            HEADER as u32,
        ];
        for (index, number) in numbers.into_iter().enumerate() {
            writer.u32(index * 4, number);
        }
    }
}

/// Reads at given offsets; everything outside the block is `None`.
#[derive(Clone, Copy, Debug)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn slice(self, offset: usize, length: usize) -> Option<&'a [u8]> {
        self.0.get(offset..offset.checked_add(length)?)
    }

    fn u16(self, offset: usize) -> Option<u16> {
        Some(u16::from_ne_bytes(self.slice(offset, 2)?.try_into().ok()?))
    }

    fn u32(self, offset: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(self.slice(offset, 4)?.try_into().ok()?))
    }

    fn size(self, offset: usize) -> Option<usize> {
        self.u32(offset).map(|number| number as usize)
    }

    fn u64(self, offset: usize) -> Option<u64> {
        Some(u64::from_ne_bytes(self.slice(offset, 8)?.try_into().ok()?))
    }

    /// The octets that a place names; no octets at all for an absent one.
    fn at(self, offset: usize) -> Option<&'a [u8]> {
        match (self.size(offset)?, self.size(offset + 4)?) {
            (_, 0) => Some(&[]),
            (0, _) => None,
            (start, length) => self.slice(start, length),
        }
    }
}

/// A block of answers whose every offset was looked at.
#[derive(Clone, Copy, Debug)]
pub struct Answers<'a> {
    reader: Reader<'a>,
    first: usize,
    record: usize,
    count: usize,
}

/// One answer of a block. Status, names and values are `respond`'s to judge.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    pub token: u64,
    pub status: u16,
    pub close: bool,
    /// The content type, then the table.
    pub fields: Fields<'a>,
    pub body: &'a [u8],
}

/// The field lines of one answer.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    content_type: Option<&'a [u8]>,
    reader: Reader<'a>,
    next: usize,
    left: usize,
}

impl<'a> Answers<'a> {
    /// Looks at the whole block; `None` if anything in it is out of place, and then nothing of it may be used.
    pub fn read(block: &'a [u8]) -> Option<Answers<'a>> {
        let whole = Reader(block);
        let used = whole.size(8)?;
        if whole.u32(0)? != ANSWERS_MAGIC || whole.u32(4)? != VERSION || used < HEADER || whole.u64(24)? != 0 {
            return None;
        }
        let reader = Reader(block.get(..used)?);
        let (count, record, first) = (reader.size(12)?, reader.size(16)?, reader.size(20)?);
        if record < ANSWER_RECORD || (count > 0 && first < HEADER) {
            return None;
        }
        reader.slice(first, count.checked_mul(record)?)?;
        let answers = Answers { reader, first, record, count };
        answers.iter().all(|answer| answer.is_some()).then_some(answers)
    }

    /// The answers in their order. After `read` none is `None`, unless the host writes to the block meanwhile.
    pub fn iter(self) -> impl Iterator<Item = Option<Answer<'a>>> {
        (0..self.count).map(move |index| self.answer(self.first + index * self.record))
    }

    fn answer(&self, at: usize) -> Option<Answer<'a>> {
        let reader = self.reader;
        let flags = reader.u16(at + 10)?;
        if flags & !ANSWER_CLOSE != 0 || reader.u32(at + 12)? != 0 {
            return None;
        }
        let has_type = reader.u32(at + 16)? != 0;
        let content_type = reader.at(at + 16)?;
        let (table, left) = (reader.size(at + 24)?, reader.size(at + 28)?);
        if left > FIELDS_CEILING || (left > 0 && table < HEADER) {
            return None;
        }
        let fields = Fields { content_type: has_type.then_some(content_type), reader, next: table, left };
        for index in 0..left {
            fields.entry(table + index * ENTRY)?;
        }
        let body = reader.at(at + 32)?;
        Some(Answer { token: reader.u64(at)?, status: reader.u16(at + 8)?, close: flags & ANSWER_CLOSE != 0, fields, body })
    }
}

impl<'a> Answer<'a> {
    /// The content type, if it is the only field.
    pub fn is_typed_only(&self) -> Option<Option<&'a [u8]>> {
        (self.fields.left == 0 && !self.close).then_some(self.fields.content_type)
    }
}

impl<'a> Fields<'a> {
    fn entry(&self, at: usize) -> Option<(&'a [u8], &'a [u8])> {
        Some((self.reader.at(at)?, self.reader.at(at + 8)?))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(value) = self.content_type.take() {
            return Some((b"Content-Type", value));
        }
        self.left = self.left.checked_sub(1)?;
        let at = self.next;
        self.next += ENTRY;
        self.entry(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One answer with a type, a field and a body.
    fn block() -> Vec<u8> {
        let mut block = vec![0; 256];
        let mut writer = Writer::new(&mut block, HEADER + ANSWER_RECORD);
        let table = writer.table(1);
        for (index, text) in [&b"x-name"[..], b"value"].into_iter().enumerate() {
            let place = writer.append(Some(text));
            writer.place(table.offset as usize + index * 8, place);
        }
        let (kind, body) = (writer.append(Some(b"text/plain")), writer.append(Some(b"hello")));
        writer.align();
        let used = writer.end() as u32;
        for (index, number) in [ANSWERS_MAGIC, VERSION, used, 1, ANSWER_RECORD as u32, HEADER as u32].into_iter().enumerate() {
            writer.u32(index * 4, number);
        }
        writer.u64(HEADER, 77);
        writer.u16(HEADER + 8, 201);
        writer.u16(HEADER + 10, ANSWER_CLOSE);
        writer.place(HEADER + 16, kind);
        writer.place(HEADER + 24, table);
        writer.place(HEADER + 32, body);
        block
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let block = block();
        let answers: Vec<_> = Answers::read(&block).expect("well formed").iter().flatten().collect();
        assert_eq!(answers.len(), 1);
        assert_eq!((answers[0].token, answers[0].status, answers[0].close), (77, 201, true));
        assert_eq!(answers[0].body, b"hello");
        let fields: Vec<_> = answers[0].fields.clone().collect();
        assert_eq!(fields, [(&b"Content-Type"[..], &b"text/plain"[..]), (b"x-name", b"value")]);
    }

    #[test]
    fn every_cut_and_every_wrong_number_is_refused_or_read_within_the_block() {
        let good = block();
        let used = Reader(&good).size(8).expect("a header");
        for length in 0..used {
            assert!(Answers::read(&good[..length]).is_none(), "cut at {length}");
        }
        for at in (0..used).step_by(4) {
            for number in [0, 1, used as u32, u32::MAX, u32::MAX - 7, 1 << 31] {
                let mut bad = good.clone();
                bad[at..at + 4].copy_from_slice(&number.to_ne_bytes());
                let Some(answers) = Answers::read(&bad) else { continue };
                for answer in answers.iter() {
                    let answer = answer.expect("all were looked at");
                    assert!(answer.fields.clone().count() <= 2 && answer.body.len() <= used);
                }
            }
        }
    }

    #[test]
    fn a_writer_measures_on_an_empty_block() {
        let mut block = [1; 64];
        let run = |block: &mut [u8]| {
            let mut writer = Writer::new(block, 8);
            writer.table(2);
            writer.append(Some(b"abc"));
            assert_eq!(writer.append(None), Place::default());
            writer.align();
            writer.end()
        };
        assert_eq!(run(&mut []), 48);
        assert_eq!(run(&mut block), 48);
        assert_eq!(&block[40..49], b"abc\0\0\0\0\0\x01");
        Writer::new(&mut block, 0).u64(usize::MAX, 1);
        Writer::new(&mut block, 0).clear(60, usize::MAX);
    }
}
