//! Decides: may this statement stand? The one place where every rule is asked.

use super::{
    House, Openings,
    act::Act,
    approval::Policies,
    claim, hold,
    order::{self, Status},
    person::{self, Person, Role},
    refusal::{Refusal, conflict, forbidden, invalid, unknown},
    release, scope, snapshot,
    tasks::Due,
};
use crate::{
    commit::Commitment,
    digest::Digest,
    id::AgentId,
    ledger::chain::{self, ChainError},
    sign::PublicKey,
    statement::{Author, Body, Statement, VERSION},
    time::Time,
};

/// What surrounds a statement when it is decided.
pub struct Context<'a> {
    /// When the coordinator received it.
    pub received: Time,
    /// Leaf hash of its entry.
    pub leaf: Digest,
    /// SHA-256 of its entry's bytes: what the agent's next entry names as `prev`.
    pub entry: Digest,
    /// What the commitments stand for.
    pub openings: &'a dyn Openings,
}

/// A statement that may stand, with what `apply` needs. Only [`decide`] makes one, and
/// [`House::recorded`] for what stands in the ledger already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub(super) statement: Statement,
    pub(super) received: Time,
    pub(super) leaf: Digest,
    pub(super) entry: Digest,
    /// For a release that is carried out: the agent that has the bytes.
    pub(super) agent: Option<AgentId>,
    /// For an agent's statement that a rule turned down: the rule. It stands in the log, for the
    /// agent's chain has no gaps, and changes nothing else.
    pub(super) void: Option<Refusal>,
}

impl Accepted {
    /// The statement.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Why an agent's statement is recorded without effect, if it is.
    pub fn void(&self) -> Option<&Refusal> {
        self.void.as_ref()
    }
}

impl House {
    /// The key that an author's signature must be made with.
    pub fn key_of(&self, statement: &Statement) -> Result<PublicKey, Refusal> {
        match (&statement.author, &statement.body, &self.opened) {
            (Author::Coordinator, Body::LogOpened(opened), None) => Ok(opened.coordinator.clone()),
            (Author::Coordinator, _, Some(opened)) => Ok(opened.coordinator.clone()),
            (Author::Person(id), _, _) => Ok(self.person(id)?.key.clone()),
            (Author::Agent(id), _, _) => {
                let agent = self.agents.get(id).ok_or_else(|| unknown(id))?;
                let enrolment = agent.enrolment.as_ref().ok_or_else(|| not_enrolled(id))?;
                Ok(enrolment.key.clone())
            }
            _ => Err(conflict(
                "log.not-opened",
                "The log has not been opened",
                "Run init first",
            )),
        }
    }

    fn person(&self, id: &crate::id::PersonId) -> Result<&Person, Refusal> {
        self.persons.get(id).ok_or_else(|| unknown(id))
    }

    pub(super) fn target_of(
        &self,
        agent: &AgentId,
        target: &crate::id::TargetId,
    ) -> Result<&hold::HeldTarget, Refusal> {
        let found = self.targets.get(target).filter(|t| t.wish.agent == *agent);
        found.ok_or_else(|| unknown(target))
    }

    fn key_is_free(&self, key: &PublicKey) -> Result<(), Refusal> {
        let bytes = key.ed25519_bytes();
        let taken = self
            .persons
            .values()
            .any(|p| p.key.ed25519_bytes() == bytes)
            || self.agents.values().any(|a| {
                a.enrolment
                    .as_ref()
                    .is_some_and(|e| e.key.ed25519_bytes() == bytes)
            })
            || self
                .opened
                .as_ref()
                .is_some_and(|o| o.coordinator.ed25519_bytes() == bytes);
        if taken {
            return Err(conflict(
                "key.in-use",
                "This key belongs to somebody already: one key is one person",
                "Make a new key with ssh-keygen",
            ));
        }
        Ok(())
    }
}

fn not_enrolled(id: &AgentId) -> Refusal {
    forbidden(
        "agent.not-enrolled",
        format!("{id} is not enrolled"),
        "Enrol it with a token",
    )
}

fn fresh<K: Ord + std::fmt::Display, V>(
    map: &std::collections::BTreeMap<K, V>,
    id: &K,
) -> Result<(), Refusal> {
    if map.contains_key(id) {
        return Err(conflict(
            "id.in-use",
            format!("{id} is here already"),
            "Use a fresh id",
        ));
    }
    Ok(())
}

