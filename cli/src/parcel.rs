//! Opening a parcel: what an owner does with what was released to him.
//!
//! A parcel is an age file around a tar. Opening trusts neither: every file is hashed against
//! its row, every row is proved to its snapshot's root, and nothing is ever written outside the
//! new folder: no absolute paths, no `..`, no devices, no set-id bits, symlinks last and only
//! where they cannot lead out. What does not match is named and not left lying about. That the
//! root is the one that was sealed is what the receipt shows (`holdfast verify`).

mod place;
mod rows;

use std::{
    cell::Cell,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    rc::Rc,
};

use custody::manifest::row::Row;
use place::Place;
use rows::{Line, RowsFile, Shape, shape};

/// What a parcel says that it is.
const FORMAT: &str = "holdfast-parcel/1";
/// The longest `holdfast/parcel.json` that is read.
const MOST_ABOUT: u64 = 1 << 16;

/// What opening came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Opened {
    /// The release's id, as the parcel says.
    pub release: String,
    /// Files, each equal to its row.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Symlinks.
    pub symlinks: u64,
    /// Rows of which only the description travels (devices, unsafe symlinks, unreadable files).
    pub listed: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// What does not verify, each named; empty when all is well.
    pub wrong: Vec<String>,
}

/// Why a parcel could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The world broke: a disk, a permission.
    #[error("{0}")]
    World(String),
    /// The parcel is damaged, of another format, or for another key: exit 4.
    #[error("{0}")]
    DoesNotVerify(String),
    /// The request makes no sense: exit 2.
    #[error("{0}")]
    Usage(String),
}

impl OpenError {
    fn world(what: &str, path: &Path, error: &io::Error) -> Self {
        Self::World(format!("Cannot {what} {}: {error}.", path.display()))
    }
}

#[derive(serde::Deserialize)]
struct About {
    format: String,
    release: String,
    rows: u64,
}

/// Opens a parcel into a new folder and checks each file against its row and the row's proof.
pub fn open(parcel: &Path, identity: &Path, out: &Path) -> Result<Opened, OpenError> {
    unpack(parcel, identity, Place::create(out)?)
}

/// Checks a parcel without writing, and the folder into which it was opened against it.
pub fn compare(parcel: &Path, identity: &Path, opened: &Path) -> Result<Opened, OpenError> {
    unpack(parcel, identity, Place::compare(opened))
}

/// Tells a disk that fails from a parcel that is damaged.
struct Watched {
    file: BufReader<File>,
    failed: Rc<Cell<bool>>,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer);
        self.failed.set(self.failed.get() || read.is_err());
        read
    }
}

impl BufRead for Watched {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let filled = self.file.fill_buf();
        self.failed.set(self.failed.get() || filled.is_err());
        filled
    }

    fn consume(&mut self, amount: usize) {
        self.file.consume(amount);
    }
}

fn unpack(parcel: &Path, identity: &Path, place: Place) -> Result<Opened, OpenError> {
    let keys = File::open(identity)
        .and_then(|file| age::IdentityFile::from_buffer(BufReader::new(file.take(1 << 20))))
        .map_err(|error| OpenError::world("read the identity", identity, &error))?
        .into_identities()
        .map_err(|error| OpenError::Usage(format!("Not a usable age identity: {error}.")))?;
    let file = File::open(parcel).map_err(|e| OpenError::world("open", parcel, &e))?;
    let failed = Rc::new(Cell::new(false));
    let watched = Watched {
        file: BufReader::with_capacity(1 << 16, file),
        failed: Rc::clone(&failed),
    };
    let broken = |what: String| OpenError::DoesNotVerify(format!("{}: {what}", parcel.display()));
    let read = |error: io::Error| match failed.get() {
        true => OpenError::world("read", parcel, &error),
        false => broken(format!(
            "it is damaged or cut off ({error}). Fetch it again."
        )),
    };
    let stream = age::Decryptor::new_buffered(watched)
        .and_then(|age| age.decrypt(keys.iter().map(|key| &**key as &dyn age::Identity)))
        .map_err(|error| match error {
            age::DecryptError::Io(error) => read(error),
            error => broken(format!(
                "it cannot be decrypted with {}: {error}.",
                identity.display()
            )),
        })?;
    let mut archive = tar::Archive::new(stream);
    let mut opening = Opening {
        place,
        opened: Opened::default(),
        pending: None,
    };
    let mut about = None;
    let mut rows: Option<RowsFile> = None;
    for member in archive.entries().map_err(read)? {
        let mut member = member.map_err(read)?;
        let name = member.path_bytes().into_owned();
        match (name.as_slice(), &about, &mut rows) {
            (b"holdfast/parcel.json", None, None) => {
                let mut text = Vec::new();
                (&mut member)
                    .take(MOST_ABOUT)
                    .read_to_end(&mut text)
                    .map_err(read)?;
                let found: About = serde_json::from_slice(&text)
                    .map_err(|error| broken(format!("its parcel.json cannot be read: {error}")))?;
                if found.format != FORMAT {
                    return Err(broken(format!(
                        "its format is {}, not {FORMAT}",
                        found.format
                    )));
                }
                opening.opened.release.clone_from(&found.release);
                about = Some(found);
            }
            (b"holdfast/rows.jsonl", Some(about), None) => {
                let mut found = RowsFile::spool(&mut member, read)?;
                found.check(about.rows, &mut opening.opened.wrong)?;
                opening.place.settle(found.parts())?;
                rows = Some(found);
            }
            (_, Some(_), Some(rows)) => opening.take(&name, &mut member, rows, read)?,
            _ => {
                return Err(broken(format!(
                    "`{}` does not stand where it must",
                    String::from_utf8_lossy(&name)
                )));
            }
        }
    }
    // Only its last block shows that nothing was cut off.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(read)?;
    let Some(mut rows) = rows else {
        return Err(broken("it has no rows".to_owned()));
    };
    while let Some(line) = opening.next(&mut rows)? {
        opening.without_member(&line);
    }
    opening.place.finish(&mut opening.opened)?;
    Ok(opening.opened)
}

