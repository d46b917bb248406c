//! The content of an open file, in order: what is there is read, what is a hole is zeros that are
//! not read, and the page cache is left as it was.

use std::{io::IoSliceMut, os::fd::OwnedFd};

use rustix::{
    fs::{SeekFrom, Stat, fstat, seek},
    io::{Errno, ReadWriteFlags, pread, preadv2},
};

use super::{
    footprint::{Footprint, TRIED},
    shared::Shared,
};

/// A file that is read from its beginning.
pub(super) struct Content {
    fd: OwnedFd,
    /// How long it said it was when it was opened.
    size: u64,
    at: u64,
    /// Where the stretch ends in which `at` lies, and whether that is a hole.
    until: u64,
    hole: bool,
    holes: u64,
    footprint: Footprint,
    small: Small,
}

/// How a small file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Small {
    /// Not yet.
    Untried,
    /// The disk was asked for it.
    Asked,
    /// Like any other.
    Plain,
}

impl Drop for Content {
    fn drop(&mut self) {
        self.footprint.leave(&self.fd);
    }
}

impl Content {
    /// Content of so many bytes; `sparse` where there may be holes.
    pub(super) fn new(fd: OwnedFd, size: u64, sparse: bool) -> Self {
        Self {
            fd,
            size,
            at: 0,
            until: if sparse { 0 } else { size },
            hole: false,
            holes: 0,
            footprint: Footprint::default(),
            small: Small::Untried,
        }
    }

    /// How much came out so far.
    pub(super) const fn length(&self) -> u64 {
        self.at
    }

    /// Bytes of holes that came out so far.
    pub(super) const fn holes(&self) -> u64 {
        self.holes
    }

    /// Looks at the file again.
    pub(super) fn stat(&self) -> Result<Stat, Errno> {
        fstat(&self.fd)
    }

    /// Gives the next bytes; none at the end. Whether the file grew meanwhile is not asked here.
    ///
    /// Where that would mean waiting for the disk and `wait` is not set, it may be `EAGAIN`
    /// instead: the disk is at work then, and this is to be called again, now to wait.
    pub(super) fn fill(
        &mut self,
        buffer: &mut [u8],
        wait: bool,
        shared: &Shared,
    ) -> Result<usize, Errno> {
        // Some file systems say 0 for files that have content.
        if self.size == 0 {
            return self.read(buffer, shared);
        }
        if self.at == self.until && self.at < self.size {
            self.stretch()?;
        }
        let most = buffer.len();
        let left = usize::try_from(self.until - self.at).unwrap_or(usize::MAX);
        let buffer = &mut buffer[..left.min(most)];
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.hole {
            // Nothing is read; hashing it takes as long.
            shared.before_read(0);
            buffer.fill(0);
            self.at += buffer.len() as u64;
            self.holes += buffer.len() as u64;
            return Ok(buffer.len());
        }
        if TRIED.contains(&self.size) {
            return self.read_small(buffer, wait, shared);
        }
        self.footprint.before(&self.fd, self.at, self.until);
        let count = self.read(buffer, shared)?;
        self.footprint.after(&self.fd, self.at);
        Ok(count)
    }

    fn read(&mut self, buffer: &mut [u8], shared: &Shared) -> Result<usize, Errno> {
        shared.before_read(buffer.len());
        self.read_now(buffer)
    }

    fn read_now(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        loop {
            match pread(&self.fd, &mut *buffer, self.at) {
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
                Ok(count) => {
                    self.at += count as u64;
                    return Ok(count);
                }
            }
        }
    }

    /// Reads without waiting first, which tells whether it was in the page cache.
    fn read_small(
        &mut self,
        buffer: &mut [u8],
        wait: bool,
        shared: &Shared,
    ) -> Result<usize, Errno> {
        match self.small {
            Small::Untried => {}
            Small::Asked if !wait => return Err(Errno::AGAIN),
            Small::Asked => {
                self.small = Small::Plain;
                return self.read_now(buffer);
            }
            Small::Plain => return self.read(buffer, shared),
        }
        shared.before_read(buffer.len());
        let into = &mut [IoSliceMut::new(buffer)];
        let there = match preadv2(&self.fd, into, self.at, ReadWriteFlags::NOWAIT) {
            Ok(there) => there,
            Err(Errno::AGAIN) => 0,
            // Not every file system can tell; true trouble comes again.
            Err(_) => {
                self.small = Small::Plain;
                return self.read_now(buffer);
            }
        };
        self.at += there as u64;
        if there < buffer.len() {
            self.footprint.brought_in(self.at, self.until);
        }
        if there == 0 {
            self.small = Small::Asked;
            return self.read_small(buffer, wait, shared);
        }
        self.small = Small::Plain;
        Ok(there)
    }

    /// Finds the stretch of data, or the hole, that begins here.
    fn stretch(&mut self) -> Result<(), Errno> {
        let data = match seek(&self.fd, SeekFrom::Data(self.at)) {
            Ok(data) => data.min(self.size),
            // No data any more: a hole to the end, wherever that is now.
            Err(Errno::NXIO) => {
                let now = u64::try_from(self.stat()?.st_size).unwrap_or(0);
                self.size = self.size.min(now).max(self.at);
                self.size
            }
            Err(errno) => return Err(errno),
        };
        self.hole = data > self.at;
        self.until = match self.hole {
            true => data,
            false if self.at == self.size => self.size,
            false => seek(&self.fd, SeekFrom::Hole(self.at))?.min(self.size),
        };
        Ok(())
    }
}
