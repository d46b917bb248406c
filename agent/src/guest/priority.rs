//! Priority: threads that only read let the host's own programs go first.
//!
//! A thread that was lowered cannot be raised again without a right that the agent does not have,
//! so only threads that end with their reading are lowered, never one that may hold next. Disk
//! priority is left to the host: the kernel offers it through calls that are not made here.

/// A tenth of the weight of an ordinary program: it is last, and does not starve.
const NICE: i32 = 10;

/// Lowers the thread that calls it, where that is allowed.
pub fn lower() {
    // For the kernel a thread is a process; 0 is the one that calls.
    let _ = rustix::process::setpriority_process(None, NICE);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    #[test]
    fn only_the_thread_that_asks_is_lowered() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        let lowered = std::thread::spawn(move || {
            super::lower();
            nice()
        });
        assert!(lowered.join().unwrap() >= before.max(super::NICE));
        assert_eq!(nice(), before);
    }
}
