//! All printing. Results go to standard output, everything else to standard error.
//!
//! A command hands over a [`View`]; here it becomes JSON with `--json`, a table on a terminal and
//! plain aligned text elsewhere. `cli/JSON.md` lists what each view holds; its fields are a
//! promise to those who script.

pub mod act;
pub mod ask;
pub mod claim;
pub mod clearance;
pub mod finding;
pub mod held;
pub mod hold;
pub mod ledger;
pub mod mechanism;
pub mod media;
pub mod next;
pub mod order;
pub mod people;
pub mod place;
pub mod progress;
pub mod release;
pub mod request;
pub mod snapshot;
pub mod text;
pub mod underway;
pub mod word;

use std::io::{IsTerminal as _, Write as _};

use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use serde::Serialize;
use serde_json::Value;

use crate::{args::Global, exit::Trouble, session::Said};

/// Something that can be shown in a list and on its own.
pub trait View: Serialize {
    /// Under which name a list of them stands in JSON.
    const PLURAL: &'static str;
    /// The columns of a list.
    const COLUMNS: &'static [&'static str];

    /// Its row in a list, one cell a column.
    fn row(&self, screen: &Screen) -> Vec<String>;

    /// What is shown of it alone, line by line.
    fn lines(&self, screen: &Screen) -> Vec<(&'static str, String)> {
        Self::COLUMNS
            .iter()
            .copied()
            .zip(self.row(screen))
            .collect()
    }
}

/// Where results go.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    json: bool,
    terminal: bool,
}

impl Screen {
    /// The screen that the command line asks for.
    pub fn new(global: &Global) -> Self {
        Self {
            json: global.json,
            terminal: std::io::stdout().is_terminal(),
        }
    }

    /// Whether results are JSON.
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// An id: short on a terminal, whole elsewhere, so that scripts never see half of one.
    pub fn id(&self, id: &impl ToString) -> String {
        let id = id.to_string();
        if self.terminal { text::short(&id) } else { id }
    }

    /// Prints text as it is.
    pub fn raw(&self, text: &str) {
        // Who closed the pipe has read enough.
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
    }

    /// Prints a value as JSON.
    pub fn value(&self, value: &impl Serialize) {
        let text = serde_json::to_string_pretty(value).unwrap_or_default();
        self.raw(&format!("{text}\n"));
    }

    /// Prints a list.
    pub fn list<V: View>(&self, views: &[V]) {
        if self.json {
            return self.value(&serde_json::json!({ V::PLURAL: views }));
        }
        let rows: Vec<_> = views.iter().map(|view| view.row(self)).collect();
        if rows.is_empty() {
            self.note("Nothing to list.");
            return;
        }
        self.table(V::COLUMNS, &rows);
    }

    /// Prints one thing.
    pub fn one<V: View>(&self, view: &V) {
        if self.json {
            return self.value(view);
        }
        self.pairs(&view.lines(self));
    }

    /// Prints what a command changed: the thing as it is now, and the entries that say so.
    pub fn changed<V: View>(&self, view: &V, said: &[Said]) {
        if !self.json {
            self.pairs(&view.lines(self));
        }
        self.recorded(view, said);
    }

    /// With `--json`, prints any value with the entries that say so under `recorded`.
    pub fn recorded(&self, value: &impl Serialize, said: &[Said]) {
        let indices: Vec<_> = said.iter().map(|said| said.index).collect();
        if self.json {
            let mut value = serde_json::to_value(value).unwrap_or_default();
            if let Value::Object(map) = &mut value {
                map.insert("recorded".to_owned(), indices.into());
            }
            self.value(&value);
        } else {
            let indices: Vec<_> = indices.iter().map(ToString::to_string).collect();
            match indices.as_slice() {
                [] => {}
                [one] => self.note(&format!("Recorded as entry {one}.")),
                many => self.note(&format!("Recorded as entries {}.", many.join(", "))),
            }
        }
    }

    /// Prints a table: drawn on a terminal, plain and aligned elsewhere.
    pub fn table(&self, head: &[&str], rows: &[Vec<String>]) {
        if self.terminal {
            let mut table = Table::new();
            table
                .load_style(NOTHING)
                .set_content_arrangement(ContentArrangement::Dynamic)
                .set_header(head.iter().map(|cell| cell.to_uppercase()));
            for row in rows {
                table.add_row(row.iter().map(|cell| text::plain(cell)));
            }
            return self.raw(&format!("{table}\n"));
        }
        let head: Vec<_> = head.iter().map(|cell| cell.to_uppercase()).collect();
        let mut widths: Vec<_> = head.iter().map(|cell| cell.chars().count()).collect();
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(text::plain(cell).chars().count());
            }
        }
        let mut out = String::new();
        for row in std::iter::once(&head).chain(rows) {
            let cells = row.iter().zip(&widths);
            let line: Vec<_> = cells
                .map(|(cell, width)| format!("{:<width$}", text::plain(cell)))
                .collect();
            out.push_str(line.join("  ").trim_end());
            out.push('\n');
        }
        self.raw(&out);
    }

    /// Prints names and values, line by line.
    pub fn pairs(&self, pairs: &[(&str, String)]) {
        let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut out = String::new();
        for (name, value) in pairs {
            let mut lines = value.split('\n');
            let first = text::plain(lines.next().unwrap_or_default());
            out.push_str(format!("{name:<width$}  {first}").trim_end());
            out.push('\n');
            for line in lines {
                let line = text::plain(line);
                out.push_str(&format!("{:<width$}  {line}\n", ""));
            }
        }
        self.raw(&out);
    }

    /// Says something beside the result; silent with `--json`.
    pub fn note(&self, text: &str) {
        if !self.json {
            ask::tell(text);
        }
    }
}

/// Says what went wrong, on standard error.
pub fn trouble(trouble: &Trouble, json: bool) {
    if json {
        let value = serde_json::json!({"error": {
            "rule": trouble.rule, "message": trouble.message, "exit": trouble.exit as u8,
        }});
        ask::tell(&value.to_string());
    } else {
        ask::tell(&format!("holdfast: {}", text::plain(&trouble.message)));
    }
}
