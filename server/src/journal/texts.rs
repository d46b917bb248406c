//! Statements over many rows at once, in a few fixed sizes, so that each is prepared only once.

use std::{fmt::Write as _, sync::LazyLock};

/// The sizes, largest first.
const SIZES: [usize; 4] = [64, 16, 4, 1];

/// One statement, in every size.
pub(super) struct Many([(usize, &'static str); SIZES.len()]);

impl Many {
    fn new(head: &str, columns: usize, tail: &str) -> Self {
        Self(SIZES.map(|rows| {
            let mut text = head.to_owned();
            for row in 0..rows {
                text.push_str(if row == 0 { "(" } else { ", (" });
                for column in 0..columns {
                    let comma = if column == 0 { "" } else { ", " };
                    let _ = write!(text, "{comma}${}", row * columns + column + 1);
                }
                text.push(')');
            }
            text.push_str(tail);
            // Once a program: the driver takes only texts that never go away.
            (rows, &*text.leak())
        }))
    }

    /// Cuts rows into pieces, each with the statement for its size.
    pub(super) fn pieces<'a, T>(
        &self,
        mut rows: &'a [T],
    ) -> impl Iterator<Item = (&'static str, &'a [T])> {
        let texts = self.0;
        std::iter::from_fn(move || {
            let (size, text) = texts.into_iter().find(|(size, _)| *size <= rows.len())?;
            let (piece, rest) = rows.split_at(size);
            rows = rest;
            Some((text, piece))
        })
    }
}

pub(super) static ENTRIES: LazyLock<Many> = LazyLock::new(|| {
    Many::new(
        "INSERT INTO entries (idx, bytes, leaf, command, place, received) VALUES ",
        6,
        "",
    )
});

pub(super) static RECORDS: LazyLock<Many> = LazyLock::new(|| {
    Many::new(
        "INSERT INTO records (kind, id, json) VALUES ",
        3,
        " ON CONFLICT (kind, id) DO UPDATE SET json = excluded.json",
    )
});

pub(super) static OPENINGS: LazyLock<Many> = LazyLock::new(|| {
    Many::new(
        "INSERT INTO openings (commitment, subject, sealed) VALUES ",
        3,
        " ON CONFLICT (commitment) DO NOTHING",
    )
});

pub(super) static COMMANDS: LazyLock<Many> = LazyLock::new(|| {
    Many::new(
        "SELECT idx, command, leaf FROM entries WHERE command IN (VALUES ",
        1,
        ")",
    )
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_exactly_one_piece() {
        let rows: Vec<u32> = (0..151).collect();
        let pieces: Vec<_> = RECORDS.pieces(&rows).map(|(_, piece)| piece).collect();
        assert_eq!(pieces.concat(), rows);
        let sizes: Vec<_> = pieces.iter().map(|piece| piece.len()).collect();
        assert_eq!(sizes, [64, 64, 16, 4, 1, 1, 1]);
    }
}
