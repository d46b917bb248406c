//! What customers keep on the servers: sample files, or a copy of a real tree.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

/// The largest folder that the owner of the story claims.
const MOST_CLAIMED: u64 = 64 << 20;

/// The accounts of the sample.
const ACCOUNTS: [&str; 3] = ["allotment-club", "film-archive", "village-choir"];

/// Counts of what was laid down.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Laid {
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Things that are not copied: devices, sockets, pipes, and what may not be read.
    pub(super) left_out: u64,
}

/// Fills a server with sample accounts. The same names give the same bytes each time.
pub(super) fn sample(data: &Path, server: &str) -> io::Result<Laid> {
    let mut laid = Laid::default();
    for account in ACCOUNTS {
        let home = data.join(account);
        for folder in ["letters", "pictures/2011"] {
            fs::create_dir_all(home.join(folder))?;
        }
        for number in 1..=12 {
            let seed = format!("{server}/{account}/{number}");
            let text = format!("Minutes no. {number} of the {account}.\n").repeat(40);
            put(
                &home.join(format!("letters/minutes-{number:02}.txt")),
                text.as_bytes(),
                &mut laid,
            )?;
            let name = format!("pictures/2011/picture-{number:02}.raw");
            put(&home.join(name), &noise(&seed, 96 * 1024), &mut laid)?;
        }
        // Names and things as they are in real trees.
        let odd = OsStr::from_bytes(b"pictures/caf\xe9 (1).raw");
        put(&home.join(odd), &noise(account, 4096), &mut laid)?;
        std::os::unix::fs::symlink("letters/minutes-01.txt", home.join("latest"))?;
        let sparse = File::create(home.join("disk.img"))?;
        sparse.set_len(8 << 20)?;
        laid.files += 1;
        laid.bytes += 8 << 20;
    }
    Ok(laid)
}

fn put(path: &Path, bytes: &[u8], laid: &mut Laid) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    laid.files += 1;
    laid.bytes += bytes.len() as u64;
    Ok(())
}

/// Bytes that look random and are the same for the same seed.
fn noise(seed: &str, length: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length + 32);
    let mut block = Sha256::digest(seed.as_bytes());
    while bytes.len() < length {
        bytes.extend_from_slice(&block);
        block = Sha256::digest(block);
    }
    bytes.truncate(length);
    bytes
}

/// Copies a real tree: files, folders and symlinks, with their times. Nothing is followed.
pub(super) fn copy(source: &Path, data: &Path) -> anyhow::Result<Laid> {
    let mut laid = Laid::default();
    let mut waiting = vec![(source.to_owned(), data.to_owned())];
    while let Some((from, to)) = waiting.pop() {
        fs::create_dir_all(&to).with_context(|| format!("cannot make {}", to.display()))?;
        let entries = match fs::read_dir(&from) {
            Ok(entries) => entries,
            Err(_) => {
                laid.left_out += 1;
                continue;
            }
        };
        for entry in entries {
            let entry = entry?;
            let (from, to) = (entry.path(), to.join(entry.file_name()));
            let kind = entry.file_type()?;
            if kind.is_dir() {
                waiting.push((from, to));
            } else if kind.is_symlink() {
                std::os::unix::fs::symlink(fs::read_link(&from)?, &to)?;
            } else if kind.is_file() {
                match fs::copy(&from, &to) {
                    Ok(bytes) => {
                        let times = fs::metadata(&from)?.modified()?;
                        // The copy's mode may forbid writing; its times can be set all the same.
                        let _ = File::open(&to)?.set_modified(times);
                        laid.files += 1;
                        laid.bytes += bytes;
                    }
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        laid.left_out += 1;
                    }
                    Err(error) => {
                        let what = format!("cannot copy {}", from.display());
                        return Err(anyhow::Error::from(error).context(what));
                    }
                }
            } else {
                laid.left_out += 1;
            }
        }
    }
    Ok(laid)
}

/// The account that the owner of the story claims: the first, by name, with files in it that
/// is not too large to hand over while one watches.
pub(super) fn account_to_claim(data: &Path) -> anyhow::Result<String> {
    let mut folders: Vec<PathBuf> = fs::read_dir(data)?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            entry.file_type().ok()?.is_dir().then(|| entry.path())
        })
        .collect();
    folders.sort();
    for folder in folders {
        let size = size(&folder)?;
        let name = folder.file_name().and_then(OsStr::to_str);
        if let Some(name) = name
            && (1..=MOST_CLAIMED).contains(&size)
        {
            return Ok(name.to_owned());
        }
    }
    bail!(
        "no folder directly in {} has files in it and is under 64 MiB",
        data.display()
    )
}

fn size(folder: &Path) -> io::Result<u64> {
    let (mut size, mut waiting) = (0, vec![folder.to_owned()]);
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                waiting.push(entry.path());
            } else if kind.is_file() {
                size += entry.metadata()?.len();
            }
        }
    }
    Ok(size)
}

/// Every regular file below a folder, by path relative to it, with its SHA-256.
pub(super) fn digests(folder: &Path) -> io::Result<std::collections::BTreeMap<PathBuf, String>> {
    let (mut found, mut waiting) = (std::collections::BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(at) = waiting.pop() {
        for entry in fs::read_dir(&at)? {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            if kind.is_dir() {
                waiting.push(path);
            } else if kind.is_file() {
                let digest = digest(&mut File::open(&path)?)?;
                let relative = path.strip_prefix(folder).unwrap_or(&path).to_owned();
                found.insert(relative, digest);
            }
        }
    }
    Ok(found)
}

fn digest(file: &mut File) -> io::Result<String> {
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 256 * 1024]);
    loop {
        match io::Read::read(file, &mut buffer)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            count => hasher.update(&buffer[..count]),
        }
    }
}
