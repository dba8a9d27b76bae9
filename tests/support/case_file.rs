//! Reads `tests/cases/*.md`: headings, rules, octets and expectations. The format is described in `tests/cases/README.md`.

/// One request as it has to be delivered; a field that is None is not compared.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    pub method: Option<Vec<u8>>,
    pub target: Option<Vec<u8>>,
    pub path: Option<Vec<u8>>,
    pub version: Option<Vec<u8>>,
    pub scheme: Option<Vec<u8>>,
    pub authority: Option<Vec<u8>>,
    /// `Some(None)`: there must be no query.
    pub query: Option<Option<Vec<u8>>>,
    pub body: Option<Vec<u8>>,
    pub body_length: Option<u64>,
    pub headers: Group,
    pub trailers: Group,
    pub pairs: Group,
    pub cookies: Group,
    /// The flag's name and whether it has to be set.
    pub flags: Vec<(String, bool)>,
    /// Fields of the answer.
    pub answer: Vec<(String, String)>,
}

/// A list of names and values: all of it, or only how many.
#[derive(Clone, Debug, Default)]
pub struct Group {
    pub items: Vec<(Vec<u8>, Vec<u8>)>,
    pub count: Option<usize>,
}

/// How the connection goes on after the last answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum After {
    #[default]
    Unsaid,
    Close,
    KeepAlive,
}

#[derive(Clone, Debug, Default)]
pub struct Case {
    /// `file.md: title`.
    pub name: String,
    pub rules: Vec<String>,
    pub octets: Vec<u8>,
    pub requests: Vec<Expected>,
    /// The statuses that a refusal may have, if there is to be one.
    pub refusal: Option<Vec<u16>>,
    pub nothing: bool,
    pub interim: bool,
    pub after: After,
}

/// All cases of one file; an error names the file, the case and the line.
pub fn read(file: &str, text: &str) -> Result<Vec<Case>, String> {
    let mut cases = Vec::new();
    let mut lines = text.lines();
    let mut current: Option<Case> = None;
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("## ") {
            cases.extend(current.take());
            current = Some(Case { name: format!("{file}: {title}"), ..Case::default() });
            continue;
        }
        let Some(case) = current.as_mut() else { continue };
        let wrong = |what: String| format!("{}: {what}", case.name);
        if let Some(rules) = line.strip_prefix("Rule: ") {
            case.rules = rules.split(',').map(|rule| rule.trim().to_string()).collect();
        } else if line == "```http" {
            if !case.octets.is_empty() {
                return Err(wrong("a case has one block".into()));
            }
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            case.octets = octets_of(&block).map_err(wrong)?;
        } else if let Some(what) = line.strip_prefix("Expect: ") {
            expect(case, what).map_err(|error| format!("{}: {error}", case.name))?;
        } else if let Some(item) = line.strip_prefix("- ") {
            let last = case.requests.last_mut().ok_or_else(|| format!("{}: an item without a request: {line}", case.name))?;
            describe(last, item).map_err(|error| format!("{}: {error}", case.name))?;
        }
    }
    cases.extend(current.take());
    for case in &cases {
        complete(case).map_err(|error| format!("{}: {error}", case.name))?;
    }
    Ok(cases)
}

fn complete(case: &Case) -> Result<(), String> {
    if case.rules.is_empty() {
        return Err("no Rule line".into());
    }
    if case.octets.is_empty() {
        return Err("no octets".into());
    }
    if case.requests.is_empty() && case.refusal.is_none() && !case.nothing {
        return Err("no expectation".into());
    }
    if case.nothing && (case.refusal.is_some() || !case.requests.is_empty()) {
        return Err("`nothing` stands alone".into());
    }
    Ok(())
}

fn octets_of(block: &[&str]) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    for line in block {
        let slashes = line.len() - line.trim_end_matches('\\').len();
        let joined = slashes % 2 == 1;
        let line = if joined { &line[..line.len() - 1] } else { line };
        octets.extend(unescape(line)?);
        if !joined {
            octets.extend_from_slice(b"\r\n");
        }
    }
    Ok(octets)
}

