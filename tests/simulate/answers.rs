//! Reads answers as a client does, by RFC 9112 section 6.3 alone and without the library's parser.

/// One final answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// The request that it says it is for.
    pub id: Option<u32>,
    pub body: Vec<u8>,
    pub trailers: Vec<u8>,
    pub closes: bool,
}

/// How a connection's octets ended, for one that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Open,
    Finished,
    Reset,
}

/// What has been read of one connection.
#[derive(Debug, Default)]
pub struct Reader {
    octets: Vec<u8>,
    at: usize,
    pub answers: Vec<Answer>,
    pub interim: u64,
    /// Nothing may follow.
    pub over: bool,
}

enum Found {
    More,
    Interim(usize),
    Final(Answer, usize),
}

impl Reader {
    /// Takes octets, and reads the answers that are complete now. `is_head` says which answer has no body.
    pub fn take(&mut self, octets: &[u8], end: End, is_head: impl Fn(usize) -> bool) -> Result<(), String> {
        self.octets.extend_from_slice(octets);
        while self.at < self.octets.len() {
            if self.over && is_head(self.answers.len() - 1) && self.answers.last().is_some_and(|last| last.id.is_none()) {
                // Refused before the server knew that it was HEAD, with the octets of a body behind it. Nobody reads on after that.
                self.at = self.octets.len();
                return Ok(());
            }
            if self.over {
                return Err(format!("octets behind the last answer: {}", shown(&self.octets[self.at..])));
            }
            match next(&self.octets[self.at..], end, is_head(self.answers.len()))? {
                Found::More => return Ok(()),
                Found::Interim(used) => {
                    self.interim += 1;
                    self.at += used;
                }
                Found::Final(answer, used) => {
                    self.at += used;
                    self.over = answer.closes;
                    self.answers.push(answer);
                }
            }
        }
        Ok(())
    }

    /// Octets of an answer that is not complete.
    pub fn has_rest(&self) -> bool {
        self.at < self.octets.len()
    }
}

fn next(octets: &[u8], end: End, is_head: bool) -> Result<Found, String> {
    let Some(head_end) = find(octets, b"\r\n\r\n") else { return Ok(Found::More) };
    let head = &octets[..head_end];
    let mut lines = head.split(|octet| *octet == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let first = lines.next().unwrap_or(b"");
    let status = first.strip_prefix(b"HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|digits| number(digits, 10));
    let Some(status) = status else { return Err(format!("no status line: {}", shown(first))) };
    let (mut length, mut chunked, mut closes, mut id) = (None, false, false, None);
    for line in lines {
        let Some(colon) = line.iter().position(|octet| *octet == b':') else { return Err(format!("no field: {}", shown(line))) };
        let (name, value) = (line[..colon].to_ascii_lowercase(), line[colon + 1..].trim_ascii());
        match name.as_slice() {
            b"content-length" if length.is_some() => return Err("two lengths".into()),
            b"content-length" => length = Some(number(value, 10).ok_or("a length that is none")? as usize),
            b"transfer-encoding" => chunked = value == b"chunked",
            b"connection" => closes |= value == b"close",
            b"x-id" => id = number(value, 10).map(|id| id as u32),
            _ => {}
        }
    }
    let behind = head_end + 4;
    if status < 200 {
        return Ok(Found::Interim(behind));
    }
    if length.is_some() && chunked {
        return Err("an answer with two framings".into());
    }
    let mut answer = Answer { status: status as u16, id, body: Vec::new(), trailers: Vec::new(), closes };
    if is_head || status == 204 || status == 304 {
        return Ok(Found::Final(answer, behind));
    }
    let rest = &octets[behind..];
    if chunked {
        let Some((body, trailers, used)) = dechunk(rest)? else { return Ok(Found::More) };
        (answer.body, answer.trailers) = (body, trailers);
        return Ok(Found::Final(answer, behind + used));
    }
    if let Some(length) = length {
        if rest.len() < length {
            return Ok(Found::More);
        }
        answer.body = rest[..length].to_vec();
        return Ok(Found::Final(answer, behind + length));
    }
    if !closes {
        return Err("an answer without an end".into());
    }
    if end != End::Finished {
        return Ok(Found::More);
    }
    answer.body = rest.to_vec();
    Ok(Found::Final(answer, octets.len()))
}

type Dechunked = (Vec<u8>, Vec<u8>, usize);

fn dechunk(octets: &[u8]) -> Result<Option<Dechunked>, String> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = find(&octets[at..], b"\r\n") else { return Ok(None) };
        let size = number(&octets[at..at + line], 16).ok_or_else(|| format!("no chunk size: {}", shown(&octets[at..at + line])))? as usize;
        at += line + 2;
        if size == 0 {
            let from = at;
            loop {
                let Some(line) = find(&octets[at..], b"\r\n") else { return Ok(None) };
                at += line + 2;
                if line == 0 {
                    return Ok(Some((body, octets[from..at - 2].to_vec(), at)));
                }
            }
        }
        if octets.len() < at + size + 2 {
            return Ok(None);
        }
        if octets[at + size..at + size + 2] != *b"\r\n" {
            return Err("a chunk that does not end where it says".into());
        }
        body.extend_from_slice(&octets[at..at + size]);
        at += size + 2;
    }
}

fn number(digits: &[u8], radix: u32) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

fn find(octets: &[u8], wanted: &[u8]) -> Option<usize> {
    octets.windows(wanted.len()).position(|window| window == wanted)
}

/// The beginning of octets, for people.
pub fn shown(octets: &[u8]) -> String {
    octets[..octets.len().min(80)].escape_ascii().to_string()
}
