//! Sets of manifest rows, kept as sorted, disjoint, half-open ranges.
//!
//! A customer's account is one or a few runs of rows, so a claim over a million files is a
//! handful of numbers.

use serde::{Deserialize, Serialize};

/// A set of row indices: `[first, end)` pairs, sorted, disjoint, not touching.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// The most ranges one statement may carry.
    pub const MOST: usize = 1_000;

    /// Builds a set from ranges in any order; empty ranges vanish, touching ones join.
    pub fn from_unsorted(mut ranges: Vec<(u64, u64)>) -> Self {
        ranges.retain(|(first, end)| first < end);
        ranges.sort_unstable();
        let mut set: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
        for (first, end) in ranges {
            match set.last_mut() {
                Some(last) if first <= last.1 => last.1 = last.1.max(end),
                _ => set.push((first, end)),
            }
        }
        Self(set)
    }

    /// Adds a row that comes at or after all rows so far; keeps the set sorted.
    pub fn push(&mut self, row: u64) {
        match self.0.last_mut() {
            Some(last) if row < last.1 => {}
            Some(last) if row == last.1 => last.1 += 1,
            _ => self.0.push((row, row + 1)),
        }
    }

    /// Whether the ranges are as they must be: sorted, disjoint, not touching, none empty.
    pub fn is_well_formed(&self) -> bool {
        self.0.len() <= Self::MOST
            && self.0.iter().all(|(first, end)| first < end)
            && self.0.windows(2).all(|pair| pair[0].1 < pair[1].0)
    }

    /// The ranges.
    pub fn as_slice(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// How many rows.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|(first, end)| end - first).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One past the last row.
    pub fn end(&self) -> u64 {
        self.0.last().map_or(0, |(_, end)| *end)
    }

    /// Whether a row is in the set.
    pub fn contains(&self, row: u64) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= row);
        after > 0 && row < self.0[after - 1].1
    }

    /// The rows in both.
    pub fn intersection(&self, other: &Self) -> Self {
        let (mut one, mut two) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut both = Vec::new();
        while let (Some(a), Some(b)) = (one.peek(), two.peek()) {
            let (first, end) = (a.0.max(b.0), a.1.min(b.1));
            if first < end {
                both.push((first, end));
            }
            if a.1 < b.1 {
                one.next()
            } else {
                two.next()
            };
        }
        Self(both)
    }

    /// The rows of this set that are not in the other.
    pub fn without(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut cuts = other.0.iter().peekable();
        for &(mut first, end) in &self.0 {
            while let Some(&&(cut_first, cut_end)) = cuts.peek() {
                if cut_end <= first {
                    cuts.next();
                    continue;
                }
                if cut_first >= end {
                    break;
                }
                if first < cut_first {
                    left.push((first, cut_first));
                }
                first = cut_end.min(end);
                if cut_end > end {
                    break;
                }
                cuts.next();
            }
            if first < end {
                left.push((first, end));
            }
        }
        Self(left)
    }

    /// Whether every row of this set is in the other.
    pub fn is_within(&self, other: &Self) -> bool {
        self.without(other).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn rows(set: &Ranges) -> BTreeSet<u64> {
        set.as_slice()
            .iter()
            .flat_map(|&(first, end)| first..end)
            .collect()
    }

    proptest! {
        #[test]
        fn ranges_agree_with_plain_sets(
            one in proptest::collection::vec((0_u64..60, 0_u64..60), 0..8),
            two in proptest::collection::vec((0_u64..60, 0_u64..60), 0..8),
        ) {
            let (one, two) = (Ranges::from_unsorted(one), Ranges::from_unsorted(two));
            let (a, b) = (rows(&one), rows(&two));
            prop_assert!(one.is_well_formed());
            prop_assert_eq!(one.count(), a.len() as u64);
            let both = one.intersection(&two);
            prop_assert_eq!(rows(&both), a.intersection(&b).copied().collect::<BTreeSet<_>>());
            let left = one.without(&two);
            prop_assert_eq!(rows(&left), a.difference(&b).copied().collect::<BTreeSet<_>>());
            prop_assert_eq!(one.is_within(&two), a.is_subset(&b));
            for row in 0..60 {
                prop_assert_eq!(one.contains(row), a.contains(&row));
            }
            let mut pushed = Ranges::default();
            a.iter().for_each(|row| pushed.push(*row));
            prop_assert_eq!(pushed, one);
        }
    }
}
