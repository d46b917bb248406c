//! The plan: which snapshot is read next, and how fast.
//!
//! Pure. Each snapshot has a window of one period in which all its rows are read once; the next
//! window opens when that one is over. Snapshots are read one after the other: what is at risk
//! first, then what is due first. The pace is the lowest at which all that is open ends in time,
//! so the disks are never read faster than needed, and never twice in one window. Two readings
//! of a row lie one period apart while nothing joins or leaves, and two at most.

use std::cmp::Reverse;

use custody::{
    id::SnapshotId,
    time::{Span, Time},
};

/// What a row costs beside its bytes: finding and opening a small file takes a disk as long as
/// reading so many bytes.
pub const ROW: u64 = 64 * 1024;
/// The part of a period in which what is late is made good.
const CATCH_UP: i64 = 4;

/// What is known to be wrong where a snapshot's content lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Risk {
    /// Nothing.
    #[default]
    None,
    /// A disk below it has given up reads.
    Disk,
    /// Some of it cannot be read, or is not what it was.
    Amiss,
}

/// When a round may begin, and when it must have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// From when on.
    pub opens: Time,
    /// Until when.
    pub due: Time,
}

impl Window {
    /// The first: reading it at the seal counts, and what was sealed long ago is not read in a hurry.
    pub fn first(sealed: Time, now: Time, period: Span) -> Self {
        Self {
            opens: sealed.min(now),
            due: (sealed.min(now) + period).max(now + catch_up(period)),
        }
    }

    /// That of the next round, after one that ended.
    pub fn next(self, ended: Time, period: Span) -> Self {
        let opens = self.due.max(ended);
        Self {
            opens,
            due: opens + period,
        }
    }

    /// The same for a period that may be another now, and moved where it is over: what could not be
    /// read in time is read soon.
    pub fn at(self, now: Time, period: Span) -> Self {
        if self.opens > now + period {
            // No window opens so late: the clock was wrong when it was set.
            return Self {
                opens: now,
                due: now + period,
            };
        }
        let due = self.due.min(self.opens.max(now) + period);
        if due > now {
            return Self { due, ..self };
        }
        Self {
            due: now + catch_up(period),
            ..self
        }
    }
}

fn catch_up(period: Span) -> Span {
    Span::seconds((period.millis() / 1000 / CATCH_UP).max(1))
}

/// Where one snapshot stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub snapshot: SnapshotId,
    /// Work that is left of the round: bytes, and [`ROW`] for each row.
    pub left: u64,
    /// Its window.
    pub window: Window,
    /// What is known to be wrong.
    pub risk: Risk,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read on in a snapshot.
    Read {
        /// Which.
        snapshot: SnapshotId,
        /// Work a second, bytes as in [`Standing::left`].
        pace: u64,
    },
    /// Nothing until then; without a time, until there is something new.
    Rest(Option<Time>),
}

/// What is to be read next, and how fast.
pub fn next(all: &[Standing], now: Time) -> Next {
    let mut open: Vec<_> = all
        .iter()
        .filter(|one| one.left > 0 && one.window.opens <= now)
        .collect();
    open.sort_by_key(|one| (Reverse(one.risk), one.window.due, one.snapshot));
    match open.first() {
        Some(first) => Next::Read {
            snapshot: first.snapshot,
            pace: pace(&open, now),
        },
        None => {
            let coming = all.iter().filter(|one| one.window.opens > now);
            Next::Rest(coming.map(|one| one.window.opens).min())
        }
    }
}

