//! `clearance`: may this server, disk or path be wiped and used again?

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use custody::{
    house::clearance::{MOST_PLACES, What},
    id::ClearanceId,
    statement::{Body, ClearanceAsk},
};
use serde_json::Value;

use super::{agent_of, fleet};
use crate::{
    args::Global,
    exit::{Outcome, Trouble},
    session::{Session, commit, random},
    show::{Screen, clearance::ClearanceView, people::AgentView, text},
};

/// How long the coordinator may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What can be done with clearances.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Ask; ends with 3 when a hold, or an order that backs none yet, stands in the way.
    Ask(Ask),
    /// List them.
    List,
    /// Show one.
    Show {
        /// The id or a beginning of it.
        clearance: String,
    },
}

/// What `clearance ask` takes.
#[derive(Debug, Args)]
pub struct Ask {
    /// The storage server, by its name, its id or a beginning of it. `--server NAME` means the
    /// same here.
    #[arg(value_name = "SERVER")]
    agent: Option<String>,
    /// Only this disk, as the server's kernel names it.
    #[arg(long, value_name = "DISK", conflicts_with = "path")]
    disk: Option<String>,
    /// Only this path.
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// Write the question, the signed answer and the proof of both to a new folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs one of them.
pub async fn run(global: &Global, verb: Verb) -> Outcome {
    let screen = Screen::new(global);
    match verb {
        Verb::Ask(args) => ask(global, args).await,
        Verb::List => {
            let mut session = Session::open(global).await?;
            let fleet = fleet(&mut session).await?;
            let records = session.list("clearances").await?;
            let views = records.iter().map(|r| ClearanceView::read(r, &fleet));
            screen.list(&views.collect::<Outcome<Vec<_>>>()?);
            Ok(())
        }
        Verb::Show { clearance } => {
            let mut session = Session::open(global).await?;
            screen.one(&look(&mut session, &clearance).await?);
            Ok(())
        }
    }
}

async fn look(session: &mut Session, id: &str) -> Outcome<ClearanceView> {
    let fleet = fleet(session).await?;
    ClearanceView::read(&session.find("clearances", id).await?, &fleet)
}

/// Which server is meant, and the line without it: `--server` names the coordinator everywhere
/// else, by an address.
fn named(global: &Global, agent: Option<String>) -> Outcome<(Global, String)> {
    let mut global = global.clone();
    let is_name = |server: &String| !server.contains("://");
    let server = global.server.take_if(|server| is_name(server));
    match agent.or(server) {
        Some(agent) => Ok((global, agent)),
        None => Err(Trouble::usage(
            "Say which storage server: `holdfast clearance ask NAME`.",
        )),
    }
}

async fn ask(global: &Global, args: Ask) -> Outcome {
    let (global, typed) = named(global, args.agent)?;
    let screen = Screen::new(&global);
    let mut session = Session::open(&global).await?;
    let known = fleet(&mut session).await?;
    let agent = agent_of(&known, &typed)?;
    let mut openings = Vec::new();
    let mut places = Vec::new();
    let (what, disk) = match (&args.disk, &args.path) {
        (Some(disk), _) => {
            let id = agent.to_string();
            let view = known.agents().find(|view| view.id == id);
            for place in view.map(|view| on_disk(view, disk)).unwrap_or_default() {
                places.push(commit(&mut openings, "path", place)?);
            }
            if places.len() > MOST_PLACES {
                return Err(Trouble::refused(
                    "clearance.places",
                    "More places lie on this disk than one clearance names. Ask for the server.",
                ));
            }
            let disk = commit(&mut openings, "disk", disk.as_bytes())?;
            (What::Disk, Some(disk))
        }
        (None, Some(path)) => {
            places.push(commit(&mut openings, "path", path.as_bytes())?);
            (What::Path, None)
        }
        (None, None) => (What::Server, None),
    };
    let clearance = ClearanceId::from_random(random()?);
    let body = ClearanceAsk {
        clearance,
        agent,
        what,
        disk,
        places,
    };
    let said = session.say(Body::ClearanceAsk(body), openings).await?;
    let id = clearance.to_string();
    let answer = super::wait(&global, "the coordinator's answer", PATIENCE, async || {
        let view = look(&mut session, &id).await?;
        let answered = view.is_answered();
        Ok((view, answered))
    });
    let (view, answered) = answer.await?;
    if let (Some(out), true) = (&args.out, answered) {
        write(&mut session, &view, out).await?;
    }
    screen.changed(&view, &[said]);
    match view.state {
        "given" => {
            screen.note(&format!(
                "Cleared. On the server: holdfast-agent gate --data DIR --clearance {id}{} -- \
                 COMMAND",
                scope(&args.disk, &args.path)
            ));
            Ok(())
        }
        "refused" => Err(Trouble::refused(
            "clearance.refused",
            format!(
                "Do not wipe it: {} in the way. `holdfast hold show` and `holdfast order show` say \
                 what they are; only a lift clears the way.",
                in_the_way(&view)
            ),
        )),
        _ => Err(Trouble::failed(
            "clearance.asked",
            format!(
                "There is no answer yet: do not wipe. Look again: holdfast clearance show {id}"
            ),
        )),
    }
}

fn in_the_way(view: &ClearanceView) -> String {
    let all: Vec<_> = view.holds.iter().chain(&view.orders).cloned().collect();
    let verb = if all.len() == 1 { "stands" } else { "stand" };
    format!("{} {verb}", all.join(", "))
}

fn scope(disk: &Option<String>, path: &Option<String>) -> String {
    match (disk, path) {
        (Some(disk), _) => format!(" --disk {}", text::plain(disk)),
        (None, Some(path)) => format!(" --path {}", text::plain(path)),
        (None, None) => String::new(),
    }
}

/// The roots that a server says lie on a disk, or on a partition of it. None when it does not
/// say so: then the disk counts as the whole server.
fn on_disk(view: &AgentView, disk: &str) -> Vec<Vec<u8>> {
    let name = disk.strip_prefix("/dev/").unwrap_or(disk);
    let lies_there = |root: &&Value| {
        let disks = root["disks"].as_array();
        disks.is_some_and(|disks| disks.iter().any(|d| d.as_str() == Some(name)))
    };
    let roots = view.roots.iter().filter(lies_there);
    roots
        .filter_map(|root| Some(root["path"].as_str()?.as_bytes().to_vec()))
        .collect()
}

/// Writes what outsiders check: both entries as they stand in the log, each with its proof.
async fn write(session: &mut Session, view: &ClearanceView, out: &std::path::Path) -> Outcome {
    std::fs::create_dir(out).map_err(|error| Trouble::file("make", out, &error))?;
    let mut files = vec![(
        "clearance.json".to_owned(),
        serde_json::to_string_pretty(view).unwrap_or_default() + "\n",
    )];
    for (name, index) in [("asked", view.entry), ("answered", view.changed)] {
        let (entry, proof) = session.proved(index).await?;
        let entry = String::from_utf8_lossy(entry.bytes()).into_owned();
        files.push((format!("{name}.entry"), entry));
        files.push((format!("{name}.tlog-proof"), proof));
    }
    files.push(("log.vkey".to_owned(), format!("{}\n", session.verifier())));
    for (name, content) in files {
        crate::profile::write_private(&out.join(name), content.as_bytes())?;
    }
    Ok(())
}
