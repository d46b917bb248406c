//! Scopes: what an order or a claim names, and whether a place lies inside it.

use serde::{Deserialize, Serialize};

use crate::{
    commit::Commitment,
    id::{AgentId, ItemId},
};

/// How an item is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Selector {
    /// A whole storage server.
    Server,
    /// A path on one server.
    Path,
    /// A customer's account, wherever its folders lie.
    Account,
    /// The SHA-256 of a file, wherever it lies.
    Hash,
}

/// Whether an item is named in or out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// Inside.
    Include,
    /// Outside, even where another item includes it.
    Exclude,
}

/// One item of a scope. What it names stands in the openings, never here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopeItem {
    /// Its id.
    pub item: ItemId,
    /// In or out.
    pub rule: Rule,
    /// How it is named.
    pub selector: Selector,
    /// On which server; absent: on any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// The path, account or hash; absent for a server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Commitment>,
}

/// Whether `path` is `place` or lies below it. Both are absolute, raw bytes, `/`-joined.
pub fn covers(place: &[u8], path: &[u8]) -> bool {
    let place = place.strip_suffix(b"/").unwrap_or(place);
    match path.strip_prefix(place) {
        Some(rest) => rest.is_empty() || rest[0] == b'/',
        None => false,
    }
}

/// Whether one of the two places lies in the other.
pub fn overlap(one: &[u8], other: &[u8]) -> bool {
    covers(one, other) || covers(other, one)
}

/// Whether a path is one that a person may name: absolute, no empty, `.` or `..` parts,
/// no NUL, at most 4,096 bytes.
pub fn is_plain_path(path: &[u8]) -> bool {
    let Some(rest) = path.strip_prefix(b"/") else {
        return false;
    };
    path.len() <= 4096
        && !path.contains(&0)
        && (rest.is_empty()
            || rest
                .split(|&b| b == b'/')
                .all(|part| !matches!(part, b"" | b"." | b"..")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_covers_itself_and_what_lies_below_and_no_namesake() {
        assert!(covers(b"/srv/a", b"/srv/a"));
        assert!(covers(b"/srv/a", b"/srv/a/b"));
        assert!(covers(b"/", b"/srv"));
        assert!(!covers(b"/srv/a", b"/srv/ab"));
        assert!(!covers(b"/srv/a/b", b"/srv/a"));
        assert!(overlap(b"/srv/a/b", b"/srv/a"));
    }

    #[test]
    fn a_path_that_climbs_is_not_plain() {
        assert!(is_plain_path(b"/srv/a"));
        for path in [
            &b"srv"[..],
            b"/srv/../etc",
            b"/srv//a",
            b"/srv/./a",
            b"/a\0b",
            b"",
        ] {
            assert!(!is_plain_path(path), "{path:?}");
        }
    }
}
