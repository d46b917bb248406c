//! Fills a vault: every thing of the living tree gets its origin's row, every file its clone or
//! copy, every symbolic link its like. What cannot be kept is a row that says why.

mod rows;

use std::{
    fs::File,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool, mpsc},
    time::Duration,
};

use custody::manifest::row::{Kind, Row, Status};
use rustix::{fs::fstat, io::Errno};

pub use rows::{Copies, Filled, compare};
use rows::{Kept, Rows};

use super::{
    copy::{self, CopyTrouble, Kept as How},
    flag,
    job::Job,
    own::Cursor,
    trouble::{self, HoldTrouble, while_doing},
};
use crate::capture::{hash, shared::Shared, trouble::errno_word, walk::Step};

/// How often a file that changes is begun again.
const TRIES: u32 = 4;
/// Files handed over at a time.
const BATCH: usize = 32;
/// Batches that wait.
const WAITING: usize = 8;
/// Rows that wait for an earlier one, at most.
const MOST_WAITING: usize = 20_000;
/// How long a full line is waited for before it is looked at again.
const PAUSE: Duration = Duration::from_micros(200);

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

/// What the hands that keep files share.
struct Hands<'a> {
    job: &'a Job<'a>,
    /// Whether files can be cloned, until it turns out that they cannot.
    clones: AtomicBool,
    shared: Shared,
}

/// Fills `tree` and puts the origins in their place. Folders and links are made by the one that
/// walks, each before what is in it; files by several hands, and their rows put in order again.
pub fn fill(job: &Job<'_>, tree: OwnedFd, clones: bool) -> Result<(Filled, Copies), HoldTrouble> {
    let writing = trouble::own("the hold's origins cannot be written");
    let again = trouble::own("the vault's folder cannot be opened again");
    let mut out = Rows::create(job).map_err(&writing)?;
    let hands = Hands {
        job,
        clones: AtomicBool::new(clones),
        shared: Shared::default(),
    };
    let cursors: Vec<Cursor> = (0..job.threads.max(1))
        .map(|_| tree.try_clone().map(Cursor::new))
        .collect::<Result<_, _>>()
        .map_err(again)?;
    let mut own = Cursor::new(tree);
    std::thread::scope(|scope| {
        let (send, receive) = mpsc::sync_channel::<Vec<(u64, Step)>>(WAITING);
        let (done, ready) = mpsc::channel::<Result<Vec<Kept>, HoldTrouble>>();
        let receive = Arc::new(Mutex::new(receive));
        for mut cursor in cursors {
            let (receive, done, hands) = (Arc::clone(&receive), done.clone(), &hands);
            let hand = move || {
                loop {
                    let next = receive
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .recv();
                    let Ok(batch) = next else { return };
                    let keep = |(index, step): &(u64, Step)| {
                        hands.job.progress.step()?;
                        let (row, how) = keep_file(step, *index, &mut cursor, hands)?;
                        Ok((*index, row, how))
                    };
                    let kept: Result<Vec<Kept>, _> = batch.iter().map(keep).collect();
                    let failed = kept.is_err();
                    if done.send(kept).is_err() || failed {
                        return;
                    }
                }
            };
            let named = std::thread::Builder::new().name("filler".to_owned());
            named
                .spawn_scoped(scope, hand)
                .map_err(trouble::own("a thread cannot be started"))?;
        }
        drop((receive, done));
        let mut batch = Vec::with_capacity(BATCH);
        for (index, step) in (0..).zip(job.walk(None)?) {
            if step.kind == Kind::File && step.trouble.is_none() {
                batch.push((index, step));
            } else {
                job.progress.step()?;
                let row = keep_other(&step, index, &mut own, &mut out.filled)?;
                out.take(index, row, None).map_err(&writing)?;
            }
            if batch.len() == BATCH {
                let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
                hand_over(&send, full, &ready, &mut out)?;
            }
        }
        hand_over(&send, batch, &ready, &mut out)?;
        drop(send);
        for kept in ready {
            out.take_all(kept?)?;
        }
        Ok::<_, HoldTrouble>(())
    })?;
    out.finish().map_err(writing)
}

/// Hands a batch over, and meanwhile takes what is ready, so that little of it waits.
fn hand_over(
    send: &mpsc::SyncSender<Vec<(u64, Step)>>,
    mut batch: Vec<(u64, Step)>,
    ready: &mpsc::Receiver<Result<Vec<Kept>, HoldTrouble>>,
    out: &mut Rows,
) -> Result<(), HoldTrouble> {
    loop {
        while let Ok(kept) = ready.try_recv() {
            out.take_all(kept?)?;
        }
        // One large file must not let the rows of all that come after it pile up.
        let may = out.waiting() < MOST_WAITING;
        match if may {
            send.try_send(batch)
        } else {
            Err(mpsc::TrySendError::Full(batch))
        } {
            Ok(()) => return Ok(()),
            Err(mpsc::TrySendError::Full(back)) => batch = back,
            // All hands have ended: one of them says why.
            Err(mpsc::TrySendError::Disconnected(_)) => {
                for kept in ready {
                    out.take_all(kept?)?;
                }
                return Err(HoldTrouble::Stopped);
            }
        }
        if let Ok(kept) = ready.recv_timeout(PAUSE) {
            out.take_all(kept?)?;
        }
    }
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
    hands: &Hands<'_>,
) -> Result<(Row, Option<How>), HoldTrouble> {
    let writing = while_doing("the vault cannot be written");
    let looking = while_doing("a file in the target cannot be looked at");
    let (mut copy, mut tried) = (None::<File>, 0);
    loop {
        tried += 1;
        let opened = hands.shared.patience.open(&step.place);
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
        let kept = match copy::keep(&from, &to, &hands.clones) {
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
        // What is done already need not be opened again to be sealed. Where no flag can be set
        // the seal says so.
        match flag::set(&to, true) {
            Err(errno) if !flag::is_no_flag_here(errno) => return Err(writing(errno)),
            _ => {}
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
) -> Result<(Row, Option<How>), HoldTrouble> {
    if begun {
        let removed = cursor.remove(&step.path);
        removed.map_err(while_doing("the vault cannot be written"))?;
    }
    Ok((row, None))
}
