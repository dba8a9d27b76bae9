//! Classes of octets as one table of 256 entries: a class check is a load and a mask.
#![forbid(unsafe_code)]

/// `tchar` of RFC 9110 section 5.6.2: what methods, field names and chunk extension names are made of.
pub const TOKEN: u8 = 1;
/// `field-content` and the whitespace inside it: no control but HTAB (RFC 9110 section 5.5).
pub const VALUE: u8 = 2;
/// `unreserved` and `sub-delims` of RFC 3986: a reg-name without its percent-escapes.
pub const HOST: u8 = 4;
/// `qdtext` of RFC 9110 section 5.6.4: a quoted string's inside without quote and backslash.
pub const QUOTED: u8 = 8;
/// After the first letter of a URI scheme (RFC 3986 section 3.1).
pub const SCHEME: u8 = 16;

const CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut at = 0;
    while at < 256 {
        let octet = at as u8;
        let mut class = 0;
        if octet.is_ascii_alphanumeric() {
            class |= TOKEN | HOST | SCHEME;
        }
        if matches!(octet, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~') {
            class |= TOKEN;
        }
        if matches!(octet, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=') {
            class |= HOST;
        }
        if matches!(octet, b'+' | b'-' | b'.') {
            class |= SCHEME;
        }
        if octet == b'\t' || (octet >= b' ' && octet != 0x7f) {
            class |= VALUE;
            if octet != b'"' && octet != b'\\' {
                class |= QUOTED;
            }
        }
        table[at] = class;
        at += 1;
    }
    table
}

const NOT_HEX: u8 = 0xff;

const HEX: [u8; 256] = hex();

const fn hex() -> [u8; 256] {
    let mut table = [NOT_HEX; 256];
    let mut at = 0;
    while at < 10 {
        table[b'0' as usize + at] = at as u8;
        at += 1;
    }
    at = 0;
    while at < 6 {
        table[b'a' as usize + at] = 10 + at as u8;
        table[b'A' as usize + at] = 10 + at as u8;
        at += 1;
    }
    table
}

/// Whether the octet belongs to the class.
#[inline]
pub fn is(octet: u8, class: u8) -> bool {
    CLASSES[octet as usize] & class != 0
}

/// Whether every octet belongs to the class. Branch-free inside, since the answer is nearly always yes.
#[inline]
pub fn all(octets: &[u8], class: u8) -> bool {
    octets.iter().fold(class, |seen, octet| seen & CLASSES[*octet as usize]) != 0
}

/// A token: one or more `tchar`.
#[inline]
pub fn is_token(octets: &[u8]) -> bool {
    !octets.is_empty() && all(octets, TOKEN)
}

/// What a request-target may hold: everything but controls and the space. RFC 9112 section 3.2 names fewer octets, but `"`, `|` and raw
/// UTF-8 are common and harmless in a target that is kept as it came. Two comparisons, not the table: compilers turn them into vectors.
#[inline]
pub fn is_target(octets: &[u8]) -> bool {
    octets.iter().fold(true, |seen, octet| seen & (*octet > b' ') & (*octet != 0x7f))
}

/// Lines of a head are mostly shorter than this.
const SHORT_LINE: usize = 64;

/// The first of two octets. Eight octets at a time over the length of a usual line, where calling memchr costs more than it saves.
#[inline]
pub fn first_of(one: u8, other: u8, octets: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = ONES << 7;
    // The lowest marked octet is zero; octets above one that is may be marked wrongly, which does not matter here.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & TOPS;
    let mut at = 0;
    let mut rest = octets;
    while let Some((word, behind)) = rest.split_first_chunk::<8>().filter(|_| at < SHORT_LINE) {
        let word = u64::from_le_bytes(*word);
        let marks = zeros(word ^ (ONES * u64::from(one))) | zeros(word ^ (ONES * u64::from(other)));
        if marks != 0 {
            return Some(at + marks.trailing_zeros() as usize / 8);
        }
        at += 8;
        rest = behind;
    }
    let found =
        if rest.len() < 8 { rest.iter().position(|&octet| octet == one || octet == other) } else { memchr::memchr2(one, other, rest) };
    found.map(|found| at + found)
}

/// The value of one hexadecimal digit.
#[inline]
pub fn hex_value(octet: u8) -> Option<u8> {
    let value = HEX[octet as usize];
    if value == NOT_HEX { None } else { Some(value) }
}

/// Without the optional whitespace around it (SP and HTAB alone, RFC 9110 section 5.6.3).
pub fn trim(mut octets: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = octets {
        octets = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = octets {
        octets = rest;
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_match_their_grammar() {
        let count = |class| (0..=255u8).filter(|octet| is(*octet, class)).count();
        assert_eq!(count(TOKEN), 62 + 15);
        assert_eq!((0..=255u8).filter(|octet| is_target(&[*octet])).count(), 256 - 33 - 1);
        assert_eq!(count(VALUE), 256 - 32 - 1 + 1);
        assert_eq!(count(QUOTED), count(VALUE) - 2);
        assert_eq!(count(HOST), 62 + 15);
        assert_eq!(count(SCHEME), 62 + 3);
        assert_eq!((0..=255u8).filter(|octet| hex_value(*octet).is_some()).count(), 22);
        assert_eq!((hex_value(b'f'), hex_value(b'F'), hex_value(b'0'), hex_value(b'g')), (Some(15), Some(15), Some(0), None));
    }

    #[test]
    fn only_http_whitespace_is_trimmed() {
        assert_eq!(trim(b" \t a b\t "), b"a b");
        assert_eq!(trim(b"\x0ba\xa0"), b"\x0ba\xa0");
        assert_eq!(trim(b" \t "), b"");
    }

    #[test]
    fn the_first_line_octet_is_found_wherever_it_stands() {
        for length in 0..150 {
            for at in 0..length {
                for octet in [b'\r', b'\n'] {
                    // The neighbours differ in one bit, which is what the arithmetic could mistake.
                    let mut line = vec![octet ^ 1, octet.wrapping_add(1), octet - 1, 0x80 | octet]
                        .into_iter()
                        .cycle()
                        .take(length)
                        .collect::<Vec<u8>>();
                    line.iter_mut().filter(|found| matches!(**found, b'\r' | b'\n')).for_each(|found| *found = b'x');
                    line[at] = octet;
                    assert_eq!(first_of(b'\r', b'\n', &line), Some(at), "{line:?}");
                }
            }
            assert_eq!(first_of(b'\r', b'\n', &vec![b'x'; length]), None);
        }
    }
}
