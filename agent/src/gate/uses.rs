//! Uses: which clearances were used here, so that a wipe that is found is known to be allowed.
//!
//! One small durable file each, `DIR/gate/ID.json`, written before the command runs.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use custody::{
    house::scope::covers,
    id::ClearanceId,
    time::{Span, Time},
};
use serde::{Deserialize, Serialize};

use crate::{config::Place, durable};

/// How long after its use a clearance may still explain a wipe.
const EXPLAINS: Span = Span::days(1);

/// One use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// The clearance.
    pub clearance: ClearanceId,
    /// When it was used, by this machine's clock.
    pub used: Time,
    /// What was wiped, hex; none for the whole server.
    pub places: Vec<String>,
}

impl Use {
    /// Whether it allows that a place was wiped, as it is seen at `now`.
    pub fn explains(&self, place: &[u8], now: Time) -> bool {
        let named = self.places.iter().flat_map(hex::decode);
        let covers = self.places.is_empty() || named.into_iter().any(|named| covers(&named, place));
        covers && now <= self.used + EXPLAINS
    }
}

fn folder(place: &Place) -> PathBuf {
    place.0.join("gate")
}

/// Notes a use; when this returns it is on disk.
pub fn note(place: &Place, used: &Use) -> io::Result<()> {
    let folder = folder(place);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)?;
    durable::sync_folder(&folder)?;
    let path = folder.join(format!("{}.json", used.clearance));
    durable::write(&path, 0o600, &serde_json::to_vec(used)?)
}

/// All uses that were noted.
pub fn all(place: &Place) -> io::Result<Vec<Use>> {
    let entries = match fs::read_dir(folder(place)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let path: &Path = &entry?.path();
        if path.extension().is_some_and(|end| end == "json") {
            all.push(serde_json::from_slice(&fs::read(path)?)?);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_use_explains_what_it_named_for_a_day() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place(folder.path().to_owned());
        assert!(all(&place).unwrap().is_empty());
        let used = Use {
            clearance: ClearanceId::from_random([1; 16]),
            used: Time::from_millis(1_000_000),
            places: vec![hex::encode(b"/srv/a")],
        };
        note(&place, &used).unwrap();
        let read = all(&place).unwrap();
        assert_eq!(read, [used]);
        let soon = Time::from_millis(2_000_000);
        assert!(read[0].explains(b"/srv/a/b", soon));
        assert!(!read[0].explains(b"/srv/ab", soon));
        assert!(!read[0].explains(b"/srv/a", soon + Span::days(2)));
        let whole = Use {
            places: vec![],
            ..read[0].clone()
        };
        assert!(whole.explains(b"/anything", soon));
    }
}
