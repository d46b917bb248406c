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

/// A part that leaves a target.
#[derive(Clone, Debug, serde::Serialize)]
pub struct PartView {
    /// The target that it leaves.
    pub target: String,
    /// The hold it leaves.
    pub hold: String,
    /// The server's id.
    pub agent: String,
    /// The server's name.
    pub agent_name: Option<String>,
    /// Where; absent when not shown.
    pub path: Option<String>,
}

/// What a lift, a narrowing or both free, and what stays.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Effect {
    /// Targets that leave whole.
    pub leaves: Vec<TargetView>,
    /// Parts that leave targets.
    pub parts: Vec<PartView>,
    /// Those of both that other reasons go on holding.
    pub stays: Vec<Stays>,
}

/// What leaves a target and what stays, counted by its server.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Counted {
    /// The target.
    pub target: String,
    /// Files that leave it; absent, as all below, where its server did not count.
    pub leaving_files: Option<u64>,
    /// Their bytes.
    pub leaving_bytes: Option<u64>,
    /// Files of those that another reason goes on holding.
    pub kept_files: Option<u64>,
    /// Their bytes.
    pub kept_bytes: Option<u64>,
    /// Files that stay under this reason.
    pub staying_files: Option<u64>,
    /// Their bytes.
    pub staying_bytes: Option<u64>,
}

impl Counted {
    /// Reads what a server counted.
    pub fn read(planned: &proto::v1::PlannedLift) -> Self {
        let weighed = planned.weighed.as_ref();
        Self {
            target: planned.target.clone(),
            leaving_files: weighed.map(|w| w.leaving_files),
            leaving_bytes: weighed.map(|w| w.leaving_bytes),
            kept_files: weighed.map(|w| w.kept_files),
            kept_bytes: weighed.map(|w| w.kept_bytes),
            staying_files: weighed.map(|w| w.staying_files),
            staying_bytes: weighed.map(|w| w.staying_bytes),
        }
    }

    fn line(&self) -> String {
        let of = |files: Option<u64>, bytes: Option<u64>| {
            let files = files.map(|files| text::count(files, "file"));
            files
                .zip(bytes.map(text::size))
                .map(|(files, bytes)| format!("{files}, {bytes}"))
        };
        let leaving = of(self.leaving_files, self.leaving_bytes);
        let kept = of(self.kept_files, self.kept_bytes);
        let staying = of(self.staying_files, self.staying_bytes);
        match (leaving, kept, staying) {
            (Some(leaving), Some(kept), Some(staying)) => format!(
                "counted: {leaving} leave this reason, {kept} of them held by others; {staying} stay"
            ),
            _ => "counted: unknown, for its server did not count".to_owned(),
        }
    }
}

/// What is free, and what stays by what, of one place.
fn fate(screen: &Screen, stay: Option<&Stays>) -> String {
    let Some(stay) = stay else {
        return ": FREE afterwards, nothing else holds it\n".to_owned();
    };
    let mut out = ": stays held\n".to_owned();
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
    out
}

/// What a lift or a narrowing would free, what stays and why, and how much of each where it was
/// counted.
pub fn lift(screen: &Screen, effect: &Effect, counted: &[Counted]) -> String {
    const HIDDEN: &str = "(not shown to your roles)";
    let Effect {
        leaves,
        parts,
        stays,
    } = effect;
    let mut out = String::new();
    if !leaves.is_empty() {
        let targets = text::count(leaves.len() as u64, "target");
        out.push_str(&format!("LIFT the hold from {targets}.\n"));
    }
    for target in leaves {
        let path = target.path.as_deref().unwrap_or(HIDDEN);
        let server = target.agent_name.as_deref().unwrap_or(&target.agent);
        let id = screen.id(&target.id);
        let (path, server) = (text::plain(path), text::plain(server));
        let stay = stays.iter().find(|stay| stay.target == target.id);
        out.push_str(&format!("  {id} {path} on {server}{}", fate(screen, stay)));
        let counted = counted.iter().filter(|counted| counted.target == target.id);
        counted.for_each(|counted| out.push_str(&format!("      {}\n", counted.line())));
    }
    let mut narrowed: Vec<_> = parts.iter().map(|part| part.target.as_str()).collect();
    narrowed.dedup();
    if !narrowed.is_empty() {
        let places = text::count(parts.len() as u64, "place");
        let targets = text::count(narrowed.len() as u64, "target");
        out.push_str(&format!(
            "NARROW {targets}: {places} leave, the rest stays held.\n"
        ));
    }
    for target in narrowed {
        let ours = || parts.iter().filter(|part| part.target == target);
        let server = ours()
            .next()
            .map(|part| part.agent_name.as_ref().unwrap_or(&part.agent));
        let server = server.map(|server| text::plain(server)).unwrap_or_default();
        out.push_str(&format!("  {} on {server}\n", screen.id(&target)));
        for part in ours() {
            let path = text::plain(part.path.as_deref().unwrap_or(HIDDEN));
            let same = |stay: &&Stays| stay.target == target && stay.path == part.path;
            let fate = fate(screen, stays.iter().find(same));
            out.push_str(&format!("    leaves: {path}{fate}"));
        }
        let counted = counted.iter().filter(|counted| counted.target == target);
        counted.for_each(|counted| out.push_str(&format!("    {}\n", counted.line())));
    }
    out.push_str("What is free may be changed or deleted by anyone who has access.");
    out
}
