//! `snapshot`: sealed manifests of what is held.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use custody::{
    house::{
        hold::HeldTarget,
        snapshot::{Snapshot, State},
    },
    id::{SnapshotId, TargetId},
    manifest::{
        file::{Reader, check},
        leaf::SnapshotKey,
    },
    statement::{Body, SnapshotSealed, SnapshotTake, SnapshotWish},
};
use proto::v1::EvidenceKind;
use serde::Serialize;

use super::{fleet, wait_telling};
use crate::{
    args::{Global, words::Lasting},
    exit::{Outcome, Trouble},
    fetch,
    records::Record,
    session::{Session, random},
    show::{
        Screen,
        snapshot::{SnapshotView, together},
        text,
    },
};

/// Most snapshots in one statement.
const MOST: usize = 250;

/// What can be done with snapshots.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Take snapshots of what is held.
    Take(Take),
    /// List snapshots.
    List,
    /// Show one snapshot.
    Show {
        /// The id, or a beginning of it.
        snapshot: String,
    },
    /// Write a snapshot's manifest, its entry and its proof to a folder, checked.
    Export {
        /// The id, or a beginning of it.
        snapshot: String,
        /// The folder, which must be new or empty.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Fetch a snapshot's manifest, recompute its root and check its entry.
    Check {
        /// The id, or a beginning of it.
        snapshot: String,
    },
}

/// What `snapshot take` takes.
#[derive(Debug, Args)]
pub struct Take {
    /// What to take snapshots of.
    #[command(flatten)]
    what: What,
    /// Wait until every manifest is at the coordinator or has failed.
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "600s", require_equals = true)]
    wait: Option<Lasting>,
}

/// Of what.
#[derive(Debug, Args)]
#[group(required = true, multiple = false, id = "of")]
pub struct What {
    /// Every target of this hold that still holds.
    #[arg(long, value_name = "ID")]
    hold: Option<String>,
    /// These targets; repeat it.
    #[arg(long = "target", value_name = "ID")]
    targets: Vec<String>,
}

/// Runs one of them.
pub async fn run(global: &Global, verb: Verb) -> Outcome {
    let screen = Screen::new(global);
    match verb {
        Verb::Take(args) => take(global, args).await,
        Verb::List => {
            let mut session = Session::open(global).await?;
            screen.list(&all(&mut session).await?);
            Ok(())
        }
        Verb::Show { snapshot } => {
            let mut session = Session::open(global).await?;
            let fleet = fleet(&mut session).await?;
            let record = session.find("snapshots", &snapshot).await?;
            screen.one(&SnapshotView::read(&record, &fleet)?);
            Ok(())
        }
        Verb::Export { snapshot, out } => {
            let mut session = Session::open(global).await?;
            export(&mut session, &snapshot, out).await
        }
        Verb::Check { snapshot } => {
            let mut session = Session::open(global).await?;
            look_at(&mut session, &snapshot).await
        }
    }
}

async fn all(session: &mut Session) -> Outcome<Vec<SnapshotView>> {
    let fleet = fleet(session).await?;
    let records = session.list("snapshots").await?;
    records
        .iter()
        .map(|record| SnapshotView::read(record, &fleet))
        .collect()
}

