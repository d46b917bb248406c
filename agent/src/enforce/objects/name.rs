//! Names: between the absolute paths that orders speak of and the keys of a bucket.
//!
//! A store's `path` stands for its `prefix`; below it, keys are spelled as paths. A target is the
//! object with exactly that key, and every object below it as if `/` made folders: `alice` is
//! never `alice2`. Keys that no path can spell (`a//b`, `../x`) are reached through the part of
//! them that can be spelled.

use std::{
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use custody::house::scope::{covers, is_plain_path};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

use super::settings::StoreConfig;

/// Where the object lies on which a store proves that it enforces; never part of a target.
pub const PROOFS: &str = ".holdfast-proof/";
/// What stands between a key and the id of a version that is not the current one.
const VERSION: &str = "?versionId=";
/// What begins the path of a key that no plain path can spell.
const ODD: &str = "?key=";

/// A target in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The target's path.
    pub path: PathBuf,
    /// The store's path.
    pub store: PathBuf,
    /// The store's prefix.
    prefix: String,
    /// The object that the target itself may be; none for a whole store.
    pub exact: Option<String>,
    /// What all other keys of it begin with.
    pub below: String,
}

impl Name {
    /// A target by its path; none where it is not one of this store.
    pub fn new(config: &StoreConfig, path: &Path) -> Option<Self> {
        let bytes = path.as_os_str().as_bytes();
        if !is_plain_path(bytes) || !covers(config.path_bytes(), bytes) {
            return None;
        }
        let inside = bytes.strip_prefix(config.path_bytes())?;
        let inside = std::str::from_utf8(inside).ok()?;
        let prefix = config.prefix.clone();
        let (exact, below) = match inside.strip_prefix('/') {
            None => (None, prefix.clone()),
            Some(inside) => {
                let key = format!("{prefix}{inside}");
                (Some(key.clone()), format!("{key}/"))
            }
        };
        let proofs = format!("{prefix}{PROOFS}");
        (!below.starts_with(&proofs)).then(|| Self {
            path: path.components().collect(),
            store: config.path.clone(),
            prefix,
            exact,
            below,
        })
    }

    /// Whether a key is of this target.
    pub fn has(&self, key: &str) -> bool {
        let own = key
            .strip_prefix(self.prefix.as_str())
            .is_some_and(|rest| rest.starts_with(PROOFS));
        !own && (self.exact.as_deref() == Some(key) || key.starts_with(&self.below))
    }

    /// The key on which the store proves that it enforces, for one target.
    pub fn proof_key(&self, target: &str) -> String {
        format!("{}{PROOFS}{target}", self.prefix)
    }

    /// A version's absolute path, for people: raw bytes.
    pub fn shown(&self, key: &str, id: &str, current: bool) -> Vec<u8> {
        let mut path = self.store.as_os_str().as_bytes().to_vec();
        path.push(b'/');
        path.extend(
            key.strip_prefix(self.prefix.as_str())
                .unwrap_or(key)
                .bytes(),
        );
        if !current {
            path.extend(VERSION.bytes().chain(id.bytes()));
        }
        path
    }

    /// A version's path in a manifest: no two versions have the same, none lies below another, and
    /// all are relative paths without empty, `.` or `..` parts, so that all can be unpacked and
    /// nobody who does is led astray. `shape` says what is around the key.
    pub fn row_path(&self, key: &str, id: &str, current: bool, shape: Shape) -> Vec<u8> {
        let inside = match &self.exact {
            // With nothing below it, it is called as a file that is a target is called.
            Some(exact) if exact == key && shape == Shape::Single => {
                let name = self.path.file_name().unwrap_or_default();
                format!("/{}", String::from_utf8_lossy(name.as_bytes()))
            }
            Some(exact) => key.strip_prefix(exact.as_str()).unwrap_or(key).to_owned(),
            None => format!("/{}", key.strip_prefix(&self.below).unwrap_or(key)),
        };
        let plain = inside.len() > 1
            && is_plain_path(inside.as_bytes())
            && !inside.contains(VERSION)
            && shape != Shape::BelowObject;
        let mut path = match inside.strip_prefix('/') {
            Some(inside) if plain && !inside.starts_with(ODD) => inside.to_owned(),
            _ => format!(
                "{ODD}{}",
                percent_encode(inside.as_bytes(), NON_ALPHANUMERIC)
            ),
        };
        if !current {
            path.push_str(VERSION);
            path.push_str(id);
        }
        path.into_bytes()
    }
}

