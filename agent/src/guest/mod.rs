//! The guest: what keeps reading from being felt on its host.
//!
//! Everyone who reads customers' bytes in bulk (capture, reading again, second copies, packing) asks
//! one [`Guest`] before each read, and waits there: for the limits that the coordinator or
//! agent.toml sets (a share of CPU time, bytes and reads a second, hours of the day, a pause), and
//! for the host's own load. Holding never asks: what it uses of the CPU share is taken from
//! reading, not the other way round.
//!
//! Where nothing is limited and the host has no pressure, asking costs a look at a clock.

mod budget;
mod gate;
pub mod kept;
mod pace;
mod pressure;
pub mod priority;

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use custody::house::limits::{DAY, Limits};
pub use gate::Waits;
use gate::{Answer, Clocks, Gate};
use pressure::Counted;
use rustix::time::{ClockId, clock_gettime};

/// How often the host's load is looked at, while there is reading.
const LOOK: Duration = Duration::from_secs(1);
/// A look that is older says nothing about now.
const STALE: Duration = Duration::from_secs(5);
/// For how long it is said that reading was held back.
const RECENT: Duration = Duration::from_secs(2);

/// Reading was stopped while it waited, or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reading was stopped")]
pub struct Stopped;

/// CPU time that this process has used, all threads together.
fn cpu_used() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(used).unwrap_or_default()
}

struct State {
    gate: Gate,
    /// The last look at the host's load, and when it was.
    looked: Option<(Duration, Counted)>,
    /// When reading last waited, and why.
    waited: Option<(Duration, Waits)>,
}

/// The one gate of a process.
pub struct Guest {
    began: Instant,
    /// At which pressure on others it yields, in percent of the time; 0: never.
    yield_above: u64,
    state: Mutex<State>,
    changed: Condvar,
    /// Nothing holds reading back.
    open: AtomicBool,
    /// When the host's load is looked at next, in milliseconds since it began.
    next_look: AtomicU64,
}

impl Default for Guest {
    /// One that is never in anybody's way, and takes what it can get.
    fn default() -> Self {
        Self::new(Limits::default(), 0)
    }
}

