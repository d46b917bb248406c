//! The agent's journal: its own sealed statements, kept before anything counts.
//!
//! An append-only log in segments. A statement is sealed once, flushed, and sent to the
//! byte as it stands here, however often; cut off, the agent goes on writing alone. What
//! the agent knows of its work is the fold of this log ([`known::Known`]). A write that a
//! crash tore off the end never counted and is cut off; damage anywhere else is named and
//! nothing is changed. It trusts its own disk to give back what was flushed, and checks.

pub mod book;
pub mod error;
pub mod frame;
pub mod known;
mod openings;
pub mod outbox;
pub mod pressed;
mod segment;
mod waiting;

use std::{
    fs::{self, File},
    os::unix::fs::{DirBuilderExt as _, FileExt as _},
    path::{Path, PathBuf},
};

use custody::{
    commit::Opening,
    id::AgentId,
    ledger::{chain::ChainHead, entry::Entry},
    sign::{SecretKey, Signer as _},
    statement::{Author, Body, Link, Seen, Statement, VERSION},
};

use self::{
    error::JournalError,
    frame::{Frames, Kind, Next},
    known::{Known, Note},
    outbox::Outbox,
    pressed::Pressed,
    waiting::Waiting,
};
use crate::edge::Moment;

/// How long a segment gets before the next one is begun.
pub const SEGMENT: u64 = 8 << 20;

/// Who speaks, to which log, with which key.
#[derive(Debug)]
pub struct Voice {
    /// The agent.
    pub agent: AgentId,
    /// The log's origin.
    pub log: String,
    /// The key of this enrolment.
    pub key: SecretKey,
    /// Its number.
    pub epoch: u64,
}

impl Voice {
    fn of(&self) -> String {
        format!("{} in {}", self.agent, self.log)
    }
}

/// The journal, open for writing. One process at a time.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    voice: Voice,
    known: Known,
    /// Where the chain stood at the beginning of each segment.
    starts: Vec<ChainHead>,
    file: File,
    length: u64,
    roll_at: u64,
    /// What waits for the coordinator, and from how many bytes on repetitions are held back.
    waiting: Waiting,
    press_at: u64,
    pressed: Pressed,
    /// Why the state of the disk is not known, once a flush has failed.
    unknown: Option<String>,
}

struct Replayed {
    known: Known,
    waiting: Waiting,
    starts: Vec<ChainHead>,
    /// Length of the last segment up to its last whole record.
    length: u64,
    torn: bool,
}

/// Reads every record of a journal, in order, and folds it.
fn replay(folder: &Path, of: Option<&str>) -> Result<Replayed, JournalError> {
    let segments = segment::list(folder)?;
    let mut all = Replayed {
        known: Known::default(),
        waiting: Waiting::default(),
        starts: Vec::new(),
        length: 0,
        torn: false,
    };
    for (number, expected) in segments.iter().zip(0..) {
        if *number != expected {
            return Err(segment::damaged(expected, 0, "the file is missing"));
        }
        let (mut frames, start) = segment::open(folder, *number)?;
        if let Some(of) = of.filter(|of| *of != start.of) {
            return Err(JournalError::Other {
                found: start.of,
                expected: of.to_owned(),
            });
        }
        if start.head != all.known.head {
            let what = "it does not go on where the file before it ends";
            return Err(segment::damaged(*number, 0, what));
        }
        all.starts.push(start.head);
        let last = number + 1 == segments.len() as u64;
        all.torn = fold(&mut frames, *number, last, &mut all.known, &mut all.waiting)?;
        all.length = frames.at();
    }
    Ok(all)
}

