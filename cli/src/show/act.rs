//! What is asked for, in sentences: shown before anyone signs.

use custody::house::regime::Holding;

use super::{Screen, claim::ClaimView, hold::TargetView, snapshot::SnapshotView, text};

/// What a release would hand out.
pub fn release(screen: &Screen, claim: &ClaimView, parts: &[(SnapshotView, u64)]) -> String {
    let mut out = format!(
        "RELEASE a copy of held files to the owner who made claim {}.\n",
        screen.id(&claim.id)
    );
    for item in &claim.items {
        let value = item.value.as_deref().unwrap_or("(not shown to your roles)");
        let selector = super::word::Word::word(&item.selector);
        out.push_str(&format!("  claimed: {selector} {}\n", text::plain(value)));
    }
    if let Some(recipient) = &claim.recipient {
        out.push_str(&format!("  encrypted to: {}\n", text::plain(recipient)));
    }
    out.push_str(match claim.sworn {
        true => "  the claimant swore to it\n",
        false => "  the claimant did NOT swear to it\n",
    });
    for (snapshot, rows) in parts {
        let server = snapshot.agent_name.as_deref().unwrap_or(&snapshot.agent);
        out.push_str(&format!(
            "  {} of {} in snapshot {} on {}\n",
            text::count(*rows, "row"),
            snapshot.sealed.as_ref().map_or(0, |sealed| sealed.rows),
            screen.id(&snapshot.id),
            text::plain(server),
        ));
    }
    if claim.excluded > 0 {
        let kept = text::count(claim.excluded, "matching row");
        out.push_str(&format!(
            "  {kept} stay back: they are on an exclusion list\n"
        ));
    }
    out.push_str("The evidence stays held; the owner gets a copy.");
    out
}

/// One place with what else holds it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Stays {
    /// The target whose reason would go.
    pub target: String,
    /// Where; absent when not shown.
    pub path: Option<String>,
    /// The server's id.
    pub agent: String,
    /// What else stands on it.
    pub because: Vec<Reason>,
}

/// A reason that stays.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Reason {
    /// The hold.
    pub hold: String,
    /// Its target.
    pub target: String,
    /// Where that stands; absent when not shown.
    pub path: Option<String>,
    /// What that hold does: `freeze`, or `preserve`, which keeps a copy while the living files
    /// may change.
    pub holding: Holding,
    /// `whole`, `part`, or `unknown` where a path is not shown, which counts as held.
    pub covers: &'static str,
}

/// What a lift would free and what stays.
pub fn lift(screen: &Screen, leaves: &[TargetView], stays: &[Stays]) -> String {
    let mut out = format!(
        "LIFT the hold from {}.\n",
        text::count(leaves.len() as u64, "target")
    );
    for target in leaves {
        let path = target
            .path
            .as_deref()
            .unwrap_or("(not shown to your roles)");
        let server = target.agent_name.as_deref().unwrap_or(&target.agent);
        let id = screen.id(&target.id);
        out.push_str(&format!(
            "  {id} {} on {}",
            text::plain(path),
            text::plain(server)
        ));
        match stays.iter().find(|stay| stay.target == target.id) {
            None => out.push_str(": FREE afterwards, nothing else holds it\n"),
            Some(stay) => {
                out.push_str(": stays held\n");
                for reason in &stay.because {
                    let hold = screen.id(&reason.hold);
                    let covers = match reason.covers {
                        "whole" => "all of it",
                        "part" => "a part of it",
                        _ => "in doubt, all of it",
                    };
                    let how = match reason.holding {
                        Holding::Freeze => "in place",
                        Holding::Preserve => "as a copy; the living files may change",
                    };
                    out.push_str(&format!("      by hold {hold}: {covers}, {how}\n"));
                }
            }
        }
    }
    out.push_str("What is free may be changed or deleted by anyone who has access.");
    out
}