impl Guest {
    /// A guest with limits that yields when others wait for more than so many percent of the time.
    pub fn new(limits: Limits, yield_above: u64) -> Self {
        let clocks = Clocks {
            used: cpu_used(),
            ..Clocks::default()
        };
        let gate = Gate::new(limits, &clocks);
        Self {
            began: Instant::now(),
            yield_above,
            open: AtomicBool::new(gate.is_open()),
            state: Mutex::new(State {
                gate,
                looked: None,
                waited: None,
            }),
            changed: Condvar::new(),
            next_look: AtomicU64::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clocks(&self) -> Clocks {
        Clocks {
            now: self.began.elapsed(),
            used: cpu_used(),
            minute: minute_of_day(),
        }
    }

    /// Whether it yields to the host's own load at all.
    pub const fn yields(&self) -> bool {
        self.yield_above > 0
    }

    /// Whether the kernel says how the host's own work fares.
    pub fn can_tell_load() -> bool {
        Counted::now().tells()
    }

    /// To be called before every read of at most so many bytes, and with 0 before work that takes
    /// CPU time alone. Returns once the read may be made;
    /// errs once `stop` says so, also while it waits (see [`Guest::wake`]).
    pub fn before_read(&self, bytes: usize, stop: impl Fn() -> bool) -> Result<(), Stopped> {
        if stop() {
            return Err(Stopped);
        }
        let due = self.yields() && self.is_look_due();
        if !due && self.open.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut state = self.state();
        loop {
            if stop() {
                return Err(Stopped);
            }
            self.look(&mut state);
            let clocks = self.clocks();
            match state.gate.ask(bytes as u64, &clocks) {
                Answer::Go => return Ok(()),
                Answer::Wait(wait, why) => {
                    state.waited = Some((clocks.now, why));
                    let waiting = self.changed.wait_timeout(state, wait);
                    state = waiting.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    fn is_look_due(&self) -> bool {
        let due = Duration::from_millis(self.next_look.load(Ordering::Relaxed));
        self.began.elapsed() >= due
    }

    /// Looks at the host's load when it is time to, and sets the pace by it.
    fn look(&self, state: &mut State) {
        if !self.yields() || !self.is_look_due() {
            return;
        }
        let now = self.began.elapsed();
        let next = u64::try_from((now + LOOK).as_millis()).unwrap_or(u64::MAX);
        self.next_look.store(next, Ordering::Relaxed);
        let counted = Counted::now();
        if let Some((then, before)) = state.looked.replace((now, counted))
            && now.saturating_sub(then) < STALE
        {
            let pressure = counted.pressure(&before, now.saturating_sub(then));
            let full = state.gate.pace.is_full();
            state.gate.pace.observe(pressure, self.yield_above);
            if full && !state.gate.pace.is_full() {
                tracing::info!(pressure, "the host has work of its own: reading slows down");
            }
        }
        self.open.store(state.gate.is_open(), Ordering::Release);
    }

    /// Sets other limits. Whoever waits asks again at once.
    pub fn set(&self, limits: Limits) {
        let clocks = self.clocks();
        let mut state = self.state();
        state.gate.set(limits, &clocks);
        self.open.store(state.gate.is_open(), Ordering::Release);
        drop(state);
        self.changed.notify_all();
    }

    /// The limits as they are now.
    pub fn limits(&self) -> Limits {
        *self.state().gate.limits()
    }

    /// Wakes whoever waits, so that he sees that he is to stop.
    pub fn wake(&self) {
        // Whoever looked at his stop before it was set waits by the time this has the lock.
        drop(self.state());
        self.changed.notify_all();
    }

    /// What holds reading back now, if anything does.
    pub fn waits(&self) -> Option<Waits> {
        let state = self.state();
        if let Some(shut) = state.gate.shut(minute_of_day()) {
            return Some(shut);
        }
        let recent = |at: Duration| self.began.elapsed().saturating_sub(at) < RECENT;
        let waited = state.waited.filter(|(at, _)| recent(*at));
        waited
            .map(|(_, why)| why)
            .filter(|why| matches!(why, Waits::HostBusy | Waits::Limited))
    }
}

/// The minute of the day, UTC.
fn minute_of_day() -> u64 {
    let millis = crate::edge::now().millis();
    u64::try_from(millis.rem_euclid(86_400_000) / 60_000).unwrap_or(0) % DAY
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use super::*;

    const PAUSED: Limits = Limits {
        cpu_percent: None,
        read_bytes: None,
        reads: None,
        from_minute: None,
        until_minute: None,
        paused: true,
    };

    #[test]
    fn whoever_waits_is_woken_by_new_limits_and_by_a_stop() {
        let guest = Arc::new(Guest::new(PAUSED, 0));
        let stop = Arc::new(AtomicBool::new(false));
        let read = || {
            let (guest, stop) = (Arc::clone(&guest), Arc::clone(&stop));
            std::thread::spawn(move || guest.before_read(1, || stop.load(Ordering::Relaxed)))
        };
        let (begun, waiting) = (Instant::now(), read());
        std::thread::sleep(Duration::from_millis(50));
        assert!(!waiting.is_finished());
        assert_eq!(guest.waits(), Some(Waits::Paused));
        guest.set(Limits::default());
        assert_eq!(waiting.join().unwrap(), Ok(()));
        guest.set(PAUSED);
        let waiting = read();
        std::thread::sleep(Duration::from_millis(50));
        stop.store(true, Ordering::Relaxed);
        guest.wake();
        assert_eq!(waiting.join().unwrap(), Err(Stopped));
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "nobody slept it out"
        );
    }

    #[test]
    fn where_nothing_is_limited_asking_is_free() {
        let guest = Guest::new(Limits::default(), 10);
        let begun = Instant::now();
        for _ in 0..100_000 {
            guest.before_read(4096, || false).unwrap();
        }
        assert!(begun.elapsed() < Duration::from_secs(1));
    }
}
