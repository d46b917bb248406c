//! `hold`: place, list, show, lift, check. A hold is called held only once it is proved.

use clap::{Args, Subcommand};
use custody::{
    house::hold::{State, Target},
    id::{AgentId, HoldId, ItemId, OrderId, TargetId},
    statement::{Body, HoldPlace},
};
use proto::v1;
use serde::Serialize;

use super::{fleet, lift, targets, wait};
use crate::{
    args::{Global, words::Lasting},
    connect::patient,
    exit::{Outcome, Trouble},
    session::{Said, Session, commit, random},
    show::{
        Screen, View, ask,
        hold::{HoldView, TargetView, whole},
        text,
        word::Word as _,
    },
};

/// Most targets in one statement, so that its entry stays below 64 KiB.
const MOST: usize = 250;

/// What can be done with holds.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Place a hold under an order, on everything that the order names.
    Place(Place),
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
    Lift(lift::Lift),
    /// Say whether everything that should be held is held; ends with 4 when it is not.
    Check {
        /// Only this hold.
        hold: Option<String>,
    },
}

/// What `hold place` takes.
#[derive(Debug, Args)]
pub struct Place {
    /// The order, by its id or a beginning of it.
    #[arg(long, value_name = "ID")]
    order: String,
    /// Only show where the hold would stand.
    #[arg(long)]
    dry_run: bool,
    /// Wait until every target is verified or has failed.
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "60s", require_equals = true)]
    wait: Option<Lasting>,
}

/// Runs one of them.
pub async fn run(global: &Global, verb: Verb) -> Outcome {
    let screen = Screen::new(global);
    match verb {
        Verb::Place(args) => place(global, args).await,
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
                screen.one(&TargetView::read(&record, &fleet)?);
            } else {
                let hold = session.find("holds", &id).await?.id;
                whole(&screen, &one(&mut session, &hold).await?);
            }
            Ok(())
        }
        Verb::Lift(args) => lift::run(global, args).await,
        Verb::Check { hold } => check(global, hold).await,
    }
}

async fn holds(session: &mut Session) -> Outcome<Vec<HoldView>> {
    let fleet = fleet(session).await?;
    let all = targets(session, &fleet).await?;
    let records = session.list("holds").await?;
    let views = records.iter().map(|record| {
        let own = all.iter().filter(|target| target.hold == record.id);
        HoldView::read(record, own.cloned().collect())
    });
    views.collect()
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

/// A target that was planned.
#[derive(Clone, Debug, Serialize)]
struct Planned {
    item: String,
    agent: String,
    agent_name: String,
    path: String,
    #[serde(skip)]
    raw: Vec<u8>,
}

impl View for Planned {
    const PLURAL: &'static str = "planned";
    const COLUMNS: &'static [&'static str] = &["server", "path", "from item"];

    fn row(&self, screen: &Screen) -> Vec<String> {
        vec![
            self.agent_name.clone(),
            self.path.clone(),
            screen.id(&self.item),
        ]
    }
}

/// An item that matches nothing.
#[derive(Clone, Debug, Serialize)]
struct Unresolved {
    item: String,
    reason: String,
}

impl View for Unresolved {
    const PLURAL: &'static str = "unresolved";
    const COLUMNS: &'static [&'static str] = &["matches nothing", "why"];

    fn row(&self, screen: &Screen) -> Vec<String> {
        vec![screen.id(&self.item), self.reason.clone()]
    }
}

/// What `hold place` answers.
#[derive(Serialize)]
struct Placed {
    /// The hold; the first of them where one statement could not take all targets.
    id: Option<String>,
    order: String,
    dry_run: bool,
    held: bool,
    planned: Vec<Planned>,
    unresolved: Vec<Unresolved>,
    holds: Vec<String>,
    targets: Vec<TargetView>,
}

