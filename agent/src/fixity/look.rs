//! Looking: what is held and sealed, and is read again; and what is not any more.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io,
};

use custody::{
    id::{SnapshotId, TargetId},
    manifest::leaf::SnapshotKey,
    statement::SnapshotSealed,
    time::{Span, Time},
};

use super::{
    plan::Window,
    portion::Portion,
    register::Register,
    state::State,
    store::Store,
    worker::{Held, Worker},
};
use crate::{
    disks,
    enforce::{Phase, site::Site},
    journal::known::Outcome,
};

impl Worker {
    /// Looks what is held, and by which manifest it is to be read: the first that was sealed, for a
    /// later one may have sealed as it found it what a disk had lost by then.
    pub(super) fn look(&mut self, now: Time) -> io::Result<()> {
        let sealed: Vec<SnapshotSealed> = self.house.book().known(|known| {
            let all = known.snapshots.values();
            let sealed = all.filter_map(|outcome| match outcome {
                Outcome::Done(sealed) => Some(sealed.clone()),
                Outcome::Failed(_) => None,
            });
            sealed.collect()
        });
        let mut first: BTreeMap<TargetId, (SnapshotSealed, SnapshotKey)> = BTreeMap::new();
        for sealed in sealed {
            let kept = self.house.evidence().snapshot(&sealed.snapshot);
            let key =
                kept.and_then(|kept| kept.map(|kept| Ok((kept.target, kept.key()?))).transpose());
            match key {
                Ok(None) => {}
                Ok(Some((target, key))) => {
                    let earlier = first.get(&target);
                    if earlier.is_none_or(|(known, _)| sealed.ended < known.ended) {
                        first.insert(target, (sealed, key));
                    }
                }
                // No reason not to read the others again.
                Err(error) => {
                    let snapshot = sealed.snapshot;
                    tracing::error!(%snapshot, "its key cannot be read: {error}");
                }
            }
        }
        for held in self.held.values_mut().filter(|held| held.disks.is_empty()) {
            // Its file system may have been mounted since.
            held.disks = disks::below(&held.root).unwrap_or_default();
        }
        let mut wanted = BTreeSet::new();
        for (target, (sealed, key)) in first {
            match self.house.keeper().phase(target) {
                None | Some(Phase::Lowered) => continue,
                Some(_) => wanted.insert(sealed.snapshot),
            };
            if !self.held.contains_key(&sealed.snapshot) && self.stands(target) {
                let held = self.take_up(target, sealed, key, now)?;
                self.held.insert(held.state.snapshot, held);
            }
        }
        for snapshot in self.shelf().all()? {
            if !wanted.contains(&snapshot) {
                self.held.remove(&snapshot);
                self.forget(&snapshot)?;
            }
        }
        Ok(())
    }

    /// The state that was kept; one that cannot be understood begins anew.
    fn kept(&self, snapshot: &SnapshotId) -> io::Result<Option<State>> {
        match self.shelf().get(snapshot) {
            Err(error) if error.raw_os_error().is_none() => {
                tracing::error!(%snapshot, "how far it was read again is lost: {error}");
                Ok(None)
            }
            kept => kept,
        }
    }

    fn take_up(
        &self,
        target: TargetId,
        sealed: SnapshotSealed,
        key: SnapshotKey,
        now: Time,
    ) -> io::Result<Held> {
        let state = match self.kept(&sealed.snapshot)? {
            Some(state) => state,
            None => {
                let period = self.period.unwrap_or(Span::days(1));
                let window = Window::first(sealed.ended, now, period);
                let state =
                    State::new(target, sealed.snapshot, (sealed.rows, sealed.bytes), window);
                self.shelf().put(&state)?;
                state
            }
        };
        let keeper = self.house.keeper();
        let root = keeper
            .path(target)
            .and_then(|path| Site::root_of(keeper.roots(), &path).cloned())
            .map(|root| root.path)
            .unwrap_or_default();
        Ok(Held {
            register: Register::open(self.shelf(), &sealed.snapshot)?,
            disks: disks::below(&root).unwrap_or_default(),
            root,
            state,
            key,
            sealed,
            portion: Portion::default(),
            trusted: false,
            dirty: false,
            noted: now,
            read_after: now,
            copy_after: now,
            copies: HashSet::new(),
        })
    }

    /// Forgets a snapshot of what is held no more, with its second copy.
    fn forget(&self, snapshot: &SnapshotId) -> io::Result<()> {
        let state = self.kept(snapshot)?;
        if let Some(copy) = state.and_then(|state| state.copy) {
            let removed = Store::open(&copy.path)
                .and_then(|store| store.forget(snapshot).map_err(|errno| errno.to_string()));
            if let Err(why) = removed {
                // It is held by nobody and stands in nobody's way; it is tried again.
                tracing::warn!(%snapshot, "a second copy that is not needed stays: {why}");
                return Ok(());
            }
        }
        self.shelf().forget(snapshot)
    }
}
