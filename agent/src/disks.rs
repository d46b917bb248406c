//! Disks: which block devices lie below a file system, down to the hardware.
//!
//! The kernel is asked, and nothing is opened: the mount table names the device of a path's file
//! system, and sysfs what lies below a partition, a mapping, an array or a loop device. Where it
//! cannot be told (a network file system, a device that is gone) the answer is empty.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::ffi::{OsStrExt, OsStringExt as _},
    path::{Path, PathBuf},
};

/// The devices below others, at most: a loop of them would be the kernel's fault.
const MOST: usize = 256;

/// One line of `/proc/self/mountinfo` (proc(5)), as far as it is needed here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// Device of its files, `MAJOR:MINOR`; for btrfs one that no block device has.
    pub device: String,
    /// Such as `ext4`.
    pub file_system: String,
    /// What is mounted: for local file systems a device's path.
    pub source: PathBuf,
}

/// Reads a mount table. A line that makes no sense is left out.
pub fn mounts(table: &[u8]) -> Vec<Mount> {
    let lines = table.split(|&b| b == b'\n');
    lines.filter_map(line).collect()
}

fn line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&b| b == b' ');
    let device = fields.nth(2)?;
    let point = fields.nth(1)?;
    let mut tail = fields.skip_while(|field| *field != b"-").skip(1);
    let (file_system, source) = (tail.next()?, tail.next()?);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(Mount {
        point: OsString::from_vec(plain(point)).into(),
        device: text(device),
        file_system: text(file_system),
        source: OsString::from_vec(plain(source)).into(),
    })
}

/// Undoes the table's octal escapes.
fn plain(field: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(field.len()), field);
    while let Some((&first, more)) = rest.split_first() {
        let octal = (first == b'\\' && more.len() >= 3)
            .then(|| std::str::from_utf8(&more[..3]).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                out.push(byte);
                rest = &more[3..];
            }
            None => {
                out.push(first);
                rest = more;
            }
        }
    }
    out
}

/// The mount that a path lies on: the last one mounted at the longest part of it.
pub fn mount_of<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let around = mounts.iter().filter(|mount| path.starts_with(&mount.point));
    around.max_by_key(|mount| mount.point.as_os_str().len())
}

/// Names of the block devices that lie below a path's file system, such as `dm-0`, `sda1`, `sda`.
pub fn below(path: &Path) -> io::Result<BTreeSet<String>> {
    let path = fs::canonicalize(path)?;
    let mounts = mounts(&fs::read("/proc/self/mountinfo")?);
    let Some(mount) = mount_of(&mounts, &path) else {
        return Ok(BTreeSet::new());
    };
    let device = Path::new("/sys/dev/block").join(&mount.device);
    // A file system over several devices names one of them as what is mounted.
    let first = fs::canonicalize(&device).or_else(|_| device_of(&mount.source));
    let mut names = BTreeSet::new();
    if let Ok(first) = first {
        descend(&first, &mut names);
        if mount.file_system == "btrfs" {
            siblings(&first, &mut names);
        }
    }
    Ok(names)
}

/// Where sysfs speaks of a device that `/dev` names.
fn device_of(source: &Path) -> io::Result<PathBuf> {
    // A service may have a /dev of its own with no disks in it: then the name itself counts.
    let device = fs::canonicalize(source).unwrap_or_else(|_| source.to_owned());
    let name = device.file_name().ok_or(io::ErrorKind::NotFound)?;
    let class = Path::new("/sys/class/block");
    fs::canonicalize(class.join(name)).or_else(|error| mapped(class, name).ok_or(error))
}

/// A mapping (`/dev/mapper/NAME`), which sysfs knows by its number.
fn mapped(class: &Path, name: &OsStr) -> Option<PathBuf> {
    let devices = fs::read_dir(class).ok()?.flatten();
    let mut paths = devices.map(|device| device.path());
    let found = paths.find(|path| {
        fs::read(path.join("dm/name")).is_ok_and(|known| known.trim_ascii_end() == name.as_bytes())
    })?;
    fs::canonicalize(found).ok()
}

/// Notes a device and all that it lies on.
fn descend(device: &Path, names: &mut BTreeSet<String>) {
    let Some(name) = device.file_name().map(OsStrExt::as_bytes) else {
        return;
    };
    let name = String::from_utf8_lossy(name).into_owned();
    if names.len() >= MOST || !names.insert(name) {
        return;
    }
    // A partition lies on the disk in whose folder its own is.
    if device.join("partition").exists()
        && let Some(disk) = device.parent()
    {
        descend(disk, names);
    }
    for slave in fs::read_dir(device.join("slaves")).into_iter().flatten() {
        if let Ok(under) = slave.and_then(|slave| fs::canonicalize(slave.path())) {
            descend(&under, names);
        }
    }
    // A loop device lies on whatever its file lies on.
    if let Ok(backing) = fs::read(device.join("loop/backing_file"))
        && let Ok(under) = below(Path::new(&OsString::from_vec(
            backing.trim_ascii_end().to_vec(),
        )))
    {
        names.extend(under);
    }
}

/// Notes the other devices of a btrfs file system: sysfs lists them by its UUID.
fn siblings(first: &Path, names: &mut BTreeSet<String>) {
    let Some(name) = first.file_name() else {
        return;
    };
    for system in fs::read_dir("/sys/fs/btrfs")
        .into_iter()
        .flatten()
        .flatten()
    {
        let devices = system.path().join("devices");
        if !devices.join(name).exists() {
            continue;
        }
        for device in fs::read_dir(devices).into_iter().flatten().flatten() {
            if let Ok(device) = fs::canonicalize(device.path()) {
                descend(&device, names);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TABLE: &[u8] = br"22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:35 /sub /srv/two\040words rw,nosuid - btrfs /dev/mapper/a\134b rw,subvol=/sub
41 22 7:3 / /srv rw - xfs /dev/loop3 rw
42 22 7:4 / /srv rw - ext4 /dev/loop4 rw
nonsense
";

    #[test]
    fn a_mount_table_is_read_as_the_kernel_writes_it() {
        let mounts = mounts(TABLE);
        assert_eq!(mounts.len(), 4);
        assert_eq!(mounts[1].point, Path::new("/srv/two words"));
        assert_eq!(mounts[1].source, Path::new(r"/dev/mapper/a\b"));
        assert_eq!(mounts[1].file_system, "btrfs");
        let of = |path: &str| &mount_of(&mounts, Path::new(path)).unwrap().device;
        assert_eq!(of("/etc"), "254:0");
        assert_eq!(of("/srv/two words/x"), "0:35");
        assert_eq!(of("/srv/two"), "7:4", "the newest of those at one place");
        assert_eq!(of("/srvx"), "254:0");
    }

    #[test]
    fn this_machines_root_lies_on_the_device_that_is_mounted_there() {
        let table = fs::read("/proc/self/mountinfo").unwrap();
        let mounts = mounts(&table);
        let root = mount_of(&mounts, Path::new("/")).unwrap();
        let names = below(Path::new("/")).unwrap();
        if let Ok(device) = device_of(&root.source) {
            let name = device.file_name().unwrap().to_string_lossy().into_owned();
            assert!(names.contains(&name), "{names:?}");
        }
        assert!(below(Path::new("/proc")).unwrap().is_empty());
    }
}
