//! Disclosure: showing one row, or one field of one row, and nothing else.

use serde::{Deserialize, Serialize};

use super::{
    leaf::{self, Field, Salt, SnapshotKey},
    row::Row,
};
use crate::{
    digest::Digest,
    ledger::tree::{self, ProofError},
};

/// One field of one row, with what proves it: its own salt and the other two commitments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownField {
    /// Which field.
    pub field: Field,
    /// The field's own salt, which opens no other field.
    pub salt: Salt,
    /// The value shown.
    pub value: Vec<u8>,
    /// The commitments to the other two fields, in the order of the leaf.
    pub others: [Digest; 2],
}

impl ShownField {
    /// Shows one field of a row.
    pub fn of(row: &Row, key: &SnapshotKey, field: Field) -> Self {
        let salt_row = key.salt_row(row.index);
        let commitments =
            Field::ALL.map(|f| leaf::commit(f, &salt_row.field(f), &leaf::value(f, row)));
        let others = match field {
            Field::Path => [commitments[1], commitments[2]],
            Field::Content => [commitments[0], commitments[2]],
            Field::Metadata => [commitments[0], commitments[1]],
        };
        Self {
            field,
            salt: salt_row.field(field),
            value: leaf::value(field, row),
            others,
        }
    }

    /// The leaf hash that this showing leads to.
    pub fn leaf(&self) -> Digest {
        let ours = leaf::commit(self.field, &self.salt, &self.value);
        let [a, b] = self.others;
        match self.field {
            Field::Path => leaf::leaf_of(&ours, &a, &b),
            Field::Content => leaf::leaf_of(&a, &ours, &b),
            Field::Metadata => leaf::leaf_of(&a, &b, &ours),
        }
    }
}

/// A whole row as its owner may see it, with what proves that it is in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShownRow {
    /// The row.
    pub row: Row,
    /// The row's salt: opens its three fields and no other row.
    pub salt_row: Digest,
    /// RFC 6962 inclusion proof to the snapshot's root.
    pub proof: Vec<Digest>,
}

impl ShownRow {
    /// Verifies that the row is in the snapshot of that many rows and that root.
    pub fn verify(&self, rows: u64, root: &Digest) -> Result<(), ProofError> {
        let leaf = leaf::leaf_hash(&self.row, &Salt(*self.salt_row.as_bytes()));
        tree::verify_inclusion(&leaf, self.row.index, rows, &self.proof, root)
    }
}
