//! What a lift or a narrowing would free, and what stays held, and by what. Pure: it reads records
//! and asks nobody.

use std::collections::BTreeSet;

use custody::{
    commit::Commitment,
    house::{act::Act, hold::HeldTarget, scope},
    id::TargetId,
};

use crate::{
    exit::Outcome,
    records::Record,
    show::{
        act::{Effect, PartView, Reason, Stays},
        hold::{Fleet, TargetView},
        text,
    },
};

/// What is to leave one target. A place that cannot be opened is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Which target.
    pub(crate) target: TargetId,
    /// Places below it; none: all of it.
    pub(crate) leave: Vec<Option<Vec<u8>>>,
}

impl Wish {
    /// All of a target.
    pub(crate) const fn whole(target: TargetId) -> Self {
        let leave = Vec::new();
        Self { target, leave }
    }

    /// What a request asks for, as its record opens it; nothing for a release.
    pub(crate) fn of(act: &Act, record: &Record) -> Vec<Self> {
        match act {
            Act::Release { .. } => Vec::new(),
            Act::Lift { targets } => targets.iter().copied().map(Self::whole).collect(),
            Act::Narrow { targets } => {
                let open = |place: &Commitment| record.raw(place).map(<[u8]>::to_vec);
                let wish = |one: &custody::house::act::Narrowing| Self {
                    target: one.target,
                    leave: one.leave.iter().map(open).collect(),
                };
                targets.iter().map(wish).collect()
            }
        }
    }
}

/// A target beside its record, with what approvals took out of it or this request would.
struct Known<'a> {
    record: &'a Record,
    target: HeldTarget,
    out: Vec<&'a [u8]>,
    /// It is to be lifted whole.
    goes: bool,
}

impl Known<'_> {
    /// How much of a place this target goes on holding: `whole`, `part`, `unknown` or nothing.
    fn covers(&self, place: Option<&[u8]>) -> Option<&'static str> {
        let (Some(place), Some(own)) = (place, self.record.raw(&self.target.wish.path)) else {
            return Some("unknown");
        };
        if self.out.iter().any(|out| scope::covers(out, place)) {
            return None;
        }
        match (scope::covers(own, place), scope::covers(place, own)) {
            // A part of the place has left it.
            (true, _) if self.out.iter().any(|out| scope::covers(place, out)) => Some("part"),
            (true, _) => Some("whole"),
            (false, true) => Some("part"),
            (false, false) => None,
        }
    }
}

/// What these wishes free and what stays held, and by what.
///
/// A place whose path is not shown counts as covering everything on its server: in doubt, held.
pub(crate) fn effect(records: &[Record], fleet: &Fleet, wishes: &[Wish]) -> Outcome<Effect> {
    let whole: BTreeSet<_> = wishes
        .iter()
        .filter(|wish| wish.leave.is_empty())
        .map(|wish| wish.target)
        .collect();
    let mut all = Vec::new();
    for record in records {
        let target: HeldTarget = record.parse()?;
        let id = target.wish.target;
        let gone = target.left.iter().chain(&target.leaving);
        let gone = gone.filter_map(|place| record.raw(place));
        let wished = wishes.iter().filter(|wish| wish.target == id);
        let wished = wished.flat_map(|wish| wish.leave.iter().flatten());
        all.push(Known {
            out: gone.chain(wished.map(Vec::as_slice)).collect(),
            goes: whole.contains(&id),
            record,
            target,
        });
    }
    let mut effect = Effect::default();
    for wish in wishes {
        let Some(known) = all
            .iter()
            .find(|known| known.target.wish.target == wish.target)
        else {
            continue;
        };
        let view = TargetView::read(known.record, fleet)?;
        let places: Vec<Option<&[u8]>> = match wish.leave.as_slice() {
            [] => vec![known.record.raw(&known.target.wish.path)],
            parts => parts.iter().map(Option::as_deref).collect(),
        };
        for place in &places {
            let because = because(&all, known, *place);
            if !because.is_empty() {
                effect.stays.push(Stays {
                    target: view.id.clone(),
                    path: place.map(text::bytes),
                    agent: view.agent.clone(),
                    because,
                });
            }
        }
        if wish.leave.is_empty() {
            effect.leaves.push(view);
        } else {
            effect.parts.extend(places.iter().map(|place| PartView {
                target: view.id.clone(),
                hold: view.hold.clone(),
                agent: view.agent.clone(),
                agent_name: view.agent_name.clone(),
                path: place.map(text::bytes),
            }));
        }
    }
    Ok(effect)
}

/// What else goes on holding a place of a target.
fn because(all: &[Known<'_>], ours: &Known<'_>, place: Option<&[u8]>) -> Vec<Reason> {
    let others = all.iter().filter(|other| {
        other.target.state.holds()
            && !other.goes
            && other.target.wish.agent == ours.target.wish.agent
            && other.target.wish.target != ours.target.wish.target
    });
    let reasons = others.filter_map(|other| {
        Some(Reason {
            covers: other.covers(place)?,
            hold: other.target.hold.to_string(),
            target: other.target.wish.target.to_string(),
            path: other.record.text(&other.target.wish.path),
            holding: other.target.holding,
        })
    });
    reasons.collect()
}
