//! From the owner's claim to the opened parcel.

use std::{fs, path::Path};

use anyhow::{Context as _, ensure};

use super::{
    super::{data, stage::SERVERS, summary::Released},
    Story, list, number, text,
};

impl Story<'_> {
    pub(super) fn owner_claims(&mut self) -> anyhow::Result<String> {
        self.tell
            .chapter("An innocent owner asks for the files back");
        let account = data::account_to_claim(&self.stage.data(SERVERS[0]))?;
        let owner = self.stage.dir.join("owners").join(&account);
        fs::create_dir_all(&owner)?;
        // The owner notes the log's key down when the claim is made.
        fs::copy(self.stage.server().join("log.vkey"), owner.join("log.vkey"))?;
        let identity = age::x25519::Identity::generate();
        let (secret, public) = (owner.join("identity.txt"), owner.join("recipient.txt"));
        let recipient = identity.to_public().to_string();
        let text_of_key =
            age::secrecy::ExposeSecret::expose_secret(&identity.to_string()).to_owned();
        write_private(
            &secret,
            format!("# public key: {recipient}\n{text_of_key}\n").as_bytes(),
        )?;
        fs::write(&public, format!("{recipient}\n"))?;
        let item = format!("account:{}:{account}", SERVERS[0]);
        let public = public.to_string_lossy().into_owned();
        let claim = self.act(
            "claims-officer",
            "claim",
            &[
                "claim",
                "file",
                "--recipient",
                &public,
                "--item",
                &item,
                "--sworn",
                "--wait",
            ],
        )?;
        let claim = text(&claim, "/id")?.to_owned();
        let request = self.act("claims-officer", "request", &["request", "release", &claim])?;
        let request = list(&request, "/requests")?
            .first()
            .cloned()
            .context("no request was made")?;
        let (id, release) = (
            text(&request, "/id")?.to_owned(),
            text(&request, "/release")?.to_owned(),
        );
        self.tell.say(&format!(
            "The claim matches {} rows, {:.1} MB. Nobody releases anything alone:",
            number(&request, "/rows")?,
            number(&request, "/bytes")? as f64 / 1e6
        ));
        let own = self.person("claims-officer")?.refused(&["approve", &id])?;
        self.tell
            .say(&format!("  the claims officer's own approval: {own}"));
        for approver in ["approver-1", "approver-2"] {
            self.act(approver, "approve", &["approve", &id])?;
        }
        let shown = self.act(
            "claims-officer",
            "pack",
            &["release", "show", &release, "--wait"],
        )?;
        let packed = text(&shown, "/packed/parcel")?;
        self.tell.say(&format!(
            "Two people approved. {} read the files again, compared each with the manifest, \
             encrypted them to the owner's key and sent {} bytes of ciphertext ({}...).",
            SERVERS[0],
            number(&shown, "/packed/bytes")?,
            &packed[..16]
        ));
        self.summary.releases.push(Released {
            id: release.clone(),
            owner: account.clone(),
            parcel: format!("released/{account}.tar.age"),
            identity: self.relative(&secret),
            opened: format!("released/{account}"),
            receipt: format!("released/{account}.receipt.json"),
        });
        Ok(release)
    }

    pub(super) fn delivery(&mut self, release: &str) -> anyhow::Result<()> {
        self.tell.chapter("The owner opens the parcel");
        let released = self
            .summary
            .releases
            .first()
            .cloned()
            .context("nothing was released")?;
        let dir = self.stage.dir.clone();
        let at = |name: &str| dir.join(name).to_string_lossy().into_owned();
        let (parcel, receipt) = (at(&released.parcel), at(&released.receipt));
        let (identity, opened) = (at(&released.identity), at(&released.opened));
        self.act(
            "claims-officer",
            "fetch",
            &["release", "fetch", release, "--out", &parcel],
        )?;
        self.act(
            "claims-officer",
            "receipt",
            &["release", "receipt", release, "--out", &receipt],
        )?;
        let words = [
            "release",
            "open",
            &parcel,
            "--identity",
            &identity,
            "--out",
            &opened,
        ];
        self.offline("owner", "open", &words)?;
        let original = self.stage.data(SERVERS[0]).join(&released.owner);
        let (ours, theirs) = (
            data::digests(&original)?,
            data::digests(&find_account(Path::new(&opened), &released.owner)?)?,
        );
        ensure!(
            !ours.is_empty() && ours == theirs,
            "the opened files are not the owner's files"
        );
        self.tell.say(&format!(
            "{} files, every one the same as on the server, byte for byte.",
            theirs.len()
        ));
        let log_key = at(&format!("owners/{}/log.vkey", released.owner));
        self.offline("owner", "verify", &["verify", &receipt, "--vkey", &log_key])?;
        self.tell.say(
            "The receipt verifies without the provider: who asked, who approved, what was given.",
        );
        Ok(())
    }
}

/// The folder of an account in an opened parcel.
fn find_account(opened: &Path, account: &str) -> anyhow::Result<std::path::PathBuf> {
    let mut waiting = vec![opened.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                if entry.file_name().as_encoded_bytes() == account.as_bytes() {
                    return Ok(entry.path());
                }
                waiting.push(entry.path());
            }
        }
    }
    anyhow::bail!("the parcel has no folder {account}")
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let mut file = fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)
}
