//! Fills a vault: every thing of the living tree gets its origin's row, every file its clone or
//! copy, every symbolic link its like. What cannot be kept is a row that says why.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read as _, Seek as _, Write as _},
    os::fd::OwnedFd,
};

use custody::{
    digest::Digest,
    manifest::row::{Kind, Row, Status},
};
use rustix::{fs::fstat, io::Errno};

use super::{
    copy::{self, CopyTrouble, Kept},
    job::Job,
    own::Cursor,
    trouble::{self, HoldTrouble, while_doing},
};
use crate::{
    capture::{
        hash,
        origins::{OriginsReader, OriginsWriter},
        shared::Shared,
        trouble::errno_word,
        walk::Step,
    },
    durable,
};

/// How often a file that changes is begun again.
const TRIES: u32 = 4;

/// What a vault was filled with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filled {
    /// Files kept as clones.
    pub cloned: u64,
    /// Files kept byte by byte.
    pub copied: u64,
    /// Folders.
    pub folders: u64,
    /// Symbolic links.
    pub symlinks: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Files that would not hold still.
    pub changed: u64,
    /// Things that could not be read.
    pub unreadable: u64,
}

/// Refuses when the vault has no room for so many bytes.
pub fn room(vault: &OwnedFd, bytes: u64) -> Result<(), HoldTrouble> {
    let measuring = while_doing("the vault's room cannot be measured");
    // Names and indexes take room too.
    let needed = bytes.saturating_add(bytes / 32);
    match copy::free(vault).map_err(measuring)? {
        Some(free) if free < needed => Err(HoldTrouble::NoSpace { needed, free }),
        _ => Ok(()),
    }
}

/// The digests of what was read for each copy, in the order of the rows, in a file without a name:
/// memory does not grow with the tree.
pub struct Copies(BufWriter<File>);

impl Copies {
    fn new(job: &Job<'_>) -> io::Result<Self> {
        let path = job.file("copies");
        let file = durable::create_aside(&path, 0o600)?;
        std::fs::remove_file(durable::aside(&path))?;
        Ok(Self(BufWriter::new(file)))
    }

    fn push(&mut self, index: u64, digest: &Digest) -> io::Result<()> {
        self.0.write_all(&index.to_be_bytes())?;
        self.0.write_all(digest.as_bytes())
    }

    fn read(self) -> io::Result<impl FnMut() -> io::Result<Option<(u64, Digest)>>> {
        let mut file = self
            .0
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        let mut file = BufReader::new(file);
        Ok(move || {
            let (mut index, mut digest) = ([0; 8], [0; 32]);
            match file.read_exact(&mut index) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                read => read?,
            }
            file.read_exact(&mut digest)?;
            Ok(Some((
                u64::from_be_bytes(index),
                Digest::from_bytes(digest),
            )))
        })
    }
}

/// Fills `tree` and puts the origins in their place.
pub fn fill(
    job: &Job<'_>,
    tree: OwnedFd,
    mut clones: bool,
) -> Result<(Filled, Copies), HoldTrouble> {
    let writing = trouble::own("the hold's origins cannot be written");
    let mut origins = OriginsWriter::create(&job.file("origins")).map_err(&writing)?;
    let mut copies = Copies::new(job).map_err(&writing)?;
    let (mut cursor, mut filled) = (Cursor::new(tree), Filled::default());
    let shared = Shared::default();
    for (index, step) in (0..).zip(job.walk(None)?) {
        job.progress.step()?;
        let row = if step.kind == Kind::File && step.trouble.is_none() {
            let (row, kept) =
                keep_file(&step, index, &mut cursor, &mut clones, &shared, &mut filled)?;
            if let Some(Kept::Copied(digest)) = kept {
                copies.push(index, &digest).map_err(&writing)?;
            }
            row
        } else {
            keep_other(&step, index, &mut cursor, &mut filled)?
        };
        filled.unreadable += u64::from(row.status == Status::Unreadable);
        filled.changed += u64::from(row.status == Status::Changed);
        origins.push(&row).map_err(&writing)?;
    }
    origins.finish().map_err(&writing)?;
    Ok((filled, copies))
}

