//! Compares what was seen of a case with what it expects.

use crate::support::case_file::{After, Case, Expected, Group};
use crate::support::client::Answer;
use crate::support::request_view::{Delivered, Pairs};
use ingest::request::*;

/// Everything that can be seen of one connection from outside, and what was delivered inside.
#[derive(Debug, Default)]
pub struct Seen {
    pub delivered: Vec<Delivered>,
    pub answers: Vec<Answer>,
    pub interims: Vec<u16>,
    /// A request of our own followed the case.
    pub probed: bool,
    /// The server read each part before the next one was sent.
    pub each_part_was_read: bool,
}

/// What the test's host answers: the method and the target, so that answers in the wrong order are seen.
pub fn answer_to(request: &Delivered) -> Vec<u8> {
    [&request.method[..], b" ", &request.target[..]].concat()
}

pub fn check(case: &Case, cuts: &[usize], seen: &Seen) -> Result<(), String> {
    let requests = case.requests.len() + usize::from(seen.probed);
    if seen.delivered.len() != requests {
        let what: Vec<_> = seen.delivered.iter().map(|each| show(&answer_to(each))).collect();
        let statuses: Vec<_> = seen.answers.iter().map(|answer| (answer.status, answer.text())).collect();
        return Err(format!("{} requests delivered instead of {requests}: {what:?}, answers {statuses:?}", what.len()));
    }
    let answers = requests + usize::from(case.refusal.is_some());
    if seen.answers.len() != answers && !(case.nothing && seen.answers.iter().all(|answer| answer.status >= 400)) {
        return Err(format!("{} answers instead of {answers}", seen.answers.len()));
    }
    for (index, delivered) in seen.delivered.iter().enumerate() {
        let answer = &seen.answers[index];
        let wrong = |error: String| format!("request {}: {error}", index + 1);
        answered(delivered, answer).map_err(wrong)?;
        if let Some(expected) = case.requests.get(index) {
            request(expected, delivered, answer).map_err(wrong)?;
        }
    }
    if let Some(statuses) = &case.refusal {
        refused(statuses, seen.answers.last())?;
    }
    persistence(case, seen)?;
    interims(case, cuts, seen)
}

fn answered(delivered: &Delivered, answer: &Answer) -> Result<(), String> {
    if answer.status != 200 {
        return Err(format!("answered {}", answer.status));
    }
    let body = answer_to(delivered);
    let length = answer.header("content-length").unwrap_or_default();
    if length != body.len().to_string() {
        return Err(format!("Content-Length {length} for {} octets", body.len()));
    }
    if delivered.method != b"HEAD" && answer.body != body {
        return Err(format!("the answer is {:?}, it belongs to another request", show(&answer.body)));
    }
    Ok(())
}

fn refused(statuses: &[u16], answer: Option<&Answer>) -> Result<(), String> {
    let Some(answer) = answer else { return Err("no refusal".into()) };
    if !statuses.contains(&answer.status) {
        return Err(format!("refused with {} ({}) instead of {statuses:?}", answer.status, answer.text().trim()));
    }
    if !answer.says_close() {
        return Err("the refusal does not say close".into());
    }
    let text = answer.text();
    if text.trim_end().is_empty() || text.trim_end().contains('\n') {
        return Err(format!("the refusal's body is not one line: {text:?}"));
    }
    Ok(())
}

fn persistence(case: &Case, seen: &Seen) -> Result<(), String> {
    let count = seen.answers.len();
    for (index, answer) in seen.answers.iter().enumerate() {
        let last = index + 1 == count;
        let must_close = last && (case.after == After::Close || case.refusal.is_some());
        let may_close = last && case.after == After::Unsaid;
        if must_close && !answer.says_close() {
            return Err(format!("answer {} does not say close", index + 1));
        }
        if !must_close && !may_close && answer.says_close() {
            return Err(format!("answer {} says close", index + 1));
        }
    }
    Ok(())
}

