//! Keeps a flood out of the log: so many recorded refusals an author and minute, the rest counted.

use std::collections::HashMap;

use custody::{
    statement::Author,
    time::{Span, Time},
};

/// The most that is recorded of one author in one minute.
pub(super) const MOST: u32 = 10;

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
        if age >= Span::seconds(60) || age < Span::seconds(0) {
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
    fn a_flood_is_cut_off_and_lets_in_again_a_minute_later() {
        let mut flood = Flood::default();
        let at = |seconds| Time::from_millis(1_000_000) + Span::seconds(seconds);
        let taken = (0..1000).filter(|_| flood.admits(None, at(1))).count();
        assert_eq!(taken, MOST as usize);
        assert!(flood.admits(Some(Author::Coordinator), at(1)));
        assert!(!flood.admits(None, at(60)));
        assert!(flood.admits(None, at(61)));
    }
}
