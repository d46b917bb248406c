//! Fetching: a file or a text in chunks, from an offset.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use proto::v1::Chunk;
use tokio::task::{JoinError, spawn_blocking};

use crate::rpc::{
    status::{No, invalid},
    stream::Sink,
};

fn past_the_end(offset: u64, total: u64) -> No {
    invalid(
        "fetch.offset",
        format!("The file has {total} bytes, and byte {offset} was asked for"),
        "Fetch it from the start",
    )
}

/// Sends a file from an offset. The first chunk, which may be empty, says how long it is. No
/// thread waits for a slow reader.
pub(crate) async fn file(path: PathBuf, offset: u64, sink: &Sink<Chunk>) {
    if let Err(no) = send(path, offset, sink).await {
        let _ = sink.send(Err(no)).await;
    }
}

fn open(path: &Path, offset: u64) -> Result<(File, u64), No> {
    let mut file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => No::Breach(
            "The ledger says that this file is here, and it is not in the data folder. Restore \
             it from a backup"
                .to_owned(),
        ),
        _ => error.into(),
    })?;
    let total = file.metadata()?.len();
    if offset > total {
        return Err(past_the_end(offset, total));
    }
    file.seek(SeekFrom::Start(offset))?;
    Ok((file, total))
}

fn read(mut file: &File) -> io::Result<Vec<u8>> {
    let mut data = Vec::with_capacity(proto::CHUNK);
    (&mut file)
        .take(proto::CHUNK as u64)
        .read_to_end(&mut data)?;
    Ok(data)
}

fn ended<T>(result: Result<T, JoinError>) -> Result<T, No> {
    result.map_err(|error| No::Failed(format!("Reading ended early: {error}. Try again")))
}

async fn send(path: PathBuf, mut offset: u64, sink: &Sink<Chunk>) -> Result<(), No> {
    let (file, total) = ended(spawn_blocking(move || open(&path, offset)).await)??;
    let (file, mut first) = (Arc::new(file), true);
    loop {
        let from = Arc::clone(&file);
        let data = ended(spawn_blocking(move || read(&from)).await)??;
        let length = data.len() as u64;
        if length == 0 && !first {
            return Ok(());
        }
        let chunk = Chunk {
            total: if first { total } else { 0 },
            offset,
            data: data.into(),
        };
        if sink.send(Ok(chunk)).await.is_err() || length == 0 {
            return Ok(());
        }
        first = false;
        offset += length;
    }
}

/// Sends a text whole.
pub(crate) async fn text(text: String, offset: u64, sink: &Sink<Chunk>) {
    if offset != 0 {
        let no = invalid(
            "fetch.offset",
            "A receipt is made for each reader and cannot be resumed",
            "Fetch it from the start",
        );
        let _ = sink.send(Err(no)).await;
        return;
    }
    let bytes = tonic::codegen::Bytes::from(text);
    let total = bytes.len() as u64;
    let mut at = 0;
    while at < bytes.len() || at == 0 {
        let end = bytes.len().min(at + proto::CHUNK);
        let chunk = Chunk {
            total: if at == 0 { total } else { 0 },
            offset: at as u64,
            data: bytes.slice(at..end),
        };
        if sink.send(Ok(chunk)).await.is_err() || end == bytes.len() {
            return;
        }
        at = end;
    }
}