/// Folds one segment; says whether its end was torn off by a crash.
fn fold(
    frames: &mut Frames,
    number: u64,
    last: bool,
    known: &mut Known,
    waiting: &mut Waiting,
) -> Result<bool, JournalError> {
    loop {
        let at = frames.at();
        let damaged = |what: &str| Err(segment::damaged(number, at, what));
        match frames.read()? {
            Next::End => return Ok(false),
            Next::Torn if last => return Ok(true),
            Next::Torn => return damaged("it ends in the middle of a record"),
            Next::Damaged => return damaged("a record does not have the hash that it had"),
            Next::Frame(Kind::Start, _) => return damaged("a first record stands in the middle"),
            Next::Frame(Kind::Note, payload) => match serde_json::from_slice::<Note>(&payload) {
                Ok(note) => {
                    known.note(&note);
                    waiting.keep(known.queued());
                }
                Err(_) => return damaged("a note is not understood by this version"),
            },
            Next::Frame(Kind::Entry, payload) => {
                let entry = Entry::parse(&payload)?;
                let statement = entry.statement()?;
                let Some(link) = &statement.link else {
                    return damaged("an entry has no place in the chain");
                };
                if let Err(error) = known.entry(link, &statement.body, entry.digest()) {
                    return damaged(&error.to_string());
                }
                waiting.add(payload.len());
            }
        }
    }
}

