//! A part: what came of an upload so far, as a file that grows at its end and nowhere else.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    sync::Arc,
};

use tonic::codegen::Bytes;

use super::blocking;
use crate::rpc::status::{No, conflict, invalid};

/// How many bytes may wait for the disk before they are flushed.
const FLUSH: u64 = 64 << 20;
/// What an upload leaves free for the journal and the log: this, or a twentieth of the disk
/// where that is less. However much an agent signs for, the coordinator can go on recording.
const KEPT_FREE: u64 = 1 << 30;

pub(super) struct Part {
    path: PathBuf,
    file: Arc<File>,
    have: u64,
    flushed: u64,
    total: u64,
}

impl Part {
    /// Opens a part where it stopped.
    pub(super) async fn open(path: PathBuf, total: u64) -> Result<Self, No> {
        let at = path.clone();
        let (file, have) = blocking(move || {
            let file = File::options()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(&at)?;
            let mut have = file.metadata()?.len();
            if have > total {
                // Never ours: begin again.
                file.set_len(0)?;
                have = 0;
            }
            Ok((file, have))
        })
        .await?;
        Ok(Self {
            path,
            file: Arc::new(file),
            have,
            flushed: have,
            total,
        })
    }

    /// How many bytes are here.
    pub(super) const fn have(&self) -> u64 {
        self.have
    }

    /// Adds bytes at the end. After trouble the file is as it was before.
    pub(super) async fn put(&mut self, offset: u64, bytes: Bytes) -> Result<(), No> {
        if offset != self.have {
            return Err(conflict(
                "upload.offset",
                format!("The upload goes on at byte {}, not {offset}", self.have),
                "Ask how much is here and send the rest",
            ));
        }
        let length = bytes.len() as u64;
        if length > self.total - self.have {
            return Err(invalid(
                "upload.too-long",
                "More was sent than was signed",
                "Send exactly what was signed",
            ));
        }
        let (file, have) = (Arc::clone(&self.file), self.have);
        let flush = have + length - self.flushed >= FLUSH;
        blocking(move || {
            leaves_room(&file, length)?;
            let written = (&*file).write_all(&bytes);
            if written.is_err() {
                file.set_len(have)?;
            }
            written?;
            if flush { file.sync_data() } else { Ok(()) }
        })
        .await?;
        self.have += length;
        if flush {
            self.flushed = self.have;
        }
        Ok(())
    }

    /// Flushes what came. When that fails nobody knows what is on disk: the part is removed.
    pub(super) async fn close(self) -> Result<u64, No> {
        let Self {
            path, file, have, ..
        } = self;
        blocking(move || {
            let flushed: io::Result<()> = file.sync_all();
            if flushed.is_err() {
                fs::remove_file(&path)?;
            }
            flushed
        })
        .await?;
        Ok(have)
    }
}

/// Refuses what would take the room that is kept free.
fn leaves_room(file: &File, length: u64) -> io::Result<()> {
    let disk = rustix::fs::fstatvfs(file)?;
    let [all, free] =
        [disk.f_blocks, disk.f_bavail].map(|count| count.saturating_mul(disk.f_frsize));
    let kept = KEPT_FREE.min(all / 20);
    match free.saturating_sub(length) < kept {
        true => Err(io::ErrorKind::StorageFull.into()),
        false => Ok(()),
    }
}
