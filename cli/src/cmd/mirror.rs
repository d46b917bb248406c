//! `ledger mirror`: an own copy of the log, recomputed from its entries.
//!
//! Entries are fetched, hashed and written as C2SP tiles; the root is computed here and must be
//! the signed one, and the tree of the mirror's older checkpoint must be its beginning. Only then
//! is the new checkpoint written. Memory does not grow with the log.

use std::{
    fs,
    path::{Path, PathBuf},
};

use custody::{
    digest::Digest,
    ledger::{
        checkpoint::Checkpoint,
        tile::{self, Tile, WIDTH},
        tree::{self, Frontier},
    },
};
use proto::v1;

use crate::{
    args::Global,
    exit::{Outcome, Trouble},
    profile::write_private,
    session::Session,
    show::{Screen, progress, text},
};

/// Most entries asked for at once.
const STRIDE: u64 = 256 * 16;

/// A growing copy.
struct Copy<'a> {
    dir: &'a Path,
    frontier: Frontier,
    /// The hashes of the newest, unfinished tile of each level.
    levels: Vec<Vec<Digest>>,
    bundle: Vec<u8>,
    written: Vec<PathBuf>,
}

impl Copy<'_> {
    /// Takes the next entry; `fresh` ones are written.
    fn take(&mut self, entry: &[u8], fresh: bool) -> Outcome {
        tile::put_entry(&mut self.bundle, entry)
            .map_err(|error| Trouble::breach("mirror.entry", format!("{error}.")))?;
        let leaf = tree::leaf_hash(entry);
        self.frontier.push(leaf);
        if self.frontier.size().is_multiple_of(WIDTH) {
            let index = self.frontier.size() / WIDTH - 1;
            let full = Tile {
                level: 0,
                index,
                width: WIDTH,
            };
            let bundle = std::mem::take(&mut self.bundle);
            self.put(&full.bundle_path(), &bundle, fresh)?;
        }
        self.push(0, leaf, fresh)
    }

    fn push(&mut self, level: usize, hash: Digest, fresh: bool) -> Outcome {
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        self.levels[level].push(hash);
        if (self.levels[level].len() as u64) < WIDTH {
            return Ok(());
        }
        let hashes = std::mem::take(&mut self.levels[level]);
        let below = tile::hashes(level as u32, self.frontier.size());
        let full = Tile {
            level: level as u32,
            index: below / WIDTH - 1,
            width: WIDTH,
        };
        self.put(&full.path(), &bytes(&hashes), fresh)?;
        let mut root = Frontier::new();
        hashes.into_iter().for_each(|hash| root.push(hash));
        self.push(level + 1, root.root(), fresh)
    }

    /// Writes the tiles that are not full.
    fn finish(&mut self) -> Outcome {
        let size = self.frontier.size();
        for level in 0..self.levels.len() {
            let hashes = std::mem::take(&mut self.levels[level]);
            let all = tile::hashes(level as u32, size);
            let partial = Tile {
                level: level as u32,
                index: all / WIDTH,
                width: hashes.len() as u64,
            };
            if hashes.is_empty() {
                continue;
            }
            self.put(&partial.path(), &bytes(&hashes), true)?;
            if level == 0 {
                let bundle = std::mem::take(&mut self.bundle);
                self.put(&partial.bundle_path(), &bundle, true)?;
            }
        }
        Ok(())
    }

    fn put(&mut self, path: &str, content: &[u8], fresh: bool) -> Outcome {
        let path = self.dir.join(path);
        if !fresh || fs::read(&path).is_ok_and(|there| there == content) {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| Trouble::file("make", folder, &error))?;
        }
        write_private(&path, content)?;
        self.written.push(path);
        Ok(())
    }
}

