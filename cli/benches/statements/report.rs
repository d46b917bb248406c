//! What is printed: Markdown tables, every round and the best of them.

use std::time::Duration;

use super::{load::Outcome, peer::Measured};

const PEER: &str = "pgbench, single-row INSERT";

/// One contender in one round.
pub struct Row {
    name: &'static str,
    round: u64,
    rate: f64,
    latencies: Vec<u32>,
    published: Option<Duration>,
    /// Microseconds a statement: the coordinator, the load generator.
    cpu: Option<(f64, f64)>,
}

impl Row {
    pub fn ours(name: &'static str, round: u64, outcome: Outcome) -> Self {
        let all = outcome.all as f64;
        Self {
            name,
            round,
            rate: outcome.rate(),
            published: Some(outcome.published),
            cpu: Some((outcome.cpu.0 / all * 1e6, outcome.cpu.1 / all * 1e6)),
            latencies: outcome.latencies,
        }
    }

    pub fn peer(round: u64, measured: Measured) -> Self {
        Self {
            name: PEER,
            round,
            rate: measured.rate,
            latencies: measured.latencies,
            published: None,
            cpu: None,
        }
    }

    /// A percentile in milliseconds.
    fn percentile(&self, part: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let at = (last as f64 * part).round() as usize;
        self.latencies
            .get(at)
            .map_or(f64::NAN, |micros| f64::from(*micros) / 1000.0)
    }
}

fn best<'a>(rows: &'a [Row], name: &str) -> Option<&'a Row> {
    let same = rows.iter().filter(|row| row.name == name);
    same.max_by(|one, other| one.rate.total_cmp(&other.rate))
}

fn line(row: &Row, peer: f64) {
    let published = row
        .published
        .map(|took| format!("{:.2}", took.as_secs_f64()));
    let cpu = row
        .cpu
        .map(|(server, load)| format!("{server:.0} + {load:.0}"));
    println!(
        "| {} | {:.0} | {:.1} | {:.1} | {} | {} | {:.2}x |",
        row.name,
        row.rate,
        row.percentile(0.5),
        row.percentile(0.99),
        published.as_deref().unwrap_or(""),
        cpu.as_deref().unwrap_or(""),
        row.rate / peer,
    );
}

/// Prints the best round of each contender, then every round.
pub fn print(rows: &[Row]) {
    let peer = best(rows, PEER).map_or(f64::NAN, |row| row.rate);
    println!("\n### Acknowledged statements, 64 writers\n");
    println!(
        "| best round | acknowledged/s | P50 ms | P99 ms | signed and public within s | CPU us \
         each: coordinator + writers | rate against pgbench |\n|---|---|---|---|---|---|---|"
    );
    let mut shown = Vec::new();
    for row in rows {
        if !shown.contains(&row.name) {
            shown.push(row.name);
            best(rows, row.name)
                .into_iter()
                .for_each(|row| line(row, peer));
        }
    }
    println!("\nEvery round, acknowledged/s (P99 ms):\n");
    for name in shown {
        let rounds = rows.iter().filter(|row| row.name == name);
        let texts: Vec<_> = rounds
            .map(|row| {
                format!(
                    "{}: {:.0} ({:.1})",
                    row.round,
                    row.rate,
                    row.percentile(0.99)
                )
            })
            .collect();
        println!("- {name}: {}", texts.join(", "));
    }
}

/// Prints what the log that was written costs to check and to start with.
pub fn print_after(entries: u64, bytes: u64, replayed: Duration, started: Duration) {
    println!(
        "\n### The coordinator with {entries} entries, a journal of {:.0} MB\n",
        bytes as f64 / 1e6
    );
    println!("| | seconds | entries/s |\n|---|---|---|");
    for (name, took) in [
        (
            "replay --check (signatures, fold, records, openings, tiles)",
            replayed,
        ),
        ("start until it accepts connections", started),
    ] {
        let seconds = took.as_secs_f64();
        println!(
            "| {name} | {seconds:.2} | {:.0} |",
            entries as f64 / seconds
        );
    }
}
