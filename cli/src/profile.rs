//! Profiles: which coordinator, which log, which key. Identity is pinned here and never comes
//! from the server.
//!
//! `$HOLDFAST_CONFIG` or `~/.config/holdfast/` holds `profiles/NAME.toml`, and beside it
//! `NAME.ca.pem` (the authority), `NAME.token` (the session, private) and `NAME.checkpoint` (the
//! newest checkpoint that was seen and verified).

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use custody::ledger::{
    checkpoint::Checkpoint,
    note::{ED25519, VerifierKey},
};
use serde::{Deserialize, Serialize};

use crate::exit::{Outcome, Trouble};

/// `profiles/NAME.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The coordinator's address, `https://HOST:PORT`.
    pub server: String,
    /// The certificate authority that its certificate must come from, as a PEM file.
    pub authority: PathBuf,
    /// The log's verifier key; its name is the log's origin.
    pub vkey: String,
    /// The SSH private key, or the public one of a key that the ssh-agent has.
    pub key: PathBuf,
}

/// A session, kept beside the profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The bearer token.
    pub token: String,
    /// Whose it is.
    pub person: String,
    /// When it ends, in milliseconds since 1970.
    pub expires_unix_ms: i64,
}

impl Profile {
    /// The pinned key.
    pub fn verifier(&self) -> Outcome<VerifierKey> {
        let key = VerifierKey::parse(self.vkey.trim());
        let key = key.ok().filter(|key| key.kind() == ED25519);
        key.ok_or_else(|| {
            Trouble::usage(
                "The log's key is not readable: expected one line `name+hash+base64`. Take the \
                 coordinator's log.vkey and log in with --vkey.",
            )
        })
    }
}

/// Where one profile's files lie.
#[derive(Clone, Debug)]
pub struct Place {
    folder: PathBuf,
    name: String,
}

impl Place {
    /// Finds the place of a profile; the name is one word, so that it cannot climb.
    pub fn of(name: &str) -> Outcome<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            return Err(Trouble::usage(format!(
                "`{name}` is no name for a profile: use letters, digits, hyphens and underscores."
            )));
        }
        let folder = match std::env::var_os("HOLDFAST_CONFIG").filter(|f| !f.is_empty()) {
            Some(folder) => PathBuf::from(folder),
            None => {
                let config = std::env::var_os("XDG_CONFIG_HOME").filter(|f| !f.is_empty());
                let home = std::env::var_os("HOME").filter(|f| !f.is_empty());
                let below = config
                    .map(PathBuf::from)
                    .or_else(|| Some(PathBuf::from(home?).join(".config")));
                let below = below.ok_or_else(|| {
                    Trouble::failed(
                        "no-config",
                        "There is no home folder to keep profiles in. Set HOLDFAST_CONFIG to a \
                         folder of yours.",
                    )
                })?;
                below.join("holdfast")
            }
        };
        Ok(Self {
            folder: folder.join("profiles"),
            name: name.to_owned(),
        })
    }

    /// The profile's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One of the profile's files, by its ending.
    pub fn file(&self, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", self.name))
    }

    /// Reads the profile.
    pub fn read(&self) -> Outcome<Profile> {
        let path = self.file("toml");
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Trouble::usage(format!(
                "There is no profile `{}` at {}. Run `holdfast login --server URL --authority \
                 ca.pem --vkey log.vkey --key ~/.ssh/id_ed25519` first.",
                self.name,
                path.display()
            )),
            _ => Trouble::file("read", &path, &error),
        })?;
        toml::from_str(&text).map_err(|error| {
            Trouble::usage(format!(
                "The profile {} cannot be read: {}. Correct it, or log in again.",
                path.display(),
                error.message()
            ))
        })
    }

    /// Reads the profile if there is one.
    pub fn read_if_any(&self) -> Outcome<Option<Profile>> {
        if self.file("toml").exists() {
            self.read().map(Some)
        } else {
            Ok(None)
        }
    }

    /// Writes the profile and the authority's certificate beside it.
    pub fn write(&self, profile: &Profile, authority: &str) -> Outcome<Profile> {
        let mut profile = profile.clone();
        profile.authority = self.file("ca.pem");
        let text = toml::to_string(&profile)
            .map_err(|error| Trouble::failed("profile", error.to_string()))?;
        self.put("ca.pem", authority.as_bytes())?;
        self.put("toml", text.as_bytes())?;
        Ok(profile)
    }

    /// The session, if there is one that has not ended.
    pub fn token(&self, now_unix_ms: i64) -> Option<Token> {
        let text = fs::read_to_string(self.file("token")).ok()?;
        let token: Token = toml::from_str(&text).ok()?;
        // A little early, so that it does not end under way.
        (token.expires_unix_ms > now_unix_ms + 5_000).then_some(token)
    }

    /// Keeps the session.
    pub fn put_token(&self, token: &Token) -> Outcome {
        let text =
            toml::to_string(token).map_err(|error| Trouble::failed("token", error.to_string()))?;
        self.put("token", text.as_bytes())
    }

    /// The newest checkpoint that was seen; one that the pinned key did not sign is a breach.
    pub fn seen(&self, key: &VerifierKey) -> Outcome<Option<Checkpoint>> {
        let path = self.file("checkpoint");
        let note = match fs::read(&path) {
            Ok(note) => note,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Trouble::file("read", &path, &error)),
        };
        let checkpoint = Checkpoint::open(&note, key).map_err(|error| {
            Trouble::breach(
                "checkpoint.kept",
                format!(
                    "The checkpoint kept at {} does not verify: {error}. Find out who changed it \
                     or the profile's key before you go on.",
                    path.display()
                ),
            )
        })?;
        Ok(Some(checkpoint))
    }

    /// Keeps a verified checkpoint if it is larger than the one kept by then.
    pub fn put_seen(&self, note: &[u8], checkpoint: &Checkpoint, key: &VerifierKey) -> Outcome {
        let lock = self.open("lock")?;
        // Released when the file is dropped. Several tools may run at once.
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|error| Trouble::file("lock", &self.file("lock"), &error))?;
        match self.seen(key)? {
            Some(kept) if kept.size >= checkpoint.size => Ok(()),
            _ => self.put("checkpoint", note),
        }
    }

    fn open(&self, ending: &str) -> Outcome<fs::File> {
        self.make_folder()?;
        let path = self.file(ending);
        private()
            .truncate(false)
            .open(&path)
            .map_err(|error| Trouble::file("open", &path, &error))
    }

    fn make_folder(&self) -> Outcome {
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder);
        made.map_err(|error| Trouble::file("make", &self.folder, &error))
    }

    fn put(&self, ending: &str, content: &[u8]) -> Outcome {
        self.make_folder()?;
        write_private(&self.file(ending), content)
    }
}

fn private() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}

/// Writes a file whole or not at all, readable by its owner alone.
pub fn write_private(path: &Path, content: &[u8]) -> Outcome {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(name);
    let write = || -> std::io::Result<()> {
        let mut file = private().truncate(true).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&temporary);
        Trouble::file("write", path, &error)
    })
}