/// Decides whether a statement, whose signature was checked against [`House::key_of`], may stand.
pub fn decide(house: &House, statement: Statement, context: &Context) -> Result<Accepted, Refusal> {
    if statement.v != VERSION {
        return Err(invalid(
            "statement.version",
            format!("Statement version {} is not understood", statement.v),
            "Use the tool of the coordinator's version",
        ));
    }
    if let Some(opened) = house.opened.as_ref()
        && opened.origin != statement.log
    {
        return Err(conflict(
            "statement.other-log",
            "The statement was signed for another log",
            "Check which coordinator the profile names",
        ));
    }
    let (mut agent, mut void) = (None, None);
    match &statement.author {
        Author::Person(id) => by_person(house, id, &statement, context)?,
        Author::Agent(id) => {
            follows(house, id, &statement, context)?;
            void = by_agent(house, id, &statement).err();
        }
        Author::Coordinator => agent = by_coordinator(house, &statement, context)?,
    }
    Ok(Accepted {
        statement,
        received: context.received,
        leaf: context.leaf,
        entry: context.entry,
        agent,
        void,
    })
}

fn by_person(
    house: &House,
    id: &crate::id::PersonId,
    statement: &Statement,
    context: &Context,
) -> Result<(), Refusal> {
    let person = house.person(id)?;
    let kind = statement.body.kind();
    let allowed = person::may(kind);
    if person.retired || !person.has_any(allowed) {
        let who: Vec<_> = allowed.iter().map(ToString::to_string).collect();
        return Err(forbidden(
            "role",
            match who.is_empty() {
                true => format!("No person may say {kind}"),
                false => format!(
                    "Your roles do not allow {kind}; it takes {}",
                    who.join(" or ")
                ),
            },
            "Ask someone who has the role",
        ));
    }
    match &statement.body {
        Body::PersonAdd(new) => {
            fresh(&house.persons, &new.person)?;
            house.key_is_free(&new.key)?;
            if new.roles.is_empty() {
                return Err(invalid(
                    "person.no-roles",
                    "A person without a role could do nothing",
                    "Give at least one role",
                ));
            }
            Ok(())
        }
        Body::PersonRetire(gone) => {
            house.person(&gone.person)?;
            let admins = house.persons.values().filter(|p| p.has_any(&[Role::Admin]));
            if admins.map(|p| p.id).eq([gone.person]) {
                return Err(conflict(
                    "person.last-admin",
                    "This is the last administrator",
                    "Add another administrator first",
                ));
            }
            Ok(())
        }
        Body::AgentInvite(new) => match house.agents.get(&new.agent) {
            Some(agent) if agent.retired => Err(conflict(
                "agent.retired",
                "A retired agent does not come back under its old id",
                "Invite it as a new agent",
            )),
            _ if new.expires <= context.received => Err(invalid(
                "agent.invite-expired",
                "The invitation would already be over",
                "Give it a later end",
            )),
            _ => Ok(()),
        },
        Body::AgentRetire(gone) => {
            house
                .agents
                .get(&gone.agent)
                .ok_or_else(|| unknown(gone.agent))?;
            if house
                .targets
                .values()
                .any(|t| t.wish.agent == gone.agent && t.state.holds())
            {
                return Err(conflict(
                    "agent.holds",
                    "This agent still holds data",
                    "Lift its holds first, or move them",
                ));
            }
            Ok(())
        }
        Body::OrderAdd(new) => {
            fresh(&house.orders, &new.order)?;
            order::check(new, context.received)?;
            check_values(&new.scope, context.openings)?;
            known_agents(
                house,
                new.scope.iter().filter_map(|item| item.agent.as_ref()),
            )
        }
        Body::OrderExtend(more) => {
            let order = house
                .orders
                .get(&more.order)
                .ok_or_else(|| unknown(more.order))?;
            order.check_extend(more.received, more.beyond_regime)
        }
        Body::OrderNarrow(less) => {
            let order = house
                .orders
                .get(&less.order)
                .ok_or_else(|| unknown(less.order))?;
            order::check_items(&less.exclude)?;
            check_values(&less.exclude, context.openings)?;
            let excludes = less
                .exclude
                .iter()
                .all(|item| item.rule == scope::Rule::Exclude);
            let clash = less
                .exclude
                .iter()
                .any(|item| order.served.scope.iter().any(|old| old.item == item.item));
            if less.exclude.is_empty() || !excludes || clash {
                return Err(invalid(
                    "order.narrow",
                    "Narrowing excludes items and nothing else",
                    "Name what leaves the scope",
                ));
            }
            Ok(())
        }
        Body::OrderWithdraw(end) => {
            let order = house
                .orders
                .get(&end.order)
                .ok_or_else(|| unknown(end.order))?;
            if order.status == Status::Withdrawn {
                return Err(conflict(
                    "order.withdrawn",
                    "The order is withdrawn already",
                    "Nothing more is needed",
                ));
            }
            Ok(())
        }
        Body::HoldPlace(place) => check_place(house, place, context),
        Body::SnapshotTake(take) => {
            if take.snapshots.is_empty() || take.snapshots.len() > hold::MOST_TARGETS {
                return Err(invalid(
                    "snapshot.targets",
                    "Ask for between 1 and 300 snapshots at a time",
                    "Name targets that are held",
                ));
            }
            for wish in &take.snapshots {
                fresh(&house.snapshots, &wish.snapshot)?;
                let target = house
                    .targets
                    .get(&wish.target)
                    .ok_or_else(|| unknown(wish.target))?;
                if !target.state.holds() {
                    return Err(conflict(
                        "snapshot.not-held",
                        "Evidence is taken of what is held, and this target is not",
                        "Place a hold first",
                    ));
                }
            }
            Ok(())
        }
        Body::ClaimFile(new) => {
            fresh(&house.claims, &new.claim)?;
            if new.items.is_empty() || new.items.len() > claim::MOST_ITEMS {
                return Err(invalid(
                    "claim.items",
                    "A claim names between 1 and 200 items",
                    "Name accounts, paths or hashes",
                ));
            }
            if !new.sworn {
                return Err(invalid(
                    "claim.not-sworn",
                    "The claimant has not sworn to the claim",
                    "Have the statement sworn and file with --sworn",
                ));
            }
            known_agents(
                house,
                new.items.iter().filter_map(|item| item.agent.as_ref()),
            )
        }
        Body::ClaimWithdraw(end) => house
            .claims
            .get(&end.claim)
            .map(|_| ())
            .ok_or_else(|| unknown(end.claim)),
        Body::SubjectErase(gone) => {
            let theirs = |c: &&claim::Claim| c.filed.subject == gone.subject;
            if !house.claims.values().any(|c| theirs(&c)) {
                return Err(unknown(gone.subject));
            }
            let open = |c: &claim::Claim| c.status == claim::Status::Open;
            if house.claims.values().filter(theirs).any(open) {
                return Err(conflict(
                    "subject.claim-open",
                    "A claim of this subject is still open",
                    "Decide or withdraw the claim first",
                ));
            }
            Ok(())
        }
        Body::ListImport(list) => {
            let word = |text: &str| {
                (1..=64).contains(&text.len())
                    && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            };
            if !word(&list.list) || !word(&list.basis) || !(1..=500).contains(&list.hashes.len()) {
                return Err(invalid(
                    "list.import",
                    "A list has a short name and basis of letters, digits and hyphens, and 1 to \
                     500 hashes at a time",
                    "Split it into several imports",
                ));
            }
            Ok(())
        }
        Body::RequestMake(ask) => {
            fresh(&house.requests, &ask.request)?;
            house.policies()?.of(&ask.act)?;
            check_act(house, person, &ask.act, context.openings)
        }
        Body::Approve(vote) => {
            let request = house
                .requests
                .get(&vote.request)
                .ok_or_else(|| unknown(vote.request))?;
            let policy = house.policies()?.of(&request.act)?;
            request.check_vote(
                person,
                policy,
                &vote.entry,
                &vote.act,
                vote.expires,
                context.received,
            )
        }
        Body::Reject(vote) => {
            let request = house
                .requests
                .get(&vote.request)
                .ok_or_else(|| unknown(vote.request))?;
            if request.leaf != vote.entry {
                return Err(conflict(
                    "approval.other-request",
                    "The rejection was signed for something else",
                    "Read the request again",
                ));
            }
            request.check_open()
        }
        _ => Err(forbidden(
            "role",
            format!("No person may say {kind}"),
            "Nothing to do",
        )),
    }
}

