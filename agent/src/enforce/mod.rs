//! Enforce: makes a hold true on this host, proves it, and undoes it when no reason is left.
//!
//! [`Keeper`] is the one door. Behind it two [`mechanism`]s stand: the immutable flag in place
//! ([`immutable`]) and a sealed vault of clones or verified copies ([`vault`]). Everything a
//! customer can reach is touched through descriptors only, and nothing is done before what is
//! needed to undo it, or to go on after a crash, is on disk.

pub mod after;
pub mod amount;
pub mod attempt;
pub mod beneath;
pub mod btrfs;
pub mod choose;
pub mod copy;
pub mod door;
pub mod facts;
pub mod fill;
pub mod flag;
pub mod found;
pub mod homes;
pub mod immutable;
pub mod inodes;
pub mod job;
pub mod keeper;
pub mod lease;
pub mod mechanism;
pub mod mounts;
pub mod moved;
pub mod narrow;
pub mod objects;
pub mod own;
pub mod owner;
pub mod plan;
pub mod record;
pub mod repair;
pub mod site;
pub mod survey;
pub mod sweep;
pub mod trouble;
pub mod vault;
pub mod writers;
pub mod zfs;

pub use after::{After, Later};
pub use found::Found;
pub use keeper::{Keeper, Source, Watched};
pub use narrow::{Amount, Weighed};
pub use plan::Plan;
pub use record::{Lowered, Phase, Proof, Raised, Record};
pub use site::Root;
pub use sweep::Progress;
pub use trouble::HoldTrouble;
