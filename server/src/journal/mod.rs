//! The journal: what was said, what follows from it, and what opens it, in one database.
//!
//! Everything that an entry changes is written in one transaction with it, and nothing is
//! acknowledged before that transaction is on disk. The entries are the truth; `records` is
//! their fold and can be thrown away at any time. The journal decides nothing and signs nothing.
//!
//! One connection writes; readers have their own. The folder's lock keeps a second coordinator
//! out, and the entries' primary key would refuse what one still tried.

mod read;
mod schema;
pub mod seal;
mod texts;
mod write;

use std::{fs, os::unix::fs::OpenOptionsExt as _, path::Path, str::FromStr as _, time::Duration};

use anyhow::Context as _;
pub use read::{Checkpointed, KeptOpening, Known};
use sqlx::{
    AnyConnection, AnyPool, Connection as _, Executor as _,
    any::{AnyConnectOptions, AnyPoolOptions},
};
use tokio::sync::Mutex;
pub(crate) use write::is_flush;
pub use write::{Batch, NewEntry, NotCommitted, SealedOpening};

/// How many readers there are.
const READERS: u32 = 4;

/// An open journal.
pub struct Journal {
    options: AnyConnectOptions,
    /// Held for the length of one transaction; `None` after one whose outcome was not known.
    writer: Mutex<Option<AnyConnection>>,
    readers: AnyPool,
}

impl Journal {
    /// Opens the journal at `path`, and makes it where there is none.
    pub async fn open(path: &Path) -> anyhow::Result<Self> {
        sqlx::any::install_default_drivers();
        // Made here so that nobody else can read it from the first moment.
        fs::File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let options = AnyConnectOptions::from_str(&url(path)?)
            .with_context(|| format!("cannot name {} as a database", path.display()))?;
        let mut writer = connect(&options)
            .await
            .with_context(|| format!("cannot open {}", path.display()))?;
        schema::create(&mut writer)
            .await
            .with_context(|| format!("cannot prepare {}", path.display()))?;
        // A crash right after an erasure may have left the key in the write-ahead file.
        write::cut(&mut writer).await?;
        let readers = AnyPoolOptions::new()
            .max_connections(READERS)
            // One stays, so that the journal's shared memory never goes away under the writer.
            .min_connections(1)
            .acquire_timeout(Duration::from_secs(30))
            .idle_timeout(None)
            .max_lifetime(None)
            .after_connect(|connection, _| Box::pin(prepare(connection)))
            .connect_with(options.clone())
            .await
            .with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self {
            options,
            writer: Mutex::new(Some(writer)),
            readers,
        })
    }

    /// Gives the writing connection up for a fresh one and asks it how many entries there are:
    /// the only way to go on after a transaction whose outcome is not known.
    pub async fn settle(&self) -> Result<u64, sqlx::Error> {
        let mut slot = self.writer.lock().await;
        if let Some(connection) = slot.take() {
            // What was not committed is rolled back when the connection goes.
            let _ = connection.close_hard().await;
        }
        let mut fresh = connect(&self.options).await?;
        let size = read::size(&mut fresh).await?;
        *slot = Some(fresh);
        Ok(size)
    }

    /// Closes every connection; what was committed is folded into the main file.
    pub async fn close(&self) {
        self.readers.close().await;
        if let Some(connection) = self.writer.lock().await.take() {
            let _ = connection.close().await;
        }
    }
}

async fn connect(options: &AnyConnectOptions) -> Result<AnyConnection, sqlx::Error> {
    let mut connection = AnyConnection::connect_with(options).await?;
    prepare(&mut connection).await?;
    Ok(connection)
}

/// What every connection is set to. FULL: a commit is on disk before it is answered.
async fn prepare(connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    for pragma in [
        "PRAGMA busy_timeout = 10000",
        "PRAGMA journal_mode = WAL",
        "PRAGMA synchronous = FULL",
        "PRAGMA secure_delete = ON",
        "PRAGMA foreign_keys = ON",
    ] {
        connection.execute(pragma).await?;
    }
    Ok(())
}

fn url(path: &Path) -> anyhow::Result<String> {
    use std::fmt::Write as _;
    let path = std::path::absolute(path)?;
    let text = path
        .to_str()
        .context("the data folder's path must be UTF-8: choose another folder")?;
    let mut url = "sqlite://".to_owned();
    for byte in text.bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'~' => url.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => url.push(char::from(byte)),
            _ => write!(url, "%{byte:02X}")?,
        }
    }
    url.push_str("?mode=rw");
    Ok(url)
}

/// The 16 random bytes of an id, as the journal's columns hold them.
pub(crate) fn id_bytes(id: impl std::fmt::Display) -> Vec<u8> {
    let text = id.to_string();
    let digits = text.rsplit('-').next().unwrap_or_default();
    hex::decode(digits).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_folder_with_any_name_can_hold_a_journal() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("a b?c#d%20\u{e9}");
        fs::create_dir(&odd).unwrap();
        let path = odd.join("journal.db");
        let journal = Journal::open(&path).await.unwrap();
        assert_eq!(journal.size().await.unwrap(), 0);
        journal.close().await;
        assert!(fs::metadata(&path).unwrap().len() > 0);
    }

    fn batch(index: u64) -> Batch {
        let bytes = format!("entry {index}").into_bytes();
        let entry = NewEntry {
            index,
            leaf: custody::digest::Digest::of(&bytes),
            command: custody::id::CommandId::from_random([u8::try_from(index).unwrap(); 16]),
            place: None,
            received: custody::time::Time::from_millis(0),
            bytes,
        };
        Batch {
            entries: vec![entry],
            ..Batch::default()
        }
    }

    #[tokio::test]
    async fn settling_tells_what_is_there_whatever_was_under_way_and_work_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(&folder.path().join("journal.db"))
            .await
            .unwrap();
        journal.commit(&batch(0)).await.unwrap();
        assert_eq!(journal.settle().await.unwrap(), 1, "it was committed");
        {
            // A transaction that nobody knows the end of.
            let mut slot = journal.writer.lock().await;
            let connection = slot.as_mut().unwrap();
            connection.execute("BEGIN IMMEDIATE").await.unwrap();
            let insert = "INSERT INTO entries VALUES (1, x'00', x'00', x'00', NULL, 0)";
            connection.execute(insert).await.unwrap();
        }
        assert_eq!(journal.settle().await.unwrap(), 1, "it was not");
        journal.commit(&batch(1)).await.unwrap();
        assert_eq!(journal.size().await.unwrap(), 2);
        // Without a connection nothing is claimed either way.
        journal.writer.lock().await.take();
        let lost = journal.commit(&batch(2)).await;
        assert!(matches!(lost, Err(NotCommitted::Unknown(_))));
        assert_eq!(journal.settle().await.unwrap(), 2);
        journal.commit(&batch(2)).await.unwrap();
        journal.close().await;
    }
}
