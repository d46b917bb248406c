//! Footprint: what reading a file left in the host's page cache, and takes out again.
//!
//! The cache is the host's. A capture must neither fill it with evidence nor take out what the
//! host works with. So before a part of a file is read, the kernel is asked which pages of it are
//! there already (`cachestat`, Linux 6.5); the rest is read ahead by us, and dropped once it was
//! read. Reading ahead is ours to do because the kernel's own would bring in pages that were not
//! asked about. Files of a size in [`TRIED`] are not asked about: their first read says whether
//! they were there. Before Linux 6.5 the others are read like any file, and nothing of them is
//! dropped.
//!
//! What it trusts: nobody else begins to use a page between our reading it and dropping it. Where
//! somebody does, he reads it from disk once more.

use std::{
    collections::VecDeque,
    num::NonZeroU64,
    ops::Range,
    os::fd::{AsFd, AsRawFd as _},
};

use rustix::fs::{Advice, fadvise};

/// Sizes of files that are read at once: trying without waiting tells what asking would. Not of
/// the smallest, which btrfs keeps in its metadata and has at once whether they were read or not.
pub(super) const TRIED: Range<u64> = 4096..64 << 10;
/// How much is asked about at a time, and dropped at a time.
const PART: u64 = 1 << 20;
/// How far ahead of the reading that is.
const AHEAD: u64 = 8 << 20;
/// How much is read ahead at a time: the kernel cuts more off, on disks whose own readahead is
/// short.
const PIECE: u64 = 512 << 10;
/// The smallest page. Where pages are larger, more questions are asked than needed.
const PAGE: u64 = 4096;

/// What is known of one file's pages.
#[derive(Debug, Default)]
pub(super) struct Footprint {
    /// Asked about up to here.
    asked: u64,
    /// What was not there and is by now, and was not dropped yet.
    ours: VecDeque<Range<u64>>,
    /// Whether the kernel's readahead is off, because something was not there.
    alone: bool,
    /// Whether the kernel does not tell.
    untold: bool,
}

impl Footprint {
    /// To be called before a read at `at`; `end` is how far there is data.
    pub(super) fn before(&mut self, file: &impl AsFd, at: u64, end: u64) {
        self.asked = self.asked.max(at);
        let until = end.min(at.saturating_add(AHEAD));
        // One question for many reads.
        let due = |asked| asked < until && (asked + PART <= until || until == end);
        while !self.untold && due(self.asked) {
            let to = end.min((self.asked / PART + 1) * PART);
            self.ask(file, self.asked..to);
            self.asked = to;
        }
    }

    /// To be called when everything before `at` was read.
    pub(super) fn after(&mut self, file: &impl AsFd, at: u64) {
        while self.ours.front().is_some_and(|part| part.end <= at) {
            self.drop_first(file);
        }
    }

    /// Everything behind `from` was not there before it was read.
    pub(super) fn brought_in(&mut self, from: u64, end: u64) {
        // A page that was there in part was there.
        let from = from.next_multiple_of(PAGE);
        if from < end {
            self.ours.push_back(from..end);
        }
    }

    /// Drops all that is left to drop.
    pub(super) fn leave(&mut self, file: &impl AsFd) {
        while !self.ours.is_empty() {
            self.drop_first(file);
        }
    }

    fn drop_first(&mut self, file: &impl AsFd) {
        if let Some(part) = self.ours.pop_front() {
            // A page that is dirty or mapped stays: somebody uses it.
            let _ = fadvise(file, part.start, length(&part), Advice::DontNeed);
        }
    }

    fn ask(&mut self, file: &impl AsFd, part: Range<u64>) {
        let pages = part.end.div_ceil(PAGE) - part.start / PAGE;
        match cached(file, &part) {
            None => self.untold = true,
            Some(0) => self.bring_in(file, part),
            Some(there) if there >= pages || pages < 2 => {}
            Some(_) => {
                let middle = (part.start / PAGE + pages / 2) * PAGE;
                self.ask(file, part.start..middle);
                self.ask(file, middle..part.end);
            }
        }
    }

    fn bring_in(&mut self, file: &impl AsFd, part: Range<u64>) {
        if !self.alone {
            self.alone = true;
            let _ = fadvise(file, 0, None, Advice::Random);
        }
        let mut at = part.start;
        while at < part.end {
            let piece = at..part.end.min(at + PIECE);
            let _ = fadvise(file, at, length(&piece), Advice::WillNeed);
            at = piece.end;
        }
        match self.ours.back_mut() {
            // Parts stay small, so that they are dropped soon.
            Some(last) if last.end == part.start && part.end - last.start <= PART => {
                last.end = part.end;
            }
            _ => self.ours.push_back(part),
        }
    }
}

fn length(part: &Range<u64>) -> Option<NonZeroU64> {
    NonZeroU64::new(part.end - part.start)
}

/// The number that `cachestat` has on every architecture; libc does not name it yet.
const CACHESTAT: libc::c_long = 451;

/// How many pages of a part of a file are in the page cache; `None` where the kernel does not tell.
#[allow(unsafe_code)]
fn cached(file: &impl AsFd, part: &Range<u64>) -> Option<u64> {
    // As in linux/mman.h: `struct cachestat_range` and `struct cachestat`.
    let asked = [part.start, part.end - part.start];
    let mut told = [0_u64; 5];
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: `fd` is open while `file` is borrowed; the kernel reads two and writes five 64-bit
    // words, which live here until it has answered.
    let done = unsafe {
        let (asked, told) = (asked.as_ptr(), told.as_mut_ptr());
        libc::syscall(CACHESTAT, fd, asked, told, 0)
    };
    (done == 0).then_some(told[0])
}
