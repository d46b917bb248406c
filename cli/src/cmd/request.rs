//! `request`: asks for what needs several people.

use std::collections::BTreeMap;

use clap::Subcommand;
use custody::{
    house::{
        act::{Act, Rows},
        claim::{Claim, Status},
        snapshot::{Snapshot, State},
    },
    id::{AgentId, ReleaseId, RequestId, SnapshotId, TargetId},
    statement::{Body, RequestMake},
};

use super::policies;
use crate::{
    args::Global,
    exit::{Outcome, Trouble},
    session::{Session, random},
    show::{Screen, View as _, ask, request::RequestView, text},
};

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Ask for the release of what a claim matches and nobody contests; one request a server.
    Release {
        /// The claim's id, or a beginning of it.
        claim: String,
        /// Only from these snapshots; else from the newest of each target. Repeat it.
        #[arg(long = "snapshot", value_name = "ID")]
        snapshots: Vec<String>,
    },
    /// List requests.
    List,
    /// Show one request.
    Show {
        /// The id, or a beginning of it.
        request: String,
    },
}

/// Runs one of them.
pub async fn run(global: &Global, verb: Verb) -> Outcome {
    let screen = Screen::new(global);
    match verb {
        Verb::Release { claim, snapshots } => release(global, &claim, &snapshots).await,
        Verb::List => {
            let mut session = Session::open(global).await?;
            let policies = policies(&mut session).await?;
            let records = session.list("requests").await?;
            let views = records
                .iter()
                .map(|record| RequestView::read(record, &policies));
            screen.list(&views.collect::<Outcome<Vec<_>>>()?);
            Ok(())
        }
        Verb::Show { request } => {
            let mut session = Session::open(global).await?;
            let policies = policies(&mut session).await?;
            let record = session.find("requests", &request).await?;
            screen.one(&RequestView::read(&record, &policies)?);
            Ok(())
        }
    }
}

async fn release(global: &Global, typed: &str, chosen: &[String]) -> Outcome {
    let screen = Screen::new(global);
    let mut session = Session::open(global).await?;
    let claim: Claim = session.find("claims", typed).await?.parse()?;
    let mut only = Vec::new();
    for typed in chosen {
        only.push(session.find("snapshots", typed).await?.id::<SnapshotId>()?);
    }
    let snapshots = usable(&mut session, &claim, &only).await?;
    let others = other_claims(&mut session, &claim).await?;
    let mut parts: BTreeMap<AgentId, Vec<Rows>> = BTreeMap::new();
    // Bytes are known where all that matched is asked for.
    let mut sizes: BTreeMap<AgentId, Option<u64>> = BTreeMap::new();
    let (mut matched, mut free) = (0, 0);
    for shot in &snapshots {
        let Some(ours) = claim.rows(&shot.id) else {
            continue;
        };
        let mut rows = ours.rows.clone();
        matched += rows.count();
        for other in &others {
            if let Some(theirs) = other.rows(&shot.id) {
                rows = rows.without(&theirs.rows);
            }
        }
        free += rows.count();
        if !rows.is_empty() {
            let whole = (rows == ours.rows).then_some(ours.bytes);
            let known = sizes.entry(shot.agent).or_insert(Some(0));
            *known = known.zip(whole).map(|(one, two)| one + two);
            let part = Rows {
                snapshot: shot.id,
                rows,
            };
            parts.entry(shot.agent).or_default().push(part);
        }
    }
    if parts.is_empty() {
        return Err(nothing(&claim, matched));
    }
    if matched > free {
        let contested = text::count(matched - free, "row");
        screen.note(&format!(
            "{contested} contested by another claim: left out."
        ));
    }
    let requests = text::count(parts.len() as u64, "request");
    let rows = text::count(free, "row");
    ask::confirm(
        global,
        &format!("Ask for the release of {rows}, by {requests}?"),
    )?;
    let (mut ids, mut said) = (Vec::new(), Vec::new());
    for (agent, files) in parts {
        let request = RequestId::from_random(random()?);
        let act = Act::Release {
            release: ReleaseId::from_random(random()?),
            claim: claim.filed.claim,
            files,
        };
        said.push(
            session
                .say(Body::RequestMake(RequestMake { request, act }), vec![])
                .await?,
        );
        ids.push((request, sizes.get(&agent).copied().flatten()));
    }
    let policies = policies(&mut session).await?;
    let mut views = Vec::new();
    for (id, bytes) in ids {
        let record = session.find("requests", &id.to_string()).await?;
        let view = RequestView::read(&record, &policies)?;
        views.push(RequestView { bytes, ..view });
    }
    if !screen.is_json() {
        for view in &views {
            screen.pairs(&view.lines(&screen));
        }
    }
    screen.recorded(
        &serde_json::json!({ "claim": claim.filed.claim, "requests": views }),
        &said,
    );
    Ok(())
}

fn nothing(claim: &Claim, matched: u64) -> Trouble {
    let id = claim.filed.claim;
    if matched > 0 {
        return Trouble::refused(
            "release.contested",
            format!(
                "Everything that {id} matches is contested by another claim, so it is frozen. Wait \
                 until one of the claims is decided."
            ),
        );
    }
    let excluded: u64 = claim.matches.values().map(|matched| matched.excluded).sum();
    let kept = match excluded {
        0 => String::new(),
        n => format!(
            ", but for {} that an exclusion list keeps back",
            text::count(n, "row")
        ),
    };
    Trouble::refused(
        "claim.nothing-held",
        format!(
            "Nothing that is held matches {id}{kept}. Check its items with `holdfast claim show`, \
             and that a snapshot was taken of where the files lie."
        ),
    )
}

/// The snapshots to take files from: the chosen ones, or the newest of each target.
async fn usable(
    session: &mut Session,
    claim: &Claim,
    only: &[SnapshotId],
) -> Outcome<Vec<Snapshot>> {
    let mut newest: BTreeMap<TargetId, Snapshot> = BTreeMap::new();
    let mut chosen = Vec::new();
    for record in session.list("snapshots").await? {
        let shot: Snapshot = record.parse()?;
        if only.contains(&shot.id) {
            chosen.push(shot);
            continue;
        }
        // Without a match there, an older snapshot may still have what is claimed.
        let matches = claim
            .rows(&shot.id)
            .is_some_and(|matched| !matched.rows.is_empty());
        if shot.state != State::Received || !matches {
            continue;
        }
        let is_older = newest
            .get(&shot.target)
            .is_some_and(|known| known.sealed_entry >= shot.sealed_entry);
        if !is_older {
            newest.insert(shot.target, shot);
        }
    }
    Ok(match only {
        [] => newest.into_values().collect(),
        _ => chosen,
    })
}

async fn other_claims(session: &mut Session, claim: &Claim) -> Outcome<Vec<Claim>> {
    let mut others = Vec::new();
    for record in session.list("claims").await? {
        let other: Claim = record.parse()?;
        if other.status == Status::Open && other.filed.claim != claim.filed.claim {
            others.push(other);
        }
    }
    Ok(others)
}
