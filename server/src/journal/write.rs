//! Writes: one transaction a batch, whole or not at all.

use custody::{
    commit::Commitment,
    digest::Digest,
    house::Key,
    id::{CommandId, SubjectId},
    time::Time,
};
use sqlx::{AnyConnection, Connection as _, Executor as _, Row as _};

use super::{Journal, id_bytes, texts};

/// An entry that is to be written.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// Its place in the log.
    pub index: u64,
    /// Its bytes, verbatim.
    pub bytes: Vec<u8>,
    /// Its leaf hash.
    pub leaf: Digest,
    /// Its statement's own id.
    pub command: CommandId,
    /// For an agent's: its place in the agent's chain.
    pub place: Option<Vec<u8>>,
    /// When it was received.
    pub received: Time,
}

/// An opening, sealed under its subject's key.
#[derive(Clone, Debug)]
pub struct SealedOpening {
    /// What it opens.
    pub commitment: Commitment,
    /// The subject's id; empty for the house.
    pub subject: String,
    /// Nonce and ciphertext.
    pub sealed: Vec<u8>,
}

/// Everything that one transaction writes.
#[derive(Default)]
pub struct Batch {
    /// The entries, in order.
    pub entries: Vec<NewEntry>,
    /// The records they changed, as they stand after all of them.
    pub records: Vec<(Key, String)>,
    /// What opens their commitments.
    pub openings: Vec<SealedOpening>,
    /// Keys of subjects that had none.
    pub keys: Vec<(String, [u8; 32])>,
    /// Subjects whose keys are destroyed. Done first: a key above is a new one.
    pub erased: Vec<SubjectId>,
}

/// Why a batch is not known to be written.
#[derive(Debug, thiserror::Error)]
pub enum NotCommitted {
    /// It was rolled back: nothing of it is there.
    #[error("{0}")]
    RolledBack(sqlx::Error),
    /// Whether it is there is not known: [`Journal::settle`] tells.
    #[error("{0}")]
    Unknown(sqlx::Error),
    /// The disk did not confirm what it was given. Nothing read back can be trusted until the
    /// process starts anew.
    #[error("{0}")]
    NotFlushed(sqlx::Error),
}

impl NotCommitted {
    /// What the database said.
    pub fn cause(&self) -> &sqlx::Error {
        match self {
            Self::RolledBack(e) | Self::Unknown(e) | Self::NotFlushed(e) => e,
        }
    }
}

/// SQLite's extended codes for a flush that failed (`SQLITE_IOERR_FSYNC`,
/// `SQLITE_IOERR_DIR_FSYNC`). After one the kernel may show pages that are not on disk.
pub(crate) fn is_flush(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|e| e.code());
    matches!(code.as_deref(), Some("1034" | "1290"))
}

impl Journal {
    /// Writes a batch and flushes it to disk.
    pub async fn commit(&self, batch: &Batch) -> Result<(), NotCommitted> {
        let mut slot = self.writer.lock().await;
        // Gone only while an outcome is unknown, and then nobody writes.
        let gone = || NotCommitted::Unknown(sqlx::Error::PoolClosed);
        let connection = slot.as_mut().ok_or_else(gone)?;
        let begun = connection.begin_with("BEGIN IMMEDIATE").await;
        let mut transaction = begun.map_err(not_begun)?;
        if let Err(error) = write(&mut transaction, batch).await {
            if is_flush(&error) {
                return Err(NotCommitted::NotFlushed(error));
            }
            return Err(match transaction.rollback().await {
                Ok(()) => NotCommitted::RolledBack(error),
                Err(_) => NotCommitted::Unknown(error),
            });
        }
        match transaction.commit().await {
            Ok(()) => {}
            Err(error) if is_flush(&error) => return Err(NotCommitted::NotFlushed(error)),
            Err(error) => return Err(NotCommitted::Unknown(error)),
        }
        if !batch.erased.is_empty() {
            // The write-ahead file still has pages with the key: fold it in and cut it off.
            match cut(connection).await {
                Ok(true) => {}
                Ok(false) => tracing::warn!(
                    "readers kept the write-ahead file from being cut after an erasure; it is cut \
                     at the next stop"
                ),
                Err(error) => tracing::warn!(%error, "the write-ahead file could not be cut"),
            }
        }
        Ok(())
    }

