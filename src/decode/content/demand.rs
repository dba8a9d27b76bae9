//! What a block of zstd makes its decoder hold, told by its headers (RFC 8878 section 3.1.1.3) before it is decoded.
#![forbid(unsafe_code)]

/// A sequence is three numbers of 32 bits, in a list that doubles when it grows.
const SEQUENCE_BYTES: usize = 2 * 12;
/// The most that can be told: literals have twenty bits, and sequences these.
const SEQUENCES_MAX: usize = 0x7F00 + 0xFFFF;
pub const MOST_BYTES: usize = 2 * (1 << 20) + SEQUENCES_MAX * SEQUENCE_BYTES;

/// Octets for literals and sequences of a whole block, whose own header is so long. What is cut short is refused by the decoder.
pub fn of(block: &[u8], header: usize) -> usize {
    let is_compressed = block.first().is_some_and(|first| first >> 1 & 3 == 2);
    let Some(section) = block.get(header..).filter(|_| is_compressed) else { return 0 };
    let Some((literals, behind)) = literals(section) else { return 0 };
    2 * literals + section.get(behind..).map_or(0, sequences) * SEQUENCE_BYTES
}

/// How many literals there are, and where what follows them begins.
fn literals(section: &[u8]) -> Option<(usize, usize)> {
    let first = *section.first()?;
    let number =
        |octets: usize| section.get(..octets).map(|octets| octets.iter().rev().fold(0, |number, octet| number << 8 | u64::from(*octet)));
    let (kind, format) = (first & 3, first >> 2 & 3);
    if kind < 2 {
        let (octets, shift) = [(1, 3), (2, 4), (1, 3), (3, 4)][usize::from(format)];
        let size = (number(octets)? >> shift) as usize;
        return Some((size, octets + if kind == 0 { size } else { 1 }));
    }
    let (octets, bits) = [(3, 10), (3, 10), (4, 14), (5, 18)][usize::from(format)];
    let (sizes, mask) = (number(octets)? >> 4, (1 << bits) - 1);
    Some(((sizes & mask) as usize, octets + (sizes >> bits & mask) as usize))
}

fn sequences(section: &[u8]) -> usize {
    match *section {
        [first, ..] if first < 128 => usize::from(first),
        [255, second, third, ..] => usize::from(second) + (usize::from(third) << 8) + 0x7F00,
        [first, second, ..] if first < 255 => (usize::from(first - 128) << 8) + usize::from(second),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A compressed block: its header, then these sections.
    fn block(sections: &[&[u8]]) -> Vec<u8> {
        [&[4u8, 0, 0][..], &sections.concat()].concat()
    }

    #[test]
    fn blocks_tell_what_they_need() {
        let told = |sections: &[&[u8]]| of(&block(sections), 3);
        // Five literals as they are, 300 repeated ones, and 1,000 coded ones in 20 octets; then sequences in each of three forms.
        assert_eq!(told(&[&[5 << 3], b"abcde", &[7]]), 2 * 5 + 7 * SEQUENCE_BYTES);
        assert_eq!(told(&[&[0xC5, 0x12], b"x", &[128 + 1, 2]]), 2 * 300 + 258 * SEQUENCE_BYTES);
        let coded = (2u64 | 1000 << 4 | 20 << 14).to_le_bytes();
        assert_eq!(told(&[&coded[..3], &[0; 20], &[255, 1, 2]]), 2 * 1000 + (0x7F00 + 513) * SEQUENCE_BYTES);
        assert_eq!(told(&[&[0xFD, 0xFF, 0xFF], b"x", &[255, 255, 255]]), MOST_BYTES - 2);
        // What is no compressed block, and what is cut short.
        assert_eq!((of(&[0, 0, 0, 9], 3), told(&[]), told(&[&[0xC5]]), told(&[&[5 << 3], b"ab"])), (0, 0, 0, 10));
    }
}
