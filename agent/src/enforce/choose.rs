//! Choosing: the strongest mechanism that a place has for what a hold does, as a pure function
//! of facts.
//!
//! A freeze stops the target itself, so what freezes in place comes first; everything else keeps
//! a copy of the moment beside a target that can go on changing. A preservation must not be
//! noticed, so nothing in place ever serves it. Nothing weaker than what was asked for is tried.

use std::fmt::Write as _;

use custody::house::{mechanism::Mechanism, regime::Holding};

/// What is known of a place before anything is touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Such as `ext4`.
    pub file_system: String,
    /// Whether the agent is root.
    pub root: bool,
    /// Whether the immutable flag can be set where the target lies.
    pub flag: bool,
    /// Whether it can be set in the vault.
    pub seal: bool,
    /// Whether the vault can hold clones of the target's files.
    pub reflink: bool,
    /// Whether the target lies in a btrfs subvolume of its root, with the vault on the same file
    /// system.
    pub subvolume: bool,
    /// Whether the target lies in a ZFS dataset that `zfs` knows.
    pub dataset: bool,
    /// Bytes free in the vault; none where its file system has no measure.
    pub free: Option<u64>,
}

/// The best that there is, and what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooWeak {
    /// The strongest that this place has; none where it has nothing.
    pub best: Option<Mechanism>,
    /// The weakest that would do.
    pub wanted: Mechanism,
}

/// Why a mechanism cannot be had, by the facts; none where it can.
fn missing(facts: &Facts, holding: Holding, mechanism: Mechanism) -> Option<&'static str> {
    let lacks = |has: bool, why| (!has).then_some(why);
    match mechanism {
        Mechanism::ObjectLock => Some("it is no object store"),
        Mechanism::ZfsSnapshot => lacks(facts.dataset, "it is no dataset of ZFS"),
        Mechanism::BtrfsSnapshot if !facts.root => Some("a snapshot needs root"),
        Mechanism::BtrfsSnapshot => lacks(
            facts.subvolume,
            "it lies in no btrfs subvolume of its root with the vault beside it",
        ),
        Mechanism::ReflinkVault if !facts.seal => Some("the vault cannot carry the immutable flag"),
        Mechanism::ReflinkVault => lacks(facts.reflink, "the vault can hold no clones of it"),
        Mechanism::ImmutableFlag if holding == Holding::Preserve => {
            Some("a preserved target goes on changing")
        }
        Mechanism::ImmutableFlag => lacks(facts.flag, "the immutable flag cannot be set there"),
        Mechanism::SealedCopy => lacks(facts.seal, "the vault cannot carry the immutable flag"),
        Mechanism::PlainCopy => None,
    }
}

/// The mechanisms to try, one after the other.
///
/// A later one is tried only where an earlier one turns out not to work after all.
pub fn choose(
    facts: &Facts,
    holding: Holding,
    at_least: Option<Mechanism>,
) -> Result<Vec<Mechanism>, TooWeak> {
    let mut there: Vec<_> = Mechanism::ALL
        .into_iter()
        .rev()
        .filter(|mechanism| missing(facts, holding, *mechanism).is_none())
        .collect();
    if holding == Holding::Freeze {
        // Stable: the others stay strongest first.
        there.sort_by_key(|mechanism| *mechanism != Mechanism::ImmutableFlag);
    }
    let best = there.iter().max().copied();
    if let Some(wanted) = at_least {
        there.retain(|mechanism| *mechanism >= wanted);
        if there.is_empty() {
            return Err(TooWeak { best, wanted });
        }
    }
    Ok(there)
}

/// Why this one, and why none that is stronger, in a sentence for people.
pub fn because(facts: &Facts, holding: Holding, chosen: Mechanism) -> String {
    let mut why = match (holding, chosen) {
        (Holding::Freeze, Mechanism::ImmutableFlag) => {
            return format!(
                "{chosen}: a freeze stops the target itself, and {} can",
                facts.file_system
            );
        }
        (Holding::Freeze, _) => format!("{chosen}: the target itself cannot be stopped"),
        (Holding::Preserve, _) => format!("{chosen}: the strongest that there is here"),
    };
    let stronger = Mechanism::ALL
        .into_iter()
        .rev()
        .filter(|other| *other > chosen && *other != Mechanism::ObjectLock);
    for other in stronger {
        if let Some(lack) = missing(facts, holding, other) {
            let _ = write!(why, "; not {other}: {lack}");
        }
    }
    why
}

#[cfg(test)]
mod tests {
    use Holding::{Freeze, Preserve};
    use Mechanism::{
        BtrfsSnapshot, ImmutableFlag, PlainCopy, ReflinkVault, SealedCopy, ZfsSnapshot,
    };