fn known_agents<'a>(
    house: &House,
    agents: impl Iterator<Item = &'a AgentId>,
) -> Result<(), Refusal> {
    for agent in agents {
        house.agents.get(agent).ok_or_else(|| unknown(agent))?;
    }
    Ok(())
}

fn check_values(items: &[scope::ScopeItem], openings: &dyn Openings) -> Result<(), Refusal> {
    for item in items
        .iter()
        .filter(|item| item.selector == scope::Selector::Path)
    {
        let path = item.value.as_ref().and_then(|value| openings.open(value));
        if !path.as_deref().is_some_and(scope::is_plain_path) {
            return Err(not_plain());
        }
    }
    Ok(())
}

fn not_plain() -> Refusal {
    invalid(
        "scope.path",
        "A path must be absolute and have no empty, `.` or `..` parts",
        "Write it as the server knows it, for example /srv/data/alice",
    )
}

fn check_place(
    house: &House,
    place: &crate::statement::HoldPlace,
    context: &Context,
) -> Result<(), Refusal> {
    fresh(&house.holds, &place.hold)?;
    let order = house
        .orders
        .get(&place.order)
        .ok_or_else(|| unknown(place.order))?;
    if order.status == Status::Withdrawn {
        return Err(conflict(
            "order.withdrawn",
            "The order was withdrawn and cannot back a hold",
            "Register the order that now applies",
        ));
    }
    if place.targets.is_empty() || place.targets.len() > hold::MOST_TARGETS {
        return Err(invalid(
            "hold.targets",
            "The scope matches nothing on any server, or more than 300 places",
            "Check the accounts, paths and servers that the order names",
        ));
    }
    for (at, target) in place.targets.iter().enumerate() {
        fresh(&house.targets, &target.target)?;
        if place.targets[..at]
            .iter()
            .any(|other| other.target == target.target)
        {
            return Err(conflict(
                "id.in-use",
                "A target is named twice",
                "Use fresh ids",
            ));
        }
        let agent = house
            .agents
            .get(&target.agent)
            .ok_or_else(|| unknown(target.agent))?;
        if agent.retired {
            return Err(conflict(
                "agent.retired",
                "The agent is retired",
                "Name a server that is in the fleet",
            ));
        }
        let path = context.openings.open(&target.path).ok_or_else(not_plain)?;
        if !scope::is_plain_path(&path) {
            return Err(not_plain());
        }
        let item = order
            .served
            .scope
            .iter()
            .find(|item| item.item == target.item);
        let item = item.filter(|item| item.rule == scope::Rule::Include);
        let fits = item.is_some_and(|item| {
            let server = item.agent.is_none_or(|agent| agent == target.agent);
            let place = match item.selector {
                scope::Selector::Path => item
                    .value
                    .as_ref()
                    .and_then(|value| context.openings.open(value))
                    .is_some_and(|named| scope::covers(&named, &path)),
                _ => true,
            };
            server && place
        });
        if !fits {
            return Err(conflict(
                "hold.out-of-scope",
                "A target lies outside what the order names",
                "Place the hold from the order's scope",
            ));
        }
    }
    Ok(())
}

