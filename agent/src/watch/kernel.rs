//! The kernel's ears: fanotify groups, the marks in them, and what they tell.
//!
//! Neither rustix nor nix tells which folder and name an event is about, so this module makes the
//! three calls and reads the answers. It trusts the kernel for the lengths that it gives, and
//! checks them all the same; it is handed open descriptors and never a path.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

/// What is asked for of everything that is watched: that something was changed, came or went, or
/// was closed. Taking a flag off tells nobody; closing what it was taken off from does.
pub const ASKED: u64 = libc::FAN_CLOSE
    | libc::FAN_ATTRIB
    | libc::FAN_MODIFY
    | libc::FAN_CREATE
    | libc::FAN_DELETE
    | libc::FAN_MOVED_FROM
    | libc::FAN_MOVED_TO
    | libc::FAN_DELETE_SELF
    | libc::FAN_MOVE_SELF
    | libc::FAN_ONDIR
    | libc::FAN_EVENT_ON_CHILD;

/// What says no more than that somebody had a thing open.
const CLOSED: u64 = libc::FAN_CLOSE | libc::FAN_ONDIR;
/// A handle is at most so long; from linux/exportfs.h.
const MOST_HANDLE: usize = 128;
/// Lengths of an event's own part, and of the part before a handle's bytes; from linux/fanotify.h.
const EVENT: usize = 24;
const RECORD: usize = 20;

/// Something that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// What.
    pub mask: u64,
    /// The process that did it; 0 where the kernel does not say.
    pub pid: i32,
    /// The folder it happened in, as [`handle`] gives it, and the name in it.
    pub within: Option<(&'a [u8], &'a [u8])>,
    /// The thing itself, as [`handle`] gives it.
    pub itself: Option<&'a [u8]>,
}

impl Event<'_> {
    /// Whether more happened than the kernel could keep.
    pub const fn is_overflow(&self) -> bool {
        self.mask & libc::FAN_Q_OVERFLOW != 0
    }

    /// Whether it says only that somebody had a thing open, reading it or taking its flag off.
    pub const fn is_a_close(&self) -> bool {
        self.mask & !CLOSED == 0
    }
}

/// A group of marks.
#[derive(Debug)]
pub struct Group(OwnedFd);

impl AsFd for Group {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Group {
    /// Makes a group; the second value says whether the kernel will name processes. Without
    /// `CAP_SYS_ADMIN` it will not.
    pub fn new() -> io::Result<(Self, bool)> {
        let least = libc::FAN_CLASS_NOTIF
            | libc::FAN_CLOEXEC
            | libc::FAN_NONBLOCK
            | libc::FAN_REPORT_FID
            | libc::FAN_REPORT_DFID_NAME;
        match init(least | libc::FAN_UNLIMITED_MARKS) {
            Ok(fd) => Ok((Self(fd), true)),
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                Ok((Self(init(least)?), false))
            }
            Err(error) => Err(error),
        }
    }

    /// Marks what is open.
    pub fn mark(&self, thing: impl AsFd) -> io::Result<()> {
        mark(self.as_fd(), thing.as_fd())
    }

