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
/// What a request-target may hold: everything but controls and the space. RFC 9112 section 3.2 names fewer octets, but `"`, `|` and raw
/// UTF-8 are common and harmless in a target that is kept as it came.
pub const TARGET: u8 = 32;

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
        if octet > b' ' && octet != 0x7f {
            class |= TARGET;
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

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = ONES << 7;
const WORD: usize = 8;
/// Lines of a head are mostly shorter than this; longer ones are worth the vectors of the machine.
const SHORT_LINE: usize = 64;
/// Octets that vectors look at together.
const BLOCK: usize = 32;

/// How many octets at the start are token octets. What is no letter is suspect.
#[inline(always)]
pub fn token_len(octets: &[u8]) -> usize {
    run_len(octets, TOKEN, None, |word| {
        let lower = (word | (ONES * 0x20)) & !TOPS;
        let from_a = lower.wrapping_add(ONES * (0x80 - b'a' as u64));
        let behind_z = lower.wrapping_add(ONES * (0x7f - b'z' as u64));
        !(from_a & !behind_z & !word) & TOPS
    })
}

/// How many octets at the start may stand in a request-target.
#[inline(always)]
pub fn target_len(octets: &[u8]) -> usize {
    run_len(octets, TARGET, Some(b' ' + 1), |word| suspects_below(word, b' ' + 1))
}

/// How many octets at the start may stand in a field value.
#[inline(always)]
pub fn value_len(octets: &[u8]) -> usize {
    run_len(octets, VALUE, Some(b' '), |word| suspects_below(word, b' '))
}

/// Marks octets below the floor and DEL, and, because of carries, sometimes an innocent one.
#[inline(always)]
fn suspects_below(word: u64, floor: u8) -> u64 {
    (word.wrapping_sub(ONES * u64::from(floor)) | word.wrapping_add(ONES)) & !word & TOPS
}

/// How many octets at the start belong to `class`. Eight at a time: `suspects` sets the top bit of every octet of a word that may not belong,
/// and the table says whether it does. When a run is long, whole blocks of octets from the floor on are passed over.
#[inline(always)]
fn run_len(octets: &[u8], class: u8, long: Option<u8>, suspects: impl Fn(u64) -> u64) -> usize {
    let mut rest = octets;
    while let Some((word, behind)) = rest.split_first_chunk::<WORD>() {
        let marks = suspects(u64::from_le_bytes(*word));
        if marks == 0 {
            rest = behind;
            if let Some(floor) = long.filter(|_| octets.len() - rest.len() == SHORT_LINE) {
                rest = behind_clean_blocks(rest, floor);
            }
            continue;
        }
        let at = marks.trailing_zeros() as usize / 8;
        if !is(rest[at], class) {
            return octets.len() - rest.len() + at;
        }
        rest = &rest[at + 1..];
    }
    octets.len() - rest.len() + short_run_len(rest, class)
}

#[inline(never)]
fn short_run_len(octets: &[u8], class: u8) -> usize {
    octets.iter().position(|octet| !is(*octet, class)).unwrap_or(octets.len())
}

/// What follows the whole blocks at the start in which all octets are at or above the floor, and none is DEL. Plain comparisons over a fixed length: compilers turn them into vectors.
#[inline(never)]
fn behind_clean_blocks(octets: &[u8], floor: u8) -> &[u8] {
    let mut rest = octets;
    while let Some((block, behind)) = rest.split_first_chunk::<BLOCK>() {
        if !block.iter().fold(true, |clean, octet| clean & (*octet >= floor) & (*octet != 0x7f)) {
            break;
        }
        rest = behind;
    }
    rest
}

/// The first of two octets among the first `len`. What follows those may be looked at too, which saves handling a last word of odd length.
/// Eight octets at a time over the length of a usual line, where calling memchr costs more than it saves.
#[inline(always)]
pub fn first_of(one: u8, other: u8, octets: &[u8], len: usize) -> Option<usize> {
    // The lowest marked octet is zero; octets above one that is may be marked wrongly, which does not matter here.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & TOPS;
    let mut rest = octets;
    let mut passed = 0;
    while let Some((word, behind)) = rest.split_first_chunk::<WORD>().filter(|_| passed < len.min(SHORT_LINE)) {
        let word = u64::from_le_bytes(*word);
        let marks = zeros(word ^ (ONES * u64::from(one))) | zeros(word ^ (ONES * u64::from(other)));
        if marks != 0 {
            return Some(passed + marks.trailing_zeros() as usize / 8).filter(|at| *at < len);
        }
        passed += WORD;
        rest = behind;
    }
    if passed >= len { None } else { first_in_rest(one, other, &rest[..len - passed]).map(|at| passed + at) }
}

#[inline(never)]
fn first_in_rest(one: u8, other: u8, octets: &[u8]) -> Option<usize> {
    memchr::memchr2(one, other, octets)
}

/// Whether a token is a name that is known in lower case. Setting one bit makes letters lower-case and changes no other token octet into one
/// of the name, so it is a few words' comparison.
#[inline]
pub fn is_named<const N: usize>(token: &[u8], name: &[u8; N]) -> bool {
    let Ok(token) = <&[u8; N]>::try_from(token) else { return false };
    token.iter().zip(name).fold(0, |difference, (octet, known)| difference | ((octet | 0x20) ^ known)) == 0
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
        assert_eq!(count(TARGET), 256 - 33 - 1);
        assert_eq!(count(VALUE), 256 - 32 - 1 + 1);
        assert_eq!(count(QUOTED), count(VALUE) - 2);
        assert_eq!(count(HOST), 62 + 15);
        assert_eq!(count(SCHEME), 62 + 3);
        assert_eq!((0..=255u8).filter(|octet| hex_value(*octet).is_some()).count(), 22);
        assert_eq!((hex_value(b'f'), hex_value(b'F'), hex_value(b'0'), hex_value(b'g')), (Some(15), Some(15), Some(0), None));
    }

    #[test]
    fn runs_end_where_the_table_says() {
        let slow = |octets: &[u8], class| octets.iter().position(|octet| !is(*octet, class)).unwrap_or(octets.len());
        for length in [0, 1, 7, 8, 9, 31, 63, 65, 97, 130] {
            for at in 0..length {
                // The neighbours are those whose arithmetic carries: all ones, one below DEL, one above a control.
                for octet in 0..=255 {
                    for filler in [b"\xff\x7e".as_slice(), b" !~", b"aZ", b"z-", b"\t\x80"] {
                        let mut line = filler.iter().copied().cycle().take(length).collect::<Vec<u8>>();
                        line[at] = octet;
                        assert_eq!(value_len(&line), slow(&line, VALUE), "{line:?}");
                        assert_eq!(target_len(&line), slow(&line, TARGET), "{line:?}");
                        assert_eq!(token_len(&line), slow(&line, TOKEN), "{line:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn names_are_known_in_any_case() {
        assert!(is_named(b"Content-Length", b"content-length") && is_named(b"HOST", b"host") && is_named(b"te", b"te"));
        assert!(!is_named(b"Content_Length", b"content-length") && !is_named(b"hos", b"host") && !is_named(b"hosts", b"host"));
        // No other token octet becomes one of the name.
        for octet in (0..=255u8).filter(|octet| is(*octet, TOKEN)) {
            for known in (0..=255u8).filter(|octet| octet.is_ascii_lowercase() || *octet == b'-') {
                assert_eq!(is_named(&[octet], &[known]), octet.eq_ignore_ascii_case(&known), "{octet} {known}");
            }
        }
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
                    assert_eq!(first_of(b'\r', b'\n', &line, length), Some(at), "{line:?}");
                    assert_eq!(first_of(b'\r', b'\n', &line, at), None, "{line:?}");
                }
            }
            assert_eq!(first_of(b'\r', b'\n', &vec![b'x'; length], length), None);
        }
    }
}
