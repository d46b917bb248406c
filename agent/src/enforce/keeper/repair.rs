//! Repairing: lost files of a vault's copy are put back through the keeper, as everything is.

use std::{fs::File, io, os::fd::AsFd as _, path::PathBuf};

use custody::{house::mechanism::Mechanism, id::TargetId};
use rustix::fs::OFlags;

use super::{Keeper, now_ns};
use crate::{
    capture::place::open_below,
    enforce::{
        job::path_of,
        record::Phase,
        repair,
        site::Site,
        trouble::{HoldTrouble, while_doing},
    },
};

impl Keeper {
    /// Whether what is held of a target is a copy of our own, in which a lost file may be put back.
    /// An original is never written.
    pub fn is_repairable(&self, target: TargetId) -> bool {
        self.record(target).is_ok_and(|record| {
            let own = matches!(
                record.mechanism,
                Mechanism::ReflinkVault | Mechanism::SealedCopy | Mechanism::PlainCopy
            );
            own && record.phase == Phase::Raised
        })
    }

    /// Puts lost files back, by their paths as the manifest has them; gives the positions of those
    /// that were. `write` fills an empty file, `check` reads it back from the disk, and each says
    /// whether the bytes are the right ones.
    ///
    /// What is not as it was must be looked for, and said, before: afterwards the copy is as it
    /// should be, and files count as changed when they change later than now.
    pub fn repair(
        &self,
        target: TargetId,
        paths: &[&[u8]],
        write: &mut dyn FnMut(usize, &File) -> io::Result<bool>,
        check: &mut dyn FnMut(usize, &File) -> io::Result<bool>,
    ) -> Result<Vec<usize>, HoldTrouble> {
        if !self.is_repairable(target) {
            return Err(HoldTrouble::NotSupported(
                "an original is never written. What it has lost is read from the second copy",
            ));
        }
        let mut record = self.record(target)?;
        let path = path_of(&record);
        let site = Site::find(&self.roots, &path)?;
        let vault = site.vault()?.ok_or(HoldTrouble::NotFound)?;
        let folder = open_below(
            vault.as_fd(),
            target.to_string().as_bytes(),
            OFlags::RDONLY | OFlags::DIRECTORY,
        )
        .map_err(while_doing(
            "the target's folder in the vault cannot be opened",
        ))?;
        let mut done = Vec::new();
        let mut trouble = None;
        for (at, path) in paths.iter().enumerate() {
            let write = &mut |file: &File| write(at, file);
            let check = &mut |file: &File| check(at, file);
            match repair::replace(&folder, path, record.sealed, write, check) {
                Ok(true) => done.push(at),
                Ok(false) => {}
                Err(found) => {
                    trouble = Some(found);
                    break;
                }
            }
        }
        if !done.is_empty() {
            record.since_ns = now_ns();
            self.with(&mut record, |record| self.store.put(record))?;
        }
        match trouble {
            Some(trouble) if done.is_empty() => Err(trouble),
            _ => Ok(done),
        }
    }

    /// How far a target is.
    pub fn phase(&self, target: TargetId) -> Option<Phase> {
        self.record(target).ok().map(|record| record.phase)
    }

    /// Whether a path below a target, as the manifest has it, has left the hold.
    pub fn has_left(&self, target: TargetId, path: &[u8]) -> bool {
        let records = self.records();
        records.get(&target).is_some_and(|record| {
            let covers = |left: &Vec<u8>| {
                let rest = path.strip_prefix(left.as_slice());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
            };
            record.left.iter().any(covers)
        })
    }

    /// The whole path of a row of a target, as its manifest has it.
    pub fn place(&self, target: TargetId, row: &[u8]) -> Option<Vec<u8>> {
        let record = self.record(target).ok()?;
        let mut whole = record.path;
        // A target that is one file has one row, with its name.
        if row != b"." && !record.single {
            whole.push(b'/');
            whole.extend_from_slice(row);
        }
        Some(whole)
    }

    /// How many parts have left a target's hold.
    pub fn count_left(&self, target: TargetId) -> usize {
        self.record(target).map_or(0, |record| record.left.len())
    }

    /// Where a target lies, for messages and for findings.
    pub fn path(&self, target: TargetId) -> Option<PathBuf> {
        self.record(target).ok().map(|record| path_of(&record))
    }
}