fn bytes(hashes: &[Digest]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// Brings the copy up to date and checks it whole.
pub async fn run(global: &Global, dir: &Path) -> Outcome {
    let screen = Screen::new(global);
    let mut session = Session::open(global).await?;
    let note = session.refresh().await?;
    let checkpoint = session.seen().clone();
    fs::create_dir_all(dir).map_err(|error| Trouble::file("make", dir, &error))?;
    let older = older(dir, &session)?;
    if let Some(older) = older.as_ref().filter(|older| older.size > checkpoint.size) {
        return Err(breach(
            "mirror.ahead",
            &format!(
                "the mirror has {} entries and the log says {}",
                older.size, checkpoint.size
            ),
        ));
    }
    let mut copy = Copy {
        dir,
        frontier: Frontier::new(),
        levels: Vec::new(),
        bundle: Vec::new(),
        written: Vec::new(),
    };
    let bar = progress::over_things(global, "copying entries", checkpoint.size);
    let outcome = fill(&mut session, &mut copy, older.as_ref(), &checkpoint, &bar).await;
    bar.finish_and_clear();
    if let Err(trouble) = outcome {
        // What was not proved does not stay.
        if trouble.exit == crate::exit::Exit::Broken {
            copy.written
                .iter()
                .for_each(|path| drop(fs::remove_file(path)));
        }
        return Err(trouble);
    }
    write_private(
        &dir.join("log.vkey"),
        format!("{}\n", session.verifier()).as_bytes(),
    )?;
    write_private(&dir.join("checkpoint"), note.as_bytes())?;
    let fresh = checkpoint.size - older.map_or(0, |older| older.size);
    if screen.is_json() {
        screen.value(&serde_json::json!({
            "dir": dir.display().to_string(), "origin": checkpoint.origin,
            "size": checkpoint.size, "root": checkpoint.root, "new": fresh,
        }));
    } else {
        screen.pairs(&[
            ("log", checkpoint.origin.clone()),
            ("entries", format!("{} ({fresh} new)", checkpoint.size)),
            ("root", checkpoint.root.to_string()),
            ("copy", format!("{}, recomputed and equal", dir.display())),
        ]);
    }
    Ok(())
}

fn older(dir: &Path, session: &Session) -> Outcome<Option<Checkpoint>> {
    let path = dir.join("checkpoint");
    let note = match fs::read(&path) {
        Ok(note) => note,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Trouble::file("read", &path, &error)),
    };
    Checkpoint::open(&note, session.verifier()).map(Some).map_err(|error| {
        Trouble::breach(
            "mirror.checkpoint",
            format!(
                "{} does not verify: {error}. Check that it is a mirror of this log; nothing was \
                 changed.",
                path.display()
            ),
        )
    })
}

async fn fill(
    session: &mut Session,
    copy: &mut Copy<'_>,
    older: Option<&Checkpoint>,
    newest: &Checkpoint,
    bar: &indicatif::ProgressBar,
) -> Outcome {
    let own = older.map_or(0, |older| older.size);
    // Full bundles are read back from the copy, so that damage in it is found too.
    for index in 0..own / WIDTH {
        let full = Tile {
            level: 0,
            index,
            width: WIDTH,
        };
        let path = copy.dir.join(full.bundle_path());
        let bundle = fs::read(&path).map_err(|error| Trouble::file("read", &path, &error))?;
        let entries =
            tile::entries(&bundle).map_err(|error| breach("mirror.damaged", &error.to_string()))?;
        for entry in entries {
            copy.take(entry, false)?;
        }
        bar.set_position(copy.frontier.size());
    }
    while copy.frontier.size() < newest.size {
        let first = copy.frontier.size();
        let count = STRIDE.min(newest.size - first);
        let asked = v1::ListEntriesRequest { first, count };
        let mut stream = session
            .services
            .ledger
            .list_entries(asked)
            .await?
            .into_inner();
        while let Some(answer) = stream.message().await? {
            let at = copy.frontier.size();
            if answer.index != at {
                let why = format!("entry {} came where entry {at} belongs", answer.index);
                return Err(breach("mirror.order", &why));
            }
            copy.take(&answer.entry, true)?;
            if let Some(older) = older.filter(|older| older.size == copy.frontier.size())
                && copy.frontier.root() != older.root
            {
                let why = format!(
                    "the first {} entries are not those of the mirror",
                    older.size
                );
                return Err(breach("mirror.rewritten", &why));
            }
            bar.set_position(copy.frontier.size());
            if copy.frontier.size() == newest.size {
                break;
            }
        }
        if copy.frontier.size() == first {
            let why = format!("entry {first} is missing although the checkpoint covers it");
            return Err(breach("mirror.missing", &why));
        }
    }
    if copy.frontier.root() != newest.root {
        return Err(breach(
            "mirror.root",
            "the entries do not give the root that was signed",
        ));
    }
    copy.finish()
}

fn breach(rule: &str, why: &str) -> Trouble {
    Trouble::breach(
        rule,
        format!(
            "BREACH: {}. The mirror's checkpoint was not moved. Keep it as evidence and tell the \
             other auditors.",
            text::plain(why)
        ),
    )
}
