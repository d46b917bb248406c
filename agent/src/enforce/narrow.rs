//! Narrowing: parts of a target leave the hold while the rest stands.
//!
//! Which parts left is on disk before the first of them is freed. From then on they are no part of
//! the target for any check, proof or capture, also when it is raised again. Raising never takes
//! them back: for that a new hold is placed.

use std::{
    collections::BTreeSet,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use custody::manifest::row::Kind;

use super::{
    job::{Job, is_below},
    survey,
    sweep::{As, sweep},
    trouble::HoldTrouble,
};

/// So many files and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Regular files.
    pub files: u64,
    /// Bytes that they are long.
    pub bytes: u64,
}

/// What narrowing would do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weighed {
    /// What would be free.
    pub leaving: Amount,
    /// What would leave this hold and stay held, by another reason or in the same snapshot.
    pub kept: Amount,
    /// What stays in this hold.
    pub staying: Amount,
}

/// Counts of an amount, by many hands.
#[derive(Debug, Default)]
pub(super) struct Counter {
    files: AtomicU64,
    bytes: AtomicU64,
}

impl Counter {
    fn add(&self, bytes: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn amount(self) -> Amount {
        Amount {
            files: self.files.into_inner(),
            bytes: self.bytes.into_inner(),
        }
    }
}

/// What leaves, as paths below the target; each must lie below it, and be plain.
pub fn below(target: &Path, leave: &[PathBuf]) -> Result<BTreeSet<Vec<u8>>, HoldTrouble> {
    let inside = leave.iter().map(|path| {
        let plain = custody::house::scope::is_plain_path(path.as_os_str().as_bytes());
        let inside = path.strip_prefix(target).ok().filter(|_| plain);
        let inside = inside.filter(|inside| !inside.as_os_str().is_empty());
        let bytes = inside.map(|inside| inside.as_os_str().as_bytes().to_vec());
        bytes.ok_or(HoldTrouble::NotSupported(
            "only what lies below a target can leave it. For the whole target lift the hold",
        ))
    });
    inside.collect()
}

/// The same where it is only weighed: then it may be the target itself, all of it.
pub fn weighing(target: &Path, leave: &[PathBuf]) -> Result<BTreeSet<Vec<u8>>, HoldTrouble> {
    match leave {
        [whole] if whole == target => Ok(BTreeSet::from([Vec::new()])),
        leave => below(target, leave),
    }
}

/// What left before and what leaves now, without what lies below another of them.
pub fn together(left: &[Vec<u8>], leave: BTreeSet<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    for path in left.iter().cloned().chain(leave).collect::<BTreeSet<_>>() {
        if !all.iter().any(|above| is_below(&path, above)) {
            all.push(path);
        }
    }
    all
}

/// The same job at another place of its root, without anything left out by its path.
pub(super) fn at<'a>(job: &Job<'a>, relative: PathBuf) -> Result<Job<'a>, HoldTrouble> {
    let path = job.site.root_path.join(&relative);
    let mut site = super::site::Site::find(job.roots, &path)?;
    site.relative = relative;
    Ok(Job {
        site,
        path: job.path.clone(),
        left: Vec::new(),
        over: Vec::new(),
        others: job.others.clone(),
        ..*job
    })
}

/// Weighs what leaves in the living tree, or in what is kept of it: `held_by_another` says of a path
/// whether it stays held anyway.
pub(super) fn weigh(
    job: &Job<'_>,
    walk: crate::capture::walk::Walk,
    leave: &BTreeSet<Vec<u8>>,
    held_by_another: impl Fn(&[u8], super::inodes::Inode) -> bool + Sync,
) -> Result<Weighed, HoldTrouble> {
    let [leaving, kept, staying]: [Counter; 3] = Default::default();
    sweep(walk, job.threads, As::Ourselves, |step| {
        job.progress.step()?;
        if step.kind != Kind::File || step.trouble.is_some() {
            return Ok(());
        }
        let Ok(stat) = survey::look(step) else {
            return Ok(());
        };
        let leaves = leave.iter().any(|left| is_below(&step.path, left));
        let counter = match leaves {
            false => &staying,
            true if held_by_another(&step.path, super::inodes::Inode::of(&stat)) => &kept,
            true => &leaving,
        };
        counter.add(stat.stx_size);
        Ok(())
    })?;
    Ok(Weighed {
        leaving: leaving.amount(),
        kept: kept.amount(),
        staying: staying.amount(),
    })
}
