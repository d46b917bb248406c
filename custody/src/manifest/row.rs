//! Rows: one for each thing found, also for what could not be read.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// What kind of thing a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link; its target is recorded and never followed.
    Symlink,
    /// A named pipe; never opened.
    Fifo,
    /// A socket; never opened.
    Socket,
    /// A block device; never opened.
    BlockDevice,
    /// A character device; never opened.
    CharDevice,
    /// A folder on which another file system is mounted; not entered.
    Mount,
    /// Something that could not even be looked at.
    Unknown,
}

/// How reading went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Read whole; for a thing without content, looked at.
    Read,
    /// It changed while it was read: the hash is of what was read.
    Changed,
    /// It could not be read; the reason says why.
    Unreadable,
    /// Its content is not a file's and was not opened.
    NotOpened,
}

macro_rules! words {
    ($type:ident: $($variant:ident = $word:literal = $code:literal,)*) => {
        impl $type {
            /// The word in the manifest.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// Reads the word.
            pub fn from_word(word: &[u8]) -> Option<Self> {
                $(if word == $word.as_bytes() { return Some(Self::$variant); })*
                None
            }

            /// The byte that stands for it in what a leaf commits to.
            pub const fn code(self) -> u8 {
                match self { $(Self::$variant => $code,)* }
            }
        }
    };
}

words! { Kind:
    File = "file" = 1,
    Folder = "folder" = 2,
    Symlink = "symlink" = 3,
    Fifo = "fifo" = 4,
    Socket = "socket" = 5,
    BlockDevice = "block-device" = 6,
    CharDevice = "char-device" = 7,
    Mount = "mount" = 8,
    Unknown = "unknown" = 9,
}

words! { Status:
    Read = "read" = 1,
    Changed = "changed" = 2,
    Unreadable = "unreadable" = 3,
    NotOpened = "not-opened" = 4,
}

/// One row of a manifest. Times are nanoseconds since 1970; sizes are bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Position, from 0.
    pub index: u64,
    /// Path relative to the target, raw bytes; the target folder itself is `.`.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Length of its content.
    pub size: u64,
    /// SHA-256 of its content; files that were read only.
    pub sha256: Option<Digest>,
    /// Last change of content.
    pub mtime_ns: i64,
    /// Last change of content or metadata.
    pub ctime_ns: i64,
    /// Permission bits with set-id and sticky bits, as in `st_mode & 07777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Names it has.
    pub nlink: u64,
    /// Inode number.
    pub inode: u64,
    /// Where a symlink points, raw bytes.
    pub target: Option<Vec<u8>>,
    /// Extended attributes: for each, in the order of names, u32 length and bytes of the name
    /// and of the value, big-endian.
    pub xattrs: Option<Vec<u8>>,
    /// Bytes of holes: they read as zeros and take no space.
    pub holes: u64,
    /// How reading went.
    pub status: Status,
    /// Why it is not `read`, in a word such as `EACCES`.
    pub reason: Option<String>,
}

impl Row {
    /// A row about a thing of which only the path is known.
    pub fn unknown(index: u64, path: Vec<u8>, reason: impl Into<String>) -> Self {
        Self {
            index,
            path,
            kind: Kind::Unknown,
            size: 0,
            sha256: None,
            mtime_ns: 0,
            ctime_ns: 0,
            mode: 0,
            uid: 0,
            gid: 0,
            nlink: 0,
            inode: 0,
            target: None,
            xattrs: None,
            holes: 0,
            status: Status::Unreadable,
            reason: Some(reason.into()),
        }
    }
}
