//! Tells of wipes: a finding for each that no clearance allowed.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};

use custody::{
    commit::Opening,
    house::finding::FindingKind,
    statement::{Body, Finding},
};

use super::wiped::{self, Wiped};
use crate::{
    config::Place,
    edge::now,
    enforce::Root,
    journal::{book::Book, error::JournalError},
};

/// Looks whether roots were wiped, says so, and keeps how they look now. Trouble with looking is
/// logged: what is held is checked all the same.
pub fn look(place: &Place, book: &Book, roots: &[Root]) -> Result<(), JournalError> {
    match wiped::look(place, roots, now()) {
        Ok(wiped) => say(book, &wiped)?,
        Err(error) => tracing::error!(%error, "whether a root was wiped cannot be told"),
    }
    Ok(())
}

/// Says which roots were wiped. A clearance that was used here makes it no finding.
fn say(book: &Book, wiped: &[Wiped]) -> Result<(), JournalError> {
    for root in wiped {
        let path = Path::new(OsStr::from_bytes(&root.path));
        if root.cleared {
            tracing::info!("a root was wiped, as a clearance allowed");
            tracing::debug!(root = %path.display(), "wiped");
            continue;
        }
        tracing::error!("a root was wiped without a clearance");
        let opening = Opening::new("path", root.path.clone(), book.edge().random()?);
        let body = Finding {
            what: FindingKind::Wiped,
            target: None,
            count: 1,
            evidence: Vec::new(),
            entry: None,
            places: vec![opening.commitment()],
            by: None,
            noticed: Some(now()),
        };
        book.say(Body::Finding(body), &[opening])?;
    }
    Ok(())
}
