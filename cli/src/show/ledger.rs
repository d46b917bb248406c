//! Entries of the log.

use custody::{
    ledger::entry::Entry,
    statement::{Author, Statement},
};
use serde::Serialize;
use serde_json::Value;

use super::{Screen, View, text};

/// One entry.
#[derive(Clone, Debug, Serialize)]
pub struct EntryView {
    /// Its place.
    pub index: u64,
    /// When the coordinator received it, in milliseconds since 1970; the log does not prove it.
    pub received_unix_ms: i64,
    /// Its leaf hash.
    pub leaf: String,
    /// What it says, in a word; `not-understood` for what this tool does not know.
    pub kind: String,
    /// Who says it.
    pub author: Option<Value>,
    /// When its author says it was made.
    pub time: Option<String>,
    /// The statement.
    pub statement: Value,
    /// The entry, verbatim; in `ledger entry` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
}

impl EntryView {
    /// Reads an entry, verbatim or without its bytes.
    pub fn read(index: u64, received_unix_ms: i64, entry: &Entry, verbatim: bool) -> Self {
        let known = entry.statement().ok();
        let raw = serde_json::from_str(entry.text()).unwrap_or(Value::Null);
        Self {
            index,
            received_unix_ms,
            leaf: entry.leaf_hash().to_string(),
            kind: known
                .as_ref()
                .map_or("not-understood", |s| s.body.kind())
                .to_owned(),
            author: known.as_ref().map(author),
            time: known.as_ref().map(|s| s.time.to_string()),
            statement: raw,
            entry: verbatim.then(|| String::from_utf8_lossy(entry.bytes()).into_owned()),
        }
    }
}

fn author(statement: &Statement) -> Value {
    serde_json::to_value(statement.author).unwrap_or(Value::Null)
}

fn who(screen: &Screen, author: Option<&Value>) -> String {
    let author: Option<Author> = author.and_then(|a| serde_json::from_value(a.clone()).ok());
    match author {
        Some(Author::Person(id)) => screen.id(&id),
        Some(Author::Agent(id)) => screen.id(&id),
        Some(Author::Coordinator) => "coordinator".to_owned(),
        None => "?".to_owned(),
    }
}

impl View for EntryView {
    const PLURAL: &'static str = "entries";
    const COLUMNS: &'static [&'static str] = &["entry", "claimed time", "author", "kind"];

    fn row(&self, screen: &Screen) -> Vec<String> {
        let time = self.time.as_ref().and_then(|text| text.parse().ok());
        vec![
            self.index.to_string(),
            time.map_or_else(|| "-".to_owned(), |time| text::time(&time)),
            who(screen, self.author.as_ref()),
            self.kind.clone(),
        ]
    }

    fn lines(&self, screen: &Screen) -> Vec<(&'static str, String)> {
        let mut lines: Vec<_> = Self::COLUMNS
            .iter()
            .copied()
            .zip(self.row(screen))
            .collect();
        let received = custody::time::Time::from_millis(self.received_unix_ms);
        lines.push(("received", text::time(&received)));
        lines.push(("leaf", self.leaf.clone()));
        let statement = serde_json::to_string_pretty(&self.statement).unwrap_or_default();
        lines.push(("statement", statement));
        lines
    }
}