    /// Reads what was heard into a buffer, and gives how much of it is filled. None where there
    /// is nothing.
    pub fn read<'b>(&self, buffer: &'b mut [u8]) -> io::Result<Option<&'b [u8]>> {
        match rustix::io::read(&self.0, &mut *buffer) {
            Ok(read) => Ok(Some(&buffer[..read])),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

#[allow(unsafe_code)]
fn init(flags: libc::c_uint) -> io::Result<OwnedFd> {
    // SAFETY: it takes two integers and no memory of ours.
    let fd = unsafe { libc::fanotify_init(flags, 0) };
    if fd == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel gave this descriptor a moment ago, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[allow(unsafe_code)]
fn mark(group: BorrowedFd<'_>, thing: BorrowedFd<'_>) -> io::Result<()> {
    let (group, thing) = (group.as_raw_fd(), thing.as_raw_fd());
    // SAFETY: both descriptors are open while they are borrowed; without a path the kernel reads
    // no memory of ours.
    let marked =
        unsafe { libc::fanotify_mark(group, libc::FAN_MARK_ADD, ASKED, thing, std::ptr::null()) };
    if marked == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Room for a handle, laid out as linux/fcntl.h has it.
#[repr(C)]
struct Room {
    bytes: libc::c_uint,
    kind: libc::c_int,
    handle: [u8; MOST_HANDLE],
}

/// What an open thing is called in events: its handle's kind and bytes. It never changes, however
/// the thing is named.
#[allow(unsafe_code)]
pub fn handle(thing: impl AsFd) -> io::Result<Vec<u8>> {
    let mut room = Room {
        bytes: MOST_HANDLE as libc::c_uint,
        kind: 0,
        handle: [0; MOST_HANDLE],
    };
    let mut mount = 0;
    let fd = thing.as_fd().as_raw_fd();
    // SAFETY: `room` begins with the kernel's struct and has behind it as many bytes as it says,
    // the path is an empty C string, and all of them outlive the call.
    let named = unsafe {
        libc::name_to_handle_at(
            fd,
            c"".as_ptr(),
            (&raw mut room).cast(),
            &raw mut mount,
            libc::AT_EMPTY_PATH,
        )
    };
    if named == -1 {
        return Err(io::Error::last_os_error());
    }
    let bytes = (room.bytes as usize).min(MOST_HANDLE);
    let mut handle = room.kind.to_ne_bytes().to_vec();
    handle.extend_from_slice(&room.handle[..bytes]);
    Ok(handle)
}

/// A file system's own id, as linux/fs.h lays it out.
#[repr(C)]
struct Uuid {
    length: u8,
    uuid: [u8; 16],
}

/// `FS_IOC_GETFSUUID`, since Linux 6.9.
const GET_UUID: rustix::ioctl::Opcode = rustix::ioctl::opcode::read::<Uuid>(0x15, 0);

/// The id of the file system that something open lies on, where the kernel tells it.
#[allow(unsafe_code)]
pub fn uuid(thing: impl AsFd) -> Option<[u8; 16]> {
    // SAFETY: the number is that of a call that fills this structure, and no more.
    let asked = unsafe { rustix::ioctl::Getter::<GET_UUID, Uuid>::new() };
    // SAFETY: the descriptor is open, and the call reads nothing of ours.
    let got = unsafe { rustix::ioctl::ioctl(thing, asked) }.ok()?;
    (got.length == 16).then_some(got.uuid)
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// Reads the events in a buffer. What is cut off or makes no sense ends it.
pub fn events(mut buffer: &[u8]) -> impl Iterator<Item = Event<'_>> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(number(buffer, 0)?) as usize;
        let head = usize::from(u16::from_ne_bytes(number(buffer, 6)?));
        if length < head || head < EVENT || length > buffer.len() {
            return None;
        }
        let (event, rest) = buffer.split_at(length);
        buffer = rest;
        let mut found = Event {
            mask: u64::from_ne_bytes(number(event, 8)?),
            pid: i32::from_ne_bytes(number(event, 20)?),
            within: None,
            itself: None,
        };
        let mut records = &event[head..];
        while let Some((kind, record, rest)) = next_record(records) {
            records = rest;
            match (kind, handle_of(record)) {
                (libc::FAN_EVENT_INFO_TYPE_DFID_NAME, Some((folder, rest))) => {
                    let end = rest.iter().position(|&b| b == 0).unwrap_or(rest.len());
                    found.within = Some((folder, &rest[..end]));
                }
                (libc::FAN_EVENT_INFO_TYPE_FID, Some((itself, _))) => found.itself = Some(itself),
                _ => {}
            }
        }
        Some(found)
    })
}

fn next_record(records: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let length = usize::from(u16::from_ne_bytes(number(records, 2)?));
    if length < 4 || length > records.len() {
        return None;
    }
    let (record, rest) = records.split_at(length);
    Some((record[0], record, rest))
}

/// A record's handle, kind and bytes together, and what follows it.
fn handle_of(record: &[u8]) -> Option<(&[u8], &[u8])> {
    let bytes = u32::from_ne_bytes(number(record, 12)?) as usize;
    let end = RECORD.checked_add(bytes)?;
    // The kind stands right before the bytes, as in what `handle` gives.
    Some((record.get(16..end)?, &record[end..]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn what_makes_no_sense_ends_the_reading_and_reads_nothing_beyond() {
        for bytes in [&[][..], &[1; 3], &[0; 24], &[255; 64], &[24; 23]] {
            assert_eq!(events(bytes).count(), 0);
        }
        // An event of 24 bytes, and behind it one that says that it is longer than it is.
        let mut two = vec![0_u8; 48];
        two[0] = 24;
        two[6] = 24;
        two[24] = 25;
        two[30] = 24;
        assert_eq!(events(&two).count(), 1);
        // A record whose handle goes beyond it.
        let mut short = vec![0_u8; 48];
        (short[0], short[6]) = (48, 24);
        (short[24], short[26], short[36]) = (2, 24, 200);
        assert_eq!(events(&short).next().unwrap().within, None);
    }

    #[test]
    fn a_name_in_a_marked_folder_is_told_with_the_folders_handle_and_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let open = File::open(folder.path()).unwrap();
        let (group, privileged) = match Group::new() {
            Ok(made) => made,
            Err(error) => return eprintln!("no fanotify here: {error}"),
        };
        if let Err(error) = group.mark(&open) {
            return eprintln!("no marks here: {error}");
        }
        fs::write(folder.path().join("a name"), "x").unwrap();
        let mut buffer = vec![0; 4096];
        let read = group.read(&mut buffer).unwrap().unwrap();
        let all: Vec<_> = events(read).collect();
        let handle = handle(&open).unwrap();
        let made = all.iter().find(|e| e.mask & libc::FAN_CREATE != 0).unwrap();
        assert_eq!(made.within, Some((&handle[..], &b"a name"[..])));
        assert!(!made.is_a_close() && !made.is_overflow());
        if privileged {
            assert_eq!(made.pid.unsigned_abs(), std::process::id());
        }
        assert!(group.read(&mut buffer).unwrap().is_none());
    }
}
