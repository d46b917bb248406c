//! Findings: what is not as it was when it was held, how much of it, and where.
//!
//! Places are examples and never more than a few: a tree of 10^7 files that all lost their flag
//! is one finding with a count.

use std::{
    os::unix::ffi::OsStrExt as _,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use custody::house::finding::{FindingKind, MOST_PLACES};

/// Something that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What.
    pub what: FindingKind,
    /// How many things.
    pub count: u64,
    /// Where, raw and absolute: examples, at most [`MOST_PLACES`].
    pub places: Vec<Vec<u8>>,
    /// Who did it, as `program pid uid`, where the kernel says.
    pub by: Option<String>,
}

impl Found {
    /// A finding without a place.
    pub const fn new(what: FindingKind, count: u64) -> Self {
        Self {
            what,
            count,
            places: Vec::new(),
            by: None,
        }
    }

    /// A finding about one place.
    pub fn at(what: FindingKind, place: &Path) -> Self {
        Self {
            places: vec![place.as_os_str().as_bytes().to_vec()],
            ..Self::new(what, 1)
        }
    }
}

/// What many hands see of one kind.
#[derive(Debug, Default)]
pub struct Sightings {
    count: AtomicU64,
    places: Mutex<Vec<Vec<u8>>>,
}

impl Sightings {
    /// Counts a thing, by its path below `base` as a walk gives it.
    pub fn note(&self, base: &Path, path: &[u8]) {
        if self.count.fetch_add(1, Ordering::Relaxed) < MOST_PLACES as u64 {
            self.places().push(join(base, path));
        }
    }

    /// Counts things of which nobody knows where they are.
    pub fn add(&self, count: u64) {
        self.count.fetch_add(count, Ordering::Relaxed);
    }

    /// The finding, if anything was seen.
    pub fn found(self, what: FindingKind) -> Option<Found> {
        let mut places = std::mem::take(&mut *self.places());
        places.sort_unstable();
        places.dedup();
        let count = self.count.into_inner();
        (count > 0).then(|| Found {
            places,
            ..Found::new(what, count)
        })
    }

    fn places(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn join(base: &Path, path: &[u8]) -> Vec<u8> {
    let mut whole = base.as_os_str().as_bytes().to_vec();
    if !matches!(path, b"" | b".") {
        whole.push(b'/');
        whole.extend_from_slice(path);
    }
    whole
}

/// What a target of so many things gives when it is not there at all.
pub fn vanished(path: &Path, things: u64) -> Vec<Found> {
    vec![Found {
        count: things.max(1),
        ..Found::at(FindingKind::HeldChanged, path)
    }]
}

/// The findings of a look at protections, contents and newcomers.
pub fn findings(gone: Sightings, changed: Sightings, appeared: u64) -> Vec<Found> {
    let appeared = (appeared > 0).then(|| Found::new(FindingKind::Appeared, appeared));
    let all = [
        gone.found(FindingKind::ProtectionGone),
        changed.found(FindingKind::HeldChanged),
        appeared,
    ];
    all.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_sightings_are_one_finding_with_a_few_places() {
        let seen = Sightings::default();
        for number in 0..100 {
            seen.note(Path::new("/srv"), format!("file {number}").as_bytes());
        }
        seen.add(7);
        let found = seen.found(FindingKind::HeldChanged).expect("something");
        assert_eq!((found.count, found.places.len()), (107, MOST_PLACES));
        assert_eq!(found.places[0], b"/srv/file 0");
        assert_eq!(Sightings::default().found(FindingKind::HeldChanged), None);
        let own = Sightings::default();
        own.note(Path::new("/srv"), b".");
        assert_eq!(
            own.found(FindingKind::ProtectionGone),
            Some(Found::at(FindingKind::ProtectionGone, Path::new("/srv")))
        );
    }
}
