//! Mechanisms: the ways to hold, behind one face. Each call may be made again after a crash in it
//! and goes on from what is on disk.

use custody::house::mechanism::Mechanism as Which;

use super::{
    btrfs::BtrfsSnapshot,
    found::Found,
    immutable::InPlace,
    job::Job,
    plan::Plan,
    record::{Lowered, Proof, Raised, Record},
    trouble::HoldTrouble,
    vault::Vault,
    zfs::ZfsSnapshot,
};

/// A way to hold.
pub trait Mechanism: Sync {
    /// Says what raising would do. It changes nothing and does not walk the target.
    fn plan(&self, job: &Job<'_>) -> Result<Plan, HoldTrouble>;

    /// Makes the hold true and puts the record of it on disk.
    fn raise(&self, job: &Job<'_>, record: &mut Record) -> Result<Raised, HoldTrouble>;

    /// Tries to break a hold that is raised, without being able to lose anything.
    fn prove(&self, job: &Job<'_>, record: &Record) -> Result<Proof, HoldTrouble>;

    /// Looks for what is not as it was when the hold was raised.
    fn check(&self, job: &Job<'_>, record: &Record) -> Result<Vec<Found>, HoldTrouble>;

    /// Frees what has just been added to what left the hold, as far as nothing else holds it; the
    /// rest goes on standing.
    fn narrow(&self, job: &Job<'_>, record: &mut Record) -> Result<Lowered, HoldTrouble>;

    /// Undoes what no other target needs.
    fn lower(&self, job: &mut Job<'_>, record: &mut Record) -> Result<Lowered, HoldTrouble>;
}

/// How a mechanism is done on this host.
pub fn of(mechanism: Which) -> Result<&'static dyn Mechanism, HoldTrouble> {
    match mechanism {
        Which::ImmutableFlag => Ok(&InPlace),
        Which::ReflinkVault | Which::SealedCopy | Which::PlainCopy => Ok(&Vault),
        Which::BtrfsSnapshot => Ok(&BtrfsSnapshot),
        Which::ZfsSnapshot => Ok(&ZfsSnapshot),
        Which::ObjectLock => Err(HoldTrouble::NotSupported(
            "this agent cannot hold by that mechanism. Ask for another, or update the agent",
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_documents_table_says_what_the_code_says() {
        let text = include_str!("../../MECHANISMS.md");
        let rows: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
            .collect();
        let mut at = 0;
        for known in Which::ALL {
            let has = known.properties();
            let expected = [
                known.word(),
                has.prevents_change.word(),
                has.prevents_deletion.word(),
                has.survives_reboot.word(),
                has.survives_root.word(),
                has.detects_force.word(),
                has.one_moment.word(),
                has.lives_on.word(),
                has.space,
                has.time,
            ];
            let found = rows[at..].iter().position(|row| row[..] == expected);
            at += found.unwrap_or_else(|| panic!("{known} is missing or out of order"));
        }
    }

    #[test]
    fn every_mechanism_of_this_hosts_disks_is_behind_the_one_face() {
        for known in Which::ALL {
            assert_eq!(of(known).is_ok(), known != Which::ObjectLock, "{known}");
        }
    }
}
