//! What a story needs to show that it is true: attempts on held files, and a damaged copy.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};

/// One attempt on a held file, and what the system answered.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) what: &'static str,
    pub(super) answer: String,
}

/// Tries to overwrite, truncate, rename and delete a held file. Every one must be refused, and
/// the bytes must be the same afterwards.
pub(super) fn attack(file: &Path) -> anyhow::Result<Vec<Attempt>> {
    let before = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let aside = file.with_extension("stolen");
    let tries: [(&'static str, io::Result<()>); 4] = [
        (
            "overwrite",
            File::options().write(true).open(file).map(drop),
        ),
        ("truncate", rustix_truncate(file)),
        ("rename", fs::rename(file, &aside)),
        ("delete", fs::remove_file(file)),
    ];
    let mut attempts = Vec::new();
    for (what, tried) in tries {
        match tried {
            Ok(()) => anyhow::bail!("{} could be done to {}", what, file.display()),
            Err(error) => attempts.push(Attempt {
                what,
                answer: plain(&error),
            }),
        }
    }
    ensure!(fs::read(file)? == before, "{} has changed", file.display());
    Ok(attempts)
}

fn rustix_truncate(file: &Path) -> io::Result<()> {
    let file = File::options().write(true).truncate(true).open(file)?;
    drop(file);
    Ok(())
}

fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// The largest regular file of at most 1 MiB below a folder: something worth stealing.
pub(super) fn something_held(folder: &Path) -> anyhow::Result<PathBuf> {
    let (mut best, mut waiting) = (None::<(u64, PathBuf)>, vec![folder.to_owned()]);
    while let Some(at) = waiting.pop() {
        for entry in fs::read_dir(&at)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                waiting.push(entry.path());
            } else if kind.is_file() {
                let size = entry.metadata()?.len();
                if size <= 1 << 20 && best.as_ref().is_none_or(|(most, _)| size > *most) {
                    best = Some((size, entry.path()));
                }
            }
        }
    }
    let (_, path) = best.with_context(|| format!("{} has no file", folder.display()))?;
    Ok(path)
}

/// Copies a log folder and changes one byte of one entry in the copy. Says which byte.
pub(super) fn damaged_copy(log: &Path, copy: &Path) -> anyhow::Result<(PathBuf, u64)> {
    let mut waiting = vec![(log.to_owned(), copy.to_owned())];
    let mut bundle = None;
    while let Some((from, to)) = waiting.pop() {
        fs::create_dir_all(&to)?;
        for entry in fs::read_dir(&from)? {
            let entry = entry?;
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            if entry.file_type()?.is_dir() {
                waiting.push((from, to));
            } else {
                fs::copy(&from, &to)?;
                let size = entry.metadata()?.len();
                let holds_entries = from.components().any(|part| part.as_os_str() == "entries");
                if holds_entries && bundle.as_ref().is_none_or(|(most, _)| size > *most) {
                    bundle = Some((size, to));
                }
            }
        }
    }
    let (size, bundle) = bundle.context("the log has no entries")?;
    let at = size / 2;
    let file = File::options().read(true).write(true).open(&bundle)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 1], at)?;
    Ok((bundle, at))
}
