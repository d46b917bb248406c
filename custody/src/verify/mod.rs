//! Verification: what an auditor or a court asks of a log, a receipt or a snapshot, offline.
//!
//! It trusts nothing that it is given but the key or checkpoint that the asker brought from
//! elsewhere. It never stops at the first damage and always ends: every difference becomes a
//! [`report::Finding`] with its place and what it means. It touches no file itself; a log's
//! files come through [`Files`].
//!
//! # What is checked of a log
//! * The checkpoint's form, origin and signature; its cosignatures under a policy.
//! * Every tile and bundle that the checkpoint's size needs, and every partial one beside them,
//!   recomputed from the entries up to the root.
//! * Every entry: canonical form, signature under the key that its author had at that index,
//!   purpose of the signature, ids said once, each agent's chain.
//! * Every rule of [`crate::house::decide`] that the log alone can answer: who may say what,
//!   distinct approvers who did not ask themselves and whose approvals stood when the
//!   coordinator carried the request out, a checkpoint over the votes before the act, rows that
//!   were claimed and matched and are not contested.
//! * `seen`: every checkpoint that any author says he saw lies on this log.
//!
//! # What is not, and why
//! * Rules that compare with the moment of receipt by the coordinator, which is not in the log:
//!   invitations that ran out before use, approvals that were already over or too long when they
//!   came in, orders dated in the future. A request's notice is told by claimed times, as a note.
//! * Rules that need what opens a commitment, which may be erased: whether a path is plain, lies
//!   in an order's scope or in what it leaves out, or overlaps another hold that forbids copies.
//!   That the order of the released target itself allows copies is checked.
//! * The bodies of `sealed` statements and of kinds or versions that this build does not know:
//!   they are reported as not understood and the log is never called valid.

mod case;
pub mod entries;
mod load;
pub mod log;
pub mod receipt;
pub mod report;
pub mod snapshot;
pub mod tree;
mod walk;

/// Where the files of a log are read: the one road to the outside.
///
/// Paths are relative to the log's folder with `/` between parts. An implementation must
/// answer for what is there now and must not follow a path out of the folder.
pub trait Files: Sync {
    /// The first `most` bytes of a file; `None` when there is none.
    fn read(&self, path: &str, most: usize) -> Result<Option<Vec<u8>>, String>;
    /// The names in a folder, folders too; empty when there is no such folder.
    fn names(&self, folder: &str) -> Result<Vec<String>, String>;
}

/// Files in memory, for small logs and tests.
impl Files for std::collections::BTreeMap<String, Vec<u8>> {
    fn read(&self, path: &str, most: usize) -> Result<Option<Vec<u8>>, String> {
        Ok(self
            .get(path)
            .map(|bytes| bytes[..bytes.len().min(most)].to_vec()))
    }

    fn names(&self, folder: &str) -> Result<Vec<String>, String> {
        let below = format!("{folder}/");
        let mut names: Vec<_> = self
            .range(below.clone()..)
            .take_while(|(path, _)| path.starts_with(&below))
            .filter_map(|(path, _)| path[below.len()..].split('/').next().map(str::to_owned))
            .collect();
        names.dedup();
        Ok(names)
    }
}
