//! The immutable flag: looked at without opening anything, set and taken off through descriptors.
//!
//! Only that one flag is ever changed; all others stay as they are.

use std::os::fd::AsFd;

use rustix::{
    fs::{
        AtFlags, IFlags, Statx, StatxAttributes, StatxFlags, ioctl_getflags, ioctl_setflags, statx,
    },
    io::Errno,
};

use crate::capture::place::Place;

/// `STATX_SUBVOL`: the kernel says which btrfs subvolume an inode is in.
pub const SUBVOLUME: u32 = 0x8000;

fn wanted() -> StatxFlags {
    StatxFlags::BASIC_STATS | StatxFlags::BTIME | StatxFlags::from_bits_retain(SUBVOLUME)
}

/// Looks at a name without opening or following it, and not at what is mounted there (`EXDEV`).
pub fn look(place: &Place) -> Result<Statx, Errno> {
    look_at(place.pin()?)
}

/// Looks at something open.
pub fn look_at(fd: impl AsFd) -> Result<Statx, Errno> {
    statx(fd, "", AtFlags::EMPTY_PATH, wanted())
}

/// Whether what was looked at carries the flag.
pub fn is_flagged(stat: &Statx) -> bool {
    stat.stx_attributes.contains(StatxAttributes::IMMUTABLE)
}

/// When what was looked at last changed in any way, nanoseconds since 1970.
pub fn changed_ns(stat: &Statx) -> i64 {
    nanoseconds(stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec)
}

/// When what was looked at was made, nanoseconds since 1970, where the file system tells.
pub fn born_ns(stat: &Statx) -> Option<i64> {
    let told = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
    told.then(|| nanoseconds(stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec))
}

/// Whether its content was changed since a moment, as far as its times tell: whoever may change
/// it may set them back. A time that lies ahead says nothing; customers' files have such.
pub fn was_written(stat: &Statx, since_ns: i64) -> bool {
    let written = nanoseconds(stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec);
    written > since_ns && written <= changed_ns(stat)
}

fn nanoseconds(seconds: i64, rest: u32) -> i64 {
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(i64::from(rest))
}

/// Reads the flag back.
pub fn is_set(fd: impl AsFd) -> Result<bool, Errno> {
    Ok(ioctl_getflags(fd)?.contains(IFlags::IMMUTABLE))
}

/// Sets the flag or takes it off; says whether that changed anything.
pub fn set(fd: impl AsFd, on: bool) -> Result<bool, Errno> {
    let before = ioctl_getflags(&fd)?;
    if before.contains(IFlags::IMMUTABLE) == on {
        return Ok(false);
    }
    let mut after = before;
    after.set(IFlags::IMMUTABLE, on);
    ioctl_setflags(fd, after)?;
    Ok(true)
}

/// Whether an answer means that this place cannot carry the flag, or we may not set it.
pub fn is_no_flag_here(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::PERM | Errno::ACCESS | Errno::NOTTY | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS
    )
}
