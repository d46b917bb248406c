//! Calls of `zfs` about one snapshot, and what their answers mean.

use std::io;

use serde::{Deserialize, Serialize};

use super::host::{Answer, Zfs};
use crate::enforce::trouble::HoldTrouble;

/// What a snapshot is known by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// `DATASET@NAME`.
    pub name: String,
    /// Its own id, never given twice in a pool.
    pub guid: u64,
    /// The transaction group in which it was made.
    pub made: u64,
    /// When it was made, seconds since 1970.
    pub made_at: i64,
}

fn call(zfs: &dyn Zfs, arguments: &[&str]) -> Result<Answer, HoldTrouble> {
    zfs.run(arguments).map_err(|source| HoldTrouble::Io {
        doing: "the zfs program cannot be run",
        source,
    })
}

fn failed(doing: &'static str, answer: &Answer) -> HoldTrouble {
    let said = answer.error.trim().to_owned();
    if said.contains("permission denied") {
        return HoldTrouble::NotSupported(
            "zfs denies it. Run the agent as root, or `zfs allow` it snapshot, hold, release, destroy and mount",
        );
    }
    if said.contains("out of space") {
        return HoldTrouble::NoSpace { needed: 0, free: 0 };
    }
    HoldTrouble::Io {
        doing,
        source: io::Error::other(said),
    }
}

/// Looks for a snapshot.
pub fn look(zfs: &dyn Zfs, name: &str) -> Result<Option<Known>, HoldTrouble> {
    let columns = "name,guid,createtxg,creation";
    let answer = call(
        zfs,
        &["list", "-H", "-p", "-o", columns, "-t", "snapshot", name],
    )?;
    if !answer.done {
        return match answer.error.contains("does not exist") {
            true => Ok(None),
            false => Err(failed("the snapshot cannot be looked at", &answer)),
        };
    }
    let fields: Vec<&str> = answer.out.trim_end().split('\t').collect();
    let known = match fields.as_slice() {
        [found, guid, made, made_at] if *found == name => {
            let number = guid.parse().ok().zip(made.parse().ok());
            number
                .zip(made_at.parse().ok())
                .map(|((guid, made), made_at)| Known {
                    name: name.to_owned(),
                    guid,
                    made,
                    made_at,
                })
        }
        _ => None,
    };
    let unread = HoldTrouble::NotSupported("this zfs lists snapshots in a form that is not known");
    known.map(Some).ok_or(unread)
}

/// Makes a snapshot; one that is there already stays.
pub fn snapshot(zfs: &dyn Zfs, name: &str) -> Result<(), HoldTrouble> {
    let answer = call(zfs, &["snapshot", name])?;
    match answer.done || answer.error.contains("dataset already exists") {
        true => Ok(()),
        false => Err(failed("the snapshot cannot be made", &answer)),
    }
}

/// Puts a user hold on it; one that is there already stays.
pub fn hold(zfs: &dyn Zfs, tag: &str, name: &str) -> Result<(), HoldTrouble> {
    let answer = call(zfs, &["hold", tag, name])?;
    match answer.done || answer.error.contains("tag already exists") {
        true => Ok(()),
        false => Err(failed("the snapshot cannot be held", &answer)),
    }
}

/// Whether our user hold is on it.
pub fn is_held(zfs: &dyn Zfs, tag: &str, name: &str) -> Result<bool, HoldTrouble> {
    let answer = call(zfs, &["holds", "-H", name])?;
    if !answer.done {
        return match answer.error.contains("does not exist") {
            true => Ok(false),
            false => Err(failed("the snapshot's holds cannot be listed", &answer)),
        };
    }
    let ours = |line: &str| {
        let mut fields = line.split('\t');
        fields.next() == Some(name) && fields.next() == Some(tag)
    };
    Ok(answer.out.lines().any(ours))
}

/// Takes our user hold off; one that is not there is off.
pub fn release(zfs: &dyn Zfs, tag: &str, name: &str) -> Result<(), HoldTrouble> {
    let answer = call(zfs, &["release", tag, name])?;
    let off = ["no such tag", "does not exist"];
    match answer.done || off.iter().any(|text| answer.error.contains(text)) {
        true => Ok(()),
        false => Err(failed("the snapshot cannot be released", &answer)),
    }
}

/// Destroys it; one that is not there is destroyed. One that somebody else holds too, or has
/// cloned, is busy, and stays.
pub fn destroy(zfs: &dyn Zfs, name: &str) -> Result<(), HoldTrouble> {
    let answer = call(zfs, &["destroy", name])?;
    let gone = ["could not find any snapshots", "does not exist"];
    match answer.done || gone.iter().any(|text| answer.error.contains(text)) {
        true => Ok(()),
        false => Err(failed("the snapshot cannot be destroyed", &answer)),
    }
}
