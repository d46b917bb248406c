//! Pressure: how much the host's own work is held up, and not by us.
//!
//! The kernel says for how long some task waited for a CPU or for a disk. Whoever reads much causes
//! such waiting himself: on a host that does nothing else, all of it. So each second's pressure
//! counts only for the share that others had of what was used in it: CPU time, and bytes from and
//! to disks. What the kernel does not say is not guessed: then there is no pressure.

use std::{fs, time::Duration};

/// The kernel counts the whole host's CPU time in hundredths of a second.
const TICK_MS: u64 = 10;

/// What the kernel has counted up to a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Time in which some task waited for a CPU.
    pub(super) cpu_waited: Option<Duration>,
    /// Time in which some task waited for a disk.
    pub(super) io_waited: Option<Duration>,
    /// CPU time of the whole host.
    pub(super) cpu_all: Option<Duration>,
    /// CPU time of this process.
    pub(super) cpu_ours: Duration,
    /// Bytes from and to disks, of the whole host.
    pub(super) io_all: Option<u64>,
    /// Bytes from and to disks, of this process.
    pub(super) io_ours: Option<u64>,
}

impl Counted {
    /// Reads the kernel's counters.
    pub(super) fn now() -> Self {
        let read = |path: &str| fs::read_to_string(path).ok();
        let own = read("/proc/self/io");
        let own = |name| field(own.as_deref()?, name);
        Self {
            cpu_waited: read("/proc/pressure/cpu").and_then(|text| some(&text)),
            io_waited: read("/proc/pressure/io").and_then(|text| some(&text)),
            cpu_all: read("/proc/stat").and_then(|text| busy(&text)),
            cpu_ours: super::cpu_used(),
            io_all: read("/proc/vmstat").and_then(|text| {
                let kib = field(&text, "pgpgin")?.checked_add(field(&text, "pgpgout")?)?;
                kib.checked_mul(1024)
            }),
            io_ours: own("read_bytes:")
                .zip(own("write_bytes:"))
                .map(|(r, w)| r + w),
        }
    }

    /// Whether the kernel says anything about pressure.
    pub(super) const fn tells(&self) -> bool {
        self.cpu_waited.is_some() || self.io_waited.is_some()
    }

    /// For how much of the time others were held up since an earlier moment, in percent: the
    /// greater of CPU and disk.
    pub(super) fn pressure(&self, before: &Self, passed: Duration) -> f64 {
        let percent = |now: Option<Duration>, then: Option<Duration>| {
            let waited = now?.saturating_sub(then?);
            Some((waited.as_secs_f64() / passed.as_secs_f64().max(0.001) * 100.0).min(100.0))
        };
        #[allow(clippy::cast_precision_loss)]
        let bytes = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?) as f64);
        let time = |now: Option<Duration>, then: Option<Duration>| {
            Some(now?.saturating_sub(then?).as_secs_f64())
        };
        let cpu = percent(self.cpu_waited, before.cpu_waited).and_then(|waited| {
            let all = time(self.cpu_all, before.cpu_all)?;
            Some(waited * others(time(Some(self.cpu_ours), Some(before.cpu_ours))?, all))
        });
        let io = percent(self.io_waited, before.io_waited).and_then(|waited| {
            let all = bytes(self.io_all, before.io_all)?;
            Some(waited * others(bytes(self.io_ours, before.io_ours)?, all))
        });
        cpu.unwrap_or(0.0).max(io.unwrap_or(0.0))
    }
}

/// The share of all that is not ours, from 0 to 1.
fn others(ours: f64, all: f64) -> f64 {
    if all <= 0.0 {
        return 0.0;
    }
    (1.0 - ours / all).clamp(0.0, 1.0)
}

/// The time of the line `some ... total=MICROSECONDS`.
fn some(text: &str) -> Option<Duration> {
    let line = text.lines().find(|line| line.starts_with("some "))?;
    let (_, total) = line.split_once("total=")?;
    Some(Duration::from_micros(total.trim().parse().ok()?))
}

/// CPU time of processes and the kernel, of all CPUs: `cpu user nice system ...`.
fn busy(text: &str) -> Option<Duration> {
    let mut fields = text
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace();
    let mut ticks = 0_u64;
    for _ in 0..3 {
        let field: u64 = fields.next()?.parse().ok()?;
        ticks = ticks.checked_add(field)?;
    }
    Some(Duration::from_millis(ticks.checked_mul(TICK_MS)?))
}

/// The number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let (_, value) = lines.find(|(first, _)| *first == name)?;
    value.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// One second with so much of everything.
    fn second(cpu: (u64, u64, u64), io: (u64, u64, u64)) -> f64 {
        let after = Counted {
            cpu_waited: Some(ms(cpu.0)),
            cpu_all: Some(ms(cpu.1)),
            cpu_ours: ms(cpu.2),
            io_waited: Some(ms(io.0)),
            io_all: Some(io.1),
            io_ours: Some(io.2),
        };
        let zero = Some(Duration::ZERO);
        let before = Counted {
            cpu_waited: zero,
            io_waited: zero,
            cpu_all: zero,
            cpu_ours: Duration::ZERO,
            io_all: Some(0),
            io_ours: Some(0),
        };
        after.pressure(&before, ms(1000))
    }

    #[test]
    fn what_reading_alone_causes_is_no_pressure() {
        assert!(second((600, 1900, 1900), (950, 1 << 30, 1 << 30)) < 0.1);
        // The kernel's own threads that serve the reading are few.
        assert!(second((300, 2000, 1800), (0, 0, 0)) < 10.0);
    }

    #[test]
    fn others_who_wait_beside_us_are_pressure_for_their_share() {
        let cpu = second((800, 2000, 1000), (0, 0, 0));
        assert!((39.0..41.0).contains(&cpu), "{cpu}");
        let io = second((0, 0, 0), (500, 4 << 20, 1 << 20));
        assert!((37.0..38.0).contains(&io), "{io}");
        assert!((39.0..41.0).contains(&second((800, 2000, 1000), (500, 4, 3))));
    }

    #[test]
    fn a_kernel_that_says_nothing_makes_no_pressure() {
        let silent = Counted::default();
        assert!(!silent.tells());
        assert_eq!(silent.pressure(&silent, ms(1000)), 0.0);
    }

    #[test]
    fn the_kernels_texts_are_read_and_other_texts_are_not() {
        let text = "some avg10=66.16 avg60=40.57 avg300=15.01 total=6666453173\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        assert_eq!(some(text), Some(Duration::from_micros(6_666_453_173)));
        assert_eq!(some("full total=7"), None);
        let stat = "cpu  100 20 3 740183 16017 0 7466 1917 0 0\ncpu0 1 1 1\n";
        assert_eq!(busy(stat), Some(ms(1230)));
        assert_eq!(busy("cpu 1 2"), None);
        assert_eq!(field("pgpgin 5\npgpgout 7\n", "pgpgout"), Some(7));
        assert_eq!(field("read_bytes: 8\n", "read_bytes:"), Some(8));
    }

    #[test]
    fn this_kernel_counts_forward() {
        let before = Counted::now();
        let after = Counted::now();
        assert!(after.cpu_ours >= before.cpu_ours);
        assert!(after.cpu_all >= before.cpu_all && after.io_all >= before.io_all);
    }
}