async fn take(global: &Global, args: Take) -> Outcome {
    let screen = Screen::new(global);
    let mut session = Session::open(global).await?;
    let mut targets: Vec<TargetId> = Vec::new();
    if let Some(typed) = &args.what.hold {
        let hold = session.find("holds", typed).await?.id;
        for record in session.list("targets").await? {
            let target: HeldTarget = record.parse()?;
            if target.hold.to_string() == hold && target.state.holds() {
                targets.push(target.wish.target);
            }
        }
        if targets.is_empty() {
            return Err(Trouble::refused(
                "snapshot.not-held",
                format!(
                    "Nothing of {hold} is held. Evidence is taken of what is held: place a hold first."
                ),
            ));
        }
    }
    for typed in &args.what.targets {
        targets.push(session.find("targets", typed).await?.id()?);
    }
    let (mut ids, mut said) = (Vec::new(), Vec::new());
    for part in targets.chunks(MOST) {
        let mut snapshots = Vec::new();
        for target in part {
            let snapshot = SnapshotId::from_random(random()?);
            ids.push(snapshot.to_string());
            snapshots.push(SnapshotWish {
                snapshot,
                target: *target,
            });
        }
        let body = Body::SnapshotTake(SnapshotTake { snapshots });
        said.push(session.say(body, vec![]).await?);
    }
    let patience = args.wait.map(Lasting::duration);
    let look = async || {
        let mut views = all(&mut session).await?;
        views.retain(|view| ids.contains(&view.id));
        let over = |view: &SnapshotView| matches!(view.state, State::Received | State::Failed);
        let done = views.iter().all(over);
        Ok((views, done))
    };
    let what = "waiting for the servers to read, hash and seal";
    let most = patience.unwrap_or_default();
    let (views, _) = wait_telling(global, what, most, look, |views| together(views)).await?;
    let missing = views
        .iter()
        .filter(|view| view.state != State::Received)
        .count();
    if !screen.is_json() {
        screen.list(&views);
    }
    screen.recorded(&serde_json::json!({ "snapshots": views }), &said);
    if patience.is_some() && missing > 0 {
        return Err(Trouble::failed(
            "snapshot.not-received",
            format!(
                "{} not here yet. `holdfast snapshot list` says where each stands.",
                text::count(missing as u64, "snapshot")
            ),
        ));
    }
    Ok(())
}

/// What the log says of a snapshot, proved, with its entry and proof.
struct Sealed {
    record: Record,
    shot: Snapshot,
    sealed: SnapshotSealed,
    entry: Vec<u8>,
    proof: String,
    key: Option<[u8; 32]>,
}

async fn sealed(session: &mut Session, typed: &str) -> Outcome<Sealed> {
    let record = session.find("snapshots", typed).await?;
    let shot: Snapshot = record.parse()?;
    let index = shot.sealed_entry.ok_or_else(|| {
        Trouble::refused(
            "snapshot.not-sealed",
            format!(
                "{} is not sealed yet. Wait until `holdfast snapshot show` says received.",
                shot.id
            ),
        )
    })?;
    let (entry, proof) = session.proved(index).await?;
    // The log's word counts, not the record's.
    let sealed = match entry.statement().map(|statement| statement.body) {
        Ok(Body::SnapshotSealed(sealed)) if sealed.snapshot == shot.id => sealed,
        _ => {
            return Err(Trouble::breach(
                "snapshot.other-entry",
                format!(
                    "Entry {index} does not seal {}. Stop, and tell your auditor.",
                    shot.id
                ),
            ));
        }
    };
    let key = record.raw(&sealed.key).and_then(|key| key.try_into().ok());
    Ok(Sealed {
        entry: entry.bytes().to_vec(),
        record,
        shot,
        sealed,
        proof,
        key,
    })
}

/// Checks a manifest file against what was sealed.
fn check_manifest(path: &std::path::Path, sealed: &Sealed) -> Outcome<bool> {
    let file = std::fs::File::open(path).map_err(|error| Trouble::file("open", path, &error))?;
    let key = sealed.key.map(SnapshotKey::from_random);
    let checked = Reader::open(file)
        .and_then(|reader| check(reader, key.as_ref(), &sealed.sealed.root))
        .map_err(|error| {
            Trouble::breach(
                "manifest.differs",
                format!(
                    "The manifest is not the one that was sealed: {error}. Keep it as evidence."
                ),
            )
        })?;
    if checked.rows != sealed.sealed.rows {
        return Err(Trouble::breach(
            "manifest.differs",
            format!(
                "The manifest has {} rows and {} were sealed.",
                checked.rows, sealed.sealed.rows
            ),
        ));
    }
    Ok(checked.recomputed)
}

