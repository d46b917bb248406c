//! The coordinator's own voice: statements it signs itself.

use std::{fs, path::Path};

use anyhow::{Context as _, ensure};
use custody::{
    commit::Opening,
    id::CommandId,
    ledger::entry::Entry,
    sign::{Namespace, PublicKey, SecretKey, Signer as _},
    statement::{Author, Body, Seen, Statement, VERSION},
};
use ssh_key::{
    PrivateKey,
    private::{Ed25519Keypair, KeypairData},
};

use super::{Submission, door::Checked};
use crate::{clock, files};

/// The coordinator's key and the log it speaks for.
pub(super) struct Own {
    key: SecretKey,
    origin: String,
}

impl Own {
    /// Makes the key and writes it, as OpenSSH does.
    pub(super) fn create(path: &Path) -> anyhow::Result<PublicKey> {
        let seed = clock::random()?;
        let pair = Ed25519Keypair::from_seed(&seed);
        let key = PrivateKey::new(KeypairData::from(pair), "holdfast coordinator")?;
        let text = key.to_openssh(ssh_key::LineEnding::LF)?;
        files::write(path, 0o600, text.as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(SecretKey::from_seed(&seed).public_key())
    }

    /// Reads the key.
    pub(super) fn open(path: &Path, origin: &str) -> anyhow::Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let key = PrivateKey::from_openssh(&text)
            .with_context(|| format!("{} is not an OpenSSH key", path.display()))?;
        ensure!(
            !key.is_encrypted(),
            "{} has a passphrase: the coordinator must read it alone",
            path.display()
        );
        let pair = key
            .key_data()
            .ed25519()
            .with_context(|| format!("{} is not an Ed25519 key", path.display()))?;
        Ok(Self {
            key: SecretKey::from_seed(&pair.private.to_bytes()),
            origin: origin.to_owned(),
        })
    }

    pub(super) fn public_key(&self) -> PublicKey {
        self.key.public_key()
    }

    /// Signs a statement of the coordinator's own.
    pub(super) fn sign(
        &self,
        body: Body,
        openings: Vec<Opening>,
        seen: Option<Seen>,
    ) -> anyhow::Result<Checked> {
        let statement = Statement {
            v: VERSION,
            log: self.origin.clone(),
            id: CommandId::from_random(clock::random()?),
            author: Author::Coordinator,
            time: clock::now(),
            seen,
            link: None,
            body,
        };
        let text = statement.to_text()?;
        let signature = self.key.sign(Namespace::Coordinator, text.as_bytes())?;
        let entry = Entry::seal(&text, &signature)?;
        let submission = Submission {
            entry: entry.bytes().to_vec(),
            openings,
            subject: None,
        };
        // Through the same door as everybody, so that nothing of ours could stand in the log
        // that others would have been refused.
        Ok(super::door::check(
            &entry,
            statement,
            self.public_key(),
            submission,
        )?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_that_is_written_reads_back_and_is_nobody_elses_to_read() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("coordinator.key");
        let public = Own::create(&path).unwrap();
        let own = Own::open(&path, "holdfast.test/log").unwrap();
        assert_eq!(own.public_key(), public);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
