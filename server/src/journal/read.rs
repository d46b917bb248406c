//! Reads: entries by place, by command and in order; records, openings, keys, checkpoints.

use custody::{commit::Commitment, digest::Digest, id::CommandId, time::Time};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use super::{Journal, id_bytes, texts, write::number};
use crate::desk::StoredEntry;

/// An entry that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its place in the log.
    pub index: u64,
    /// Its leaf hash.
    pub leaf: Digest,
}

/// A checkpoint that was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpointed {
    /// Its size.
    pub size: u64,
    /// The signed note.
    pub note: String,
}

/// An opening as it is kept.
#[derive(Clone, Debug)]
pub struct KeptOpening {
    /// What it opens.
    pub commitment: Commitment,
    /// The subject's id; empty for the house.
    pub subject: String,
    /// Nonce and ciphertext.
    pub sealed: Vec<u8>,
}

fn wrong(what: &'static str) -> sqlx::Error {
    sqlx::Error::Decode(format!("the journal holds {what}").into())
}

fn index(row: &AnyRow, column: usize) -> Result<u64, sqlx::Error> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(|_| wrong("a negative number"))
}

fn bytes32(row: &AnyRow, column: usize) -> Result<[u8; 32], sqlx::Error> {
    let bytes: Vec<u8> = row.try_get(column)?;
    bytes
        .try_into()
        .map_err(|_| wrong("a hash of another length than 32"))
}

fn stored(row: &AnyRow) -> Result<StoredEntry, sqlx::Error> {
    Ok(StoredEntry {
        index: index(row, 0)?,
        bytes: row.try_get(1)?,
        received: Time::from_millis(row.try_get(2)?),
    })
}

pub(super) async fn size(connection: &mut AnyConnection) -> Result<u64, sqlx::Error> {
    let row = sqlx::query("SELECT COALESCE(MAX(idx) + 1, 0) FROM entries")
        .fetch_one(connection)
        .await?;
    index(&row, 0)
}

impl Journal {
    /// How many entries there are.
    pub async fn size(&self) -> Result<u64, sqlx::Error> {
        size(&mut *self.readers.acquire().await?).await
    }

    /// Of these commands, those that are there already.
    pub async fn known(
        &self,
        commands: &[CommandId],
    ) -> Result<Vec<(CommandId, Known)>, sqlx::Error> {
        let mut found = Vec::new();
        let mut connection = self.readers.acquire().await?;
        for (text, piece) in texts::COMMANDS.pieces(commands) {
            let mut query = sqlx::query(text);
            for command in piece {
                query = query.bind(id_bytes(command));
            }
            for row in query.fetch_all(&mut *connection).await? {
                let command: Vec<u8> = row.try_get(1)?;
                let command = command
                    .try_into()
                    .map_err(|_| wrong("a broken command id"))?;
                let known = Known {
                    index: index(&row, 0)?,
                    leaf: Digest::from_bytes(bytes32(&row, 2)?),
                };
                found.push((CommandId::from_random(command), known));
            }
        }
        Ok(found)
    }

    /// The entry at a place of an agent's chain.
    pub async fn at_place(&self, place: &[u8]) -> Result<Option<StoredEntry>, sqlx::Error> {
        let row = sqlx::query("SELECT idx, bytes, received FROM entries WHERE place = $1")
            .bind(place.to_vec())
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(stored).transpose()
    }

    /// One entry.
    pub async fn entry(&self, at: u64) -> Result<Option<StoredEntry>, sqlx::Error> {
        let row = sqlx::query("SELECT idx, bytes, received FROM entries WHERE idx = $1")
            .bind(number(at))
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(stored).transpose()
    }

    /// The entries `from..to`, all of them: a gap is an error.
    pub async fn entries(&self, from: u64, to: u64) -> Result<Vec<StoredEntry>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT idx, bytes, received FROM entries WHERE idx >= $1 AND idx < $2 ORDER BY idx",
        )
        .bind(number(from))
        .bind(number(to))
        .fetch_all(&self.readers)
        .await?;
        let entries = rows.iter().map(stored).collect::<Result<Vec<_>, _>>()?;
        let whole = entries.iter().map(|e| e.index).eq(from..to.max(from));
        if whole {
            Ok(entries)
        } else {
            Err(wrong("a gap between its entries"))
        }
    }

    /// The columns beside an entry's bytes, for `from..to`: index, leaf, command, place.
    pub async fn columns(
        &self,
        from: u64,
        to: u64,
    ) -> Result<Vec<(u64, Vec<u8>, Vec<u8>, Option<Vec<u8>>)>, sqlx::Error> {
        let rows = sqlx::query(
            "SELECT idx, leaf, command, place FROM entries WHERE idx >= $1 AND idx < $2 \
             ORDER BY idx",
        )
        .bind(number(from))
        .bind(number(to))
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                Ok((
                    index(row, 0)?,
                    row.try_get(1)?,
                    row.try_get(2)?,
                    row.try_get(3)?,
                ))
            })
            .collect()
    }

    /// Every record, as (kind, id, JSON), one after the other.
    pub fn records(
        &self,
    ) -> impl Stream<Item = Result<(String, String, String), sqlx::Error>> + '_ {
        sqlx::query("SELECT kind, id, json FROM records ORDER BY kind, id")
            .fetch(&self.readers)
            .map(|row| {
                let row = row?;
                Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
            })
    }

    /// How many entries the records are the fold of.
    pub async fn folded(&self) -> Result<u64, sqlx::Error> {
        let row = sqlx::query("SELECT value FROM meta WHERE name = 'folded'")
            .fetch_optional(&self.readers)
            .await?;
        let Some(row) = row else { return Ok(0) };
        let text: String = row.try_get(0)?;
        text.parse().map_err(|_| wrong("a broken size of its fold"))
    }

    /// Every opening, one after the other.
    pub fn openings(&self) -> impl Stream<Item = Result<KeptOpening, sqlx::Error>> + '_ {
        sqlx::query("SELECT commitment, subject, sealed FROM openings")
            .fetch(&self.readers)
            .map(|row| {
                let row = row?;
                Ok(KeptOpening {
                    commitment: Commitment::from_bytes(bytes32(&row, 0)?),
                    subject: row.try_get(1)?,
                    sealed: row.try_get(2)?,
                })
            })
    }

    /// Every subject's key.
    pub async fn keys(&self) -> Result<Vec<(String, [u8; 32])>, sqlx::Error> {
        sqlx::query("SELECT subject, secret FROM subject_keys")
            .fetch(&self.readers)
            .map(|row| {
                let row = row?;
                Ok((row.try_get(0)?, bytes32(&row, 1)?))
            })
            .try_collect()
            .await
    }

    /// The newest recorded checkpoint.
    pub async fn checkpoint(&self) -> Result<Option<Checkpointed>, sqlx::Error> {
        let row = sqlx::query("SELECT size, note FROM checkpoints ORDER BY size DESC LIMIT 1")
            .fetch_optional(&self.readers)
            .await?;
        row.map(|row| {
            Ok(Checkpointed {
                size: index(&row, 0)?,
                note: row.try_get(1)?,
            })
        })
        .transpose()
    }
}