/// `snapshot.json` of an export.
#[derive(Serialize)]
struct About<'a> {
    format: &'static str,
    snapshot: String,
    agent: String,
    target: String,
    root: String,
    rows: u64,
    bytes: u64,
    unreadable: u64,
    manifest: &'a str,
}

async fn export(session: &mut Session, typed: &str, out: PathBuf) -> Outcome {
    let sealed = sealed(session, typed).await?;
    let made = std::fs::create_dir_all(&out);
    made.map_err(|error| Trouble::file("make", &out, &error))?;
    let manifest = out.join("manifest.parquet");
    let id = sealed.shot.id.to_string();
    fetch::file(
        session,
        EvidenceKind::Manifest,
        &id,
        &manifest,
        &sealed.sealed.manifest,
    )
    .await?;
    let recomputed = check_manifest(&manifest, &sealed)?;
    let digest = sealed.sealed.manifest.to_string();
    let about = About {
        format: "holdfast-snapshot/1",
        snapshot: id.clone(),
        agent: sealed.shot.agent.to_string(),
        target: sealed.shot.target.to_string(),
        root: sealed.sealed.root.to_string(),
        rows: sealed.sealed.rows,
        bytes: sealed.sealed.bytes,
        unreadable: sealed.sealed.unreadable,
        manifest: &digest,
    };
    let json = serde_json::to_string_pretty(&about).unwrap_or_default() + "\n";
    let vkey = format!("{}\n", session.verifier());
    let mut files: Vec<(&str, Vec<u8>)> = vec![
        ("snapshot.json", json.into_bytes()),
        ("sealed.entry", sealed.entry.clone()),
        ("sealed.tlog-proof", sealed.proof.clone().into_bytes()),
        ("log.vkey", vkey.into_bytes()),
    ];
    if let Some(key) = sealed.key {
        files.push(("salt-key", format!("{}\n", hex::encode(key)).into_bytes()));
    }
    for (name, content) in files {
        crate::profile::write_private(&out.join(name), &content)?;
    }
    let fleet = fleet(session).await?;
    let view = SnapshotView::read(&sealed.record, &fleet)?;
    let screen = Screen::new(&session.global);
    if screen.is_json() {
        let folder = out.display().to_string();
        screen.value(&serde_json::json!({
            "id": id, "folder": folder, "manifest": manifest.display().to_string(),
            "root": sealed.sealed.root, "rows": sealed.sealed.rows, "salt_key": sealed.key.is_some(),
            "rows_recomputed": recomputed,
        }));
    } else {
        screen.one(&view);
        screen.note(&format!("Written to {}.", out.display()));
        if sealed.key.is_none() {
            screen.note("Without the salt key, which your roles do not show: rows cannot be recomputed from their fields.");
        }
    }
    Ok(())
}

async fn look_at(session: &mut Session, typed: &str) -> Outcome {
    let sealed = sealed(session, typed).await?;
    let id = sealed.shot.id.to_string();
    let name = format!("holdfast-{id}-{}.parquet", std::process::id());
    let temporary = std::env::temp_dir().join(name);
    let done = fetch::file(
        session,
        EvidenceKind::Manifest,
        &id,
        &temporary,
        &sealed.sealed.manifest,
    )
    .await;
    let checked = done.and_then(|_| check_manifest(&temporary, &sealed));
    let _ = std::fs::remove_file(&temporary);
    let recomputed = checked?;
    let screen = Screen::new(&session.global);
    if screen.is_json() {
        screen.value(&serde_json::json!({
            "id": id, "ok": true, "root": sealed.sealed.root.to_string(),
            "rows": sealed.sealed.rows, "rows_recomputed": recomputed,
            "entry": sealed.shot.sealed_entry,
        }));
    } else {
        screen.raw(&format!(
            "{id}: {} give the root that was sealed{}.\n",
            text::count(sealed.sealed.rows, "row"),
            match recomputed {
                true => ", each recomputed from its fields",
                false =>
                    "; their fields were not recomputed, for your roles do not show the salt key",
            }
        ));
    }
    Ok(())
}
