//! Keeps a flood out of the log: so many recorded refusals a source and while, the rest counted.
//!
//! A source is an author whose signature or certificate was checked, or everybody outside: what
//! a stranger says of himself must use up nobody else's share.

use std::collections::HashMap;

use custody::{
    statement::Author,
    time::{Span, Time},
};

/// The most that is recorded of one source in a minute, or in an hour of strangers.
pub(super) const MOST: u32 = 10;
/// The while of an author whose signature or certificate was checked.
const AUTHOR: Span = Span::seconds(60);
/// The same for everybody outside together: anyone who can connect can be refused.
const OUTSIDE: Span = Span::hours(1);

struct Window {
    began: Time,
    recorded: u32,
    only_counted: u64,
}

/// How much was recorded of whom. At most as many authors as the house knows.
#[derive(Default)]
pub(super) struct Flood(HashMap<Option<Author>, Window>);

impl Flood {
    /// Whether one more may be recorded of this author now.
    pub(super) fn admits(&mut self, author: Option<Author>, now: Time) -> bool {
        let window = self.0.entry(author).or_insert(Window {
            began: now,
            recorded: 0,
            only_counted: 0,
        });
        let age = now - window.began;
        let length = if author.is_some() { AUTHOR } else { OUTSIDE };
        if age >= length || age < Span::seconds(0) {
            if window.only_counted > 0 {
                tracing::warn!(
                    ?author,
                    count = window.only_counted,
                    "refusals of one author were counted and not recorded"
                );
            }
            *window = Window {
                began: now,
                recorded: 0,
                only_counted: 0,
            };
        }
        let admits = window.recorded < MOST;
        match admits {
            true => window.recorded += 1,
            false => window.only_counted += 1,
        }
        admits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_off_for_its_source_alone_and_for_a_while() {
        let mut flood = Flood::default();
        let at = |seconds| Time::from_millis(1_000_000) + Span::seconds(seconds);
        let author = Some(Author::Coordinator);
        for (source, length) in [(author, 60), (None, 3600)] {
            let taken = (0..1000).filter(|_| flood.admits(source, at(1))).count();
            assert_eq!(taken, MOST as usize);
            assert!(!flood.admits(source, at(length)));
            assert!(flood.admits(source, at(length + 1)));
        }
    }
}
