//! Rounds: gathers what is heard of each target until it is worth a look. Pure: time is an
//! argument.
//!
//! The first thing heard of a quiet target is looked at after [`SETTLE`]; while it goes on, the
//! looks move apart, up to [`APART`]. So a storm costs a bounded number of looks, and the first
//! and the last of it are both seen within seconds.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use custody::id::TargetId;

/// How long things gather before the first look.
pub const SETTLE: Duration = Duration::from_millis(250);
/// The longest wait for a look.
pub const APART: Duration = Duration::from_secs(3);
/// A target that was quiet for so long is quiet.
const QUIET: Duration = Duration::from_secs(10);
/// The most things that are kept in mind of one target. Beyond, all of it is checked, or, where
/// they were closed and no more, the rest is left to the next full check.
const MOST: usize = 4096;

/// One thing that somebody touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thing {
    /// Whether it was changed, and not only closed.
    pub changed: bool,
    /// Whether it was made since.
    pub made: bool,
    /// When it was touched last, nanoseconds since 1970.
    pub heard_ns: i64,
    /// Who touched it, where the kernel says: who changed it rather than who had it open.
    pub by: Option<String>,
}

/// What one look is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// The things.
    pub things: BTreeMap<PathBuf, Thing>,
    /// Whether more was changed than could be kept in mind.
    pub whole: bool,
}

impl Round {
    /// Who did something to one of these places, or to what lies around or in them. Whoever
    /// changed something comes before one who only had it open.
    pub fn by<'p>(&self, places: impl Iterator<Item = &'p Path> + Clone) -> Option<String> {
        let told = |changed: bool| {
            let things = self.things.iter();
            things.filter(move |(_, thing)| thing.by.is_some() && thing.changed >= changed)
        };
        let find = |changed: bool, is_it: &dyn Fn(&Path, &Path) -> bool| {
            let mut told = told(changed);
            told.find(|(path, _)| places.clone().any(|place| is_it(path, place)))
        };
        let same = |path: &Path, place: &Path| path == place;
        let near = |path: &Path, place: &Path| path.starts_with(place) || place.starts_with(path);
        let found = find(true, &same)
            .or_else(|| find(false, &same))
            .or_else(|| find(true, &near))
            .or_else(|| find(false, &near));
        found.and_then(|(_, thing)| thing.by.clone())
    }
}

#[derive(Debug)]
struct Gathering {
    round: Round,
    due: Option<Instant>,
    /// How long the next one gathers, and when the last look ended.
    wait: Duration,
    last: Instant,
}

/// What gathers for all targets.
#[derive(Debug, Default)]
pub struct Rounds(HashMap<TargetId, Gathering>);

impl Rounds {
    /// Hears that a thing of a target was touched.
    pub fn hear(&mut self, target: TargetId, path: &Path, thing: Thing, now: Instant) {
        let gathering = self.gathering(target, now);
        let things = &mut gathering.round.things;
        let is_full = things.len() >= MOST;
        if let Some(known) = things.get_mut(path) {
            if thing.changed && !known.changed {
                known.by = thing.by.or(known.by.take());
            } else if known.by.is_none() {
                known.by = thing.by;
            }
            known.changed |= thing.changed;
            known.made |= thing.made;
            known.heard_ns = known.heard_ns.max(thing.heard_ns);
        } else if !is_full {
            things.insert(path.to_owned(), thing);
        } else if thing.changed {
            gathering.round.whole = true;
        }
    }

    /// Hears that more happened than anybody can say.
    pub fn hear_much(&mut self, target: TargetId, now: Instant) {
        self.gathering(target, now).round.whole = true;
    }

    fn gathering(&mut self, target: TargetId, now: Instant) -> &mut Gathering {
        let gathering = self.0.entry(target).or_insert_with(|| Gathering {
            round: Round::default(),
            due: None,
            wait: SETTLE,
            last: now,
        });
        gathering.due.get_or_insert(now + gathering.wait);
        gathering
    }

    /// What gathers for a target.
    pub fn gathered(&self, target: TargetId) -> Option<&Round> {
        self.0.get(&target).map(|gathering| &gathering.round)
    }

    /// When the next look is due.
    pub fn next(&self) -> Option<Instant> {
        self.0.values().filter_map(|gathering| gathering.due).min()
    }