impl Journal {
    /// Opens the journal of this voice, cuts off what a crash tore, and begins the voice's
    /// epoch where it is new.
    pub fn open(folder: &Path, voice: Voice, roll_at: u64) -> Result<Self, JournalError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let of = voice.of();
        if segment::list(folder)?.is_empty() {
            segment::begin(folder, 0, &of, ChainHead::start(0))?;
        }
        let replayed = replay(folder, Some(&of))?;
        let last = replayed.starts.len() as u64 - 1;
        let path = segment::path(folder, last);
        let file = File::options().read(true).write(true).open(&path)?;
        if replayed.torn {
            let cut = file.metadata()?.len() - replayed.length;
            tracing::warn!(
                segment = segment::name(last),
                bytes = cut,
                "cut off a record that a crash kept from being written; it never counted"
            );
            file.set_len(replayed.length)?;
            file.sync_all()?;
        }
        let mut journal = Self {
            folder: folder.to_owned(),
            voice,
            known: replayed.known,
            starts: replayed.starts,
            file,
            length: replayed.length,
            roll_at,
            waiting: replayed.waiting,
            press_at: pressed::PRESSED,
            pressed: Pressed::load(folder)?,
            unknown: None,
        };
        journal.begin_epoch()?;
        journal
            .pressed
            .bodies()
            .for_each(|body| journal.known.said(body));
        let known = &journal.known;
        openings::sweep(folder, |epoch, seq| {
            let repeated = known.to_repeat();
            let unsaid = repeated.is_some_and(|(old, next)| epoch == old && seq >= next);
            let mine = epoch == known.head.epoch;
            unsaid || (mine && (known.recorded..known.head.seq).contains(&seq))
        })?;
        Ok(journal)
    }

    fn begin_epoch(&mut self) -> Result<(), JournalError> {
        let epoch = self.voice.epoch;
        if epoch < self.known.head.epoch {
            return Err(JournalError::Other {
                found: format!("enrolment {}", self.known.head.epoch),
                expected: format!("enrolment {epoch}: its key is an older one"),
            });
        }
        if epoch > self.known.head.epoch {
            self.note(Note::Epoch { epoch })?;
        }
        Ok(())
    }

    /// Reads a journal without changing it, also while an agent is writing it.
    pub fn look(folder: &Path) -> Result<Known, JournalError> {
        let mut known = replay(folder, None)?.known;
        Pressed::load(folder)?
            .bodies()
            .for_each(|body| known.said(body));
        Ok(known)
    }

    /// Holds repetitions back from another number of bytes on than [`pressed::PRESSED`].
    pub fn press_at(&mut self, bytes: u64) {
        self.press_at = bytes;
    }

    /// How many statements are held back, which others will be said for.
    pub fn held_back(&self) -> u64 {
        self.pressed.times()
    }

    /// What follows from everything written so far.
    pub const fn known(&self) -> &Known {
        &self.known
    }

    /// Seals a statement and makes it durable. When this returns, it was said; or, where it repeats
    /// what was said and too much waits for the coordinator, it is on disk and will be said with
    /// others of its kind ([`pressed`]): then the head is as it was.
    pub fn say(
        &mut self,
        body: Body,
        opened: &[Opening],
        moment: &Moment,
    ) -> Result<ChainHead, JournalError> {
        let (waiting, bound) = (self.waiting.bytes(), self.press_at);
        if self.pressed.holds_back(&body, &self.known, waiting, bound) {
            if self.pressed.times() == 0 {
                tracing::warn!(
                    waiting,
                    "much waits for the coordinator; what repeats itself is said once, with how \
                     often it was so, when there is room again"
                );
            }
            self.known.said(&body);
            self.pressed.add(&self.folder, body, opened, moment.time)?;
            return Ok(self.known.head);
        }
        self.seal(body, opened, moment)
    }

    /// Says one that is held back and belongs before this statement, because it is about the same
    /// hold. Gives whether there was one; called until there is none.
    pub fn make_way(&mut self, body: &Body, moment: &Moment) -> Result<bool, JournalError> {
        let (waiting, bound) = (self.waiting.bytes(), self.press_at);
        if self.pressed.holds_back(body, &self.known, waiting, bound) {
            return Ok(false);
        }
        let Some(at) = self.pressed.before(body) else {
            return Ok(false);
        };
        self.say_held(at, moment)?;
        Ok(true)
    }

    /// Says one that is held back, once there is room for it. Gives whether there was one.
    pub fn relieve_one(&mut self, moment: &Moment) -> Result<bool, JournalError> {
        if self.pressed.times() == 0 || self.waiting.bytes() >= self.press_at / 2 {
            return Ok(false);
        }
        self.say_held(0, moment)?;
        Ok(true)
    }

    fn say_held(&mut self, at: usize, moment: &Moment) -> Result<(), JournalError> {
        if let Some((body, openings)) = self.pressed.get(at)? {
            self.seal(body, &openings, moment)?;
            self.pressed.forget(&self.folder, at)?;
        }
        Ok(())
    }

    fn seal(
        &mut self,
        body: Body,
        opened: &[Opening],
        moment: &Moment,
    ) -> Result<ChainHead, JournalError> {
        let head = self.known.head;
        let link = Link {
            epoch: head.epoch,
            seq: head.seq,
            prev: head.prev,
            boot: moment.boot,
            monotonic_ns: moment.monotonic_ns.to_string(),
        };
        let statement = Statement {
            v: VERSION,
            log: self.voice.log.clone(),
            id: moment.id,
            author: Author::Agent(self.voice.agent),
            time: moment.time,
            seen: self.known.seen,
            link: Some(link.clone()),
            body,
        };
        let text = statement.to_text()?;
        let signature = self
            .voice
            .key
            .sign(statement.namespace(), text.as_bytes())?;
        let entry = Entry::seal(&text, &signature)?;
        // A statement that could not be written may have left its openings in this place. With
        // openings that are not its own no coordinator would take this one, nor any after it.
        if opened.is_empty() {
            openings::remove(&self.folder, head.epoch, head.seq)?;
        } else {
            openings::keep(&self.folder, head.epoch, head.seq, opened)?;
        }
        self.append(Kind::Entry, entry.bytes())?;
        // It was built on the head, so it follows it.
        let folded = self.known.entry(&link, &statement.body, entry.digest());
        folded.map_err(|error| segment::damaged(self.last(), self.length, error.to_string()))?;
        self.waiting.add(entry.bytes().len());
        Ok(self.known.head)
    }

    /// Says again, in this enrolment, what an earlier one left unsaid to the ledger. Gives
    /// whether there was something.
    pub fn repeat_one(&mut self, moment: &Moment) -> Result<bool, JournalError> {
        let Some((epoch, seq)) = self.known.to_repeat() else {
            return Ok(false);
        };
        let end = self.known.left_over.map_or(0, |left| left.end);
        let said = self.outbox(epoch, seq).next(end)?;
        let said = said.ok_or_else(|| {
            let what = format!("statement {seq} of enrolment {epoch} is not there");
            segment::damaged(self.last(), self.length, what)
        })?;
        let body = Entry::parse(&said.entry)?.statement()?.body;
        self.say(body, &said.openings, moment)?;
        openings::remove(&self.folder, epoch, seq)?;
        Ok(true)
    }

    /// Notes that the coordinator has everything up to and with `seq`.
    pub fn recorded(&mut self, epoch: u64, seq: u64, index: u64) -> Result<(), JournalError> {
        let before = self.known.recorded;
        if epoch != self.known.head.epoch || seq < before || seq >= self.known.head.seq {
            return Ok(());
        }
        self.note(Note::Recorded { epoch, seq, index })?;
        for seq in before..=seq {
            openings::remove(&self.folder, epoch, seq)?;
        }
        Ok(())
    }

    /// Notes a checkpoint that was verified. It never goes back.
    pub fn saw(&mut self, seen: Seen) -> Result<(), JournalError> {
        if self.known.seen.is_some_and(|known| known.size >= seen.size) {
            return Ok(());
        }
        self.note(Note::Saw {
            size: seen.size,
            root: seen.root,
        })
    }

    /// Notes that a task was taken on. Gives `false` for one that is older than what was
    /// taken on before for the same thing.
    pub fn took(&mut self, id: &str, position: u64) -> Result<bool, JournalError> {
        match self.known.took.get(id) {
            Some(newest) if position < *newest => return Ok(false),
            Some(newest) if position == *newest => return Ok(true),
            _ => {}
        }
        self.note(Note::Took {
            id: id.to_owned(),
            position,
        })?;
        Ok(true)
    }

    /// Reads statements from one on, as they are to be sent.
    pub fn outbox(&self, epoch: u64, seq: u64) -> Outbox {
        let before = |start: &&ChainHead| (start.epoch, start.seq) <= (epoch, seq);
        let segment = self.starts.iter().take_while(before).count();
        Outbox::new(&self.folder, segment.saturating_sub(1) as u64, epoch, seq)
    }

    fn note(&mut self, note: Note) -> Result<(), JournalError> {
        let payload = serde_json::to_vec(&note).map_err(std::io::Error::from)?;
        self.append(Kind::Note, &payload)?;
        self.known.note(&note);
        self.waiting.keep(self.known.queued());
        Ok(())
    }

    const fn last(&self) -> u64 {
        self.starts.len() as u64 - 1
    }

    /// Appends a record and flushes it.
    ///
    /// Expected calls: pwrite, fdatasync. A write that fails is cut off again; after a flush
    /// that fails nothing is written any more, since what is on disk is not known.
    fn append(&mut self, kind: Kind, payload: &[u8]) -> Result<(), JournalError> {
        if let Some(why) = &self.unknown {
            return Err(JournalError::Unknown(why.clone()));
        }
        let bytes = frame::encode(kind, payload);
        if self.length + bytes.len() as u64 > self.roll_at {
            self.roll()?;
        }
        if let Err(error) = self.file.write_all_at(&bytes, self.length) {
            if let Err(worse) = self.file.set_len(self.length) {
                self.unknown = Some(worse.to_string());
            }
            return Err(error.into());
        }
        if let Err(error) = self.file.sync_data() {
            self.unknown = Some(error.to_string());
            return Err(JournalError::Unknown(error.to_string()));
        }
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Begins the next segment.
    fn roll(&mut self) -> Result<(), JournalError> {
        let next = self.last() + 1;
        segment::begin(&self.folder, next, &self.voice.of(), self.known.head)?;
        let path = segment::path(&self.folder, next);
        let file = File::options().read(true).write(true).open(path)?;
        self.length = file.metadata()?.len();
        self.file = file;
        self.starts.push(self.known.head);
        Ok(())
    }
}
