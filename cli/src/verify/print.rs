//! Printing a report: a line a finding, then the verdict; or one JSON object.
#![allow(clippy::print_stdout)]

use std::path::Path;

use custody::verify::report::{Finding, Level, Verdict};
use serde_json::json;

use super::Report;

pub(super) fn report(path: &Path, report: &Report, json: bool) {
    let verdict = report.verdict();
    if json {
        let value = json!({
            "format": "holdfast-verify/1",
            "path": path.display().to_string(),
            "subject": report.subject,
            "verdict": verdict,
            "exit": verdict.exit(),
            "anchor": report.anchor,
            "facts": report.facts,
            "findings": report.findings.all(),
        });
        return out(&value.to_string());
    }
    let mut lines = Vec::new();
    for (name, value) in &report.facts {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        lines.push(format!("  {:<18} {value}", name.replace('_', " ")));
    }
    lines.extend(report.findings.all().iter().map(line));
    if let Some(anchor) = &report.anchor {
        lines.push(format!("Rests on {anchor}."));
    }
    lines.push(last(path, report, verdict));
    out(&lines.join("\n"));
}

fn line(finding: &Finding) -> String {
    let level = match finding.level {
        Level::Broken => "BROKEN",
        Level::NotUnderstood => "NOT UNDERSTOOD",
        Level::Unreadable => "UNREADABLE",
        Level::Note => "note",
    };
    let end = if finding.what.ends_with('.') { "" } else { "." };
    let what = clean(&finding.what);
    format!(
        "{level}: {}: {what}{end} [{}]",
        clean(&finding.place),
        finding.code
    )
}

/// Text out of what is verified must not steer the terminal.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn last(path: &Path, report: &Report, verdict: Verdict) -> String {
    let what = format!("{} {}", report.subject, path.display());
    match verdict {
        Verdict::Valid => format!("VALID: {what} verifies, and is anchored."),
        Verdict::Unanchored => format!(
            "CONSISTENT, UNANCHORED: {what} fits together, but nothing from outside says that it \
             is the real one. Give --vkey or --checkpoint from a source that you trust."
        ),
        Verdict::Unreadable => format!(
            "UNREADABLE: {what} could not be read whole, so nothing is said of it. Read it from \
             another copy."
        ),
        Verdict::DoesNotVerify => format!("DOES NOT VERIFY: {what}; every reason stands above."),
    }
}

pub(super) fn trouble(what: &str, exit: u8, json: bool) {
    if json {
        let value = json!({"format": "holdfast-verify/1", "error": what, "exit": exit});
        return out(&value.to_string());
    }
    eprintln!("error: {what}");
}

fn out(text: &str) {
    use std::io::Write as _;
    // A reader who closes the pipe has read what he wanted.
    let _ = writeln!(std::io::stdout(), "{text}");
}