    /// Takes the looks that are due for targets that may be looked at now. The others wait.
    pub fn due(&mut self, now: Instant, may: impl Fn(TargetId) -> bool) -> Vec<(TargetId, Round)> {
        let quiet = |g: &Gathering| g.due.is_none() && now.duration_since(g.last) > QUIET;
        self.0.retain(|_, gathering| !quiet(gathering));
        let mut all = Vec::new();
        for (target, gathering) in &mut self.0 {
            if gathering.due.is_none_or(|due| due > now) {
                continue;
            }
            if !may(*target) {
                gathering.due = Some(now + SETTLE);
                continue;
            }
            gathering.due = None;
            gathering.last = now;
            gathering.wait = (gathering.wait * 2).min(APART);
            all.push((*target, std::mem::take(&mut gathering.round)));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: TargetId = TargetId::from_random([1; 16]);

    fn thing(changed: bool, by: &str) -> Thing {
        Thing {
            changed,
            made: false,
            heard_ns: 0,
            by: (!by.is_empty()).then(|| by.to_owned()),
        }
    }

    fn always(_: TargetId) -> bool {
        true
    }

    #[test]
    fn what_is_heard_of_a_quiet_target_is_looked_at_soon_and_once() {
        let (mut rounds, begin) = (Rounds::default(), Instant::now());
        let path = Path::new("/a/b");
        rounds.hear(TARGET, path, thing(false, "cat 1 0"), begin);
        rounds.hear(TARGET, path, thing(true, "rm 2 0"), begin + SETTLE / 2);
        rounds.hear(TARGET, path, thing(false, "ls 3 0"), begin + SETTLE / 2);
        assert_eq!(rounds.next(), Some(begin + SETTLE));
        assert!(rounds.due(begin, always).is_empty());
        let due = rounds.due(begin + SETTLE, always);
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].1.things[path], thing(true, "rm 2 0"));
        let by = |place| due[0].1.by([Path::new(place)].into_iter());
        assert_eq!(by("/a"), Some("rm 2 0".to_owned()));
        assert_eq!(by("/x"), None);
        assert!(rounds.due(begin + APART, always).is_empty());
        assert_eq!(rounds.next(), None);
    }

    #[test]
    fn a_storm_is_looked_at_ever_less_often_and_never_less_than_every_few_seconds() {
        let (mut rounds, begin) = (Rounds::default(), Instant::now());
        let (mut looks, mut last, mut longest) = (0, begin, Duration::ZERO);
        for step in 0..6000 {
            let now = begin + Duration::from_millis(10) * step;
            rounds.hear(TARGET, Path::new("/a"), thing(true, ""), now);
            if !rounds.due(now, always).is_empty() {
                looks += 1;
                longest = longest.max(now - last);
                last = now;
            }
        }
        assert!((20..30).contains(&looks), "{looks}");
        assert!(longest <= APART + Duration::from_millis(20), "{longest:?}");
        // After a while of quiet it is quick again.
        let later = last + QUIET * 2;
        assert!(rounds.due(last + APART * 2, always).len() <= 1);
        assert!(rounds.due(later, always).is_empty());
        rounds.hear(TARGET, Path::new("/a"), thing(true, ""), later);
        assert_eq!(rounds.next(), Some(later + SETTLE));
    }

    #[test]
    fn more_than_can_be_kept_in_mind_is_all_of_it() {
        let (mut rounds, now) = (Rounds::default(), Instant::now());
        for number in 0..MOST * 2 {
            let path = PathBuf::from(format!("/a/{number}"));
            rounds.hear(TARGET, &path, thing(false, ""), now);
        }
        let round = rounds.due(now + SETTLE, always).remove(0).1;
        assert_eq!((round.things.len(), round.whole), (MOST, false));
        for number in 0..=MOST {
            let path = PathBuf::from(format!("/a/{number}"));
            rounds.hear(TARGET, &path, thing(true, ""), now + APART);
        }
        assert!(rounds.due(now + APART * 2, always).remove(0).1.whole);
    }

    #[test]
    fn a_target_that_is_being_worked_on_is_looked_at_afterwards() {
        let (mut rounds, now) = (Rounds::default(), Instant::now());
        rounds.hear(TARGET, Path::new("/a"), thing(true, ""), now);
        assert!(rounds.due(now + SETTLE, |_| false).is_empty());
        assert_eq!(rounds.due(now + SETTLE * 2, always).len(), 1);
    }
}