    use super::*;

    fn facts(what: &str) -> Facts {
        let has = |word: &str| what.split(' ').any(|had| had == word);
        Facts {
            file_system: "some".to_owned(),
            root: has("root"),
            flag: has("flag"),
            seal: has("seal"),
            reflink: has("reflink"),
            subvolume: has("subvolume"),
            dataset: has("dataset"),
            free: None,
        }
    }

    /// What there is, what the hold does, the minimum, and what is tried.
    type Case = (
        &'static str,
        Holding,
        Option<Mechanism>,
        Result<&'static [Mechanism], TooWeak>,
    );

    #[test]
    fn the_strongest_that_is_there_is_tried_first_and_nothing_below_the_minimum() {
        const EXT4: &str = "root flag seal";
        const XFS: &str = "root flag seal reflink";
        const BTRFS: &str = "root flag seal reflink subvolume";
        let cases: [Case; 19] = [
            (
                EXT4,
                Freeze,
                None,
                Ok(&[ImmutableFlag, SealedCopy, PlainCopy]),
            ),
            (EXT4, Preserve, None, Ok(&[SealedCopy, PlainCopy])),
            (
                XFS,
                Freeze,
                None,
                Ok(&[ImmutableFlag, ReflinkVault, SealedCopy, PlainCopy]),
            ),
            (
                XFS,
                Preserve,
                None,
                Ok(&[ReflinkVault, SealedCopy, PlainCopy]),
            ),
            (
                BTRFS,
                Freeze,
                None,
                Ok(&[
                    ImmutableFlag,
                    BtrfsSnapshot,
                    ReflinkVault,
                    SealedCopy,
                    PlainCopy,
                ]),
            ),
            (
                BTRFS,
                Preserve,
                None,
                Ok(&[BtrfsSnapshot, ReflinkVault, SealedCopy, PlainCopy]),
            ),
            (
                "root flag seal dataset",
                Preserve,
                None,
                Ok(&[ZfsSnapshot, SealedCopy, PlainCopy]),
            ),
            ("root", Freeze, None, Ok(&[PlainCopy])),
            ("root", Preserve, None, Ok(&[PlainCopy])),
            ("", Preserve, None, Ok(&[PlainCopy])),
            // Not root: no snapshot, and a vault that modes alone keep.
            ("reflink subvolume", Preserve, None, Ok(&[PlainCopy])),
            // The flag in the vault alone, and where the target lies alone.
            ("root seal", Freeze, None, Ok(&[SealedCopy, PlainCopy])),
            ("root flag", Freeze, None, Ok(&[ImmutableFlag, PlainCopy])),
            (
                EXT4,
                Freeze,
                Some(SealedCopy),
                Ok(&[ImmutableFlag, SealedCopy]),
            ),
            (BTRFS, Freeze, Some(BtrfsSnapshot), Ok(&[BtrfsSnapshot])),
            (XFS, Preserve, Some(ReflinkVault), Ok(&[ReflinkVault])),
            (
                EXT4,
                Preserve,
                Some(ImmutableFlag),
                Err(TooWeak {
                    best: Some(SealedCopy),
                    wanted: ImmutableFlag,
                }),
            ),
            (
                XFS,
                Preserve,
                Some(BtrfsSnapshot),
                Err(TooWeak {
                    best: Some(ReflinkVault),
                    wanted: BtrfsSnapshot,
                }),
            ),
            (
                "root",
                Freeze,
                Some(SealedCopy),
                Err(TooWeak {
                    best: Some(PlainCopy),
                    wanted: SealedCopy,
                }),
            ),
        ];
        for (has, holding, at_least, expected) in cases {
            let chosen = choose(&facts(has), holding, at_least);
            let expected = expected.map(<[Mechanism]>::to_vec);
            assert_eq!(
                chosen, expected,
                "{has}, {holding:?}, at least {at_least:?}"
            );
        }
    }

    #[test]
    fn the_reason_names_each_stronger_one_and_what_it_lacks() {
        let why = because(&facts("root flag seal"), Preserve, SealedCopy);
        for (mechanism, lack) in [
            (ZfsSnapshot, "no dataset"),
            (BtrfsSnapshot, "no btrfs subvolume"),
            (ReflinkVault, "no clones"),
            (ImmutableFlag, "goes on changing"),
        ] {
            let line = why.split("; ").find(|line| line.contains(mechanism.word()));
            assert!(line.is_some_and(|line| line.contains(lack)), "{why}");
        }
        assert!(because(&facts("root flag"), Freeze, ImmutableFlag).contains("stops the target"));
    }
}
