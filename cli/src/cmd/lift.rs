//! `hold lift`: asks for a lift and says first what would leave and what stays, and why.

use clap::Args;
use custody::{
    house::{act::Act, hold::HeldTarget, scope},
    id::{RequestId, TargetId},
    statement::{Body, RequestMake},
};
use serde::Serialize;

use super::{fleet, policies};
use crate::{
    args::Global,
    exit::{Outcome, Trouble},
    records::Record,
    session::{Session, random},
    show::{
        Screen,
        act::{self, Reason, Stays},
        ask,
        hold::{Fleet, TargetView},
        request::RequestView,
    },
};

/// What `hold lift` takes.
#[derive(Debug, Args)]
#[group(required = true, multiple = false, id = "what")]
pub struct What {
    /// Every target of this hold that still holds.
    #[arg(long, value_name = "ID")]
    hold: Option<String>,
    /// These targets; repeat it.
    #[arg(long = "target", value_name = "ID")]
    targets: Vec<String>,
}

/// What `hold lift` takes.
#[derive(Debug, Args)]
pub struct Lift {
    /// What to lift.
    #[command(flatten)]
    what: What,
    /// Only show what would leave and what would stay.
    #[arg(long)]
    dry_run: bool,
}

/// What `hold lift` answers.
#[derive(Serialize)]
struct Asked {
    dry_run: bool,
    request: Option<RequestView>,
    leaves: Vec<TargetView>,
    stays: Vec<Stays>,
}

/// Shows the plan, asks, and makes the request.
pub async fn run(global: &Global, args: Lift) -> Outcome {
    let screen = Screen::new(global);
    let mut session = Session::open(global).await?;
    let fleet = fleet(&mut session).await?;
    let records = session.list("targets").await?;
    let chosen = chosen(&mut session, &records, &args.what).await?;
    let (leaves, stays) = effect(&records, &fleet, &chosen)?;
    if !screen.is_json() {
        screen.raw(&format!("{}\n", act::lift(&screen, &leaves, &stays)));
    }
    if args.dry_run {
        if screen.is_json() {
            screen.value(&Asked {
                dry_run: true,
                request: None,
                leaves,
                stays,
            });
        }
        return Ok(());
    }
    ask::confirm(global, "Ask for this lift? Others must approve it.")?;
    let policies = policies(&mut session).await?;
    let request = RequestId::from_random(random()?);
    let body = Body::RequestMake(RequestMake {
        request,
        act: Act::Lift { targets: chosen },
    });
    let said = session.say(body, vec![]).await?;
    let record = session.find("requests", &request.to_string()).await?;
    let view = RequestView::read(&record, &policies)?;
    if screen.is_json() {
        let asked = Asked {
            dry_run: false,
            request: Some(view),
            leaves,
            stays,
        };
        screen.recorded(&asked, &[said]);
    } else {
        screen.changed(&view, &[said]);
    }
    Ok(())
}

async fn chosen(session: &mut Session, records: &[Record], what: &What) -> Outcome<Vec<TargetId>> {
    let mut chosen = Vec::new();
    if let Some(typed) = &what.hold {
        let hold = session.find("holds", typed).await?.id;
        for record in records {
            let target: HeldTarget = record.parse()?;
            if target.hold.to_string() == hold && target.state.holds() {
                chosen.push(target.wish.target);
            }
        }
        if chosen.is_empty() {
            return Err(Trouble::refused(
                "hold.lifted",
                format!("Nothing of {hold} holds any more. Nothing needs lifting."),
            ));
        }
    }
    for typed in &what.targets {
        chosen.push(session.find("targets", typed).await?.id()?);
    }
    chosen.sort_unstable();
    chosen.dedup();
    Ok(chosen)
}

/// What a lift of these targets frees and what stays held, and by what.
///
/// A place whose path is not shown counts as covering everything on its server: in doubt, held.
pub(crate) fn effect(
    records: &[Record],
    fleet: &Fleet,
    chosen: &[TargetId],
) -> Outcome<(Vec<TargetView>, Vec<Stays>)> {
    let mut all = Vec::new();
    for record in records {
        all.push((record, record.parse::<HeldTarget>()?));
    }
    let (mut leaves, mut stays) = (Vec::new(), Vec::new());
    for (record, target) in all.iter().filter(|(_, t)| chosen.contains(&t.wish.target)) {
        let ours = record.raw(&target.wish.path);
        let others = all.iter().filter(|(_, other)| {
            other.state.holds()
                && other.wish.agent == target.wish.agent
                && !chosen.contains(&other.wish.target)
        });
        let because: Vec<_> = others
            .filter_map(|(record, other)| {
                let theirs = record.raw(&other.wish.path);
                let covers = match (ours, theirs) {
                    (Some(ours), Some(theirs)) if scope::covers(theirs, ours) => "whole",
                    (Some(ours), Some(theirs)) if scope::covers(ours, theirs) => "part",
                    (Some(_), Some(_)) => return None,
                    _ => "unknown",
                };
                Some(Reason {
                    hold: other.hold.to_string(),
                    target: other.wish.target.to_string(),
                    path: record.text(&other.wish.path),
                    holding: other.holding,
                    covers,
                })
            })
            .collect();
        if !because.is_empty() {
            stays.push(Stays {
                target: target.wish.target.to_string(),
                path: record.text(&target.wish.path),
                agent: target.wish.agent.to_string(),
                because,
            });
        }
        leaves.push(TargetView::read(record, fleet)?);
    }
    Ok((leaves, stays))
}