    /// Records a signed checkpoint, if `before` is still the newest one. Says whether it was.
    pub async fn record_checkpoint(
        &self,
        before: Option<u64>,
        size: u64,
        note: &str,
    ) -> Result<bool, sqlx::Error> {
        let mut slot = self.writer.lock().await;
        let connection = slot.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        let done = sqlx::query(
            "INSERT INTO checkpoints (size, note) SELECT $1, $2 \
             WHERE (SELECT COALESCE(MAX(size), 0) FROM checkpoints) = $3",
        )
        .bind(number(size))
        .bind(note)
        .bind(number(before.unwrap_or(0)))
        .execute(connection)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Replaces every record by those of a fold.
    pub async fn replace_records(
        &self,
        records: &[(Key, String)],
        size: u64,
    ) -> Result<(), sqlx::Error> {
        let mut slot = self.writer.lock().await;
        let connection = slot.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        transaction.execute("DELETE FROM records").await?;
        write_records(&mut transaction, records).await?;
        folded(&mut transaction, size).await?;
        transaction.commit().await
    }

    /// Stores one subject's key, for the house's own at the start.
    pub async fn store_key(&self, subject: &str, key: &[u8; 32]) -> Result<(), sqlx::Error> {
        let mut slot = self.writer.lock().await;
        let connection = slot.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        write_key(connection, subject, key).await
    }
}

/// Folds the write-ahead file into the main one and cuts it to nothing; says whether it could.
pub(super) async fn cut(connection: &mut AnyConnection) -> Result<bool, sqlx::Error> {
    let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
        .fetch_one(connection)
        .await?;
    Ok(row.try_get::<i64, _>(0)? == 0)
}

fn not_begun(error: sqlx::Error) -> NotCommitted {
    if is_flush(&error) {
        NotCommitted::NotFlushed(error)
    } else {
        NotCommitted::RolledBack(error)
    }
}

/// Sizes and indices fit: the log would need 2^63 entries.
pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

async fn write(connection: &mut AnyConnection, batch: &Batch) -> Result<(), sqlx::Error> {
    for subject in &batch.erased {
        let subject = subject.to_string();
        sqlx::query("DELETE FROM subject_keys WHERE subject = $1")
            .bind(subject.clone())
            .execute(&mut *connection)
            .await?;
        sqlx::query("DELETE FROM openings WHERE subject = $1")
            .bind(subject)
            .execute(&mut *connection)
            .await?;
    }
    for (text, piece) in texts::ENTRIES.pieces(&batch.entries) {
        let mut query = sqlx::query(text);
        for entry in piece {
            query = query
                .bind(number(entry.index))
                .bind(entry.bytes.clone())
                .bind(entry.leaf.as_bytes().to_vec())
                .bind(id_bytes(entry.command))
                .bind(entry.place.clone())
                .bind(entry.received.millis());
        }
        query.execute(&mut *connection).await?;
    }
    write_records(connection, &batch.records).await?;
    for (subject, key) in &batch.keys {
        write_key(connection, subject, key).await?;
    }
    for (text, piece) in texts::OPENINGS.pieces(&batch.openings) {
        let mut query = sqlx::query(text);
        for opening in piece {
            query = query
                .bind(opening.commitment.as_bytes().to_vec())
                .bind(opening.subject.clone())
                .bind(opening.sealed.clone());
        }
        query.execute(&mut *connection).await?;
    }
    match batch.entries.last() {
        Some(last) => folded(connection, last.index + 1).await,
        None => Ok(()),
    }
}

async fn write_records(
    connection: &mut AnyConnection,
    records: &[(Key, String)],
) -> Result<(), sqlx::Error> {
    for (text, piece) in texts::RECORDS.pieces(records) {
        let mut query = sqlx::query(text);
        for (key, json) in piece {
            query = query.bind(key.kind).bind(key.id.clone()).bind(json.clone());
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn write_key(
    connection: &mut AnyConnection,
    subject: &str,
    key: &[u8; 32],
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO subject_keys (subject, secret) VALUES ($1, $2)")
        .bind(subject.to_owned())
        .bind(key.to_vec())
        .execute(connection)
        .await?;
    Ok(())
}

/// Notes how many entries the records are the fold of.
async fn folded(connection: &mut AnyConnection, size: u64) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO meta (name, value) VALUES ('folded', $1) \
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .bind(size.to_string())
    .execute(connection)
    .await?;
    Ok(())
}