struct Opening {
    place: Place,
    opened: Opened,
    /// A row that was read ahead of its member.
    pending: Option<Line>,
}

impl Opening {
    fn next(&mut self, rows: &mut RowsFile) -> Result<Option<Line>, OpenError> {
        match self.pending.take() {
            Some(line) => Ok(Some(line)),
            None => rows.next(),
        }
    }

    fn wrong(&mut self, name: &[u8], what: &str) {
        let name = String::from_utf8_lossy(name);
        self.opened.wrong.push(format!("`{name}` {what}"));
    }

    /// A row that has no member: right for a device, wrong for a file.
    fn without_member(&mut self, line: &Line) {
        match shape(&line.shown.row) {
            Shape::Listed => self.opened.listed += 1,
            _ => self.wrong(&line.name(), "is missing from the parcel"),
        }
    }

    /// Takes a member: its row is the next one that has a member.
    fn take(
        &mut self,
        name: &[u8],
        member: &mut tar::Entry<'_, impl Read>,
        rows: &mut RowsFile,
        read: impl Fn(io::Error) -> OpenError,
    ) -> Result<(), OpenError> {
        let line = loop {
            let Some(line) = self.next(rows)? else {
                self.wrong(name, "is in no row of the snapshot");
                return Ok(());
            };
            if line.name() == name.strip_suffix(b"/").unwrap_or(name) {
                break line;
            }
            self.without_member(&line);
        };
        let row = &line.shown.row;
        let kind = member.header().entry_type();
        let fits = match shape(row) {
            Shape::File => kind.is_file() && member.size() == row.size,
            Shape::Folder => kind.is_dir(),
            Shape::Symlink => {
                let link = member.link_name_bytes();
                kind.is_symlink() && link.as_deref() == row.target.as_deref()
            }
            Shape::Listed => false,
        };
        let Some(path) = self.place.path(line.part, &row.path).filter(|_| fits) else {
            self.wrong(
                name,
                "is of another kind, length or place than its row says",
            );
            return Ok(());
        };
        let done = match shape(row) {
            Shape::Folder => self.place.folder(&path, row).map(|()| {
                self.opened.folders += 1;
                true
            }),
            Shape::Symlink => {
                let kept = self.place.symlink(&path, row);
                return kept.map_err(|error| OpenError::world("make a folder for", &path, &error));
            }
            _ => self.file(&path, row, member, read)?,
        };
        match done {
            Ok(true) => {}
            Ok(false) => self.wrong(name, "has other bytes than its row says; it was not kept"),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.wrong(name, "stands in the parcel twice");
            }
            Err(error) => return Err(OpenError::world("write", &path, &error)),
        }
        Ok(())
    }

    fn file(
        &mut self,
        path: &Path,
        row: &Row,
        member: &mut impl Read,
        read: impl Fn(io::Error) -> OpenError,
    ) -> Result<io::Result<bool>, OpenError> {
        let mut writer = match self.place.file(path) {
            Ok(writer) => writer,
            Err(error) => return Ok(Err(error)),
        };
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = member.read(&mut buffer).map_err(&read)?;
            if length == 0 {
                break;
            }
            if let Err(error) = writer.write_all(&buffer[..length]) {
                return Ok(Err(error));
            }
        }
        let kept = writer.finish(path, row);
        if matches!(kept, Ok(true)) {
            self.opened.files += 1;
            self.opened.bytes += row.size;
        }
        Ok(kept)
    }
}
