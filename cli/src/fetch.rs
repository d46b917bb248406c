//! Downloads that go on where they stopped, and count only once their bytes are right.
//!
//! What is under way lies beside its place as `.part`. It gets its name when the whole file has
//! the SHA-256 that the log says; other bytes never get it.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use custody::digest::Digest;
use proto::v1::{EvidenceKind, FetchRequest};
use sha2::{Digest as _, Sha256};

use crate::{
    exit::{Outcome, Trouble},
    session::{Session, is_away},
    show::progress,
};

/// The longest file that is taken into memory.
const LONGEST: usize = 64 << 20;

/// Where a download lies while it is under way.
pub fn part_of(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

/// Fetches a file to `out`, which must have this SHA-256. Gives its length.
pub async fn file(
    session: &mut Session,
    kind: EvidenceKind,
    id: &str,
    out: &Path,
    expected: &Digest,
) -> Outcome<u64> {
    if out.exists() {
        return Err(Trouble::usage(format!(
            "{} is there already, and nothing is overwritten. Give another name.",
            out.display()
        )));
    }
    let path = part_of(out);
    let trouble = |error: std::io::Error| Trouble::file("write", &path, &error);
    let mut part = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(trouble)?;
    let length = receive(session, kind, id, &mut part, &path).await?;
    part.sync_all().map_err(trouble)?;
    let found = hash(&mut part).map_err(trouble)?;
    if found != *expected {
        let _ = std::fs::remove_file(&path);
        return Err(Trouble::breach(
            "file.differs",
            format!(
                "What came is not what the log says: SHA-256 {found} instead of {expected}. It was \
                 thrown away. Fetch it again; if it differs again, tell your auditor."
            ),
        ));
    }
    std::fs::rename(&path, out).map_err(|error| Trouble::file("write", out, &error))?;
    Ok(length)
}

async fn receive(
    session: &mut Session,
    kind: EvidenceKind,
    id: &str,
    part: &mut File,
    path: &Path,
) -> Outcome<u64> {
    let trouble = |error: std::io::Error| Trouble::file("write", path, &error);
    let bar = progress::over_bytes(&session.global, "fetching", 0);
    let mut breaks = 0;
    loop {
        let have = part.seek(SeekFrom::End(0)).map_err(trouble)?;
        let outcome = stream(session, kind, id, have, part, &bar).await;
        let status = match outcome {
            Ok(total) => {
                let have = part.seek(SeekFrom::End(0)).map_err(trouble)?;
                if have == total {
                    bar.finish_and_clear();
                    return Ok(total);
                }
                if have > total {
                    // Left over from another file of that name.
                    part.set_len(0).map_err(trouble)?;
                }
                tonic::Status::unavailable("the download ended early")
            }
            Err(Broken::Wire(status)) => *status,
            Err(Broken::Disk(error)) => return Err(trouble(error)),
        };
        breaks += 1;
        // A leftover that is longer than the file is refused by its offset.
        if status.code() == tonic::Code::OutOfRange && have > 0 && breaks == 1 {
            part.set_len(0).map_err(trouble)?;
        } else if breaks > 5 || !is_away(&status) {
            return Err(status.into());
        }
        tokio::time::sleep(Duration::from_millis(200 * breaks)).await;
    }
}

enum Broken {
    Wire(Box<tonic::Status>),
    Disk(std::io::Error),
}

impl From<tonic::Status> for Broken {
    fn from(status: tonic::Status) -> Self {
        Self::Wire(Box::new(status))
    }
}

async fn stream(
    session: &mut Session,
    kind: EvidenceKind,
    id: &str,
    offset: u64,
    part: &mut File,
    bar: &indicatif::ProgressBar,
) -> Result<u64, Broken> {
    let request = FetchRequest {
        kind: kind.into(),
        id: id.to_owned(),
        offset,
    };
    let mut stream = session.services.evidence.fetch(request).await?.into_inner();
    let (mut at, mut total) = (offset, 0);
    while let Some(chunk) = stream.message().await? {
        if total == 0 {
            total = chunk.total;
            bar.set_length(total);
        }
        if chunk.offset != at {
            return Err(tonic::Status::data_loss("a piece of the download is out of place").into());
        }
        part.write_all(&chunk.data).map_err(Broken::Disk)?;
        at += chunk.data.len() as u64;
        bar.set_position(at);
    }
    Ok(total)
}

fn hash(file: &mut File) -> std::io::Result<Digest> {
    file.seek(SeekFrom::Start(0))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest::from_bytes(hasher.finalize().into())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// Fetches a small file into memory.
pub async fn small(session: &mut Session, kind: EvidenceKind, id: &str) -> Outcome<Vec<u8>> {
    let request = FetchRequest {
        kind: kind.into(),
        id: id.to_owned(),
        offset: 0,
    };
    let mut stream = session.services.evidence.fetch(request).await?.into_inner();
    let mut content = Vec::new();
    while let Some(chunk) = stream.message().await? {
        if content.len() + chunk.data.len() > LONGEST {
            return Err(Trouble::failed(
                "file.too-long",
                "The coordinator sent more than 64 MiB where a small file was expected.",
            ));
        }
        content.extend_from_slice(&chunk.data);
    }
    Ok(content)
}
