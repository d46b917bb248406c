//! Policies (C2SP tlog-policy): which log, which witnesses, and how many of them.

use std::collections::BTreeMap;

use super::note::{COSIGNATURE, NoteError, SignedNote, VerifierKey};

/// A policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The logs' keys.
    pub logs: Vec<VerifierKey>,
    witnesses: BTreeMap<String, VerifierKey>,
    groups: BTreeMap<String, (usize, Vec<String>)>,
    quorum: Option<String>,
}

/// What can be wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A line that is not understood.
    #[error("policy line {line} is not understood")]
    Line {
        /// Its number, from 1.
        line: usize,
    },
    /// A key that is not one.
    #[error(transparent)]
    Key(#[from] NoteError),
    /// A note that does not meet it.
    #[error("the checkpoint does not carry the cosignatures that the policy demands")]
    NoQuorum,
}

impl Policy {
    /// Reads a policy file. Every name is defined before it is used, and once.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let mut policy = Self {
            logs: Vec::new(),
            witnesses: BTreeMap::new(),
            groups: BTreeMap::new(),
            quorum: None,
        };
        let mut decided = false;
        for (at, line) in text.lines().enumerate() {
            let wrong = || PolicyError::Line { line: at + 1 };
            let words: Vec<_> = line.split_ascii_whitespace().collect();
            match words.as_slice() {
                [] => {}
                [first, ..] if first.starts_with('#') => {}
                ["log", key] | ["log", key, _] => policy.logs.push(VerifierKey::parse(key)?),
                ["witness", name, key] | ["witness", name, key, _] => {
                    let key = VerifierKey::parse(key)?;
                    if key.kind() != COSIGNATURE || policy.knows(name) {
                        return Err(wrong());
                    }
                    policy.witnesses.insert((*name).to_owned(), key);
                }
                ["group", name, needed, members @ ..] => {
                    let known = members.iter().all(|member| policy.knows(member));
                    let needed = match *needed {
                        "all" => members.len(),
                        "any" => 1,
                        number => number.parse().map_err(|_| wrong())?,
                    };
                    if !known || policy.knows(name) || needed == 0 || needed > members.len() {
                        return Err(wrong());
                    }
                    let members = members.iter().map(|m| (*m).to_owned()).collect();
                    policy.groups.insert((*name).to_owned(), (needed, members));
                }
                ["quorum", name] if !decided && (*name == "none" || policy.knows(name)) => {
                    decided = true;
                    policy.quorum = (*name != "none").then(|| (*name).to_owned());
                }
                _ => return Err(wrong()),
            }
        }
        if !decided {
            return Err(PolicyError::Line {
                line: text.lines().count(),
            });
        }
        Ok(policy)
    }

    fn knows(&self, name: &str) -> bool {
        name == "none" || self.witnesses.contains_key(name) || self.groups.contains_key(name)
    }

    /// Whether the policy demands any witness at all.
    pub const fn demands_witnesses(&self) -> bool {
        self.quorum.is_some()
    }

    /// Verifies that a note carries the cosignatures the policy demands.
    pub fn check(&self, note: &SignedNote) -> Result<(), PolicyError> {
        match &self.quorum {
            None => Ok(()),
            Some(name) if self.met(name, note) => Ok(()),
            Some(_) => Err(PolicyError::NoQuorum),
        }
    }

    fn met(&self, name: &str, note: &SignedNote) -> bool {
        if let Some(key) = self.witnesses.get(name) {
            return note.verify(key).is_ok();
        }
        self.groups.get(name).is_some_and(|(needed, members)| {
            members
                .iter()
                .filter(|member| self.met(member, note))
                .count()
                >= *needed
        })
    }
}
