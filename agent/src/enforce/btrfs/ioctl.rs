//! The calls of btrfs about subvolumes: make and remove a snapshot, look at one, list those below.
//!
//! Neither rustix nor nix has them, and no btrfs program is run. Every structure has the layout of
//! linux/btrfs.h, which the kernel never changes; each call is tied to its structure by type, so a
//! number cannot meet the wrong memory. It trusts nothing but the descriptors it is given.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd as _};

use rustix::{
    io::Errno,
    ioctl::{Opcode, Updater, ioctl, opcode},
};

/// The inode number of every subvolume's own folder.
pub const TOP: u64 = 256;
/// The inode number of the empty folder that a snapshot has in place of a subvolume.
pub const STUB: u64 = 2;

const MAGIC: u8 = 0x94;
const NAME: usize = 256;
/// `BTRFS_SUBVOL_RDONLY`, as making and setting take it.
const READ_ONLY: u64 = 1 << 1;
/// `BTRFS_ROOT_SUBVOL_RDONLY`, as looking gives it.
const ROOT_READ_ONLY: u64 = 1;

#[repr(C)]
struct VolumeArguments {
    fd: i64,
    transid: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; 4040],
}

#[repr(C)]
struct Moment {
    seconds: u64,
    nanoseconds: u32,
}

#[repr(C)]
struct InfoArguments {
    id: u64,
    name: [u8; NAME],
    parent: u64,
    folder: u64,
    generation: u64,
    flags: u64,
    uuid: [u8; 16],
    parent_uuid: [u8; 16],
    received_uuid: [u8; 16],
    changed: u64,
    made: u64,
    sent: u64,
    received: u64,
    changed_at: Moment,
    made_at: Moment,
    sent_at: Moment,
    received_at: Moment,
    reserved: [u64; 8],
}

#[repr(C)]
struct BelowArguments {
    from: u64,
    entries: [[u64; 2]; 255],
    count: u8,
    padding: [u8; 7],
}

#[repr(C)]
struct NameArguments {
    folder: u64,
    id: u64,
    name: [u8; NAME],
    path: [u8; 4080 - NAME],
}

const SNAPSHOT: Opcode = opcode::write::<VolumeArguments>(MAGIC, 23);
const SET_FLAGS: Opcode = opcode::write::<u64>(MAGIC, 26);
const INFO: Opcode = opcode::read::<InfoArguments>(MAGIC, 60);
const BELOW: Opcode = opcode::read_write::<BelowArguments>(MAGIC, 61);
const NAME_OF: Opcode = opcode::read_write::<NameArguments>(MAGIC, 62);
const DESTROY: Opcode = opcode::write::<VolumeArguments>(MAGIC, 63);

const _: () = assert!(size_of::<VolumeArguments>() == 4096);
const _: () = assert!(size_of::<InfoArguments>() == 504);
const _: () = assert!(size_of::<BelowArguments>() == 4096);
const _: () = assert!(size_of::<NameArguments>() == 4096);

/// A structure that may be all zeros, and of which the kernel may fill every bit.
///
/// # Safety
/// Only for structures of plain integers.
unsafe trait Plain: Sized {
    fn zeroed() -> Box<Self> {
        // SAFETY: all bits zero are a value of it, as whoever implements this promises.
        unsafe { Box::<Self>::new_zeroed().assume_init() }
    }
}
// SAFETY: integers and arrays of integers.
unsafe impl Plain for VolumeArguments {}
// SAFETY: integers and arrays of integers.
unsafe impl Plain for InfoArguments {}
// SAFETY: integers and arrays of integers.
unsafe impl Plain for BelowArguments {}
// SAFETY: integers and arrays of integers.
unsafe impl Plain for NameArguments {}

fn call<const OPCODE: Opcode, T>(fd: impl AsFd, argument: &mut T) -> Result<(), Errno> {
    // SAFETY: the numbers above are made from the size of the structure that each call takes, and
    // each function below hands over just that structure, which lives until the call returns.
    // The kernel keeps no pointer to it.
    unsafe { ioctl(fd, Updater::<OPCODE, T>::new(argument)) }
}

fn put_name(argument: &mut VolumeArguments, name: &[u8]) -> Result<(), Errno> {
    if name.is_empty() || name.len() >= NAME || name.contains(&0) || name.contains(&b'/') {
        return Err(Errno::INVAL);
    }
    argument.name[..name.len()].copy_from_slice(name);
    Ok(())
}

fn text(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.iter().position(|&b| b == 0);
    bytes[..end.unwrap_or(bytes.len())].to_vec()
}