fn check_act(
    house: &House,
    person: &Person,
    act: &Act,
    openings: &dyn Openings,
) -> Result<(), Refusal> {
    match act {
        Act::Release {
            release,
            claim,
            files,
        } => {
            if !person.has_any(&[Role::Claims]) {
                return Err(forbidden(
                    "role",
                    "Only a claims officer asks for a release",
                    "Ask someone who has the role",
                ));
            }
            fresh(&house.releases, release)?;
            house.may_release(openings, claim, files).map(|_| ())
        }
        Act::Lift { targets } => {
            if !person.has_any(&[Role::Legal]) {
                return Err(forbidden(
                    "role",
                    "Only legal counsel asks for a lift",
                    "Ask someone who has the role",
                ));
            }
            if targets.is_empty() || targets.len() > hold::MOST_TARGETS {
                return Err(invalid(
                    "hold.targets",
                    "A lift names between 1 and 300 targets",
                    "Split it into several requests",
                ));
            }
            for id in targets {
                let target = house.targets.get(id).ok_or_else(|| unknown(id))?;
                if !target.state.holds() {
                    return Err(conflict(
                        "hold.lifted",
                        format!("{id} is lifted already"),
                        "Leave it out",
                    ));
                }
            }
            Ok(())
        }
    }
}

