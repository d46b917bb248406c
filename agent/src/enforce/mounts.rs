//! Mounts: what is mounted where, as this process sees it. Only the kernel's own table is asked.

use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where.
    pub point: PathBuf,
    /// Such as `ext4`.
    pub file_system: String,
    /// Device, dataset or whatever it comes from.
    pub source: PathBuf,
}

/// The table, in the order in which the mounts were made.
pub fn table() -> Vec<Mount> {
    parse(&fs::read("/proc/self/mountinfo").unwrap_or_default())
}

/// Reads a table in the format of proc_pid_mountinfo(5).
pub fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|&b| b == b'\n').filter_map(line).collect()
}

fn line(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
    let apart = fields.iter().skip(6).position(|field| *field == b"-")? + 6;
    Some(Mount {
        point: plain(fields.get(4)?),
        file_system: String::from_utf8_lossy(fields.get(apart + 1)?).into_owned(),
        source: plain(fields.get(apart + 2)?),
    })
}

/// Blanks and the like stand there as three octal digits.
fn plain(field: &[u8]) -> PathBuf {
    let (mut bytes, mut rest) = (Vec::with_capacity(field.len()), field);
    while let Some((&first, after)) = rest.split_first() {
        let octal = |digit: u8| {
            (b'0'..=b'7')
                .contains(&digit)
                .then(|| u32::from(digit - b'0'))
        };
        let code = match (first, after) {
            (b'\\', [a, b, c, ..]) => octal(*a)
                .zip(octal(*b))
                .zip(octal(*c))
                .and_then(|((a, b), c)| u8::try_from(a * 64 + b * 8 + c).ok()),
            _ => None,
        };
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    OsString::from_vec(bytes).into()
}

/// The mount that a path lies on: the last one of those nearest to it.
pub fn of<'t>(table: &'t [Mount], path: &Path) -> Option<&'t Mount> {
    let over = table.iter().filter(|mount| path.starts_with(&mount.point));
    over.max_by_key(|mount| mount.point.components().count())
}

/// Where something is mounted at a path or below it.
pub fn below(path: &Path) -> Vec<PathBuf> {
    let points = table().into_iter().map(|mount| mount.point);
    points.filter(|point| point.starts_with(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
        40 22 0:35 / /srv/a\\040b rw - zfs tank/www\\134x rw,xattr\n\
        41 40 0:36 / /srv/a\\040b rw master:3 shared:2 - tmpfs none rw\n\
        half a line\n";

    #[test]
    fn the_kernels_table_is_read_with_odd_names_and_any_optional_fields() {
        let table = parse(TABLE);
        assert_eq!(table.len(), 3);
        assert_eq!(table[1].point, Path::new("/srv/a b"));
        assert_eq!(table[1].source, Path::new("tank/www\\x"));
        let over = |path: &str| of(&table, Path::new(path)).map(|m| m.file_system.as_str());
        assert_eq!(over("/srv/a b/c"), Some("tmpfs"), "the one on top");
        assert_eq!(over("/srv/a"), Some("ext4"));
    }
}
