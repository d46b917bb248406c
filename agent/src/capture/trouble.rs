//! Trouble: why something in a tree could not be looked into, in words that stay the same.

use rustix::io::Errno;

/// Why something could not be looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The kernel said so.
    Errno(Errno),
    /// The folder was moved or replaced while the walk was below it.
    Moved,
    /// It is left out on purpose.
    Excluded,
    /// Its path is too long to be entered.
    TooLong,
}

impl Trouble {
    /// The word for it in a manifest.
    pub fn word(self) -> String {
        match self {
            Self::Errno(errno) => errno_word(errno),
            Self::Moved => "moved-while-walking".to_owned(),
            Self::Excluded => "own-vault".to_owned(),
            Self::TooLong => "path-too-long".to_owned(),
        }
    }
}

/// The name of an error number, such as `EACCES`.
pub fn errno_word(errno: Errno) -> String {
    let known = [
        (Errno::ACCESS, "EACCES"),
        (Errno::PERM, "EPERM"),
        (Errno::IO, "EIO"),
        (Errno::NOENT, "ENOENT"),
        (Errno::LOOP, "ELOOP"),
        (Errno::XDEV, "EXDEV"),
        (Errno::NXIO, "ENXIO"),
        (Errno::STALE, "ESTALE"),
        (Errno::MFILE, "EMFILE"),
        (Errno::NOSPC, "ENOSPC"),
        (Errno::DQUOT, "EDQUOT"),
        (Errno::ROFS, "EROFS"),
        (Errno::TXTBSY, "ETXTBSY"),
        (Errno::NOTDIR, "ENOTDIR"),
        (Errno::ISDIR, "EISDIR"),
        (Errno::EXIST, "EEXIST"),
        (Errno::OPNOTSUPP, "EOPNOTSUPP"),
        (Errno::AGAIN, "EAGAIN"),
    ];
    let found = known.iter().find(|(known, _)| *known == errno);
    found.map_or_else(
        || format!("errno-{}", errno.raw_os_error()),
        |(_, word)| (*word).to_owned(),
    )
}
