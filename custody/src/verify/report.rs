//! Reports: every finding with its place and meaning, and the one verdict they lead to.

use serde::Serialize;

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Worth knowing; it changes no verdict.
    Note,
    /// It could not be read, so nothing is known of it: the world broke.
    Unreadable,
    /// It may be right, and this build cannot tell.
    NotUnderstood,
    /// It does not verify.
    Broken,
}

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it weighs.
    pub level: Level,
    /// A stable word, such as `entry.signature`.
    pub code: &'static str,
    /// Where: `entry 7`, `entries 7-9`, `tile/0/000 hash 7`, `checkpoint`.
    pub place: String,
    /// What is wrong and what that means, in a sentence.
    pub what: String,
    /// For findings about entries or hashes: the run of them, so that neighbours join.
    #[serde(skip)]
    run: Option<Run>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    noun: String,
    first: u64,
    last: u64,
}

impl Run {
    fn place(&self) -> String {
        let (one, many) = match self.noun.as_str() {
            "entry" => ("entry".to_owned(), "entries".to_owned()),
            noun => (format!("{noun} hash"), format!("{noun} hashes")),
        };
        if self.first == self.last {
            format!("{one} {}", self.first)
        } else {
            format!("{many} {}-{}", self.first, self.last)
        }
    }
}

/// What it all comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything verifies, under something that the asker brought from elsewhere.
    Valid,
    /// Everything fits together, and nothing from outside says that it is the real one.
    Unanchored,
    /// Something could not be read.
    Unreadable,
    /// Something does not verify, or is not understood.
    DoesNotVerify,
}

impl Verdict {
    /// The exit code of the `holdfast` tool.
    pub const fn exit(self) -> u8 {
        match self {
            Self::Valid => 0,
            Self::Unreadable => 1,
            Self::DoesNotVerify => 4,
            Self::Unanchored => 5,
        }
    }
}

/// The findings so far. Neighbours of the same kind are one finding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Notes something at a place.
    pub fn add(
        &mut self,
        level: Level,
        code: &'static str,
        place: impl Into<String>,
        what: impl Into<String>,
    ) {
        self.0.push(Finding {
            level,
            code,
            place: place.into(),
            what: what.into(),
            run: None,
        });
    }

    /// Notes that something does not verify.
    pub fn broken(
        &mut self,
        code: &'static str,
        place: impl Into<String>,
        what: impl Into<String>,
    ) {
        self.add(Level::Broken, code, place, what);
    }

    /// Notes something about an entry.
    pub fn entry(&mut self, level: Level, code: &'static str, index: u64, what: impl Into<String>) {
        self.run(level, code, "entry", index, index, what);
    }

    /// Notes something about entries `first` to `last`, both included.
    pub fn entries(&mut self, code: &'static str, first: u64, last: u64, what: impl Into<String>) {
        self.run(Level::Broken, code, "entry", first, last, what);
    }

    /// Notes something about one hash of a tile.
    pub fn hash(&mut self, code: &'static str, tile: &str, index: u64, what: impl Into<String>) {
        self.run(Level::Broken, code, tile, index, index, what);
    }

    fn run(
        &mut self,
        level: Level,
        code: &'static str,
        noun: &str,
        first: u64,
        last: u64,
        what: impl Into<String>,
    ) {
        let what = what.into();
        // The neighbour stands among the last few: several kinds may come in turn.
        let joins = |found: &&mut Finding| {
            let next = |run: &Run| run.noun == noun && run.last + 1 == first;
            found.level == level
                && found.code == code
                && found.what == what
                && found.run.as_ref().is_some_and(next)
        };
        if let Some(found) = self.0.iter_mut().rev().take(8).find(joins)
            && let Some(run) = &mut found.run
        {
            run.last = last;
            found.place = run.place();
            return;
        }
        let run = Run {
            noun: noun.to_owned(),
            first,
            last,
        };
        self.0.push(Finding {
            level,
            code,
            place: run.place(),
            what,
            run: Some(run),
        });
    }

    /// Adds all of another's findings, each place behind a prefix.
    pub fn take(&mut self, prefix: &str, others: Findings) {
        for mut finding in others.0 {
            if !prefix.is_empty() {
                finding.place = format!("{prefix}: {}", finding.place);
                finding.run = None;
            }
            self.0.push(finding);
        }
    }

    /// The findings, in the order in which they were made.
    pub fn all(&self) -> &[Finding] {
        &self.0
    }

    /// Whether nothing worse than a note was found.
    pub fn is_clean(&self) -> bool {
        self.0.iter().all(|finding| finding.level == Level::Note)
    }

    /// The verdict, given whether something from outside anchors it.
    pub fn verdict(&self, anchored: bool) -> Verdict {
        match self.0.iter().map(|finding| finding.level).max() {
            Some(Level::Broken | Level::NotUnderstood) => Verdict::DoesNotVerify,
            Some(Level::Unreadable) => Verdict::Unreadable,
            Some(Level::Note) | None if anchored => Verdict::Valid,
            Some(Level::Note) | None => Verdict::Unanchored,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_finding_and_the_worst_decides() {
        let mut findings = Findings::default();
        assert_eq!(findings.verdict(true), Verdict::Valid);
        assert_eq!(findings.verdict(false), Verdict::Unanchored);
        findings.entry(Level::Note, "n", 1, "so");
        assert_eq!(findings.verdict(true), Verdict::Valid);
        for index in [5, 6, 7, 9] {
            findings.entries("gone", index, index, "gone");
            findings.hash("hash", "tile/0/000", index, "differs");
        }
        let places: Vec<_> = findings.all().iter().map(|f| f.place.as_str()).collect();
        let expected = [
            "entry 1",
            "entries 5-7",
            "tile/0/000 hashes 5-7",
            "entry 9",
            "tile/0/000 hash 9",
        ];
        assert_eq!(places, expected);
        assert_eq!(findings.verdict(true).exit(), 4);
    }
}
