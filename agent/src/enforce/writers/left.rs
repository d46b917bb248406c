//! The finding about writers that a proof met: on which files, and who they are.

use std::{
    collections::BTreeSet,
    os::{fd::AsFd as _, unix::ffi::OsStrExt as _},
    path::Path,
    time::{Duration, Instant},
};

use custody::{
    house::finding::{FindingKind, MOST_PLACES},
    manifest::row::Kind,
};

use super::{MOST, Wanted, scan};
use crate::{
    capture::walk::Walk,
    enforce::{
        Found, Source,
        lease::{self, Writers},
    },
};

/// The most processes that a finding names.
const MOST_NAMED: usize = 8;

/// Looks for the files of a target, held in place at `path`, that `count` writers were met on, and
/// for who has them. It takes no longer than `within` even where the target is large: then
/// nobody is named, and the count is what the proof gave.
pub fn left(source: &Source, path: &Path, count: u64, within: Duration) -> Found {
    let until = Instant::now() + within;
    let mut found = Found::new(FindingKind::WriterLeft, count);
    let walk = Walk::open_with(source.root.as_fd(), &source.relative, &source.exclude, None);
    let Ok(walk) = walk else { return found };
    // A target that is one file is its own only step.
    let is_file = walk.first().is_some_and(|first| first.folder.is_none());
    let whole = |below: &[u8]| {
        let base = path.as_os_str().as_bytes();
        if is_file {
            base.to_vec()
        } else {
            [base, b"/", below].concat()
        }
    };
    let mut wanted = Vec::new();
    for step in walk {
        if wanted.len() as u64 >= count || wanted.len() >= MOST || Instant::now() >= until {
            break;
        }
        if step.kind != Kind::File || step.trouble.is_some() {
            continue;
        }
        let Ok(file) = step.place.open_file() else {
            continue;
        };
        if lease::writers(&file) == Writers::None {
            continue;
        }
        if found.places.len() < MOST_PLACES {
            found.places.push(whole(&step.path));
        }
        wanted.extend(Wanted::new(&file).ok());
    }
    if !wanted.is_empty() {
        let seen = scan(&wanted, until.saturating_duration_since(Instant::now()));
        let names: BTreeSet<_> = seen.writers.iter().map(ToString::to_string).collect();
        let names: Vec<_> = names.into_iter().take(MOST_NAMED).collect();
        found.by = (!names.is_empty()).then(|| names.join(", "));
    }
    found
}
