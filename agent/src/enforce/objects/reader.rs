//! Reads a version's content as it comes, and goes on where a connection broke off.
//!
//! What is read is of one version with one mark (ETag), or it is trouble. Memory is one piece.

use std::{
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use http_body_util::BodyExt as _;
use hyper::{HeaderMap, body::Incoming};
use tokio::{
    runtime::Runtime,
    time::{sleep, timeout},
};

use super::{
    client::{Client, PAUSE},
    trouble::{StoreTrouble, own},
};

/// How often reading is begun again without having got any further.
const TRIES: u32 = 4;

/// A version that is being read.
pub struct Content {
    client: Arc<Client>,
    key: String,
    id: String,
    etag: String,
    at: u64,
    body: Option<Incoming>,
    tried: u32,
    /// What the store says of the version, once reading has begun.
    pub headers: Option<HeaderMap>,
}

impl Content {
    /// Begins with the first byte; nothing is asked yet.
    pub const fn new(client: Arc<Client>, key: String, id: String, etag: String) -> Self {
        Self {
            client,
            key,
            id,
            etag,
            at: 0,
            body: None,
            tried: 0,
            headers: None,
        }
    }

    /// The next piece; none at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreTrouble> {
        loop {
            let trouble = match self.piece().await {
                Ok(piece) => return Ok(piece),
                Err(trouble @ (StoreTrouble::Broken | StoreTrouble::Unreachable { .. })) => trouble,
                Err(trouble) => return Err(trouble),
            };
            self.body = None;
            self.tried += 1;
            if self.tried >= TRIES {
                return Err(trouble);
            }
            sleep(Duration::from_millis(300) * self.tried).await;
        }
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, StoreTrouble> {
        let body = match &mut self.body {
            Some(body) => body,
            None => {
                let answer = self.client.content(&self.key, &self.id, self.at).await?;
                let (head, body) = answer.into_parts();
                let etag = head.headers.get("etag").and_then(|etag| etag.to_str().ok());
                if etag.is_some_and(|etag| etag != self.etag) {
                    return Err(StoreTrouble::Nonsense {
                        doing: "reading a version (s3:GetObjectVersion)",
                        why: "it is another one",
                    });
                }
                self.headers.get_or_insert(head.headers);
                self.body.insert(body)
            }
        };
        let frame = timeout(PAUSE, body.frame());
        match frame.await.map_err(|_| StoreTrouble::Broken)? {
            None => Ok(None),
            Some(Err(_)) => Err(StoreTrouble::Broken),
            Some(Ok(frame)) => {
                let data = frame.into_data().unwrap_or_default();
                self.at += data.len() as u64;
                self.tried = 0;
                Ok(Some(data))
            }
        }
    }
}

/// A store from which held versions are read again, on a thread that may block.
#[derive(Clone)]
pub struct StoreReader {
    runtime: Arc<Runtime>,
    client: Arc<Client>,
}

impl std::fmt::Debug for StoreReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreReader(..)")
    }
}

impl StoreReader {
    /// A reader of a store.
    pub fn new(client: Arc<Client>) -> Result<Self, StoreTrouble> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(own("the network cannot be used"))?;
        Ok(Self {
            runtime: Arc::new(runtime),
            client,
        })
    }

    /// Begins to read a version.
    pub fn open(&self, key: String, id: String, etag: String) -> Result<ObjectFile, StoreTrouble> {
        let mut content = Content::new(Arc::clone(&self.client), key, id, etag);
        // That it is gone is said here, not in the middle of something.
        let piece = self.runtime.block_on(content.next())?;
        Ok(ObjectFile {
            runtime: Arc::clone(&self.runtime),
            ended: piece.is_none(),
            piece: piece.unwrap_or_default(),
            content,
        })
    }
}

/// A version's content as a file that is read once.
pub struct ObjectFile {
    runtime: Arc<Runtime>,
    content: Content,
    piece: Bytes,
    ended: bool,
}

impl Read for ObjectFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.ended {
            let next = self.runtime.block_on(self.content.next());
            match next.map_err(io::Error::other)? {
                Some(piece) => self.piece = piece,
                None => self.ended = true,
            }
        }
        let count = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