/// `\r \n \t \0 \\ \xNN \*N(text)`; everything else is itself and has to be ASCII.
pub fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if !first.is_ascii() {
            return Err(format!("{first:?} is not ASCII, write it as escapes"));
        }
        if first != '\\' {
            octets.push(first as u8);
            rest = &rest[1..];
            continue;
        }
        let kind = rest.chars().nth(1).ok_or("a lone backslash")?;
        let used = match kind {
            'r' | 'n' | 't' | '0' | '\\' => {
                octets.push(match kind {
                    'r' => b'\r',
                    'n' => b'\n',
                    't' => b'\t',
                    '0' => 0,
                    _ => b'\\',
                });
                2
            }
            'x' => {
                let digits = rest.get(2..4).ok_or("\\x needs two digits")?;
                octets.push(u8::from_str_radix(digits, 16).map_err(|_| format!("\\x{digits}"))?);
                4
            }
            '*' => {
                let open = rest.find('(').ok_or("\\* needs a parenthesis")?;
                let close = open + rest[open..].find(')').ok_or("\\* needs a closing parenthesis")?;
                let times: usize = rest[2..open].parse().map_err(|_| format!("\\*{}", &rest[2..open]))?;
                octets.extend(unescape(&rest[open + 1..close])?.repeat(times));
                close + 1
            }
            other => return Err(format!("unknown escape \\{other}")),
        };
        rest = &rest[used..];
    }
    Ok(octets)
}

fn expect(case: &mut Case, what: &str) -> Result<(), String> {
    let mut words = what.split(' ');
    match words.next().unwrap_or_default() {
        "accept" => {
            let mut request = Expected::default();
            if let (Some(method), Some(target), None) = (words.next(), words.next(), words.next()) {
                request.method = Some(unescape(method)?);
                request.target = Some(unescape(target)?);
            } else if what != "accept" {
                return Err(format!("`{what}`: accept, or accept METHOD TARGET"));
            }
            case.requests.push(request);
        }
        "refuse" => {
            let statuses: Result<Vec<u16>, _> = words.map(str::parse).collect();
            case.refusal = Some(statuses.map_err(|error| format!("`{what}`: {error}"))?);
        }
        "nothing" => case.nothing = true,
        "interim" => case.interim = true,
        "close" => case.after = After::Close,
        "keep-alive" => case.after = After::KeepAlive,
        _ => return Err(format!("unknown expectation `{what}`")),
    }
    Ok(())
}

fn describe(request: &mut Expected, item: &str) -> Result<(), String> {
    let (key, value) = item.split_once(':').ok_or_else(|| format!("`{item}` has no colon"))?;
    let value = value.strip_prefix(' ').unwrap_or(value);
    match key {
        "method" => request.method = Some(unescape(value)?),
        "target" => request.target = Some(unescape(value)?),
        "path" => request.path = Some(unescape(value)?),
        "version" => request.version = Some(unescape(value)?),
        "scheme" => request.scheme = Some(unescape(value)?),
        "authority" => request.authority = Some(unescape(value)?),
        "query" => request.query = Some(if value == "none" { None } else { Some(unescape(value)?) }),
        "body" => request.body = Some(unescape(value)?),
        "body-length" => request.body_length = Some(number(value)?),
        "headers" => request.headers.count = Some(number(value)?),
        "trailers" => request.trailers.count = Some(number(value)?),
        "pairs" => request.pairs.count = Some(number(value)?),
        "cookies" => request.cookies.count = Some(number(value)?),
        "header" => request.headers.items.push(pair(value)?),
        "trailer" => request.trailers.items.push(pair(value)?),
        "pair" => request.pairs.items.push(pair(value)?),
        "cookie" => request.cookies.items.push(pair(value)?),
        "flag" => match value.strip_prefix("not ") {
            Some(flag) => request.flags.push((flag.to_string(), false)),
            None => request.flags.push((value.to_string(), true)),
        },
        "answer" => {
            let (name, value) = value.split_once(" = ").ok_or_else(|| format!("`{item}` has no ` = `"))?;
            request.answer.push((name.to_string(), value.to_string()));
        }
        _ => return Err(format!("unknown item `{key}`")),
    }
    Ok(())
}

fn number<T: std::str::FromStr>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("`{value}` is no number"))
}

/// `name = value`; the name or the value may be empty.
fn pair(text: &str) -> Result<(Vec<u8>, Vec<u8>), String> {
    let spaced = format!(" {text} ");
    let (name, value) = spaced.split_once(" = ").ok_or_else(|| format!("`{text}` has no ` = `"))?;
    let name = name.strip_prefix(' ').unwrap_or(name);
    let value = value.strip_suffix(' ').unwrap_or(value);
    Ok((unescape(name)?, unescape(value)?))
}
