//! `hold lift`: asks for a lift, of whole targets or of parts, and says first what would leave and
//! what stays, and why. What is signed is what was shown.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};

use clap::Args;
use custody::{
    house::{
        act::{Act, MOST_LEAVE, Narrowing},
        approval::{Policies, Policy},
        hold::{HeldTarget, MOST_TARGETS},
        scope,
    },
    id::{RequestId, TargetId},
    statement::{Body, RequestMake},
    time::Span,
};
use proto::v1;
use serde::Serialize;

use super::{
    effect::{Wish, effect},
    fleet, policies,
};
use crate::{
    args::Global,
    connect::patient,
    exit::{Outcome, Trouble},
    records::Record,
    session::{Session, commit, now, random},
    show::{
        Screen, View as _,
        act::{self, Counted, Effect},
        ask,
        place::Unresolved,
        request::RequestView,
        text,
    },
};

/// What is to be lifted.
#[derive(Debug, Args)]
#[group(required = true, multiple = false, id = "what")]
pub struct What {
    /// Every target of this hold that still holds.
    #[arg(long, value_name = "ID")]
    hold: Option<String>,
    /// These targets; repeat it.
    #[arg(long = "target", value_name = "ID")]
    targets: Vec<String>,
    /// What the exclusions of this order take out of its holds; with --narrowed.
    #[arg(long, value_name = "ID", requires = "narrowed")]
    order: Option<String>,
}

/// What `hold lift` takes.
#[derive(Debug, Args)]
pub struct Lift {
    /// What to lift.
    #[command(flatten)]
    what: What,
    /// Only these places below the hold or the targets; the rest stays held. Repeat it.
    #[arg(long = "path", value_name = "PATH", conflicts_with = "order")]
    paths: Vec<OsString>,
    /// Whole targets and parts of targets that the order was narrowed by.
    #[arg(long, requires = "order")]
    narrowed: bool,
    /// Only show what would leave and what would stay, counted by the servers, and until when it
    /// could be taken back.
    #[arg(long)]
    dry_run: bool,
}

/// What `hold lift` answers.
#[derive(Serialize)]
struct Asked {
    dry_run: bool,
    /// The first of `requests`.
    request: Option<RequestView>,
    requests: Vec<RequestView>,
    #[serde(flatten)]
    effect: Effect,
    counted: Vec<Counted>,
    unresolved: Vec<Unresolved>,
    /// When it can first be carried out, if it is asked for now: until it is, it can be taken back.
    cut_off: Option<String>,
}

/// Shows the plan, asks, and makes the requests.
pub async fn run(global: &Global, args: Lift) -> Outcome {
    let screen = Screen::new(global);
    let mut session = Session::open(global).await?;
    let fleet = fleet(&mut session).await?;
    let records = session.list("targets").await?;
    let asked = match &args.what.order {
        Some(typed) => v1::PlanLiftRequest {
            order: session.find("orders", typed).await?.id,
            targets: Vec::new(),
        },
        None => {
            let chosen = chosen(&mut session, &records, &args.what).await?;
            let paths = args.paths.into_iter().map(OsString::into_vec).collect();
            v1::PlanLiftRequest {
                order: String::new(),
                targets: wishes(&records, chosen, paths)?,
            }
        }
    };
    let plan = session.services.records.plan_lift(patient(asked)).await?;
    let plan = plan.into_inner();
    let policies = policies(&mut session).await?;
    let policy = policies.0.get("lift");
    let cut_off = policy.map(|policy| now() + Span::hours(i64::from(policy.notice_hours)));
    let wishes = plan.targets.iter().map(wish).collect::<Outcome<Vec<_>>>()?;
    let mut answer = Asked {
        dry_run: args.dry_run,
        request: None,
        requests: Vec::new(),
        effect: effect(&records, &fleet, &wishes)?,
        counted: plan.targets.iter().map(Counted::read).collect(),
        unresolved: plan.unresolved.into_iter().map(Into::into).collect(),
        cut_off: cut_off.map(|time| time.to_string()),
    };
    if !screen.is_json() {
        show(&screen, &answer, policy.zip(cut_off));
    }
    if wishes.is_empty() {
        return Err(Trouble::refused(
            "hold.nothing-leaves",
            "Nothing would leave: what the order was narrowed by is not held under it, or has \
             left already. Look at the order's exclusions with `holdfast order show`.",
        ));
    }
    if args.dry_run {
        if screen.is_json() {
            screen.value(&answer);
        }
        return Ok(());
    }
    ask::confirm(global, "Ask for this lift? Others must approve it.")?;
    ask_for(&mut session, &screen, &policies, &wishes, &mut answer).await
}

fn show(screen: &Screen, answer: &Asked, cut_off: Option<(&Policy, custody::time::Time)>) {
    if !answer.counted.is_empty() {
        let plan = act::lift(screen, &answer.effect, &answer.counted);
        screen.raw(&format!("{plan}\n"));
    }
    if let Some((policy, time)) = cut_off {
        screen.raw(&format!(
            "Asked for now, it is carried out at {} at the earliest, once {} have approved. Until \
             it is, who asked takes it back with `holdfast reject`; from then on it is final.\n",
            text::time(&time),
            match policy.approvals {
                1 => "1 person".to_owned(),
                n => format!("{n} people"),
            },
        ));
    }
    if !answer.unresolved.is_empty() {
        screen.list(&answer.unresolved);
    }
}

