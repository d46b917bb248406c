//! May: the one table of who may read what. (Who may *say* what is custody's table.)

use custody::house::person::Role;

/// What somebody wants to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The ledger, and records without what their commitments stand for.
    Records,
    /// Names of people and servers.
    Names,
    /// Who ordered what, and where it is held.
    Orders,
    /// What is claimed, and the owner's encryption key.
    Claims,
    /// The key that opens every row of a snapshot.
    SaltKey,
    /// A manifest.
    Manifest,
    /// An owner's parcel, which is ciphertext.
    Parcel,
    /// A release's receipt.
    Receipt,
    /// Which files a claim matches.
    Matches,
    /// Where a hold would stand.
    Plan,
}

/// Which roles may read it.
pub const fn may(read: Read) -> &'static [Role] {
    use Role::{Approver, Auditor, Claims, Custodian, Intake, Legal, Operator};
    match read {
        Read::Records | Read::Names => &Role::ALL,
        Read::Orders => &[Intake, Legal, Operator, Custodian, Approver, Auditor],
        Read::Claims | Read::Receipt | Read::Matches => &[Claims, Approver, Legal, Auditor],
        Read::SaltKey => &[Custodian, Auditor, Legal],
        Read::Manifest => &[Custodian, Legal, Auditor, Claims],
        Read::Parcel => &[Claims],
        Read::Plan => &[Operator, Legal, Intake],
    }
}
