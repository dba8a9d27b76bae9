//! The behaviour table as README.md has it, so that the document and the test cannot disagree.

use std::path::Path;

/// Ways that `every` stands for, and what the library must be able to do for them.
pub const WAYS: [(&str, &str); 8] = [
    ("bytes", "-"),
    ("fields", "-"),
    ("many", "-"),
    ("all", "-"),
    ("packed", "packed"),
    ("stream", "stream"),
    ("file", "file"),
    ("lend", "lend"),
];

const COLUMNS: [&str; 10] = ["row", "needs", "delivery", "server", "way", "client", "calls", "sees", "events", "the host"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Lives,
    Short,
    Stopped,
    Freed,
    Quiet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    Waits,
    SendsTheRestLater,
    HalfCloses,
    Closes,
    Resets,
    ReadsLate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sees {
    Answer,
    AnswerAndEnd,
    Timeout,
    End,
    Cut,
    EndOrCut,
    Nothing,
    Length,
    Trailers,
    Empty,
    Interim,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    pub name: String,
    pub needs: String,
    pub queue_only: bool,
    pub server: Server,
    pub ways: Vec<&'static str>,
    pub client: Does,
    pub calls: Vec<String>,
    pub sees: Sees,
    pub events: Vec<String>,
}

/// Reads the table, or panics with the line that cannot be understood.
pub fn read() -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/behaviour/README.md");
    let text = std::fs::read_to_string(path).expect("the table is committed");
    let head = text.lines().find(|line| line.starts_with("| row |")).expect("the table has a head");
    assert_eq!(cells(head), COLUMNS, "the head of the table");
    let rows: Vec<Row> = text.lines().filter(|line| line.starts_with("| `")).map(row).collect();
    assert!(rows.len() >= 16, "the table has {} rows", rows.len());
    for (index, row) in rows.iter().enumerate() {
        assert!(rows[..index].iter().all(|before| before.name != row.name), "the row {} stands there twice", row.name);
    }
    rows
}

fn cells(line: &str) -> Vec<&str> {
    line.trim().trim_matches('|').split('|').map(str::trim).collect()
}

fn row(line: &str) -> Row {
    let cells = cells(line);
    assert_eq!(cells.len(), COLUMNS.len(), "a row with {} cells: {line}", cells.len());
    let unknown = |column: usize| -> ! { panic!("nobody knows what {:?} means in the column {}: {line}", cells[column], COLUMNS[column]) };
    let name = cells[0].trim_matches('`').to_string();
    let words = |column: usize| cells[column].split_whitespace().map(String::from).collect();
    Row {
        name,
        needs: cells[1].to_string(),
        queue_only: match cells[2] {
            "all" => false,
            "queue" => true,
            _ => unknown(2),
        },
        server: match cells[3] {
            "lives" => Server::Lives,
            "short" => Server::Short,
            "stopped" => Server::Stopped,
            "freed" => Server::Freed,
            "quiet" => Server::Quiet,
            _ => unknown(3),
        },
        ways: match cells[4] {
            "every" => WAYS.iter().map(|(way, _)| *way).collect(),
            "every but stream" => WAYS.iter().map(|(way, _)| *way).filter(|way| *way != "stream").collect(),
            "big" => vec!["big"],
            one => WAYS.iter().find(|(way, _)| *way == one).map(|(way, _)| vec![*way]).unwrap_or_else(|| unknown(4)),
        },
        client: match cells[5] {
            "waits" => Does::Waits,
            "sends the rest later" => Does::SendsTheRestLater,
            "half-closes" => Does::HalfCloses,
            "closes" => Does::Closes,
            "resets" => Does::Resets,
            "reads late" => Does::ReadsLate,
            _ => unknown(5),
        },
        calls: words(6),
        sees: match cells[7] {
            "answer" => Sees::Answer,
            "answer, end" => Sees::AnswerAndEnd,
            "504, end" => Sees::Timeout,
            "end" => Sees::End,
            "cut" => Sees::Cut,
            "end or cut" => Sees::EndOrCut,
            "nothing" => Sees::Nothing,
            "length" => Sees::Length,
            "trailers" => Sees::Trailers,
            "empty" => Sees::Empty,
            "interim" => Sees::Interim,
            _ => unknown(7),
        },
        events: words(8),
    }
}

impl Row {
    /// Whether these calls are those of the row: as many, in this order, each with a result that it allows.
    pub fn allows_calls(&self, calls: &[&str]) -> bool {
        calls.len() == self.calls.len()
            && self.calls.iter().zip(calls).all(|(wanted, got)| match (wanted.split_once('='), got.split_once('=')) {
                (Some((name, results)), Some((call, result))) => name == call && results.split('/').any(|one| one == result),
                _ => false,
            })
    }

    /// Whether these events are those of the row. A lent body comes back behind SENT, once.
    pub fn allows_events(&self, way: &str, events: &[&str]) -> bool {
        let mut wanted: Vec<&str> = self.events.iter().map(String::as_str).collect();
        if way == "lend" && wanted.last().is_some_and(|last| last.starts_with("SENT")) {
            wanted.push("RELEASED");
        }
        let mut events = events.iter().peekable();
        for word in wanted {
            let present = events.next_if(|event| **event == word.trim_end_matches('?')).is_some();
            if !present && !word.ends_with('?') {
                return false;
            }
        }
        events.next().is_none()
    }
}