fn wish(planned: &v1::PlannedLift) -> Outcome<Wish> {
    let target = planned.target.parse().map_err(|_| {
        Trouble::failed(
            "strange-answer",
            "The coordinator's plan cannot be read. Use the tool of its version.",
        )
    })?;
    let leave = planned.leave.iter().map(|place| Some(place.to_vec()));
    Ok(Wish {
        target,
        leave: leave.collect(),
    })
}

/// Makes the requests: for what leaves whole, and for parts.
async fn ask_for(
    session: &mut Session,
    screen: &Screen,
    policies: &Policies,
    wishes: &[Wish],
    answer: &mut Asked,
) -> Outcome {
    let whole = wishes.iter().filter(|wish| wish.leave.is_empty());
    let whole: Vec<_> = whole.map(|wish| wish.target).collect();
    let mut acts = Vec::new();
    for targets in whole.chunks(MOST_TARGETS) {
        let targets = targets.to_vec();
        acts.push((Act::Lift { targets }, Vec::new()));
    }
    for part in portions(wishes) {
        let mut openings = Vec::new();
        let mut targets = Vec::new();
        for (target, places) in part {
            let mut leave = Vec::new();
            for place in places {
                leave.push(commit(&mut openings, "path", place)?);
            }
            targets.push(Narrowing { target, leave });
        }
        acts.push((Act::Narrow { targets }, openings));
    }
    let mut said = Vec::new();
    for (act, openings) in acts {
        let request = RequestId::from_random(random()?);
        let body = Body::RequestMake(RequestMake { request, act });
        said.push(session.say(body, openings).await?);
        let record = session.find("requests", &request.to_string()).await?;
        answer.requests.push(RequestView::read(&record, policies)?);
    }
    answer.request = answer.requests.first().cloned();
    if !screen.is_json() {
        for view in &answer.requests {
            screen.pairs(&view.lines(screen));
        }
    }
    screen.recorded(answer, &said);
    Ok(())
}

type Portion = Vec<(TargetId, Vec<Vec<u8>>)>;

/// Cuts what leaves in parts into portions that fit into one request each.
fn portions(wishes: &[Wish]) -> Vec<Portion> {
    let (mut all, mut portion, mut places) = (Vec::new(), Portion::new(), 0);
    for wish in wishes {
        let leave: Vec<Vec<u8>> = wish.leave.iter().flatten().cloned().collect();
        for some in leave.chunks(MOST_LEAVE) {
            if places + some.len() > MOST_LEAVE || portion.len() == MOST_TARGETS {
                all.push(std::mem::take(&mut portion));
                places = 0;
            }
            places += some.len();
            portion.push((wish.target, some.to_vec()));
        }
    }
    if !portion.is_empty() {
        all.push(portion);
    }
    all
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

/// What leaves of the chosen targets: all, or only these places. A place is of every chosen
/// target that it lies in.
fn wishes(
    records: &[Record],
    chosen: Vec<TargetId>,
    paths: Vec<Vec<u8>>,
) -> Outcome<Vec<v1::PlannedLift>> {
    let mut wishes = Vec::new();
    let mut placed = vec![false; paths.len()];
    for target in chosen {
        let id = target.to_string();
        let mut leave = Vec::new();
        if !paths.is_empty() {
            let Some(record) = records.iter().find(|record| record.id == id) else {
                continue;
            };
            let known: HeldTarget = record.parse()?;
            let whole = record.raw(&known.wish.path).unwrap_or_default();
            let mut all = false;
            for (path, placed) in paths.iter().zip(&mut placed) {
                let inside = !whole.is_empty() && scope::covers(whole, path);
                *placed |= inside;
                all |= inside && scope::covers(path, whole);
                if inside {
                    leave.push(path.clone().into());
                }
            }
            if leave.is_empty() {
                continue;
            }
            if all {
                leave.clear();
            }
        }
        wishes.push(v1::PlannedLift {
            target: id,
            leave,
            weighed: None,
        });
    }
    if let Some((path, _)) = paths.iter().zip(&placed).find(|(_, placed)| !**placed) {
        return Err(Trouble::refused(
            "hold.not-below",
            format!(
                "The path {} lies in nothing of this hold that is held. `holdfast hold show` says \
                 where it stands.",
                text::plain(&text::bytes(path))
            ),
        ));
    }
    Ok(wishes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_into_requests_that_fit_and_none_is_lost() {
        let wish = |n: u8, places: usize| Wish {
            target: TargetId::from_random([n; 16]),
            leave: (0..places).map(|at| Some(vec![at as u8])).collect(),
        };
        let wishes = [wish(1, 0), wish(2, 700), wish(3, 299), wish(4, 2)];
        let portions = portions(&wishes);
        let sizes = portions.iter().map(|part| {
            let places = part.iter().map(|(_, places)| places.len());
            places.sum::<usize>()
        });
        assert_eq!(sizes.collect::<Vec<_>>(), [500, 499, 2]);
        let many: Vec<_> = (0..=255).map(|n| wish(n, 1)).collect();
        let many = [many.clone(), many].concat();
        let sizes = self::portions(&many);
        assert_eq!(sizes.iter().map(Vec::len).collect::<Vec<_>>(), [300, 212]);
    }
}