/// `100 Continue` comes exactly when a cut lies right behind a head, so that the server sees no octet of the body yet.
fn interims(case: &Case, cuts: &[usize], seen: &Seen) -> Result<(), String> {
    if seen.interims.iter().any(|status| *status != 100) {
        return Err(format!("interim answers {:?}", seen.interims));
    }
    let head_end = case.octets.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |at| at + 4);
    let wanted = usize::from(case.interim && cuts.contains(&head_end));
    let got = seen.interims.len();
    if got == wanted || (got < wanted && !seen.each_part_was_read) {
        return Ok(());
    }
    Err(format!("100 Continue came {got} times instead of {wanted}"))
}

fn request(expected: &Expected, got: &Delivered, answer: &Answer) -> Result<(), String> {
    let version = format!("HTTP/{}.{}", got.http_version / 10, got.http_version % 10);
    octets("method", expected.method.as_deref(), &got.method)?;
    octets("target", expected.target.as_deref(), &got.target)?;
    octets("path", expected.path.as_deref(), &got.path)?;
    octets("version", expected.version.as_deref(), version.as_bytes())?;
    octets("scheme", expected.scheme.as_deref(), &got.scheme)?;
    octets("authority", expected.authority.as_deref(), &got.authority)?;
    octets("body", expected.body.as_deref(), &got.body)?;
    if expected.query.as_ref().is_some_and(|wanted| *wanted != got.query) {
        return Err(format!("query is {:?}", got.query.as_deref().map(show)));
    }
    if got.body_len != got.body.len() as u64 || expected.body_length.is_some_and(|wanted| wanted != got.body_len) {
        return Err(format!("body_len is {}, the body has {} octets", got.body_len, got.body.len()));
    }
    group("headers", &expected.headers, &got.headers)?;
    group("trailers", &expected.trailers, &got.trailers)?;
    group("query pairs", &expected.pairs, &got.query_pairs)?;
    group("cookies", &expected.cookies, &got.cookies)?;
    for (name, set) in &expected.flags {
        if (got.flags & flag(name)? != 0) != *set {
            return Err(format!("flag {name} is {}", !set));
        }
    }
    for (name, value) in &expected.answer {
        if answer.header(name) != Some(value) {
            return Err(format!("the answer's {name} is {:?} instead of {value:?}", answer.header(name)));
        }
    }
    Ok(())
}

fn octets(name: &str, expected: Option<&[u8]>, got: &[u8]) -> Result<(), String> {
    match expected {
        Some(wanted) if wanted != got => Err(format!("{name} is {:?} instead of {:?}", show(got), show(wanted))),
        _ => Ok(()),
    }
}

fn group(name: &str, expected: &Group, got: &Pairs) -> Result<(), String> {
    if expected.count.is_some_and(|count| count != got.len()) || (!expected.items.is_empty() && expected.items != *got) {
        let got: Vec<_> = got.iter().take(12).map(|(name, value)| (show(name), show(value))).collect();
        return Err(format!("{name} are {got:?}"));
    }
    Ok(())
}

fn flag(name: &str) -> Result<u32, String> {
    Ok(match name {
        "keep-alive" => INGEST_REQUEST_KEEP_ALIVE,
        "head" => INGEST_REQUEST_HEAD,
        "encoded-slash" => INGEST_REQUEST_PATH_HAS_ENCODED_SLASH,
        "encoded-nul" => INGEST_REQUEST_PATH_HAS_ENCODED_NUL,
        "malformed-escape" => INGEST_REQUEST_PATH_HAS_MALFORMED_ESCAPE,
        "chunked" => INGEST_REQUEST_CHUNKED,
        "expects-continue" => INGEST_REQUEST_EXPECTS_CONTINUE,
        _ => return Err(format!("unknown flag `{name}`")),
    })
}

fn show(octets: &[u8]) -> String {
    octets.iter().take(200).map(|octet| char::from(*octet)).collect()
}
