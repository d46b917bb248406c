//! What the kernel writes under `/proc` about open files and mappings, read without touching
//! anything: text in, facts out. It trusts no text to be whole: a line that is not understood
//! says nothing.

use std::collections::HashMap;

/// A block device's, or an anonymous file system's, numbers.
pub type Device = (u32, u32);

/// What `/proc/PID/fdinfo/N` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Whether it was opened for writing.
    pub writes: bool,
    /// The mount that it was opened through.
    pub mount: u64,
    /// The inode's number; kernels before 5.14 do not say.
    pub inode: Option<u64>,
}

/// Reads `/proc/PID/fdinfo/N`.
pub fn descriptor(text: &str) -> Option<Descriptor> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim())
    };
    let flags = u32::from_str_radix(field("flags:")?, 8).ok()?;
    Some(Descriptor {
        // O_WRONLY is 1, O_RDWR is 2.
        writes: matches!(flags & 3, 1 | 2),
        mount: field("mnt_id:")?.parse().ok()?,
        inode: field("ino:").and_then(|number| number.parse().ok()),
    })
}

/// One line of `/proc/PID/maps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping<'a> {
    /// From where to where, as `map_files` names it.
    pub range: &'a str,
    /// Whether stores reach the file, now or after one `mprotect`.
    pub shared: bool,
    /// The file system.
    pub device: Device,
    /// The inode's number.
    pub inode: u64,
}

/// Reads `/proc/PID/maps`; what is no file is left out.
pub fn mappings(text: &str) -> impl Iterator<Item = Mapping<'_>> {
    text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (range, rights, _offset) = (words.next()?, words.next()?, words.next()?);
        let device = device(words.next()?, 16)?;
        let inode = words.next()?.parse().ok().filter(|inode| *inode != 0)?;
        Some(Mapping {
            range,
            shared: rights.as_bytes().get(3) == Some(&b's'),
            device,
            inode,
        })
    })
}

/// Reads `/proc/PID/mountinfo`: on which file system each mount is.
pub fn mounts(text: &str) -> HashMap<u64, Device> {
    let line = |line: &str| {
        let mut words = line.split(' ');
        let mount = words.next()?.parse().ok()?;
        let _parent = words.next()?;
        Some((mount, device(words.next()?, 10)?))
    };
    text.lines().filter_map(line).collect()
}

/// Reads the real user's number out of `/proc/PID/status`.
pub fn user(text: &str) -> Option<u32> {
    let line = text.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// A program's name as it may stand in a statement: the program chose it itself, so whatever is
/// not plainly printable becomes a question mark, and one without a name is called so.
pub fn program(comm: &[u8]) -> String {
    let comm = comm.strip_suffix(b"\n").unwrap_or(comm);
    let plain = |&byte: &u8| match byte {
        b'!'..=b'~' => char::from(byte),
        _ => '?',
    };
    match comm.iter().take(64).map(plain).collect::<String>() {
        empty if empty.is_empty() => "?".to_owned(),
        name => name,
    }
}

fn device(text: &str, radix: u32) -> Option<Device> {
    let (major, minor) = text.split_once(':')?;
    let number = |text| u32::from_str_radix(text, radix).ok();
    Some((number(major)?, number(minor)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_read_whatever_else_the_kernel_says_about_it() {
        let text = "pos:\t0\nflags:\t0100002\nmnt_id:\t29\nino:\t1835034\nlock:\t1: LEASE\n";
        let read = Descriptor {
            writes: true,
            mount: 29,
            inode: Some(1_835_034),
        };
        assert_eq!(descriptor(text), Some(read));
        let old = "pos:\t0\nflags:\t0100000\nmnt_id:\t29\n";
        let read = descriptor(old);
        assert_eq!(
            read.map(|read| (read.writes, read.inode)),
            Some((false, None))
        );
        for broken in ["", "flags:\t9\nmnt_id:\t1\n", "flags:\t01\n"] {
            assert_eq!(descriptor(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn mappings_of_files_are_told_from_all_others() {
        let text = "\
            7f0000000000-7f0000001000 rw-s 00000000 fd:01 131 /srv/a b (deleted)\n\
            7f0000002000-7f0000003000 r--p 00001000 00:2b 18446744073709551615 /x\n\
            7f0000004000-7f0000005000 rw-p 00000000 00:00 0 [heap]\n\
            7f0000006000-7f0000007000 rw-p 00000000 00:00 0\n\
            nonsense\n";
        let read: Vec<_> = mappings(text).collect();
        assert_eq!(read.len(), 2);
        assert_eq!(
            (read[0].device, read[0].inode, read[0].shared),
            ((0xfd, 1), 131, true)
        );
        assert_eq!(read[0].range, "7f0000000000-7f0000001000");
        assert_eq!(
            (read[1].device, read[1].inode, read[1].shared),
            ((0, 0x2b), u64::MAX, false)
        );
    }

    #[test]
    fn mounts_and_users_are_read() {
        let text =
            "29 1 253:0 / / rw - ext4 /dev/vda rw\n31 29 0:45 /sub /mnt\\040x rw - btrfs y rw\n";
        let read = mounts(text);
        assert_eq!(read.get(&29), Some(&(253, 0)));
        assert_eq!(read.get(&31), Some(&(0, 45)));
        assert_eq!(user("Name:\tx\nUid:\t1000\t0\t0\t0\n"), Some(1000));
        assert_eq!(user("Name:\tUid:\n"), None);
    }

    #[test]
    fn a_program_cannot_write_into_a_statement_what_it_likes() {
        assert_eq!(program(b"mysqld\n"), "mysqld");
        assert_eq!(program(b"a b\x1b[2J\xff\n"), "a?b?[2J?");
        assert_eq!(program(b"\n"), "?");
    }
}
