//! Statements: everything that anyone may say to the house, in one place.
//!
//! A statement is written as RFC 8785 JSON, signed by its author and kept verbatim as a ledger
//! entry. It holds random ids, numbers, times and commitments; names, paths, accounts and
//! addresses never stand in one. What a statement means is decided in [`crate::house`].

use serde::{Deserialize, Serialize};

mod body;

pub use body::*;

use crate::{
    digest::Digest,
    house::{claim::Matched, order::NewOrder},
    id::{AgentId, CommandId, PersonId, ReleaseId, SnapshotId, TargetId},
    json::{self, JsonError},
    sign::Namespace,
    time::Time,
};

/// The version of statement that this house writes and understands.
pub const VERSION: u32 = 1;

/// Who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Author {
    /// A person, by id.
    Person(PersonId),
    /// An agent, by id.
    Agent(AgentId),
    /// The coordinator of this log.
    Coordinator,
}

/// The newest checkpoint its author had seen: the statement was not made before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Tree size.
    pub size: u64,
    /// Tree root.
    pub root: Digest,
}

/// Where an agent's statement stands in that agent's own hash chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Rises by one with each enrolment.
    pub epoch: u64,
    /// Position in the epoch, from 0 without a gap.
    pub seq: u64,
    /// SHA-256 of the agent's previous entry bytes; of nothing for the first of an epoch.
    pub prev: Digest,
    /// The kernel's boot id, hashed: a monotonic clock means nothing across boots.
    pub boot: Digest,
    /// The monotonic clock in nanoseconds, as a decimal string.
    pub monotonic_ns: String,
}

/// One statement: what is signed, hashed and kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// Format version, [`VERSION`].
    pub v: u32,
    /// The origin of the log it is meant for, so that it fits no other.
    pub log: String,
    /// Its own random id: sent twice, it is done once.
    pub id: CommandId,
    /// Who says it.
    pub author: Author,
    /// When its author says it was made.
    pub time: Time,
    /// The newest checkpoint its author had seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
    /// For agents: its place in the agent's chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<Link>,
    /// What is said.
    #[serde(flatten)]
    pub body: Body,
}

impl Statement {
    /// Writes the statement as the canonical text that is signed.
    pub fn to_text(&self) -> Result<String, JsonError> {
        json::canonical(self)
    }

    /// Reads a statement; anything but its one canonical form is refused.
    pub fn from_text(text: &str) -> Result<Self, JsonError> {
        json::parse(text)
    }

    /// The namespace its signature must carry.
    pub fn namespace(&self) -> Namespace {
        match (&self.author, &self.body) {
            (Author::Agent(_), _) => Namespace::Agent,
            (Author::Coordinator, _) => Namespace::Coordinator,
            (Author::Person(_), Body::Approve(_) | Body::Reject(_)) => Namespace::Approval,
            (Author::Person(_), _) => Namespace::Command,
        }
    }
}

macro_rules! bodies {
    ($($(#[$doc:meta])* $kind:literal $variant:ident($type:ty);)*) => {
        /// What is said, by kind.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "kind", content = "body")]
        pub enum Body {
            $($(#[$doc])* #[serde(rename = $kind)] $variant($type),)*
        }

        impl Body {
            /// The kind, as it is written in the statement.
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$variant(_) => $kind,)* }
            }

            /// Every kind there is.
            pub const KINDS: &'static [&'static str] = &[$($kind),*];
        }
    };
}