/// The lowest pace at which each of these, read in this order, ends in its window.
fn pace(order: &[&Standing], now: Time) -> u64 {
    let mut work = 0_u128;
    let needed = order.iter().map(|one| {
        work += u128::from(one.left);
        let time = (one.window.due - now).millis().max(1000);
        (work * 1000).div_ceil(u128::from(time.unsigned_abs()))
    });
    needed
        .max()
        .map_or(1, |pace| u64::try_from(pace).unwrap_or(u64::MAX).max(1))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const PERIOD: Span = Span::days(30);
    const START: i64 = 1_800_000_000_000;

    fn at(millis: i64) -> Time {
        Time::from_millis(START + millis)
    }

    fn id(n: usize) -> SnapshotId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
        SnapshotId::from_random(bytes)
    }

    /// A snapshot whose content is read in rows, in a simulated time.
    struct Held {
        rows: Vec<u64>,
        next: usize,
        window: Window,
        risk: Risk,
        ends: Vec<Time>,
    }

    impl Held {
        fn standing(&self, n: usize) -> Standing {
            Standing {
                snapshot: id(n),
                left: self.rows[self.next..].iter().sum(),
                window: self.window,
                risk: self.risk,
            }
        }
    }

    /// Reads by the plan until a time; calls `look` with the standings and the pace at each step.
    fn simulate(held: &mut [Held], until: Time, mut look: impl FnMut(&[Standing], Time, u64)) {
        let mut now = at(0);
        while now < until {
            for one in held.iter_mut() {
                one.window = one.window.at(now, PERIOD);
            }
            let all: Vec<_> = held
                .iter()
                .enumerate()
                .map(|(n, h)| h.standing(n))
                .collect();
            match next(&all, now) {
                Next::Rest(None) => break,
                Next::Rest(Some(time)) => {
                    assert!(time > now, "a rest has an end that lies ahead");
                    now = time;
                }
                Next::Read { snapshot, pace } => {
                    look(&all, now, pace);
                    let n = (0..held.len()).find(|n| id(*n) == snapshot).expect("known");
                    let one = &mut held[n];
                    let work = one.rows[one.next];
                    let time = u128::from(work) * 1000 / u128::from(pace);
                    now =
                        Time::from_millis(now.millis() + i64::try_from(time).expect("time").max(1));
                    one.next += 1;
                    if one.next == one.rows.len() {
                        one.next = 0;
                        one.ends.push(now);
                        one.window = one.window.next(now, PERIOD);
                    }
                }
            }
        }
    }

    fn held(rows: Vec<u64>, sealed: i64) -> Held {
        Held {
            rows,
            next: 0,
            window: Window {
                opens: at(sealed),
                due: at(sealed) + PERIOD,
            },
            risk: Risk::None,
            ends: Vec::new(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn everything_is_read_once_in_each_window_and_never_faster_than_needed(
            trees in proptest::collection::vec(
                (proptest::collection::vec(ROW..200 * ROW, 20..200), 0_i64..20 * 86_400_000),
                1..12,
            ),
        ) {
            let mut all: Vec<_> = trees.into_iter().map(|(rows, sealed)| held(rows, sealed)).collect();
            let longest = 200 * ROW;
            let mut failed = None;
            simulate(&mut all, at(80 * 86_400_000), |standings, now, pace| {
                // Independently: by when is how much due? No lower pace would do.
                let open = || standings.iter().filter(|s| s.left > 0 && s.window.opens <= now);
                let needed = open().map(|last| {
                    let due = last.window.due;
                    let work: u64 = open().filter(|s| s.window.due <= due).map(|s| s.left).sum();
                    work as f64 / ((due - now).millis().max(1000) as f64 / 1000.0)
                });
                let needed = needed.fold(0.0, f64::max);
                if (pace as f64) > needed + 1.0 || (pace as f64) < needed - 1.0 {
                    failed = Some((pace, needed));
                }
            });
            prop_assert_eq!(failed, None);
            let total: u64 = all.iter().flat_map(|one| &one.rows).sum();
            // A row that is begun is read to its end, so one may be late by the longest row.
            let slack = longest as f64 / (total as f64) * PERIOD.millis() as f64 + 60_000.0;
            for one in &all {
                prop_assert!(!one.ends.is_empty());
                let mut opens = one.ends[0].millis();
                for (round, end) in one.ends.iter().enumerate() {
                    if round > 0 {
                        // Never twice in a period, and never later than a period after that.
                        let apart = (end.millis() - opens) as f64;
                        prop_assert!(apart <= 2.0 * PERIOD.millis() as f64 + slack);
                    }
                    opens = end.millis();
                }
            }
        }
    }

    #[test]
    fn what_was_sealed_at_one_time_is_all_read_just_in_time() {
        let mut all: Vec<_> = (1..9_u64)
            .map(|n| held((1..300).map(|row| ROW + row * n * 997).collect(), 0))
            .collect();
        let total: u64 = all.iter().flat_map(|one| &one.rows).sum();
        let even = total as f64 / (30.0 * 86_400.0);
        let mut fastest = 0;
        simulate(&mut all, at(30 * 86_400_000), |_, _, pace| {
            fastest = fastest.max(pace);
        });
        let last = all.iter().filter_map(|one| one.ends.first()).max();
        let last = *last.expect("all were read");
        assert!(all.iter().all(|one| one.ends.len() == 1), "each once");
        assert!(last <= at(30 * 86_400_000));
        assert!(last >= at(29 * 86_400_000), "not hurried: {last}");
        assert!(
            fastest as f64 <= even * 1.01 + 1.0,
            "{fastest} against {even}"
        );
    }

    #[test]
    fn what_is_at_risk_is_read_first_and_all_the_rest_in_time_too() {
        let mut all: Vec<_> = (0..5_i64)
            .map(|n| held(vec![ROW * 3; 100], n * 3_600_000))
            .collect();
        all[4].risk = Risk::Amiss;
        all[3].risk = Risk::Disk;
        let mut order = BTreeMap::new();
        simulate(&mut all, at(31 * 86_400_000), |_, _, _| {});
        for (n, one) in all.iter().enumerate() {
            assert!(one.ends[0] <= one.window.opens, "{n} in its window");
            order.insert(one.ends[0], n);
        }
        let order: Vec<_> = order.into_values().collect();
        assert_eq!(order, [4, 3, 0, 1, 2]);
    }

    #[test]
    fn what_is_late_is_made_good_in_a_quarter_and_ends() {
        let period = Span::days(8);
        let window = Window {
            opens: at(0),
            due: at(8 * 86_400_000),
        };
        let now = at(20 * 86_400_000);
        let moved = window.at(now, period);
        assert_eq!(moved.due, now + Span::days(2));
        let later = now + Span::days(1);
        assert_eq!(
            moved.at(later, period),
            moved,
            "moved once, so that it comes to an end"
        );
        // A shorter period counts at once, a longer one from the next round on.
        let shorter = moved.at(now, Span::days(1));
        assert_eq!(shorter.due, now + Span::days(1));
    }

    #[test]
    fn a_clock_that_was_a_year_ahead_does_not_stop_reading_for_a_year() {
        let now = at(0);
        let wrong = Window {
            opens: now + Span::days(365),
            due: now + Span::days(395),
        };
        let window = wrong.at(now, PERIOD);
        assert_eq!((window.opens, window.due), (now, now + PERIOD));
        let right = Window {
            opens: now + Span::days(29),
            due: now + Span::days(59),
        };
        assert_eq!(right.at(now, PERIOD), right);
    }

    #[test]
    fn a_snapshot_that_was_sealed_long_ago_is_not_read_in_a_hurry() {
        let now = at(100 * 86_400_000);
        let window = Window::first(at(0), now, PERIOD);
        assert!(window.opens <= now && window.due >= now + Span::days(7));
        let fresh = Window::first(now, now, PERIOD);
        assert_eq!(fresh.due, now + PERIOD);
    }
}