/// What is around a key in its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// It is all that there is.
    Single,
    /// Other keys, none of which is a folder of it.
    Plain,
    /// Another object has a folder of it for its own key: `a` beside `a/b`.
    BelowObject,
}

/// Which keys lie below an object, while they come in order. Memory is one chain of prefixes.
#[derive(Debug, Default)]
pub struct Ancestors(Vec<String>);

impl Ancestors {
    /// Whether a key lies below one that [`Ancestors::note`] was told.
    pub fn has_one_of(&mut self, key: &str) -> bool {
        // All keys below `a/` come before `a0`, the next character.
        let past = |top: &String| key > top.as_str() && !key.starts_with(top.as_str());
        while self.0.last().is_some_and(past) {
            self.0.pop();
        }
        let below = |top: &String| {
            key.strip_prefix(top.as_str())
                .is_some_and(|r| r.starts_with('/'))
        };
        self.0.iter().any(below)
    }

    /// Notes an object with the path of its row; one that no path spells is in nobody's way.
    pub fn note(&mut self, key: &str, path: &[u8]) {
        if !path.starts_with(ODD.as_bytes()) {
            self.0.push(key.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    fn store(prefix: &str) -> StoreConfig {
        let text = format!(
            "path='/s3/a'\nendpoint='https://s3.example'\nbucket='evidence'\nprefix='{prefix}'"
        );
        toml::from_str(&text).unwrap()
    }

    fn name(path: &str) -> Option<Name> {
        Name::new(&store("customers/"), Path::new(path))
    }

    #[test]
    fn a_target_is_its_own_object_and_what_lies_below_and_no_namesake() {
        let alice = name("/s3/a/alice").unwrap();
        for key in [
            "customers/alice",
            "customers/alice/",
            "customers/alice//x",
            "customers/alice/../x",
        ] {
            assert!(alice.has(key), "{key}");
        }
        for key in [
            "customers/alice2",
            "customers/alice2/x",
            "alice/x",
            "customers/bob",
        ] {
            assert!(!alice.has(key), "{key}");
        }
        let all = name("/s3/a").unwrap();
        assert!(all.has("customers/x") && !all.has("other"));
        assert!(!all.has("customers/.holdfast-proof/tgt-1"));
        assert!(name("/s3/a/.holdfast-proof/x").is_none());
        assert!(name("/s3/ab").is_none());
        assert!(name("/s3/a/../a/alice").is_none());
    }

    #[test]
    fn no_two_versions_have_one_path_and_none_leads_out() {
        let alice = name("/s3/a/alice").unwrap();
        let mut keys = [
            "",
            "/",
            "//",
            "/x",
            "//x",
            "/x/",
            "/x/y",
            "/x-y",
            "/../x",
            "/x/../..",
            "/./x",
            "/.",
            "/..",
            "/?key=%2F",
            "/?key=%2F%2F",
            "/x?versionId=1",
            "/x?versionId=1/y",
            "/x?versionId=1?versionId=1",
            "/a/b",
        ];
        keys.sort_unstable();
        let (mut seen, mut ancestors) = (BTreeSet::new(), Ancestors::default());
        for key in keys {
            let key = format!("customers/alice{key}");
            for (id, current) in [("3", true), ("2", false), ("1", false)] {
                let shape = match ancestors.has_one_of(&key) {
                    true => Shape::BelowObject,
                    false => Shape::Plain,
                };
                let path = alice.row_path(&key, id, current, shape);
                if current {
                    ancestors.note(&key, &path);
                }
                let path = String::from_utf8(path).unwrap();
                assert!(is_plain_path(format!("/{path}").as_bytes()), "{key}");
                assert!(seen.insert(path), "{key} {id}");
            }
        }
        for one in &seen {
            let below = seen
                .iter()
                .filter(|other| covers(one.as_bytes(), other.as_bytes()));
            assert_eq!(below.count(), 1, "others lie below {one}");
        }
        let one = name("/s3/a/alice/report.pdf").unwrap();
        let key = "customers/alice/report.pdf";
        let path = |current| one.row_path(key, "1", current, Shape::Single);
        assert_eq!(path(true), b"report.pdf");
        assert_eq!(path(false), b"report.pdf?versionId=1");
        assert_eq!(one.shown(key, "1", true), b"/s3/a/alice/report.pdf");
        assert_eq!(
            one.shown(key, "1", false),
            b"/s3/a/alice/report.pdf?versionId=1"
        );
    }
}
