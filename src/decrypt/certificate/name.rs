//! Distinguished names as text (RFC 4514), the last part first, as `openssl x509 -nameopt RFC2253,-esc_msb` writes them.
#![forbid(unsafe_code)]

use super::{Text, element};
use std::fmt::Write;
use x509_parser::asn1_rs::{Any, Class};

/// Attribute types that are written by name: those of RFC 4514 section 3, then those that are registered besides and common in
/// certificates (RFC 4519, RFC 2985). The key is the type's encoding.
const SHORT_NAMES: [(&[u8], &str); 24] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 9], "STREET"),
    (&[9, 0x92, 0x26, 0x89, 0x93, 0xF2, 0x2C, 0x64, 1, 25], "DC"),
    (&[9, 0x92, 0x26, 0x89, 0x93, 0xF2, 0x2C, 0x64, 1, 1], "UID"),
    (&[0x55, 4, 4], "sn"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x55, 4, 12], "title"),
    (&[0x55, 4, 13], "description"),
    (&[0x55, 4, 15], "businessCategory"),
    (&[0x55, 4, 17], "postalCode"),
    (&[0x55, 4, 20], "telephoneNumber"),
    (&[0x55, 4, 41], "name"),
    (&[0x55, 4, 42], "givenName"),
    (&[0x55, 4, 43], "initials"),
    (&[0x55, 4, 44], "generationQualifier"),
    (&[0x55, 4, 46], "dnQualifier"),
    (&[0x55, 4, 65], "pseudonym"),
    (&[0x55, 4, 97], "organizationIdentifier"),
    (&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 9, 1], "emailAddress"),
];

/// Whether an element is of this type.
pub fn is_universal(any: &Any, tag: u32, constructed: bool) -> bool {
    any.class() == Class::Universal && any.tag().0 == tag && any.header.is_constructed() == constructed
}

/// Writes a Name in DER as text. `None` if it is malformed or too large; x509-parser would leave out what stands behind the first fault.
pub fn write(der: &[u8], text: &mut Text) -> Option<()> {
    let mut rest = der;
    let (name, _) = element(&mut rest)?;
    if !rest.is_empty() || !is_universal(&name, 16, true) {
        return None;
    }
    let mut between: &[u8] = b"";
    for set in reversed(name.data)? {
        if !is_universal(&set.0, 17, true) || set.0.data.is_empty() {
            return None;
        }
        for attribute in reversed(set.0.data)? {
            text.add(between)?;
            if !is_universal(&attribute.0, 16, true) {
                return None;
            }
            write_attribute(attribute.0.data, text)?;
            between = b"+";
        }
        between = b",";
    }
    Some(())
}

/// The elements of a sequence or set, the last first (RFC 4514 section 2.1), each with its octets.
fn reversed(data: &[u8]) -> Option<Vec<(Any<'_>, &[u8])>> {
    let (mut rest, mut elements) = (data, Vec::new());
    while !rest.is_empty() {
        elements.try_reserve(1).ok()?;
        elements.push(element(&mut rest)?);
    }
    elements.reverse();
    Some(elements)
}

/// Type and value (RFC 4514 section 2.3).
fn write_attribute(data: &[u8], text: &mut Text) -> Option<()> {
    let mut rest = data;
    let (kind, _) = element(&mut rest)?;
    let (value, whole) = element(&mut rest)?;
    if !rest.is_empty() || !is_universal(&kind, 6, false) {
        return None;
    }
    let short = SHORT_NAMES.iter().find(|(octets, _)| *octets == kind.data);
    match short {
        Some((_, name)) => text.add(name.as_bytes())?,
        None => dotted(kind.data, text)?,
    }
    text.add(b"=")?;
    match decoded(&value).filter(|_| short.is_some()) {
        Some(characters) => write_value(&characters, text),
        // A type without a name, or a value that is no text: its octets (RFC 4514 section 2.4).
        None => text.add(b"#").and_then(|()| text.hexadecimal(b"", whole)),
    }
}

/// The numbers of an object identifier with dots between them. `None` if it is malformed, or a number needs more than 63 bits.
pub fn dotted(octets: &[u8], text: &mut Text) -> Option<()> {
    let (mut number, mut fresh, mut first) = (0u64, true, true);
    for octet in octets {
        // Leading zeros are not allowed (X.690 section 8.19.2).
        if number >= 1 << 56 || (fresh && *octet == 0x80) {
            return None;
        }
        number = number << 7 | u64::from(octet & 0x7F);
        fresh = octet & 0x80 == 0;
        if !fresh {
            continue;
        }
        if first {
            // The first two numbers share one (X.690 section 8.19.4).
            let root = (number / 40).min(2);
            write!(text, "{root}.{}", number - root * 40).ok()?;
        } else {
            write!(text, ".{number}").ok()?;
        }
        (number, first) = (0, false);
    }
    (fresh && !first).then_some(())
}

/// The characters of a value; `None` if it is no string, or not of the characters that its type has.
fn decoded(value: &Any) -> Option<String> {
    if value.class() != Class::Universal || value.header.is_constructed() {
        return None;
    }
    let data = value.data;
    let mut characters = String::new();
    characters.try_reserve(data.len() * 2).ok()?;
    match value.tag().0 {
        // UTF8String.
        12 => characters.push_str(std::str::from_utf8(data).ok()?),
        // NumericString, PrintableString, IA5String, VisibleString; and TeletexString, which has no meaning beyond ASCII that all agree on.
        18 | 19 | 20 | 22 | 26 if data.is_ascii() => characters.push_str(std::str::from_utf8(data).ok()?),
        // UniversalString.
        28 if data.len() % 4 == 0 => {
            for octets in data.chunks_exact(4) {
                characters.push(char::from_u32(u32::from_be_bytes(octets.try_into().ok()?))?);
            }
        }
        // BMPString, which has no surrogates.
        30 if data.len() % 2 == 0 => {
            for octets in data.chunks_exact(2) {
                characters.push(char::from_u32(u32::from(u16::from_be_bytes(octets.try_into().ok()?)))?);
            }
        }
        _ => return None,
    }
    Some(characters)
}

/// A value with what must be escaped, and every control character, escaped (RFC 4514 section 2.4).
fn write_value(value: &str, text: &mut Text) -> Option<()> {
    let last = value.chars().next_back().map_or(0, |last| value.len() - last.len_utf8());
    for (at, character) in value.char_indices() {
        let mut octets = [0; 4];
        let octets = character.encode_utf8(&mut octets).as_bytes();
        match character {
            ' ' if at == 0 || at == last => text.add(b"\\ ")?,
            '#' if at == 0 => text.add(b"\\#")?,
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => text.add(b"\\").and_then(|()| text.add(octets))?,
            _ if character.is_control() => text.hexadecimal(b"\\", octets)?,
            _ => text.add(octets)?,
        }
    }
    Some(())
}
