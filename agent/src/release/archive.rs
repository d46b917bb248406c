//! The archive inside a parcel: POSIX tar (pax), streamed, that any tar tool opens.
//!
//! Only files, folders and harmless symlinks become members. A device, a pipe, or a symlink
//! that could lead out of where the archive is opened is described in the rows and never
//! becomes a member. Set-id bits are left behind.

use std::io::{self, Read, Write};

use custody::manifest::row::{Kind, Row};
use tar::{Builder, EntryType, Header};

/// Where the name and the link's target stand in a tar header.
const NAME: std::ops::Range<usize> = 0..100;
const LINK: std::ops::Range<usize> = 157..257;

/// The name of a row's member: `files/<part>/<path>`, raw bytes.
pub fn member(part: usize, path: &[u8]) -> Vec<u8> {
    let mut name = format!("files/{part}/").into_bytes();
    name.extend_from_slice(path);
    name
}

/// What a row becomes in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A file with its bytes.
    File,
    /// A folder.
    Folder,
    /// A symlink.
    Symlink,
    /// Nothing: it is only described.
    Listed,
}

/// Says what a row becomes.
pub fn shape(row: &Row) -> Shape {
    match (row.kind, row.sha256, row.target.as_deref()) {
        (Kind::File, Some(_), _) => Shape::File,
        (Kind::Folder, ..) => Shape::Folder,
        (Kind::Symlink, _, Some(target)) if stays_inside(&row.path, target) => Shape::Symlink,
        _ => Shape::Listed,
    }
}

/// Whether a symlink, wherever the archive is opened, leads to a place inside it: relative,
/// with `..` only at its beginning and not more of them than there are folders above it.
/// Behind a name a `..` could climb out of another link, so it is not let through.
pub fn stays_inside(path: &[u8], target: &[u8]) -> bool {
    if target.is_empty() || target.starts_with(b"/") || target.contains(&0) {
        return false;
    }
    let above = path.split(|&b| b == b'/').count() - 1;
    let (mut ups, mut named) = (0, false);
    for part in target.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if named => return false,
            b".." => ups += 1,
            _ => named = true,
        }
    }
    ups <= above
}

/// Writes an archive.
pub(super) struct Archive<W: Write>(Builder<W>);

impl<W: Write> Archive<W> {
    pub(super) fn new(out: W) -> Self {
        Self(Builder::new(out))
    }

    /// Adds a file that is not of the snapshot.
    pub(super) fn own(&mut self, name: &str, length: u64, bytes: impl Read) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(length);
        self.put(header, name.as_bytes(), b"", bytes)
    }

    /// Adds a row's member; `bytes` is read for files only.
    pub(super) fn row(
        &mut self,
        name: &[u8],
        row: &Row,
        shape: Shape,
        bytes: impl Read,
    ) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_mode(row.mode & 0o777);
        header.set_uid(row.uid.into());
        header.set_gid(row.gid.into());
        header.set_mtime(u64::try_from(row.mtime_ns / 1_000_000_000).unwrap_or(0));
        header.set_size(0);
        let mut link = &b""[..];
        match shape {
            Shape::File => {
                header.set_entry_type(EntryType::Regular);
                header.set_size(row.size);
                return self.put(header, name, link, bytes);
            }
            Shape::Folder => header.set_entry_type(EntryType::Directory),
            Shape::Symlink => {
                header.set_entry_type(EntryType::Symlink);
                link = row.target.as_deref().unwrap_or_default();
            }
            Shape::Listed => return Ok(()),
        }
        self.put(header, name, link, io::empty())
    }

    fn put(
        &mut self,
        mut header: Header,
        name: &[u8],
        link: &[u8],
        bytes: impl Read,
    ) -> io::Result<()> {
        let mut long: Vec<(&str, &[u8])> = Vec::new();
        let parts = [
            ("path", name, NAME, EntryType::GNULongName),
            ("linkpath", link, LINK, EntryType::GNULongLink),
        ];
        for (key, value, field, gnu) in parts {
            let fits = value.len() <= field.len();
            // Extended headers are UTF-8, and some readers end a record at any line's end.
            let sayable = std::str::from_utf8(value).is_ok() && !value.contains(&b'\n');
            match (sayable, fits && value.is_ascii()) {
                (true, true) => {}
                (true, false) => long.push((key, value)),
                (false, _) if fits => {}
                (false, _) => self.gnu_long(gnu, value)?,
            }
            let slots = header.as_mut_bytes()[field].iter_mut();
            slots.zip(value).for_each(|(slot, byte)| *slot = *byte);
        }
        self.0.append_pax_extensions(long)?;
        header.set_cksum();
        self.0.append(&header, bytes)
    }

    /// Says a long name as GNU tar does: any bytes but NUL.
    fn gnu_long(&mut self, kind: EntryType, value: &[u8]) -> io::Result<()> {
        let mut header = Header::new_gnu();
        let name = b"././@LongLink";
        header.as_mut_bytes()[..name.len()].copy_from_slice(name);
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(value.len() as u64 + 1);
        header.set_cksum();
        self.0.append(&header, value.chain(&b"\0"[..]))
    }

    pub(super) fn finish(self) -> io::Result<W> {
        self.0.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symlink_travels_only_if_it_cannot_lead_out() {
        for (path, target) in [
            (&b"a"[..], &b"b"[..]),
            (b"a/b", b"../c"),
            (b"a/b/c", b"../../d/e"),
            (b"a/b", b"./c"),
            (b"a/b", b"c//d/."),
        ] {
            assert!(stays_inside(path, target), "{path:?} -> {target:?}");
        }
        for (path, target) in [
            (&b"a"[..], &b"/etc/passwd"[..]),
            (b"a", b".."),
            (b"a/b", b"../../c"),
            (b"a/b", b"c/../../d"),
            (b"a/b", b"c/.."),
            (b"a", b""),
        ] {
            assert!(!stays_inside(path, target), "{path:?} -> {target:?}");
        }
    }
}
