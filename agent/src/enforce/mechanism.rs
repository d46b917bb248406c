//! Mechanisms: the ways to hold, behind one face. Each call may be made again after a crash in it
//! and goes on from what is on disk.

use super::{
    immutable::InPlace,
    job::Job,
    record::{Found, Lowered, Means, Proof, Raised, Record},
    trouble::HoldTrouble,
    vault::Vault,
};

/// A way to hold.
pub trait Mechanism: Sync {
    /// Makes the hold true and puts the record of it on disk.
    fn raise(&self, job: &Job<'_>, record: &mut Record) -> Result<Raised, HoldTrouble>;

    /// Tries to break a hold that is raised, without being able to lose anything.
    fn prove(&self, job: &Job<'_>, record: &Record) -> Result<Proof, HoldTrouble>;

    /// Looks for what is not as it was when the hold was raised.
    fn check(&self, job: &Job<'_>, record: &Record) -> Result<Vec<Found>, HoldTrouble>;

    /// Undoes what no other target needs.
    fn lower(&self, job: &mut Job<'_>, record: &mut Record) -> Result<Lowered, HoldTrouble>;
}

/// The mechanism behind a means.
pub fn of(means: Means) -> &'static dyn Mechanism {
    match means {
        Means::ImmutableFlag => &InPlace,
        Means::ReflinkVault | Means::SealedCopy => &Vault,
    }
}
