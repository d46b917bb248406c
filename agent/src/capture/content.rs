//! The content of an open file, in order: what is there is read, and what is a hole is zeros that
//! are not read.

use std::os::fd::OwnedFd;

use rustix::{
    fs::{SeekFrom, Stat, fstat, seek},
    io::{Errno, pread},
};

use super::shared::Shared;

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
    pub(super) fn fill(&mut self, buffer: &mut [u8], shared: &Shared) -> Result<usize, Errno> {
        // Some file systems say 0 for files that have content.
        if self.size == 0 {
            return self.read(buffer, shared);
        }
        if self.at == self.until && self.at < self.size {
            self.stretch()?;
        }
        let left = usize::try_from(self.until - self.at).unwrap_or(usize::MAX);
        let want = left.min(buffer.len());
        if want == 0 {
            return Ok(0);
        }
        if self.hole {
            buffer[..want].fill(0);
            self.at += want as u64;
            self.holes += want as u64;
            return Ok(want);
        }
        self.read(&mut buffer[..want], shared)
    }

    fn read(&mut self, buffer: &mut [u8], shared: &Shared) -> Result<usize, Errno> {
        shared.before_read(buffer.len());
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