fn keep_other(
    step: &Step,
    index: u64,
    cursor: &mut Cursor,
    filled: &mut Filled,
) -> Result<Row, HoldTrouble> {
    let writing = while_doing("the vault cannot be written");
    let row = hash::look(step, index);
    let kept = row.status == Status::Read;
    match (step.kind, &row.target) {
        (Kind::Folder, _) if kept => {
            filled.folders += 1;
            if step.path != b"." {
                cursor.make_folder(&step.path).map_err(writing)?;
            }
        }
        (Kind::Symlink, Some(target)) if kept => {
            filled.symlinks += 1;
            cursor.make_link(&step.path, target).map_err(writing)?;
        }
        _ => {}
    }
    Ok(row)
}

fn keep_file(
    step: &Step,
    index: u64,
    cursor: &mut Cursor,
    clones: &mut bool,
    shared: &Shared,
    filled: &mut Filled,
) -> Result<(Row, Option<Kept>), HoldTrouble> {
    let writing = while_doing("the vault cannot be written");
    let looking = while_doing("a file in the target cannot be looked at");
    let (mut copy, mut tried) = (None::<File>, 0);
    loop {
        tried += 1;
        let opened = shared.patience.open(&step.place);
        let (from, mut row, before) = match opened.and_then(|from| Ok((fstat(&from)?, from))) {
            Ok((stat, from)) => {
                let row = hash::row_of(index, step.path.clone(), &stat);
                (from, row, copy::stamp_of(&stat))
            }
            Err(errno) => {
                let row = match errno {
                    Errno::XDEV => hash::mount(index, step.path.clone()),
                    errno => hash::unreadable(step, index, errno_word(errno)),
                };
                return without(row, step, cursor, copy.is_some());
            }
        };
        if row.kind != Kind::File {
            row.status = Status::Unreadable;
            row.reason = Some("replaced-while-walking".to_owned());
            return without(row, step, cursor, copy.is_some());
        }
        row.xattrs = hash::xattrs(std::os::fd::AsFd::as_fd(&from));
        let to = match copy.take() {
            Some(to) => to,
            None => File::from(cursor.make_file(&step.path).map_err(&writing)?),
        };
        let kept = match copy::keep(&from, &to, clones) {
            Err(CopyTrouble::Vault(errno)) => return Err(writing(errno)),
            Err(CopyTrouble::Original(errno)) => {
                row.status = Status::Unreadable;
                row.reason = Some(errno_word(errno));
                return without(row, step, cursor, true);
            }
            Ok(kept) => kept,
        };
        let steady = copy::stamp(&from).map_err(&looking)? == before;
        if !steady && tried < TRIES {
            copy = Some(to);
            continue;
        }
        if !steady {
            row.status = Status::Changed;
            row.reason = Some("changed-while-read".to_owned());
            let length = fstat(&to).map_err(&writing)?.st_size;
            row.size = u64::try_from(length).unwrap_or(0);
        }
        filled.bytes += row.size;
        match kept {
            Kept::Cloned => filled.cloned += 1,
            Kept::Copied(_) => filled.copied += 1,
        }
        return Ok((row, Some(kept)));
    }
}

/// A row of what is not in the copy; removes what there is of it.
fn without(
    row: Row,
    step: &Step,
    cursor: &mut Cursor,
    begun: bool,
) -> Result<(Row, Option<Kept>), HoldTrouble> {
    if begun {
        let removed = cursor.remove(&step.path);
        removed.map_err(while_doing("the vault cannot be written"))?;
    }
    Ok((row, None))
}

/// Reads every copied file again, after it was flushed, and compares it with what was read.
pub fn compare(job: &Job<'_>, tree: OwnedFd, copies: Copies) -> Result<(), HoldTrouble> {
    let reading = trouble::own("the hold's origins cannot be read");
    let mut next_copy = copies.read().map_err(&reading)?;
    let mut rows = OriginsReader::open(&job.file("origins")).map_err(&reading)?;
    let (mut cursor, mut differ) = (Cursor::new(tree), 0);
    while let Some((index, digest)) = next_copy().map_err(&reading)? {
        job.progress.step()?;
        let found = rows.find(|row| row.as_ref().map_or(true, |row| row.index == index));
        let row = found
            .unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()))
            .map_err(&reading)?;
        let copy = cursor.open_file(&row.path);
        let again = copy.map(|copy| copy::read_again(copy) == Ok(digest));
        differ += u64::from(again != Ok(true));
    }
    if differ > 0 {
        return Err(HoldTrouble::BytesDiffer(differ));
    }
    Ok(())
}
