//! The outbox of one stream: which tasks were sent on it, and when each may be sent again.
//!
//! Tasks are read off the house each time, so nothing is lost with a stream.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use custody::house::{House, tasks::Task};

/// When a task that nobody answered is sent again.
const AGAIN: Duration = Duration::from_secs(30);
/// The first and the longest wait after a hold could not be raised or proved.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

struct Sent {
    next: Instant,
    /// The entry that had last changed the task's record.
    changed: u64,
    /// How often in a row trouble was reported.
    troubles: u32,
}

/// What was sent on one stream.
#[derive(Default)]
pub(super) struct Outbox(BTreeMap<Task, Sent>);

/// Where a hold's target stands: the entry that last changed it, and whether it is in trouble.
fn standing(house: &House, task: &Task) -> (u64, bool) {
    match task {
        Task::Raise(id) => house
            .targets
            .get(id)
            .map_or((0, false), |t| (t.changed, t.trouble.is_some())),
        // How much has ever left it.
        Task::Narrow(id) => house.targets.get(id).map_or((0, false), |t| {
            ((t.left.len() + t.leaving.len()) as u64, false)
        }),
        _ => (0, false),
    }
}

impl Outbox {
    /// When the next of the tasks that were sent may be sent again.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().map(|sent| sent.next).min()
    }

    /// Which of the tasks to send now, in their order. They count as sent.
    pub(super) fn due(&mut self, house: &House, tasks: &[Task], now: Instant) -> Vec<Task> {
        // What is not to be done any more may come anew later, and is then sent at once.
        let open: BTreeSet<_> = tasks.iter().collect();
        self.0.retain(|task, _| open.contains(task));
        let mut due = Vec::new();
        for task in tasks {
            let (changed, trouble) = standing(house, task);
            let Some(sent) = self.0.get_mut(task) else {
                let sent = Sent {
                    next: now + AGAIN,
                    changed,
                    troubles: 0,
                };
                self.0.insert(*task, sent);
                due.push(*task);
                continue;
            };
            if changed != sent.changed {
                sent.changed = changed;
                let (first, longest) = BACK_OFF;
                if matches!(task, Task::Narrow(_)) {
                    // More leaves than was sent: it is another task.
                    sent.next = now;
                } else if trouble {
                    let wait = first.saturating_mul(1 << sent.troubles.min(10));
                    sent.next = now + wait.min(longest);
                    sent.troubles += 1;
                } else {
                    // It is being worked on.
                    sent.next = now + AGAIN;
                }
            }
            if sent.next <= now {
                sent.next = now + AGAIN;
                due.push(*task);
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use custody::{
        commit::Commitment,
        house::{
            hold::{HeldTarget, State, Target},
            regime::Holding,
        },
        id::{AgentId, HoldId, ItemId, TargetId},
    };

    use super::*;

    fn house(changed: u64, trouble: bool) -> (House, Task) {
        let id = TargetId::from_random([1; 16]);
        let target = HeldTarget {
            wish: Target {
                target: id,
                item: ItemId::from_random([1; 16]),
                agent: AgentId::from_random([1; 16]),
                path: Commitment::from_bytes([0; 32]),
            },
            hold: HoldId::from_random([1; 16]),
            holding: Holding::Freeze,
            state: State::Requested,
            means: None,
            since: None,
            trouble: trouble.then(|| "unproved".to_owned()),
            attempts: 0,
            writers: 0,
            fixity: None,
            copy: None,
            leaving: Vec::new(),
            left: Vec::new(),
            changed,
        };
        let mut house = House::default();
        house.targets.insert(id, target);
        (house, Task::Raise(id))
    }

    #[test]
    fn a_task_is_sent_once_and_again_only_after_half_a_minute() {
        let (house, task) = house(1, false);
        let (mut outbox, start) = (Outbox::default(), Instant::now());
        let mut at = |seconds| outbox.due(&house, &[task], start + Duration::from_secs(seconds));
        assert_eq!(at(0), [task]);
        assert_eq!(at(29), []);
        assert_eq!(at(30), [task]);
        assert_eq!(at(31), []);
    }

    #[test]
    fn a_hold_in_trouble_is_tried_again_after_5_10_20_and_at_most_60_seconds() {
        let (mut outbox, mut now) = (Outbox::default(), Instant::now());
        let (first, task) = house(1, false);
        assert_eq!(outbox.due(&first, &[task], now), [task]);
        for (round, wait) in [5, 10, 20, 40, 60, 60].into_iter().enumerate() {
            let (troubled, _) = house(2 + round as u64, true);
            assert_eq!(outbox.due(&troubled, &[task], now), []);
            now += Duration::from_secs(wait) - Duration::from_millis(1);
            // Beyond 30 s an unanswered send would repeat: none may come before the wait ends.
            assert_eq!(outbox.due(&troubled, &[task], now), [], "{wait}");
            now += Duration::from_millis(1);
            assert_eq!(outbox.due(&troubled, &[task], now), [task], "{wait}");
        }
    }

    #[test]
    fn what_leaves_after_a_narrowing_was_sent_is_sent_at_once() {
        let (mut house, Task::Raise(id)) = house(1, false) else {
            unreachable!()
        };
        let (mut outbox, now, task) = (Outbox::default(), Instant::now(), Task::Narrow(id));
        let place = |n| Commitment::from_bytes([n; 32]);
        house.targets.get_mut(&id).unwrap().leaving = vec![place(1)];
        assert_eq!(outbox.due(&house, &[task], now), [task]);
        assert_eq!(outbox.due(&house, &[task], now), []);
        // Freed, and before anybody looked another place is let go.
        let target = house.targets.get_mut(&id).unwrap();
        (target.left, target.leaving) = (vec![place(1)], vec![place(2)]);
        assert_eq!(outbox.due(&house, &[task], now), [task]);
    }

    #[test]
    fn what_comes_back_after_it_was_done_is_sent_at_once() {
        let (house, task) = house(1, false);
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        assert_eq!(outbox.due(&house, &[task], now), [task]);
        assert_eq!(outbox.due(&house, &[], now), []);
        assert_eq!(outbox.due(&house, &[task], now), [task]);
    }
}
