//! Bodies: what each kind of statement says, field by field.

use serde::{Deserialize, Serialize};

use super::Author;
use crate::{
    commit::Commitment,
    digest::Digest,
    house::{
        act::Act, approval::Policies, clearance::What, finding::FindingKind, hold::Target,
        limits::Limits, mechanism::Mechanism, person::Role, ranges::Ranges, scope::ScopeItem,
    },
    id::{
        AgentId, ClaimId, ClearanceId, HoldId, ItemId, OrderId, PersonId, ReleaseId, RequestId,
        SnapshotId, SubjectId, TargetId,
    },
    sign::PublicKey,
    time::Time,
};

macro_rules! body_types {
    ($($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name { $($(#[$fdoc])* pub $field: $type,)* }
    )*};
}

body_types! {
    /// Body of `log.opened`.
    LogOpened {
        /// The key under which the coordinator signs its own statements.
        coordinator: PublicKey,
        /// The first administrator.
        person: PersonId,
        /// His key.
        key: PublicKey,
        /// His name.
        name: Commitment,
        /// Who must agree to what.
        policies: Policies,
    }
    /// Body of `person.add`.
    PersonAdd {
        /// The new person.
        person: PersonId,
        /// The key this person signs with; one key is one person.
        key: PublicKey,
        /// What the person may do.
        roles: Vec<Role>,
        /// The person's name.
        name: Commitment,
    }
    /// Body of `person.retire`.
    PersonRetire {
        /// Who is retired.
        person: PersonId,
    }
    /// Body of `agent.invite`.
    AgentInvite {
        /// The agent to be.
        agent: AgentId,
        /// SHA-256 of the token's secret.
        token: Digest,
        /// After this the token is refused.
        expires: Time,
        /// The server's name.
        name: Commitment,
    }
    /// Body of `agent.retire`.
    AgentRetire {
        /// Which agent.
        agent: AgentId,
    }
    /// Body of `agent.enrolled`.
    AgentEnrolled {
        /// Which agent.
        agent: AgentId,
        /// Its new epoch.
        epoch: u64,
        /// The key it signs statements with.
        key: PublicKey,
        /// SHA-256 of its certificate in DER form.
        certificate: Digest,
        /// When the certificate ends.
        not_after: Time,
    }
    /// Body of `agent.certified`.
    AgentCertified {
        /// Which agent.
        agent: AgentId,
        /// SHA-256 of the new certificate in DER form.
        certificate: Digest,
        /// When it ends.
        not_after: Time,
        /// SHA-256 of the certificate that it was asked for with, which goes on being admitted
        /// beside it: an answer that is lost takes nothing away from who is still using that one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        over: Option<Digest>,
    }
    /// Body of `order.extend`.
    OrderExtend {
        /// Which order.
        order: OrderId,
        /// When the renewal was received.
        received: Time,
        /// The renewal's reference.
        reference: Commitment,
        /// Legal accepts a renewal beyond what the regime allows.
        beyond_regime: bool,
    }
    /// Body of `order.narrow`.
    OrderNarrow {
        /// Which order.
        order: OrderId,
        /// When the change was received.
        received: Time,
        /// What is excluded from here on.
        exclude: Vec<ScopeItem>,
    }
    /// Body of `order.withdraw`.
    OrderWithdraw {
        /// Which order.
        order: OrderId,
        /// When the withdrawal was received.
        received: Time,
    }
    /// Body of `order.expired`.
    OrderExpired {
        /// Which order.
        order: OrderId,
        /// The end that has passed.
        ended: Time,
    }
    /// Body of `hold.place`.
    HoldPlace {
        /// The new hold.
        hold: HoldId,
        /// The order that backs it.
        order: OrderId,
        /// Where it stands.
        targets: Vec<Target>,
        /// The weakest mechanism that will do: an agent that has only weaker ones refuses.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at_least: Option<Mechanism>,
    }
    /// Body of `hold.acknowledged`.
    HoldAcknowledged {
        /// Which target.
        target: TargetId,
    }
    /// Body of `hold.raised`.
    HoldRaised {
        /// Which target.
        target: TargetId,
        /// How it is held.
        mechanism: Mechanism,
        /// The file system it stands on.
        file_system: String,
        /// What this mechanism does not prevent here, in the mechanism's own words.
        does_not_prevent: Vec<String>,
        /// Files held.
        files: u64,
        /// Folders held.
        folders: u64,
        /// Bytes held.
        bytes: u64,
    }
    /// Body of `hold.verified` and `hold.unproved`.
    HoldProof {
        /// Which target.
        target: TargetId,
        /// Attempts that were made to change what is held.
        attempts: u64,
        /// Attempts that were refused.
        refused: u64,
        /// Writers left on held files.
        writers: u64,
    }
    /// Body of `hold.lowered`.
    HoldLowered {
        /// Which target.
        target: TargetId,
        /// Files that are free now.
        freed: u64,
        /// Files that other reasons still hold.
        kept: u64,
    }
    /// Body of `hold.narrowed`.
    HoldNarrowed {
        /// Which target.
        target: TargetId,
        /// Places that have left it in all, counted in the order in which they were let go.
        places: u64,
        /// Files that are free now.
        freed: u64,
        /// Files among what left that other reasons still hold.
        kept: u64,
    }
    /// Body of `finding`.
    Finding {
        /// What was found.
        what: FindingKind,
        /// Which target it concerns.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<TargetId>,
        /// How many things are concerned.
        count: u64,
        /// Evidence: SHA-256 of entries or files concerned.
        evidence: Vec<Digest>,
        /// A refused entry kept whole, base64, where the finding is about one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        entry: Option<String>,
        /// Examples of the places concerned, at most 8.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        places: Vec<Commitment>,
        /// The process that did it, where the kernel says: program, pid and uid. It is written
        /// `process`: in a record `by` is who said it.
        #[serde(default, rename = "process", skip_serializing_if = "Option::is_none")]
        by: Option<Commitment>,
        /// When it was noticed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        noticed: Option<Time>,
    }
    /// Body of `fixity.checked`: a round of reading again all that a snapshot holds.
    FixityChecked {
        /// What is held.
        target: TargetId,
        /// By which snapshot's manifest.
        snapshot: SnapshotId,
        /// Which round, from 1.
        round: u64,
        /// Rows with content that were read again.
        rows: u64,
        /// Bytes read.
        bytes: u64,
        /// Rows whose bytes are not those of the manifest.
        differ: u64,
        /// Rows that could not be read.
        unreadable: u64,
        /// When the round began.
        began: Time,
        /// When it ended.
        ended: Time,
    }
    /// Body of `copy.made`: a second copy of what a snapshot holds, on other media.
    CopyMade {
        /// What is held.
        target: TargetId,
        /// By which snapshot's manifest the copy was checked.
        snapshot: SnapshotId,
        /// Files copied.
        files: u64,
        /// Their bytes.
        bytes: u64,
    }
    /// Body of `copy.repaired`: rows whose bytes were lost, restored from the second copy.
    CopyRepaired {
        /// What is held.
        target: TargetId,
        /// By which snapshot's manifest the restored bytes were checked.
        snapshot: SnapshotId,
        /// Which rows.
        rows: Ranges,
        /// Their bytes.
        bytes: u64,
    }
    /// Body of `agent.limit`.
    AgentLimit {
        /// Which agent.
        agent: AgentId,
        /// What its reading may take of its host from here on; these replace all earlier ones.
        limits: Limits,
    }
    /// Body of `clearance.ask`.
    ClearanceAsk {
        /// The new clearance.
        clearance: ClearanceId,
        /// Which server.
        agent: AgentId,
        /// What is to be wiped.
        what: What,
        /// The disk, as its server names it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        disk: Option<Commitment>,
        /// The places concerned: the path, or all that lies on the disk; none for a server.
        places: Vec<Commitment>,
    }
    /// Body of `clearance.given`.
    ClearanceGiven {
        /// Which clearance.
        clearance: ClearanceId,
        /// After this it is refused.
        expires: Time,
    }
    /// Body of `clearance.refused`.
    ClearanceRefused {
        /// Which clearance.
        clearance: ClearanceId,
        /// The holds that stand there.
        holds: Vec<HoldId>,
        /// Orders that may concern it and back no hold yet.
        orders: Vec<OrderId>,
    }
    /// Body of `clearance.used`.
    ClearanceUsed {
        /// Which clearance.
        clearance: ClearanceId,
    }
    /// One snapshot asked for.
    SnapshotWish {
        /// The new snapshot.
        snapshot: SnapshotId,
        /// What it is taken of.
        target: TargetId,
    }
    /// Body of `snapshot.take`.
    SnapshotTake {
        /// The snapshots, one a target.
        snapshots: Vec<SnapshotWish>,
    }
    /// Body of `snapshot.sealed`.
    SnapshotSealed {
        /// Which snapshot.
        snapshot: SnapshotId,
        /// Root of the manifest's tree.
        root: Digest,
        /// Rows, one for each thing found.
        rows: u64,
        /// Bytes of the files hashed.
        bytes: u64,
        /// Rows that could not be read.
        unreadable: u64,
        /// SHA-256 of the manifest file.
        manifest: Digest,
        /// Its length in bytes.
        manifest_bytes: u64,
        /// The snapshot's salt key.
        key: Commitment,
        /// How the target was held while it was read.
        mechanism: Mechanism,
        /// Name and version of the tool.
        tool: String,
        /// When reading began.
        began: Time,
        /// When the manifest was sealed.
        ended: Time,
    }
    /// Body of `snapshot.received`.
    SnapshotReceived {
        /// Which snapshot.
        snapshot: SnapshotId,
        /// The root recomputed from the manifest's leaves.
        root: Digest,
    }
    /// One thing claimed.
    ClaimItem {
        /// Its id.
        item: ItemId,
        /// How it is named.
        selector: crate::house::scope::Selector,
        /// On which server, where the claimant knows.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent: Option<AgentId>,
        /// The account, path or hash.
        value: Commitment,
    }
    /// Body of `claim.file`.
    ClaimFile {
        /// The new claim.
        claim: ClaimId,
        /// Under whose key the personal data of the claim is kept.
        subject: SubjectId,
        /// The owner's public encryption key.
        recipient: Commitment,
        /// What is claimed.
        items: Vec<ClaimItem>,
        /// The claimant swore to it.
        sworn: bool,
    }
    /// Body of `claim.withdraw`.
    ClaimWithdraw {
        /// Which claim.
        claim: ClaimId,
    }
    /// Body of `subject.erase`.
    SubjectErase {
        /// Whose data.
        subject: SubjectId,
    }
    /// Body of `list.import`.
    ListImport {
        /// The list's name: a short code, not a person's.
        list: String,
        /// The legal basis: a short code.
        basis: String,
        /// SHA-256 values of files that may not be released, at most 500 a statement.
        hashes: Vec<Digest>,
    }
    /// Body of `request.make`.
    RequestMake {
        /// The new request.
        request: RequestId,
        /// What is asked for.
        act: Act,
    }
    /// Body of `request.approve`.
    Approve {
        /// Which request.
        request: RequestId,
        /// Leaf hash of the request's entry: the approval fits no other.
        entry: Digest,
        /// What is approved, whole, so that it was read by who signed it.
        act: Act,
        /// The approval counts until then.
        expires: Time,
    }
    /// Body of `request.reject`.
    Reject {
        /// Which request.
        request: RequestId,
        /// Leaf hash of the request's entry.
        entry: Digest,
    }
    /// Body of `request.executed`.
    RequestExecuted {
        /// Which request.
        request: RequestId,
        /// Size of the signed checkpoint that covers the approvals.
        checkpoint: u64,
    }
    /// Body of `release.packed`.
    ReleasePacked {
        /// Which release.
        release: ReleaseId,
        /// SHA-256 of the encrypted parcel.
        parcel: Digest,
        /// Its length in bytes.
        bytes: u64,
        /// Files inside, each re-hashed against the manifest.
        files: u64,
    }
    /// Body of `release.spooled`.
    ReleaseSpooled {
        /// Which release.
        release: ReleaseId,
    }
    /// Body of `release.delivered`.
    ReleaseDelivered {
        /// Which release.
        release: ReleaseId,
        /// Who fetched it.
        to: PersonId,
    }
    /// Body of `refused`.
    Refused {
        /// The rule that said no.
        rule: String,
        /// The kind of statement or call that was refused.
        what: String,
        /// Who tried, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Author>,
        /// SHA-256 of what was refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        statement: Option<Digest>,
    }
    /// Body of `sealed`.
    Sealed {
        /// The visibility class whose key opens the body.
        class: String,
        /// The encrypted body, base64, padded to steps of 1 KiB.
        ciphertext: String,
    }
}

/// Body of the `….failed` kinds: what could not be done, and a word for why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trouble<Id> {
    /// What it concerns.
    pub id: Id,
    /// Why, as a short machine word such as `not-found` or `no-space`; never a path.
    pub reason: String,
}
