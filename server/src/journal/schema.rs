//! The tables. Columns are only whole numbers, text and bytes, which every engine has.

use sqlx::{AnyConnection, Executor as _, Row as _};

/// The layout this build reads and writes.
const VERSION: &str = "1";

/// As SQLite wants them: `INTEGER PRIMARY KEY` is the row's own place, so that the log needs
/// no second index.
const TABLES: &[&str] = &[
    // Every entry, verbatim. `place` is (agent, epoch, position) of an agent's entry.
    "CREATE TABLE IF NOT EXISTS entries (
        idx INTEGER PRIMARY KEY,
        bytes BLOB NOT NULL,
        leaf BLOB NOT NULL,
        command BLOB NOT NULL UNIQUE,
        place BLOB UNIQUE,
        received BIGINT NOT NULL
    )",
    // The fold of the entries, one row a record.
    "CREATE TABLE IF NOT EXISTS records (
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        json TEXT NOT NULL,
        PRIMARY KEY (kind, id)
    )",
    // What opens commitments, sealed under the subject's key.
    "CREATE TABLE IF NOT EXISTS openings (
        commitment BLOB NOT NULL PRIMARY KEY,
        subject TEXT NOT NULL,
        sealed BLOB NOT NULL
    )",
    "CREATE INDEX IF NOT EXISTS openings_by_subject ON openings (subject)",
    // One key a subject; the empty subject is the house. A key that is gone is an erasure.
    "CREATE TABLE IF NOT EXISTS subject_keys (
        subject TEXT NOT NULL PRIMARY KEY,
        secret BLOB NOT NULL
    )",
    // Every checkpoint that was signed, recorded before anyone could see it.
    "CREATE TABLE IF NOT EXISTS checkpoints (
        size INTEGER PRIMARY KEY,
        note TEXT NOT NULL
    )",
    "CREATE TABLE IF NOT EXISTS meta (
        name TEXT NOT NULL PRIMARY KEY,
        value TEXT NOT NULL
    )",
];

pub(super) async fn create(connection: &mut AnyConnection) -> anyhow::Result<()> {
    for table in TABLES {
        connection.execute(*table).await?;
    }
    sqlx::query(
        "INSERT INTO meta (name, value) VALUES ('version', $1) ON CONFLICT (name) DO NOTHING",
    )
    .bind(VERSION)
    .execute(&mut *connection)
    .await?;
    let row = sqlx::query("SELECT value FROM meta WHERE name = 'version'")
        .fetch_one(&mut *connection)
        .await?;
    let found: String = row.try_get(0)?;
    anyhow::ensure!(
        found == VERSION,
        "the journal has layout {found}, this program reads layout {VERSION}: use the program \
         that wrote it"
    );
    Ok(())
}
