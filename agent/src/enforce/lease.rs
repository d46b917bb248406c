//! Leases: asks the kernel whether anybody can still write to an open file.
//!
//! The kernel grants a read lease only when no descriptor and no mapping can write to the file.
//! That is the one question that finds a writer who was there before the immutable flag: on XFS
//! and btrfs such a writer goes on writing. Neither rustix nor nix has the call, so this module
//! makes it. It trusts nothing but the descriptor that it is given.
//!
//! What one who had the file before can do once the flag is set, measured on Linux 6.18 and
//! asserted by `tests/hostile_writers.rs`:
//!
//! | with | tries to | ext4 | XFS | btrfs |
//! |---|---|---|---|---|
//! | a descriptor open for writing | overwrite, append | no | **yes** | **yes** |
//! | | truncate, extend | no | **yes** | **yes** |
//! | | punch a hole, zero, preallocate | no | no | no |
//! | | change mode, times, attributes | no | no | no |
//! | | open it for writing again | no | no | no |
//! | | map it anew and store | SIGBUS | **yes** | **yes** |
//! | a writable mapping | store, in a clean page or a dirty one | SIGBUS | **yes** | **yes** |
//!
//! All of it moves the file's time of change, which nobody can set while the flag stands: so
//! what went past a flag is found by the next check. The lease refuses in every one of these
//! cases, also where the descriptor is closed and only the mapping is left. Who it is that has
//! the file is told by [`super::writers`].

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _},
};

/// From linux/fcntl.h; libc has it for other systems only.
const F_SETSIG: libc::c_int = 10;

/// Whether somebody can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// Nobody can.
    None,
    /// Somebody can: a descriptor or a mapping is left.
    Left,
    /// This file system or privilege does not tell.
    Unknown,
}

/// Asks whether anybody can write to a regular file that is open for reading only.
///
/// The lease ends with this call. While it stands, the kernel would answer an opening for
/// writing with a signal; it is made SIGURG, which does nothing, because SIGIO would end us.
pub fn writers(file: impl AsFd) -> Writers {
    let set = fcntl(&file, F_SETSIG, libc::SIGURG)
        .and_then(|()| fcntl(&file, libc::F_SETLEASE, libc::F_RDLCK));
    match set {
        Ok(()) => {
            let _ = fcntl(&file, libc::F_SETLEASE, libc::F_UNLCK);
            Writers::None
        }
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Writers::Left,
        Err(_) => Writers::Unknown,
    }
}

#[allow(unsafe_code)]
fn fcntl(file: &impl AsFd, command: libc::c_int, argument: libc::c_int) -> io::Result<()> {
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: `fd` is open while `file` is borrowed, and the two commands used here take a plain
    // integer: the kernel reads and writes no memory of ours.
    if unsafe { libc::fcntl(fd, command, argument) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs::File;

    use super::{Writers, writers};

    #[test]
    fn a_lease_tells_a_writer_from_a_reader_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let writer = File::create(&path).unwrap();
        let reader = File::open(&path).unwrap();
        assert_eq!(writers(&reader), Writers::Left);
        drop(writer);
        let _second = File::open(&path).unwrap();
        // A process that another test starts has our descriptors until its exec.
        let none = || writers(&reader) == Writers::None;
        let pause = || std::thread::sleep(std::time::Duration::from_millis(10));
        assert!((0..200).any(|_| none() || (pause(), false).1));
        // Were the lease still there, this would break it and wait.
        let begun = std::time::Instant::now();
        File::options().write(true).open(&path).unwrap();
        assert!(begun.elapsed().as_secs() < 5);
    }

    #[test]
    fn a_folder_has_no_lease() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            writers(File::open(folder.path()).unwrap()),
            Writers::Unknown
        );
    }
}
