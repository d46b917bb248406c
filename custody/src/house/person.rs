//! People: who they are to the house, and the one table of who may say what.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{commit::Commitment, id::PersonId, sign::PublicKey};

/// What a person may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Adds people and agents; decides nothing about evidence.
    Admin,
    /// Registers orders.
    Intake,
    /// Validates, extends, narrows and withdraws orders; asks for lifts.
    Legal,
    /// Places holds.
    Operator,
    /// Takes snapshots.
    Custodian,
    /// Files claims and asks for releases.
    Claims,
    /// Votes on requests.
    Approver,
    /// Reads and verifies everything; changes nothing.
    Auditor,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 8] = [
        Role::Admin,
        Role::Intake,
        Role::Legal,
        Role::Operator,
        Role::Custodian,
        Role::Claims,
        Role::Approver,
        Role::Auditor,
    ];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Intake => "intake",
            Role::Legal => "legal",
            Role::Operator => "operator",
            Role::Custodian => "custodian",
            Role::Claims => "claims",
            Role::Approver => "approver",
            Role::Auditor => "auditor",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a role: use admin, intake, legal, operator, custodian, claims, approver or auditor"
)]
pub struct NotARole(pub String);

impl FromStr for Role {
    type Err = NotARole;
    fn from_str(text: &str) -> Result<Self, NotARole> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or(NotARole(text.to_owned()))
    }
}

/// Which roles may make a statement of a kind. A kind that is not here is nobody's.
pub fn may(kind: &str) -> &'static [Role] {
    use Role::{Admin, Approver, Claims, Custodian, Intake, Legal, Operator};
    match kind {
        "person.add" | "person.retire" | "agent.invite" | "agent.retire" => &[Admin],
        "order.add" => &[Intake, Legal],
        "order.extend" | "order.narrow" | "order.withdraw" | "list.import" | "subject.erase" => {
            &[Legal]
        }
        "hold.place" => &[Operator, Legal],
        "agent.limit" | "clearance.ask" => &[Operator],
        "snapshot.take" => &[Custodian, Operator],
        "claim.file" | "claim.withdraw" => &[Claims],
        "request.make" => &[Claims, Legal],
        "request.approve" => &[Approver, Legal],
        // A claims officer takes back what he asked for himself.
        "request.reject" => &[Approver, Legal, Claims],
        _ => &[],
    }
}

/// A person as the house knows one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The id.
    pub id: PersonId,
    /// The key this person signs with.
    pub key: PublicKey,
    /// What the person may do now.
    pub roles: Vec<Role>,
    /// The name, opened elsewhere.
    pub name: Commitment,
    /// Retired people may do nothing; what they signed stays valid.
    pub retired: bool,
    /// Index of the entry that added the person.
    pub entry: u64,
}

impl Person {
    /// Whether the person holds one of these roles and is not retired.
    pub fn has_any(&self, roles: &[Role]) -> bool {
        !self.retired && self.roles.iter().any(|role| roles.contains(role))
    }
}