/// Makes a snapshot of the subvolume whose own folder is `of`, under a name in a folder of the same
/// file system. It is on disk when this returns.
pub fn snapshot(
    of: impl AsFd,
    folder: impl AsFd,
    name: &[u8],
    read_only: bool,
) -> Result<(), Errno> {
    let mut argument = VolumeArguments::zeroed();
    argument.fd = of.as_fd().as_raw_fd().into();
    argument.flags = if read_only { READ_ONLY } else { 0 };
    put_name(&mut argument, name)?;
    call::<SNAPSHOT, _>(folder, &mut *argument)
}

/// Removes a subvolume by its name in a folder. One with other subvolumes in it is not removed.
pub fn destroy(folder: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    let mut argument = VolumeArguments::zeroed();
    put_name(&mut argument, name)?;
    call::<DESTROY, _>(folder, &mut *argument)
}

/// Makes a subvolume read-only, or writable.
pub fn set_read_only(subvolume: impl AsFd, on: bool) -> Result<(), Errno> {
    let mut flags = if on { READ_ONLY } else { 0 };
    call::<SET_FLAGS, _>(subvolume, &mut flags)
}

/// What a subvolume is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its number on this file system.
    pub id: u64,
    /// Its own id, never given twice.
    pub uuid: [u8; 16],
    /// The transaction in which anything in it last changed; moving its blocks does not count.
    pub changed: u64,
    /// The transaction in which it was made.
    pub made: u64,
    /// When it was made, nanoseconds since 1970.
    pub made_ns: i64,
    /// Whether it is read-only.
    pub read_only: bool,
}

/// Looks at the subvolume in which something open lies.
pub fn info(fd: impl AsFd) -> Result<Info, Errno> {
    let mut argument = InfoArguments::zeroed();
    call::<INFO, _>(fd, &mut *argument)?;
    let seconds = i64::try_from(argument.made_at.seconds).unwrap_or(0);
    Ok(Info {
        id: argument.id,
        uuid: argument.uuid,
        changed: argument.changed,
        made: argument.made,
        made_ns: seconds
            .saturating_mul(1_000_000_000)
            .saturating_add(argument.made_at.nanoseconds.into()),
        read_only: argument.flags & ROOT_READ_ONLY != 0,
    })
}

/// A subvolume that lies directly in another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Below {
    /// Its number.
    pub id: u64,
    /// The folder in which it lies.
    folder: u64,
}

/// Lists the subvolumes that lie directly in the one that is open.
pub fn below(subvolume: impl AsFd) -> Result<Vec<Below>, Errno> {
    let (mut all, mut argument) = (Vec::new(), BelowArguments::zeroed());
    loop {
        let listed = call::<BELOW, _>(&subvolume, &mut *argument);
        let count = usize::from(argument.count).min(argument.entries.len());
        let entries = argument.entries[..count].iter();
        all.extend(entries.map(|&[id, folder]| Below { id, folder }));
        match listed {
            // There are more; the kernel has noted from where.
            Err(Errno::OVERFLOW) => {}
            listed => return listed.map(|()| all),
        }
    }
}

/// The path of such a subvolume below the open one's own folder.
pub fn path_of(subvolume: impl AsFd, below: Below) -> Result<Vec<u8>, Errno> {
    let mut argument = NameArguments::zeroed();
    argument.folder = below.folder;
    argument.id = below.id;
    call::<NAME_OF, _>(subvolume, &mut *argument)?;
    let mut path = text(&argument.path);
    path.extend(text(&argument.name));
    Ok(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_kernels_header() {
        // As `BTRFS_IOC_*` of linux/btrfs.h give them on this kind of machine.
        if cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
            let numbers = [SNAPSHOT, SET_FLAGS, INFO, BELOW, NAME_OF, DESTROY];
            let known: [Opcode; 6] = [
                0x5000_9417,
                0x4008_941a,
                0x81f8_943c,
                0xd000_943d,
                0xd000_943e,
                0x5000_943f,
            ];
            assert_eq!(numbers, known);
        }
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_never_handed_to_the_kernel() {
        let here = std::fs::File::open(".").unwrap();
        let long = [b'n'; 256];
        for name in [&b""[..], b"a/b", b"a\0b", &long] {
            assert_eq!(destroy(&here, name), Err(Errno::INVAL));
            assert_eq!(snapshot(&here, &here, name, true), Err(Errno::INVAL));
        }
    }

    #[test]
    fn another_file_system_answers_that_it_has_no_subvolumes() {
        let proc = std::fs::File::open("/proc/self").unwrap();
        assert!(info(&proc).is_err() && below(&proc).is_err());
    }
}
