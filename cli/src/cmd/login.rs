//! `login` and `whoami`: who you are, proved with your SSH key. There are no passwords.

use std::path::PathBuf;

use clap::Args;
use custody::time::Time;
use proto::v1;
use serde::Serialize;

use crate::{
    args::Global,
    connect::{connect, host_and_port, patient},
    exit::{Outcome, Trouble},
    profile::{Place, Profile, Token},
    session::{self, Session, log_in},
    show::{Screen, View, text},
    sign,
};

/// What `login` takes. With `--server`, the options describe a new profile; without any, the
/// profile that is there is used.
#[derive(Debug, Args)]
pub struct Login {
    /// The certificate authority of the coordinator, `pki/ca.pem` of its data folder.
    #[arg(long, value_name = "FILE")]
    authority: Option<PathBuf>,
    /// The log's verifier key, `log.vkey` of the coordinator's data folder.
    #[arg(long, value_name = "FILE")]
    vkey: Option<PathBuf>,
    /// Your SSH private key, or the public one of a key that the ssh-agent has.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// Who is logged in.
#[derive(Debug, Serialize)]
struct Who {
    profile: String,
    server: String,
    origin: String,
    person: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    roles: Vec<String>,
    expires: String,
}

impl View for Who {
    const PLURAL: &'static str = "sessions";
    const COLUMNS: &'static [&'static str] = &["person", "roles", "coordinator", "log", "until"];

    fn row(&self, _: &Screen) -> Vec<String> {
        let person = match &self.name {
            Some(name) => format!("{name} ({})", self.person),
            None => self.person.clone(),
        };
        vec![
            person,
            self.roles.join(", "),
            self.server.clone(),
            self.origin.clone(),
            self.expires.clone(),
        ]
    }
}

/// Logs in, and writes the profile once the coordinator has said yes.
pub async fn login(global: &Global, args: Login) -> Outcome {
    let place = Place::of(&global.profile)?;
    let before = place.read_if_any()?;
    let (profile, authority) = meant(global, &place, before.as_ref(), args)?;
    let verifier = profile.verifier()?;
    host_and_port(&profile.server)?;
    let signer = sign::open(&profile.key)?;
    let channel = connect(&profile.server, &authority).await?;
    let answer = log_in(&channel, &verifier, signer.as_ref()).await?;
    place.write(&profile, &authority)?;
    place.put_token(&Token {
        token: answer.token,
        person: answer.person.clone(),
        expires_unix_ms: answer.expires_unix_ms,
    })?;
    // The first checkpoint is verified and kept at once: from here on the log cannot shrink.
    let session = Session::open(global).await?;
    Screen::new(global).one(&Who {
        profile: place.name().to_owned(),
        server: profile.server,
        origin: session.verifier().name().to_owned(),
        person: answer.person,
        name: None,
        roles: answer.roles,
        expires: Time::from_millis(answer.expires_unix_ms).to_string(),
    });
    Ok(())
}

/// The profile that the options mean: what is given replaces what is there, but a pinned log is
/// never replaced.
fn meant(
    global: &Global,
    place: &Place,
    before: Option<&Profile>,
    args: Login,
) -> Outcome<(Profile, String)> {
    let missing = |what: &str| {
        Trouble::usage(format!(
            "There is no profile `{}` yet, and {what} is missing. Run `holdfast login --server \
             https://HOST:PORT --authority ca.pem --vkey log.vkey --key ~/.ssh/id_ed25519`.",
            place.name()
        ))
    };
    let server = global
        .server
        .clone()
        .or_else(|| Some(before?.server.clone()));
    let authority = args.authority.or_else(|| Some(before?.authority.clone()));
    let key = match args.key {
        Some(key) => {
            Some(std::path::absolute(&key).map_err(|error| Trouble::file("find", &key, &error))?)
        }
        None => before.map(|before| before.key.clone()),
    };
    let vkey = match &args.vkey {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            Some(text.map_err(|error| Trouble::file("read", path, &error))?)
        }
        None => before.map(|before| before.vkey.clone()),
    };
    let profile = Profile {
        server: server.ok_or_else(|| missing("--server"))?,
        authority: authority.ok_or_else(|| missing("--authority"))?,
        vkey: vkey.ok_or_else(|| missing("--vkey"))?.trim().to_owned(),
        key: key.ok_or_else(|| missing("--key"))?,
    };
    if before.is_some_and(|before| before.vkey.trim() != profile.vkey) {
        return Err(Trouble::refused(
            "profile.pinned",
            format!(
                "The profile `{}` is pinned to another log key, and a pin is never replaced. Log \
                 in with another --profile, or remove {} yourself if you are sure.",
                place.name(),
                place.file("toml").display()
            ),
        ));
    }
    let authority = session::read_authority(&profile.authority)?;
    Ok((profile, authority))
}

/// Says who the coordinator takes you for.
pub async fn whoami(global: &Global) -> Outcome {
    let mut session = Session::open(global).await?;
    let answer = session
        .services
        .session
        .who_am_i(patient(v1::WhoAmIRequest {}));
    let answer = answer.await?.into_inner();
    Screen::new(global).one(&Who {
        profile: session.place().name().to_owned(),
        server: session.profile.server.clone(),
        origin: session.verifier().name().to_owned(),
        person: answer.person,
        name: Some(text::plain(&answer.name)).filter(|name| !name.is_empty()),
        roles: answer.roles,
        expires: Time::from_millis(answer.expires_unix_ms).to_string(),
    });
    Ok(())
}