bodies! {
    /// The coordinator opens the log: always entry 0.
    "log.opened" LogOpened(LogOpened);
    /// An administrator adds a person.
    "person.add" PersonAdd(PersonAdd);
    /// An administrator retires a person; what he signed before stays valid.
    "person.retire" PersonRetire(PersonRetire);
    /// An administrator invites an agent with a one-time token.
    "agent.invite" AgentInvite(AgentInvite);
    /// An administrator retires an agent: its certificates are refused from here on.
    "agent.retire" AgentRetire(AgentRetire);
    /// An operator limits what an agent's reading may take of its host.
    "agent.limit" AgentLimit(AgentLimit);
    /// The coordinator enrolled an agent against its token.
    "agent.enrolled" AgentEnrolled(AgentEnrolled);
    /// The coordinator gave an enrolled agent a fresh certificate.
    "agent.certified" AgentCertified(AgentCertified);
    /// An order arrived.
    "order.add" OrderAdd(NewOrder);
    /// An order was renewed.
    "order.extend" OrderExtend(OrderExtend);
    /// An order was narrowed: these items are excluded from here on.
    "order.narrow" OrderNarrow(OrderNarrow);
    /// An order was withdrawn by who gave it. Nothing is freed by that alone.
    "order.withdraw" OrderWithdraw(OrderWithdraw);
    /// The coordinator notes that an order's clock has run out. Nothing is freed by that alone.
    "order.expired" OrderExpired(OrderExpired);
    /// An operator places a hold under an order.
    "hold.place" HoldPlace(HoldPlace);
    /// An agent has the target and is raising the hold.
    "hold.acknowledged" HoldAcknowledged(HoldAcknowledged);
    /// An agent raised the hold; it is not yet proved.
    "hold.raised" HoldRaised(HoldRaised);
    /// An agent proved the hold by attempt.
    "hold.verified" HoldVerified(HoldProof);
    /// An agent could not prove the hold: a writer is left or an attempt went through.
    "hold.unproved" HoldUnproved(HoldProof);
    /// An agent could not raise the hold.
    "hold.failed" HoldFailed(Trouble<TargetId>);
    /// An agent lowered a hold that the house had lifted.
    "hold.lowered" HoldLowered(HoldLowered);
    /// An agent freed places that the house had let go of a target, and holds the rest.
    "hold.narrowed" HoldNarrowed(HoldNarrowed);
    /// An agent or the coordinator found something that should not be.
    "finding" Finding(Finding);
    /// An agent read again all that a snapshot holds.
    "fixity.checked" FixityChecked(FixityChecked);
    /// An agent made a second copy, on other media, and checked it.
    "copy.made" CopyMade(CopyMade);
    /// An agent restored lost bytes from the second copy.
    "copy.repaired" CopyRepaired(CopyRepaired);
    /// A custodian asks for snapshots of targets.
    "snapshot.take" SnapshotTake(SnapshotTake);
    /// An agent sealed a snapshot's manifest.
    "snapshot.sealed" SnapshotSealed(SnapshotSealed);
    /// An agent could not take a snapshot.
    "snapshot.failed" SnapshotFailed(Trouble<SnapshotId>);
    /// The coordinator holds the manifest and has recomputed its root.
    "snapshot.received" SnapshotReceived(SnapshotReceived);
    /// A claims officer files an owner's claim.
    "claim.file" ClaimFile(ClaimFile);
    /// The coordinator matched a claim against one snapshot.
    "claim.matched" ClaimMatched(Matched);
    /// A claims officer withdraws a claim.
    "claim.withdraw" ClaimWithdraw(ClaimWithdraw);
    /// Legal has a subject's personal data erased: the key that opens it is destroyed.
    "subject.erase" SubjectErase(SubjectErase);
    /// Legal imports hashes that may never be released.
    "list.import" ListImport(ListImport);
    /// An operator asks whether a server, disk or path may be wiped.
    "clearance.ask" ClearanceAsk(ClearanceAsk);
    /// The coordinator clears it: no hold stands there.
    "clearance.given" ClearanceGiven(ClearanceGiven);
    /// The coordinator refuses it: holds stand there.
    "clearance.refused" ClearanceRefused(ClearanceRefused);
    /// The coordinator lets a clearance be used, after asking again.
    "clearance.used" ClearanceUsed(ClearanceUsed);
    /// Someone asks for what needs several people.
    "request.make" RequestMake(RequestMake);
    /// One of several people approves a request.
    "request.approve" Approve(Approve);
    /// Somebody rejects a request, which ends it.
    "request.reject" Reject(Reject);
    /// The coordinator carries out a request whose approvals stand and whose notice is over.
    "request.executed" RequestExecuted(RequestExecuted);
    /// An agent packed a release and encrypted it to its owner.
    "release.packed" ReleasePacked(ReleasePacked);
    /// An agent could not pack a release.
    "release.failed" ReleaseFailed(Trouble<ReleaseId>);
    /// The coordinator holds the parcel, which is ciphertext.
    "release.spooled" ReleaseSpooled(ReleaseSpooled);
    /// The coordinator handed the parcel out, after checking all the rules again.
    "release.delivered" ReleaseDelivered(ReleaseDelivered);
    /// The coordinator refused something that outsiders should be able to see was refused.
    "refused" Refused(Refused);
    /// A statement under a sealed order: its place and signature are for everyone, its body
    /// for cleared readers. Reserved; no command writes it yet.
    "sealed" Sealed(Sealed);
}
