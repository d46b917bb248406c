//! `hold place`: shows where a hold would stand and how, and places what was shown.

use std::collections::BTreeMap;

use clap::Args;
use custody::{
    house::{
        hold::{State, Target},
        mechanism::{Mechanism, Properties},
    },
    id::{AgentId, HoldId, ItemId, OrderId, TargetId},
    statement::{Body, HoldPlace},
};
use proto::v1;
use serde::Serialize;

use super::{hold::holds, wait};
use crate::{
    args::{Global, words::Lasting},
    connect::patient,
    exit::{Outcome, Trouble},
    session::{Said, Session, commit, random},
    show::{
        self, Screen, ask,
        held::{HoldView, whole},
        hold::TargetView,
        place::{Planned, Unresolved},
        text,
    },
};

/// Most targets in one statement, so that its entry stays below 64 KiB.
const MOST: usize = 250;

fn mechanism(word: &str) -> Result<Mechanism, String> {
    let all = || Mechanism::ALL.map(Mechanism::word).join(", ");
    Mechanism::from_word(word).ok_or_else(|| {
        format!(
            "there is no such mechanism; weakest first there are {}",
            all()
        )
    })
}

/// What `hold place` takes.
#[derive(Debug, Args)]
pub struct Place {
    /// The order, by its id or a beginning of it.
    #[arg(long, value_name = "ID")]
    order: String,
    /// Hold by nothing weaker than this: a server that has only weaker mechanisms refuses.
    #[arg(long, value_name = "MECHANISM", value_parser = mechanism)]
    at_least: Option<Mechanism>,
    /// Only show where the hold would stand, by which mechanism and why, what that prevents, and
    /// what matches nothing.
    #[arg(long)]
    dry_run: bool,
    /// Wait until every target is verified or has failed.
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "60s", require_equals = true)]
    wait: Option<Lasting>,
}

/// What `hold place` answers.
#[derive(Serialize)]
struct Placed {
    /// The hold; the first of them where one statement could not take all targets.
    id: Option<String>,
    order: String,
    dry_run: bool,
    held: bool,
    at_least: Option<Mechanism>,
    /// What the planned mechanisms do.
    mechanisms: BTreeMap<&'static str, Properties>,
    planned: Vec<Planned>,
    unresolved: Vec<Unresolved>,
    holds: Vec<String>,
    targets: Vec<TargetView>,
}

/// Shows the plan, asks, places the hold and waits if it is to.
pub async fn run(global: &Global, args: Place) -> Outcome {
    let screen = Screen::new(global);
    let mut session = Session::open(global).await?;
    let order: OrderId = session.find("orders", &args.order).await?.id()?;
    let mut placed = plan(&mut session, order, args.at_least).await?;
    if !screen.is_json() {
        show::place::plan(&screen, &placed.planned, &placed.unresolved);
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
    let (ids, said) = say(&mut session, &placed).await?;
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

async fn plan(
    session: &mut Session,
    order: OrderId,
    at_least: Option<Mechanism>,
) -> Outcome<Placed> {
    let asked = patient(v1::PlanHoldRequest {
        order: order.to_string(),
        survey: true,
    });
    let plan = session
        .services
        .records
        .plan_hold(asked)
        .await?
        .into_inner();
    let targets = plan.targets.into_iter();
    let planned: Vec<_> = targets
        .map(|target| Planned::read(target, at_least))
        .collect();
    Ok(Placed {
        id: None,
        order: order.to_string(),
        dry_run: false,
        held: false,
        at_least,
        mechanisms: show::place::mechanisms(&planned),
        planned,
        unresolved: plan.unresolved.into_iter().map(Into::into).collect(),
        holds: Vec::new(),
        targets: Vec::new(),
    })
}

/// Says the hold, in as many statements as its targets need.
async fn say(session: &mut Session, placed: &Placed) -> Outcome<(Vec<String>, Vec<Said>)> {
    let (mut ids, mut said) = (Vec::new(), Vec::new());
    let strange = |_| {
        Trouble::failed(
            "strange-answer",
            "The coordinator's plan cannot be read. Use the tool of its version.",
        )
    };
    let order = placed.order.parse::<OrderId>().map_err(strange)?;
    for part in placed.planned.chunks(MOST) {
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
            at_least: placed.at_least,
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
