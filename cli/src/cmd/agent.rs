//! `agent`: storage servers join with a one-time token and leave by being retired.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use custody::{
    digest::Digest,
    id::AgentId,
    statement::{AgentInvite, AgentRetire, Body},
};
use serde::Serialize;

use super::{agent_of, fleet, limit};
use crate::{
    args::{Global, words::Lasting},
    exit::{Outcome, Trouble},
    session::{Session, commit, now, random},
    show::{Screen, ask, hold::Fleet, media, people::AgentView, text},
};

/// What can be done with agents.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Invite a storage server: writes the file that `holdfast-agent enrol` takes.
    Invite {
        /// The server's name. It stays out of the log and can be erased.
        name: String,
        /// Where to write the invitation. It is a secret until it is used.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// How long it can be used.
        #[arg(long, default_value = "24h", value_name = "TIME")]
        valid: Lasting,
        /// Invite this server again, after it has lost its keys.
        #[arg(long, value_name = "AGENT")]
        again: Option<String>,
        /// The coordinator's address as the server reaches it; else the profile's.
        #[arg(long, value_name = "URL")]
        address: Option<String>,
    },
    /// List the fleet.
    List,
    /// Show one server, with its disks and how far reading again is.
    Show {
        /// The name, the id or a beginning of it.
        agent: String,
    },
    /// Limit what a server's agent takes of its host while it reads; holding is never limited.
    Limit(limit::Limit),
    /// Let a server's agent read nothing until it is resumed; holding goes on.
    Pause {
        /// The name, the id or a beginning of it.
        agent: String,
    },
    /// Let a paused agent read on.
    Resume {
        /// The name, the id or a beginning of it.
        agent: String,
    },
    /// Retire a server: its certificates are refused from here on.
    Retire {
        /// The name, the id or a beginning of it.
        agent: String,
    },
}

/// Runs one of them.
pub async fn run(global: &Global, verb: Verb) -> Outcome {
    let screen = Screen::new(global);
    match verb {
        Verb::Invite {
            name,
            out,
            valid,
            again,
            address,
        } => {
            let wish = Wish {
                name,
                out,
                valid,
                again,
                address,
            };
            invite(global, wish).await
        }
        Verb::List => {
            let mut session = Session::open(global).await?;
            let views: Vec<_> = fleet(&mut session).await?.agents().cloned().collect();
            screen.list(&views);
            Ok(())
        }
        Verb::Show { agent } => {
            let mut session = Session::open(global).await?;
            let fleet = fleet(&mut session).await?;
            media::whole(&screen, &one(&fleet, &agent_of(&fleet, &agent)?)?);
            Ok(())
        }
        Verb::Limit(args) => limit::limit(global, args).await,
        Verb::Pause { agent } => limit::pause(global, &agent, true).await,
        Verb::Resume { agent } => limit::pause(global, &agent, false).await,
        Verb::Retire { agent } => {
            let mut session = Session::open(global).await?;
            let known = fleet(&mut session).await?;
            let id = agent_of(&known, &agent)?;
            let view = one(&known, &id)?;
            let name = text::plain(view.name.as_deref().unwrap_or(&view.id));
            let question =
                format!("Retire {name}? Its connection is cut and its id never comes back.");
            ask::confirm(global, &question)?;
            let said = session
                .say(Body::AgentRetire(AgentRetire { agent: id }), vec![])
                .await?;
            screen.changed(&one(&fleet(&mut session).await?, &id)?, &[said]);
            Ok(())
        }
    }
}

pub(super) fn one(fleet: &Fleet, id: &AgentId) -> Outcome<AgentView> {
    let id = id.to_string();
    let found = fleet.agents().find(|view| view.id == id).cloned();
    found.ok_or_else(|| {
        Trouble::failed(
            "vanished",
            format!("{id} is not in the list any more. Try again."),
        )
    })
}

struct Wish {
    name: String,
    out: PathBuf,
    valid: Lasting,
    again: Option<String>,
    address: Option<String>,
}

/// The invitation, as `holdfast-agent enrol --invite` reads it.
#[derive(Serialize)]
struct Invitation {
    server: String,
    agent: String,
    token: String,
    origin: String,
    vkey: String,
    authority: String,
}

/// What `agent invite` answers.
#[derive(Serialize)]
struct Invited {
    id: String,
    name: String,
    invitation: String,
    expires: String,
}

async fn invite(global: &Global, wish: Wish) -> Outcome {
    if wish.name.trim().is_empty() {
        return Err(Trouble::usage("A server needs a name."));
    }
    if let Some(address) = &wish.address {
        crate::connect::host_and_port(address)?;
    }
    let mut session = Session::open(global).await?;
    let agent = match &wish.again {
        Some(typed) => agent_of(&fleet(&mut session).await?, typed)?,
        None => AgentId::from_random(random()?),
    };
    let token: [u8; 32] = random()?;
    let invitation = Invitation {
        server: wish
            .address
            .unwrap_or_else(|| session.profile.server.clone()),
        agent: agent.to_string(),
        token: hex::encode(token),
        origin: session.verifier().name().to_owned(),
        vkey: session.verifier().to_string(),
        authority: session.authority().to_owned(),
    };
    // The file is there before the statement is: a token that nobody has helps nobody.
    write_new(&wish.out, &invitation)?;
    let mut openings = Vec::new();
    let name = wish.name.trim().to_owned();
    let expires = now() + wish.valid.0;
    let body = Body::AgentInvite(AgentInvite {
        agent,
        token: Digest::of(&token),
        expires,
        name: commit(&mut openings, "name", name.as_str())?,
    });
    let said = match session.say(body, openings).await {
        Ok(said) => said,
        Err(trouble) => {
            let _ = fs::remove_file(&wish.out);
            return Err(trouble);
        }
    };
    let screen = Screen::new(global);
    let out = wish.out.display();
    let invited = Invited {
        id: agent.to_string(),
        name,
        invitation: out.to_string(),
        expires: expires.to_string(),
    };
    if !screen.is_json() {
        screen.pairs(&[
            ("agent", invited.id.clone()),
            ("invitation", invited.invitation.clone()),
            ("good until", invited.expires.clone()),
        ]);
        screen.note(&format!(
            "Bring {out} to the server by a safe way and run there: holdfast-agent enrol --invite \
             FILE --data DIR"
        ));
    }
    screen.recorded(&invited, &[said]);
    Ok(())
}

fn write_new(path: &Path, invitation: &Invitation) -> Outcome {
    let text = toml::to_string(invitation)
        .map_err(|error| Trouble::failed("invitation", error.to_string()))?;
    let write = || -> std::io::Result<()> {
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|error| Trouble::file("write", path, &error))
}
