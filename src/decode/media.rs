//! What a body's Content-Type says that decoding has to know: a form, parts and their boundary, JSON, or something else.
#![forbid(unsafe_code)]

use super::parameters;
use super::rules::Rules;
use crate::limits::BOUNDARY_BYTES;
use crate::parse::refusal::Refusal;

const NO_BOUNDARY: Refusal = Refusal::new(400, "multipart/form-data without a boundary: send the parameter in content-type");
const BOUNDARY: Refusal = Refusal::new(400, "malformed boundary of multipart/form-data: send 1 to 70 of the characters in rfc 2046");
const PARAMETERS: Refusal = Refusal::new(400, "malformed or repeated parameter of multipart/form-data: send the boundary once");

/// See the file's first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media<'a> {
    Form,
    /// With its boundary, which is valid.
    Multipart(&'a [u8]),
    Json,
    Other,
}

/// What a Content-Type is, as far as the host wants to know. Only a form whose parts cannot be told apart is refused.
pub fn of<'a>(content_type: &'a [u8], rules: &Rules) -> Result<Media<'a>, Refusal> {
    let (essence, parameters) = parameters::split(content_type);
    if rules.form && essence.eq_ignore_ascii_case(b"application/x-www-form-urlencoded") {
        return Ok(Media::Form);
    }
    if !rules.form || !essence.eq_ignore_ascii_case(b"multipart/form-data") {
        return Ok(if rules.json && is_json(essence) { Media::Json } else { Media::Other });
    }
    let mut boundary = None;
    for parameter in parameters {
        let parameter = parameter.map_err(|()| PARAMETERS)?;
        if !parameter.name.eq_ignore_ascii_case(b"boundary") {
            continue;
        }
        if boundary.replace(parameter.value).is_some() {
            return Err(PARAMETERS);
        }
        // Without quotes it is a token, which ends at a space (RFC 9110 section 5.6.2), and readers may end it there. Other characters that
        // want quotes are often sent without.
        if !parameter.quoted && parameter.value.contains(&b' ') {
            return Err(BOUNDARY);
        }
    }
    let boundary = boundary.ok_or(NO_BOUNDARY)?;
    if is_boundary(boundary) { Ok(Media::Multipart(boundary)) } else { Err(BOUNDARY) }
}

/// `application/json`, `text/json`, and any type with the suffix (RFC 6839 section 3.1).
pub(super) fn is_json(essence: &[u8]) -> bool {
    let suffix = essence.len().checked_sub(b"+json".len()).map(|at| &essence[at..]);
    essence.eq_ignore_ascii_case(b"application/json")
        || essence.eq_ignore_ascii_case(b"text/json")
        || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case(b"+json"))
}

/// `boundary` of RFC 2046 section 5.1.1: one to seventy `bchars`, of which the last is no space.
fn is_boundary(boundary: &[u8]) -> bool {
    let is_one = |octet: &u8| octet.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(octet);
    (1..=BOUNDARY_BYTES).contains(&boundary.len()) && boundary.iter().all(is_one) && !boundary.ends_with(b" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(content_type: &[u8]) -> Result<Media<'_>, Refusal> {
        super::of(content_type, &Rules { json: true, ..Rules::default() })
    }

    fn multipart(parameters: &str) -> Result<String, u16> {
        match of(format!("multipart/form-data{parameters}").as_bytes()) {
            Ok(Media::Multipart(boundary)) => Ok(String::from_utf8_lossy(boundary).into_owned()),
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => Err(refusal.status),
        }
    }

    #[test]
    fn kinds_of_bodies() {
        assert_eq!(of(b"application/x-www-form-urlencoded"), Ok(Media::Form));
        assert_eq!(of(b"Application/X-WWW-Form-Urlencoded ; charset=utf-8"), Ok(Media::Form));
        for json in ["application/json", "text/json;charset=x", "APPLICATION/problem+JSON", "+json"] {
            assert_eq!(of(json.as_bytes()), Ok(Media::Json), "{json}");
        }
        for other in
            ["", "json", "application/jsonl", "multipart/mixed; boundary=x", "multipart/form-data2", "text/plain;a=application/json"]
        {
            assert_eq!(of(other.as_bytes()), Ok(Media::Other), "{other}");
        }
    }

    #[test]
    fn what_the_host_does_not_want_is_other() {
        let rules = Rules { form: false, ..Rules::default() };
        for unwanted in ["application/x-www-form-urlencoded", "multipart/form-data", "multipart/form-data; boundary=", "application/json"] {
            assert_eq!(super::of(unwanted.as_bytes(), &rules), Ok(Media::Other));
        }
    }

    #[test]
    fn boundaries() {
        assert_eq!(multipart("; boundary=x"), Ok("x".to_owned()));
        assert_eq!(multipart(";charset=utf-8;BOUNDARY=\"a b\""), Ok("a b".to_owned()));
        assert_eq!(multipart("; boundary= b "), Ok("b".to_owned()));
        assert_eq!(multipart("; boundary=b'()+_,-./:=?0"), Ok("b'()+_,-./:=?0".to_owned()));
        assert_eq!(multipart(&format!("; boundary={}", "b".repeat(70))), Ok("b".repeat(70)));
        let long = format!("; boundary={}", "b".repeat(71));
        for bad in [
            "",
            ";",
            "; boundary=",
            "; boundary=\"\"",
            "; boundary=\"b \"",
            "; boundary=\"b\\\"c\"",
            "; boundary=b\u{e4}",
            "; boundary=a@b",
            "; boundary=a b",
            "; boundary=a, b",
            "; boundary=a; boundary=a",
            "; boundary=a; Boundary=b",
            "; boundary",
            "; boundary=\"a",
            &long,
        ] {
            assert_eq!(multipart(bad), Err(400), "{bad}");
        }
    }
}
