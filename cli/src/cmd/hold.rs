//! `hold`: place, list, show, lift, check. A hold is called held only once it is proved.

use std::collections::BTreeMap;

use clap::Subcommand;
use custody::id::TargetId;
use proto::v1;
use serde::Serialize;

use super::{fleet, lift, place, targets};
use crate::{
    args::Global,
    connect::patient,
    exit::{Outcome, Trouble},
    session::Session,
    show::{
        Screen,
        finding::FindingView,
        held::{HoldView, whole},
        hold::{LaterView, TargetView},
        text,
        word::Word as _,
    },
};

/// What can be done with holds.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Place a hold under an order, on everything that the order names.
    Place(Box<place::Place>),
    /// List holds, one a line.
    List {
        /// List targets instead, one a line.
        #[arg(long)]
        targets: bool,
    },
    /// Show a hold with its targets, or one target.
    Show {
        /// The id of a hold or of a target, or a beginning of it.
        id: String,
    },
    /// Ask for a lift, which several people must approve.
    Lift(Box<lift::Lift>),
    /// Say whether everything that should be held is held; ends with 4 when it is not.
    Check {
        /// Only this hold.
        hold: Option<String>,
    },
}

/// Runs one of them.
pub async fn run(global: &Global, verb: Verb) -> Outcome {
    let screen = Screen::new(global);
    match verb {
        Verb::Place(args) => place::run(global, *args).await,
        Verb::List { targets: true } => {
            let mut session = Session::open(global).await?;
            let fleet = fleet(&mut session).await?;
            screen.list(&targets(&mut session, &fleet).await?);
            Ok(())
        }
        Verb::List { targets: false } => {
            let mut session = Session::open(global).await?;
            screen.list(&holds(&mut session).await?);
            Ok(())
        }
        Verb::Show { id } => {
            let mut session = Session::open(global).await?;
            if id.starts_with(TargetId::PREFIX) {
                let fleet = fleet(&mut session).await?;
                let record = session.find("targets", &id).await?;
                let mut view = TargetView::read(&record, &fleet)?;
                later(&mut session, std::slice::from_mut(&mut view)).await?;
                screen.one(&view);
            } else {
                let hold = session.find("holds", &id).await?.id;
                let mut view = one(&mut session, &hold).await?;
                later(&mut session, &mut view.targets).await?;
                whole(&screen, &view);
            }
            Ok(())
        }
        Verb::Lift(args) => lift::run(global, *args).await,
        Verb::Check { hold } => check(global, hold).await,
    }
}

/// All holds, each with its targets and with what was found about them.
pub(super) async fn holds(session: &mut Session) -> Outcome<Vec<HoldView>> {
    let fleet = fleet(session).await?;
    let mut all: BTreeMap<String, Vec<TargetView>> = BTreeMap::new();
    let mut of = BTreeMap::new();
    for target in targets(session, &fleet).await? {
        of.insert(target.id.clone(), target.hold.clone());
        all.entry(target.hold.clone()).or_default().push(target);
    }
    let mut found: BTreeMap<String, Vec<FindingView>> = BTreeMap::new();
    for record in session.list("findings").await? {
        let view = FindingView::read(&record)?;
        if let Some(hold) = view.target.as_ref().and_then(|target| of.get(target)) {
            found.entry(hold.clone()).or_default().push(view);
        }
    }
    let records = session.list("holds").await?;
    let views = records.iter().map(|record| {
        let own = all.remove(&record.id).unwrap_or_default();
        HoldView::read(record, own, found.remove(&record.id).unwrap_or_default())
    });
    views.collect()
}

/// Asks the servers what came later than the moment that these targets hold. Who may not see where
/// they lie does not ask.
async fn later(session: &mut Session, targets: &mut [TargetView]) -> Outcome {
    let asked = targets.iter().filter(|target| {
        let raised = target.means.is_some() && target.state.holds();
        raised && target.agent_connected && target.path.is_some()
    });
    let asked: Vec<_> = asked.map(|target| target.id.clone()).collect();
    if asked.is_empty() {
        return Ok(());
    }
    let asked = patient(v1::ListLaterRequest { targets: asked });
    let answer = session.services.records.list_later(asked).await?;
    for later in answer.into_inner().later {
        if let Some(target) = targets.iter_mut().find(|target| target.id == later.target) {
            target.later = Some(LaterView::read(later));
        }
    }
    Ok(())
}

async fn one(session: &mut Session, hold: &str) -> Outcome<HoldView> {
    let views = holds(session).await?;
    let found = views.into_iter().find(|view| view.id == hold);
    found.ok_or_else(|| {
        let hold = text::plain(hold);
        Trouble::refused(
            "unknown",
            format!("There is no {hold} here. `holdfast hold list` says which there are."),
        )
    })
}

/// What `hold check` answers.
#[derive(Serialize)]
struct Checked {
    ok: bool,
    held: usize,
    not_held: Vec<TargetView>,
    findings: Vec<serde_json::Value>,
}

async fn check(global: &Global, hold: Option<String>) -> Outcome {
    let screen = Screen::new(global);
    let mut session = Session::open(global).await?;
    let fleet = fleet(&mut session).await?;
    let mut standing = targets(&mut session, &fleet).await?;
    standing.retain(|target| target.state.holds());
    if let Some(typed) = &hold {
        let hold = session.find("holds", typed).await?.id;
        standing.retain(|target| target.hold == hold);
    }
    let findings = session
        .list("findings")
        .await?
        .into_iter()
        .map(|record| record.json);
    let findings = findings.filter(|finding| match finding["target"].as_str() {
        Some(target) => standing.iter().any(|standing| standing.id == target),
        None => hold.is_none(),
    });
    let findings: Vec<_> = findings.collect();
    let (held, not_held): (Vec<_>, Vec<_>) = standing.into_iter().partition(|target| target.held);
    let checked = Checked {
        ok: not_held.is_empty(),
        held: held.len(),
        not_held,
        findings,
    };
    if screen.is_json() {
        screen.value(&checked);
    } else {
        if !checked.not_held.is_empty() {
            screen.list(&checked.not_held);
        }
        for finding in &checked.findings {
            let what = finding["what"].word();
            screen.raw(&format!("finding at entry {}: {what}\n", finding["index"]));
        }
        screen.raw(&format!(
            "{} held and proved.\n",
            text::count(checked.held as u64, "target")
        ));
    }
    match checked.not_held.len() {
        0 => Ok(()),
        missing => Err(Trouble::breach(
            "hold.not-held",
            format!(
                "{} should be held and not proved to be. `holdfast hold show` says why for each.",
                text::count(missing as u64, "target")
            ),
        )),
    }
}