/// Whether an agent's statement is the next of its chain. Only this keeps one out of the log.
fn follows(
    house: &House,
    id: &AgentId,
    statement: &Statement,
    context: &Context,
) -> Result<(), Refusal> {
    let agent = house.agents.get(id).ok_or_else(|| unknown(id))?;
    let enrolment = agent.enrolment.as_ref().ok_or_else(|| not_enrolled(id))?;
    if agent.retired {
        return Err(forbidden(
            "agent.retired",
            "The agent is retired",
            "Nothing to do",
        ));
    }
    let link = statement.link.as_ref().ok_or_else(|| {
        invalid(
            "agent.no-link",
            "An agent's statement needs its place in the chain",
            "Send it",
        )
    })?;
    chain::follow(&enrolment.head, link, &context.entry).map_err(|error| match error {
        ChainError::Duplicate => conflict(
            "agent.duplicate",
            "This is in the ledger already",
            "Go on with the next",
        ),
        error => conflict(
            "agent.chain",
            error.to_string(),
            "Look at the agent's findings",
        ),
    })
}

/// Asks every rule about what an agent says. None of them needs an opening or a clock.
pub(super) fn by_agent(house: &House, id: &AgentId, statement: &Statement) -> Result<(), Refusal> {
    let target = |target| house.target_of(id, target).map(|_| ());
    match &statement.body {
        Body::HoldAcknowledged(said) => target(&said.target),
        Body::HoldRaised(said) => target(&said.target),
        Body::HoldVerified(said) => {
            target(&said.target)?;
            if said.attempts == 0 || said.refused != said.attempts || said.writers != 0 {
                return Err(invalid(
                    "hold.not-proved",
                    "A hold is verified when attempts were made, all were refused and no writer \
                     is left",
                    "Report it as unproved",
                ));
            }
            Ok(())
        }
        Body::HoldUnproved(said) => target(&said.target),
        Body::HoldFailed(said) => target(&said.id),
        Body::HoldLowered(said) => {
            if house.target_of(id, &said.target)?.state != hold::State::Lifting {
                return Err(conflict(
                    "hold.not-lifting",
                    "Nobody has lifted this target",
                    "Raise it again",
                ));
            }
            Ok(())
        }
        Body::Finding(said) => said.target.as_ref().map_or(Ok(()), target),
        Body::SnapshotSealed(said) => own_snapshot(house, id, &said.snapshot),
        Body::SnapshotFailed(said) => own_snapshot(house, id, &said.id),
        Body::ReleasePacked(said) => own_release(house, id, &said.release),
        Body::ReleaseFailed(said) => own_release(house, id, &said.id),
        other => Err(forbidden(
            "role",
            format!("No agent may say {}", other.kind()),
            "Nothing to do",
        )),
    }
}

fn own_snapshot(house: &House, agent: &AgentId, id: &crate::id::SnapshotId) -> Result<(), Refusal> {
    let found = house
        .snapshots
        .get(id)
        .filter(|s| s.agent == *agent)
        .ok_or_else(|| unknown(id))?;
    if found.state != snapshot::State::Requested {
        return Err(conflict(
            "snapshot.done",
            "This snapshot is sealed already",
            "Go on",
        ));
    }
    Ok(())
}

fn own_release(house: &House, agent: &AgentId, id: &crate::id::ReleaseId) -> Result<(), Refusal> {
    let found = house
        .releases
        .get(id)
        .filter(|r| r.agent == *agent)
        .ok_or_else(|| unknown(id))?;
    if found.state != release::State::Ordered {
        return Err(conflict(
            "release.done",
            "This release is packed already",
            "Go on",
        ));
    }
    Ok(())
}

