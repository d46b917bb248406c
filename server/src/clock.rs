//! Time and randomness: the only place where the coordinator takes either from the system.

use custody::time::Time;

/// The wall clock.
pub fn now() -> Time {
    Time::from_millis(jiff::Timestamp::now().as_millisecond())
}

/// Random bytes from the kernel.
pub fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|e| anyhow::anyhow!("no random bytes: {e}"))?;
    Ok(bytes)
}
