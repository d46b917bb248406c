//! Limits: what each agent may take of its host, sent when it comes and whenever that changes.
//!
//! They are no task, since they are never done; the newest entry that sets them is their position.

use std::sync::atomic::Ordering;

use custody::house::House;
use proto::v1::{SetLimits, Task, task::Task as Kind};

use super::session::Session;

/// The limits that a stream was not sent yet, and the entry that set them.
pub(super) fn due(house: &House, session: &Session) -> Option<(Task, u64)> {
    let limited = house.agents.get(&session.agent)?.limits?;
    if session.limits_before.load(Ordering::Acquire) > limited.entry {
        return None;
    }
    let limits = limited.limits;
    let minute = |minute: Option<u64>| minute.and_then(|m| u32::try_from(m).ok()).unwrap_or(0);
    let set = SetLimits {
        cpu_percent: limits.cpu_percent.unwrap_or(0),
        read_bytes_per_second: limits.read_bytes.unwrap_or(0),
        reads_per_second: limits.reads.unwrap_or(0),
        from_minute: minute(limits.from_minute),
        until_minute: minute(limits.until_minute),
        paused: limits.paused,
    };
    let task = Task {
        task: Some(Kind::SetLimits(set)),
        position: limited.entry,
    };
    Some((task, limited.entry))
}

/// Notes that they were sent.
pub(super) fn sent(session: &Session, entry: u64) {
    session.limits_before.store(entry + 1, Ordering::Release);
}