async fn place(global: &Global, args: Place) -> Outcome {
    let screen = Screen::new(global);
    let mut session = Session::open(global).await?;
    let order: OrderId = session.find("orders", &args.order).await?.id()?;
    let mut placed = plan(&mut session, order).await?;
    if !screen.is_json() {
        if !placed.planned.is_empty() {
            screen.list(&placed.planned);
        }
        if !placed.unresolved.is_empty() {
            screen.list(&placed.unresolved);
        }
    }
    if placed.planned.is_empty() {
        let why: Vec<_> = placed
            .unresolved
            .iter()
            .map(|u| text::plain(&u.reason))
            .collect();
        return Err(Trouble::refused(
            "hold.targets",
            format!(
                "The scope of {order} matches nothing on any server that can be asked now{}. \
                 Nothing was placed. Check the accounts, paths and servers that the order names, \
                 and that their servers are enrolled (`holdfast agent list`).",
                if why.is_empty() {
                    String::new()
                } else {
                    format!(": {}", why.join("; "))
                }
            ),
        ));
    }
    if args.dry_run {
        placed.dry_run = true;
        if screen.is_json() {
            screen.value(&placed);
        }
        return Ok(());
    }
    let count = text::count(placed.planned.len() as u64, "target");
    ask::confirm(global, &format!("Place a hold on {count}?"))?;
    let (ids, said) = say(&mut session, order, &placed.planned).await?;
    let patience = args.wait.map(Lasting::duration);
    let (views, done) = match patience {
        Some(patience) => settled(&mut session, &ids, patience).await?,
        None => (of(&mut session, &ids).await?, true),
    };
    if !screen.is_json() {
        for hold in &views {
            screen.raw("\n");
            whole(&screen, hold);
        }
    }
    placed.id = ids.first().cloned();
    placed.holds = ids;
    placed.targets = views.into_iter().flat_map(|hold| hold.targets).collect();
    let unheld = placed.targets.iter().filter(|target| !target.held).count();
    placed.held = unheld == 0;
    screen.recorded(&placed, &said);
    if patience.is_some() && unheld > 0 {
        let unheld = text::count(unheld as u64, "target");
        return Err(Trouble::failed(
            "hold.not-verified",
            match done {
                true => format!("{unheld} could not be held. `holdfast hold show` says why."),
                false => format!(
                    "Time ran out and {unheld} not proved to be held yet. The hold stands and is \
                     worked on; look with `holdfast hold show`."
                ),
            },
        ));
    }
    Ok(())
}

async fn plan(session: &mut Session, order: OrderId) -> Outcome<Placed> {
    let asked = patient(v1::PlanHoldRequest {
        order: order.to_string(),
        survey: false,
    });
    let plan = session
        .services
        .records
        .plan_hold(asked)
        .await?
        .into_inner();
    Ok(Placed {
        id: None,
        order: order.to_string(),
        dry_run: false,
        held: false,
        planned: plan
            .targets
            .into_iter()
            .map(|target| Planned {
                item: target.item,
                agent: target.agent,
                agent_name: target.agent_name,
                path: text::bytes(&target.path),
                raw: target.path.to_vec(),
            })
            .collect(),
        unresolved: plan
            .unresolved
            .into_iter()
            .map(|item| Unresolved {
                item: item.item,
                reason: item.reason,
            })
            .collect(),
        holds: Vec::new(),
        targets: Vec::new(),
    })
}

/// Says the hold, in as many statements as its targets need.
async fn say(
    session: &mut Session,
    order: OrderId,
    planned: &[Planned],
) -> Outcome<(Vec<String>, Vec<Said>)> {
    let (mut ids, mut said) = (Vec::new(), Vec::new());
    let strange = |_| {
        Trouble::failed(
            "strange-answer",
            "The coordinator's plan cannot be read. Use the tool of its version.",
        )
    };
    for part in planned.chunks(MOST) {
        let hold = HoldId::from_random(random()?);
        let mut openings = Vec::new();
        let mut targets = Vec::new();
        for target in part {
            targets.push(Target {
                target: TargetId::from_random(random()?),
                item: target.item.parse::<ItemId>().map_err(strange)?,
                agent: target.agent.parse::<AgentId>().map_err(strange)?,
                path: commit(&mut openings, "path", target.raw.clone())?,
            });
        }
        let body = Body::HoldPlace(HoldPlace {
            hold,
            order,
            targets,
            at_least: None,
        });
        said.push(session.say(body, openings).await?);
        ids.push(hold.to_string());
    }
    Ok((ids, said))
}

async fn of(session: &mut Session, ids: &[String]) -> Outcome<Vec<HoldView>> {
    let all = holds(session).await?;
    Ok(all
        .into_iter()
        .filter(|view| ids.contains(&view.id))
        .collect())
}

async fn settled(
    session: &mut Session,
    ids: &[String],
    patience: std::time::Duration,
) -> Outcome<(Vec<HoldView>, bool)> {
    let global = session.global.clone();
    let look = async || {
        let views = of(session, ids).await?;
        let mut targets = views.iter().flat_map(|view| &view.targets);
        let done = targets.all(|target| matches!(target.state, State::Verified | State::Failed));
        Ok((views, done))
    };
    wait(
        &global,
        "waiting for the servers to hold and prove it",
        patience,
        look,
    )
    .await
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