fn by_coordinator(
    house: &House,
    statement: &Statement,
    context: &Context,
) -> Result<Option<AgentId>, Refusal> {
    let not_now = |rule, why: &str| Err(conflict(rule, why, "Nothing to do"));
    match &statement.body {
        Body::LogOpened(opened) => {
            if house.opened.is_some() {
                return not_now("log.opened", "The log is open already");
            }
            check_policies(&opened.policies)?;
        }
        Body::AgentEnrolled(said) => {
            let agent = house
                .agents
                .get(&said.agent)
                .ok_or_else(|| unknown(said.agent))?;
            house.key_is_free(&said.key)?;
            let next = agent.enrolment.as_ref().map_or(0, |e| e.head.epoch + 1);
            let invited = agent
                .invitation
                .as_ref()
                .is_some_and(|i| context.received < i.expires);
            if agent.retired || !invited || said.epoch != next {
                return not_now(
                    "agent.no-invitation",
                    "There is no open invitation for this agent",
                );
            }
        }
        Body::AgentCertified(said) => {
            let agent = house
                .agents
                .get(&said.agent)
                .ok_or_else(|| unknown(said.agent))?;
            if agent.retired || agent.enrolment.is_none() {
                return Err(not_enrolled(&said.agent));
            }
        }
        Body::OrderExpired(said) => {
            if !house
                .due(context.received)
                .contains(&Due::Expire(said.order, said.ended))
            {
                return not_now("order.not-run-out", "The order's clock has not run out");
            }
        }
        Body::SnapshotReceived(said) => {
            let shot = house
                .snapshots
                .get(&said.snapshot)
                .ok_or_else(|| unknown(said.snapshot))?;
            if shot.state != snapshot::State::Sealed
                || shot
                    .sealed
                    .as_ref()
                    .is_none_or(|sealed| sealed.root != said.root)
            {
                return not_now(
                    "snapshot.not-sealed",
                    "The manifest is not the one that was sealed",
                );
            }
        }
        Body::ClaimMatched(said) => {
            let claim = house
                .claims
                .get(&said.claim)
                .ok_or_else(|| unknown(said.claim))?;
            let shot = house
                .snapshots
                .get(&said.snapshot)
                .ok_or_else(|| unknown(said.snapshot))?;
            let rows = shot.sealed.as_ref().map_or(0, |sealed| sealed.rows);
            if claim.status != claim::Status::Open
                || !said.rows.is_well_formed()
                || said.rows.end() > rows
                || said.lists != house.lists_revision
            {
                return not_now(
                    "claim.match",
                    "The match does not fit the claim or the snapshot",
                );
            }
        }
        Body::RequestExecuted(said) => {
            let request = house
                .requests
                .get(&said.request)
                .ok_or_else(|| unknown(said.request))?;
            request.check_open()?;
            house.check_due(request, context.received)?;
            let newest = request
                .votes
                .values()
                .map(|vote| vote.entry)
                .max()
                .unwrap_or(u64::MAX);
            if said.checkpoint <= newest {
                return not_now(
                    "approval.no-checkpoint",
                    "No checkpoint covers the approvals yet",
                );
            }
            if let Act::Release { claim, files, .. } = &request.act {
                return house.may_release(context.openings, claim, files).map(Some);
            }
        }
        Body::ReleaseSpooled(said) => {
            let found = house
                .releases
                .get(&said.release)
                .ok_or_else(|| unknown(said.release))?;
            if found.state != release::State::Packed {
                return not_now("release.not-packed", "The release is not packed");
            }
        }
        Body::ReleaseDelivered(said) => {
            let found = house
                .releases
                .get(&said.release)
                .ok_or_else(|| unknown(said.release))?;
            if !matches!(
                found.state,
                release::State::Spooled | release::State::Delivered
            ) {
                return not_now("release.not-spooled", "The parcel is not here yet");
            }
            house.may_release(context.openings, &found.claim, &found.files)?;
        }
        Body::Finding(_) | Body::Refused(_) => {}
        other => {
            return Err(forbidden(
                "role",
                format!("The coordinator may not say {}", other.kind()),
                "Nothing to do",
            ));
        }
    }
    Ok(None)
}

/// Checks the policies that a log is opened with.
pub fn check_policies(policies: &Policies) -> Result<(), Refusal> {
    for (word, policy) in &policies.0 {
        if policy.approvals < 2 || policy.roles.is_empty() {
            return Err(invalid(
                "approval.weak-policy",
                format!("The policy for {word} would let one person act alone"),
                "Demand at least two approvals and name the roles that count",
            ));
        }
    }
    Ok(())
}

/// The commitments a statement makes, so that what opens them can be demanded at the door.
pub fn commitments(body: &Body) -> Vec<Commitment> {
    match body {
        Body::LogOpened(b) => vec![b.name],
        Body::PersonAdd(b) => vec![b.name],
        Body::AgentInvite(b) => vec![b.name],
        Body::OrderAdd(b) => {
            let mut all = vec![b.authority, b.reference];
            all.extend(b.document);
            all.extend(b.scope.iter().filter_map(|item| item.value));
            all
        }
        Body::OrderExtend(b) => vec![b.reference],
        Body::OrderNarrow(b) => b.exclude.iter().filter_map(|item| item.value).collect(),
        Body::HoldPlace(b) => b.targets.iter().map(|target| target.path).collect(),
        Body::SnapshotSealed(b) => vec![b.key],
        Body::ClaimFile(b) => {
            let mut all = vec![b.recipient];
            all.extend(b.items.iter().map(|item| item.value));
            all
        }
        _ => Vec::new(),
    }
}
