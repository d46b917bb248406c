//! Mending: what is lost of what is held is had from the second copy, and that is said.

use std::io;

use custody::{
    house::ranges::Ranges,
    statement::{Body, CopyRepaired},
};

use super::{
    portion::Item,
    read::{self, Outcome},
    register,
    round::{Lost, expected, ranges},
    store::Store,
    worker::{Guard, Held, Worker},
};
use crate::enforce::{HoldTrouble, Progress};

impl Worker {
    /// Puts lost rows back from the second copy where what is held is a copy of our own; else the
    /// second copy stands in for them from here on. Either is said.
    pub(super) fn mend(
        &mut self,
        held: &mut Held,
        store: Option<&Store>,
        lost: &[Lost],
    ) -> io::Result<()> {
        let (Some(store), false) = (store, lost.is_empty()) else {
            return Ok(());
        };
        let target = held.state.target;
        // What the ledger hears of first is that they were lost.
        super::say::found(self, held, false)?;
        let mended: Vec<&Item> = if self.house.keeper().is_repairable(target) {
            let done = self.put_back(held, store, lost)?;
            let (round, now) = (held.state.round.number, (self.clock)());
            for item in &done {
                let well = register::Item::well(item.row.index, round, now);
                held.register.note(well);
            }
            done
        } else {
            let said = &held.state.said.stood_in;
            let news = |item: &&Item| !said.contains(item.row.index);
            lost.iter().map(|lost| &lost.item).filter(news).collect()
        };
        if mended.is_empty() {
            return Ok(());
        }
        let rows = ranges(mended.iter().map(|item| item.row.index));
        let bytes = mended.iter().map(|item| item.row.size).sum();
        let count = rows.count();
        if !self.house.keeper().is_repairable(target) {
            let both = held.state.said.stood_in.as_slice().iter();
            let both: Vec<_> = both.chain(rows.as_slice()).copied().collect();
            held.state.said.stood_in = Ranges::from_unsorted(both);
        }
        let snapshot = held.state.snapshot;
        let body = Body::CopyRepaired(CopyRepaired {
            target,
            snapshot,
            rows,
            bytes,
        });
        self.house.book().say(body, &[]).map_err(io::Error::other)?;
        tracing::warn!(%snapshot, count, bytes, "lost rows are had from the second copy");
        held.dirty = true;
        self.note(held, true)
    }

    fn put_back<'l>(
        &mut self,
        held: &Held,
        store: &Store,
        lost: &'l [Lost],
    ) -> io::Result<Vec<&'l Item>> {
        let (target, snapshot) = (held.state.target, held.state.snapshot);
        let keeper = self.house.keeper();
        // Afterwards it cannot be told any more what was changed by force.
        for found in keeper
            .check(target, &Progress::default())
            .unwrap_or_default()
        {
            self.house.found(target, &found);
        }
        let paths: Vec<_> = lost
            .iter()
            .map(|lost| lost.item.row.path.as_slice())
            .collect();
        let buffer = std::cell::RefCell::new(&mut self.buffer);
        let guard = || Guard {
            house: self.house.as_ref(),
            stop: &self.stop,
            left: u64::MAX,
        };
        let done = keeper.repair(
            target,
            &paths,
            &mut |at, file| {
                let expected = expected(&lost[at].item);
                store.restore(
                    &snapshot,
                    &expected,
                    file,
                    &mut buffer.borrow_mut(),
                    &mut guard(),
                )
            },
            &mut |at, file| {
                let expected = expected(&lost[at].item);
                let found = read::file(
                    file,
                    &expected,
                    None,
                    &mut buffer.borrow_mut(),
                    &mut guard(),
                );
                Ok(found == Outcome::Same)
            },
        );
        match done {
            Ok(done) => Ok(done.into_iter().map(|at| &lost[at].item).collect()),
            Err(HoldTrouble::Stopped) => Ok(Vec::new()),
            Err(trouble) => {
                // The second copy is as good as before; it is tried again in the next round.
                tracing::error!(%snapshot, "lost rows cannot be put back: {trouble}");
                Ok(Vec::new())
            }
        }
    }
}
