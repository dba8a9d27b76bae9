//! Parameters behind a value, `; name=value; name="value"`, as Content-Type and Content-Disposition have them.
#![forbid(unsafe_code)]

use crate::parse::octets;

/// One parameter; `value` lies in the text that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter<'a> {
    pub name: &'a [u8],
    /// Between the quotes and with its escapes if it was quoted, else without the whitespace around it.
    pub value: &'a [u8],
    pub quoted: bool,
}

/// Walks over the parameters. `Some(Err(()))` ends the walk: what follows cannot be told apart.
#[derive(Clone, Debug)]
pub struct Parameters<'a> {
    rest: &'a [u8],
}

/// The value before the first parameter, and the parameters.
pub fn split(text: &[u8]) -> (&[u8], Parameters<'_>) {
    let end = memchr::memchr(b';', text).unwrap_or(text.len());
    (octets::trim(&text[..end]), Parameters { rest: &text[end..] })
}

impl<'a> Iterator for Parameters<'a> {
    type Item = Result<Parameter<'a>, ()>;

    fn next(&mut self) -> Option<Self::Item> {
        // Empty parameters, a semicolon at the end for one, are common and harmless.
        while let [b';' | b' ' | b'\t', after @ ..] = self.rest {
            self.rest = after;
        }
        if self.rest.is_empty() {
            return None;
        }
        let found = read(self.rest);
        self.rest = found.map_or(&[], |(_, rest)| rest);
        Some(found.map(|(parameter, _)| parameter).ok_or(()))
    }
}

/// The parameter at the start, and what follows it.
fn read(text: &[u8]) -> Option<(Parameter<'_>, &[u8])> {
    let equals = memchr::memchr(b'=', text)?;
    let name = octets::trim(&text[..equals]);
    let value = trim_start(&text[equals + 1..]);
    if !octets::is_token(name) {
        return None;
    }
    let [b'"', inside @ ..] = value else {
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        let (value, rest) = value.split_at(end);
        let value = octets::trim(value);
        // A quote in the middle would have others end the value elsewhere.
        return (!value.contains(&b'"')).then_some((Parameter { name, value, quoted: false }, rest));
    };
    let end = quoted_len(inside)?;
    let rest = trim_start(&inside[end + 1..]);
    matches!(rest, [] | [b';', ..]).then_some((Parameter { name, value: &inside[..end], quoted: true }, rest))
}

/// How many octets lie before the closing quote. A backslash keeps a quote, or a backslash, from meaning what it means.
fn quoted_len(inside: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', &inside[at..])?;
        match inside[at..] {
            [b'"', ..] => return Some(at),
            [_, b'"' | b'\\', ..] => at += 2,
            // Browsers write backslashes of file names as they are.
            _ => at += 1,
        }
    }
}

fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, value, and whether it was quoted.
    type Read = Vec<(String, String, bool)>;

    fn read_all(text: &str) -> (String, Option<Read>) {
        let (value, parameters) = split(text.as_bytes());
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let read = parameters.map(|found| found.map(|found| (text(found.name), text(found.value), found.quoted)));
        (text(value), read.collect::<Result<_, ()>>().ok())
    }

    fn parameters(text: &str) -> Option<Read> {
        read_all(&format!("x;{text}")).1
    }

    fn one(name: &str, value: &str, quoted: bool) -> Option<Read> {
        Some(vec![(name.to_owned(), value.to_owned(), quoted)])
    }

    #[test]
    fn values_and_parameters() {
        assert_eq!(read_all("text/plain"), ("text/plain".to_owned(), Some(vec![])));
        assert_eq!(read_all(" a ; ; ;").1, Some(vec![]));
        assert_eq!(read_all("a;b=c").0, "a");
        assert_eq!(parameters("b=c"), one("b", "c", false));
        assert_eq!(parameters(" b = c d ;"), one("b", "c d", false));
        assert_eq!(parameters("b=\"c;d=e\""), one("b", "c;d=e", true));
        assert_eq!(parameters("b= \"\" ; "), one("b", "", true));
        assert_eq!(parameters("b="), one("b", "", false));
        assert_eq!(parameters("a=1;b=\"2\";c=3").map(|all| all.len()), Some(3));
    }

    #[test]
    fn quotes_inside_quotes() {
        assert_eq!(parameters(r#"b="c\"d""#), one("b", r#"c\"d"#, true));
        assert_eq!(parameters(r#"b="c\\";d=e"#).map(|all| all.len()), Some(2));
        assert_eq!(parameters(r#"b="C:\dir\file""#), one("b", r"C:\dir\file", true));
        for malformed in ["b", "b=\"", "b=\"c\\\"", "b=\"c\"d", "b=c\"d", "=c", "b d=c", "!!!invalid@!!!=x", "b=\"c\" d=e"] {
            assert_eq!(parameters(malformed), None, "{malformed}");
        }
    }
}
