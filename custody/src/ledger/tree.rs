//! The tree: RFC 6962 Merkle trees over SHA-256, their proofs and their verification.
//!
//! Leaf hash = SHA-256(0x00 || leaf), node = SHA-256(0x01 || left || right), the empty tree =
//! SHA-256(""). Proofs are those of RFC 6962, sections 2.1.1 and 2.1.2; verification follows
//! RFC 9162, sections 2.1.3.2 and 2.1.4.2.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// Hashes a leaf.
pub fn leaf_hash(leaf: &[u8]) -> Digest {
    Digest::of_parts(&[&[0], leaf])
}

/// Hashes two subtrees.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Digest::of_parts(&[&[1], left.as_bytes(), right.as_bytes()])
}

/// The root of the empty tree.
pub fn empty_root() -> Digest {
    Digest::of(b"")
}

/// The right edge of a growing tree: what is needed to add leaves and to know the root.
/// At most 64 hashes, whatever the size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frontier {
    size: u64,
    /// Perfect subtrees from the largest (leftmost) to the smallest.
    peaks: Vec<Digest>,
}

impl Frontier {
    /// The frontier of the empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a leaf by its hash.
    pub fn push(&mut self, leaf: Digest) {
        let mut hash = leaf;
        // One merge for each trailing one bit of the size.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// How many leaves.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The root.
    pub fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => empty_root(),
            Some(last) => peaks.fold(*last, |right, left| node_hash(left, &right)),
        }
    }

    /// Builds the frontier of a tree whose perfect subtrees can be read.
    pub fn read(nodes: &dyn Nodes, size: u64) -> Option<Self> {
        let mut peaks = Vec::new();
        let mut begin = 0;
        for level in (0..64).rev().filter(|level| size >> level & 1 == 1) {
            peaks.push(nodes.node(level, begin >> level)?);
            begin += 1 << level;
        }
        Some(Self { size, peaks })
    }
}

/// Where the hashes of perfect subtrees are read: level 0 are leaf hashes, and node `index` of
/// a level covers leaves `index << level .. (index + 1) << level`.
pub trait Nodes {
    /// One hash; `None` when it is not there.
    fn node(&self, level: u32, index: u64) -> Option<Digest>;
}

/// A tree in memory, every perfect subtree kept: for tests, manifests and small logs.
#[derive(Clone, Debug, Default)]
pub struct MemoryTree {
    levels: Vec<Vec<Digest>>,
}

impl MemoryTree {
    /// Adds a leaf by its hash.
    pub fn push(&mut self, leaf: Digest) {
        let mut hash = leaf;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let row = &mut self.levels[level];
            row.push(hash);
            match row.len() % 2 {
                0 => hash = node_hash(&row[row.len() - 2], &row[row.len() - 1]),
                _ => break,
            }
        }
    }

    /// How many leaves.
    pub fn size(&self) -> u64 {
        self.levels.first().map_or(0, Vec::len) as u64
    }

    /// The root of the first `size` leaves.
    pub fn root(&self, size: u64) -> Option<Digest> {
        Frontier::read(self, size).map(|frontier| frontier.root())
    }
}

impl Nodes for MemoryTree {
    fn node(&self, level: u32, index: u64) -> Option<Digest> {
        self.levels
            .get(level as usize)?
            .get(usize::try_from(index).ok()?)
            .copied()
    }
}

/// The hash of any run of leaves that the tree itself contains as a subtree.
fn range_hash(nodes: &dyn Nodes, begin: u64, end: u64) -> Option<Digest> {
    let width = end - begin;
    if width.is_power_of_two() && begin.is_multiple_of(width) {
        let level = width.trailing_zeros();
        if let Some(hash) = nodes.node(level, begin >> level) {
            return Some(hash);
        }
    }
    if width <= 1 {
        return None;
    }
    let middle = begin + split(width);
    Some(node_hash(
        &range_hash(nodes, begin, middle)?,
        &range_hash(nodes, middle, end)?,
    ))
}

/// The largest power of two below `width`, for `width` of at least 2.
const fn split(width: u64) -> u64 {
    1 << (63 - (width - 1).leading_zeros())
}

/// The proof that leaf `index` is in the tree of the first `size` leaves; leaf's sibling first.
pub fn inclusion_proof(nodes: &dyn Nodes, index: u64, size: u64) -> Option<Vec<Digest>> {
    if index >= size {
        return None;
    }
    let (mut begin, mut end, mut proof) = (0, size, Vec::new());
    while end - begin > 1 {
        let middle = begin + split(end - begin);
        if index < middle {
            proof.push(range_hash(nodes, middle, end)?);
            end = middle;
        } else {
            proof.push(range_hash(nodes, begin, middle)?);
            begin = middle;
        }
    }
    proof.reverse();
    Some(proof)
}

/// The proof that the tree of the first `new` leaves begins with that of the first `old`.
/// Empty when `old` is 0 or equals `new`.
pub fn consistency_proof(nodes: &dyn Nodes, old: u64, new: u64) -> Option<Vec<Digest>> {
    if old > new {
        return None;
    }
    if old == 0 || old == new {
        return Some(Vec::new());
    }
    let (mut begin, mut end, mut proof, mut whole) = (0, new, Vec::new(), true);
    while old != end {
        let middle = begin + split(end - begin);
        if old <= middle {
            proof.push(range_hash(nodes, middle, end)?);
            end = middle;
        } else {
            proof.push(range_hash(nodes, begin, middle)?);
            begin = middle;
            whole = false;
        }
    }
    if !whole {
        proof.push(range_hash(nodes, begin, end)?);
    }
    proof.reverse();
    Some(proof)
}

/// Why a proof does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The index is not below the size, or the old size is above the new one.
    #[error("the index or size lies outside the tree")]
    Outside,
    /// Too few or too many hashes.
    #[error("the proof has the wrong number of hashes")]
    Length,
    /// The hashes lead to another root.
    #[error("the proof leads to another root")]
    Root,
}

/// Verifies that a leaf, by its hash, is at `index` in the tree of that size and root.
pub fn verify_inclusion(
    leaf: &Digest,
    index: u64,
    size: u64,
    proof: &[Digest],
    root: &Digest,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Outside);
    }
    let (mut node, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    match (last, hash == *root) {
        (0, true) => Ok(()),
        (0, false) => Err(ProofError::Root),
        _ => Err(ProofError::Length),
    }
}

/// Verifies that the tree of `new` leaves and `new_root` begins with that of `old` leaves.
pub fn verify_consistency(
    old: u64,
    old_root: &Digest,
    new: u64,
    new_root: &Digest,
    proof: &[Digest],
) -> Result<(), ProofError> {
    if old > new {
        return Err(ProofError::Outside);
    }
    if old == new || old == 0 {
        let expected = if old == 0 { empty_root() } else { *new_root };
        return match (proof.is_empty(), *old_root == expected) {
            (true, true) => Ok(()),
            (true, false) => Err(ProofError::Root),
            (false, _) => Err(ProofError::Length),
        };
    }
    // The seed is the old tree itself where that is a whole subtree.
    let (seed, rest) = match (old.is_power_of_two(), proof.split_first()) {
        (true, _) => (*old_root, proof),
        (false, Some((first, rest))) => (*first, rest),
        (false, None) => return Err(ProofError::Length),
    };
    let (mut node, mut last) = (old - 1, new - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut old_hash, mut new_hash) = (seed, seed);
    for sibling in rest {
        if last == 0 {
            return Err(ProofError::Length);
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    match (last, old_hash == *old_root && new_hash == *new_root) {
        (0, true) => Ok(()),
        (0, false) => Err(ProofError::Root),
        _ => Err(ProofError::Length),
    }
}

/// Gathers, in one pass over all leaves, just the nodes that the proofs of some leaves need:
/// memory grows with the leaves that are proved, not with the tree.
#[derive(Debug)]
pub struct Sieve {
    size: u64,
    wanted: std::collections::BTreeMap<(u32, u64), Option<Digest>>,
    peaks: Vec<Digest>,
    pushed: u64,
}

impl Sieve {
    /// Prepares for the proofs of these leaves in a tree of that size.
    pub fn new(size: u64, leaves: impl Iterator<Item = u64>) -> Self {
        struct Wishes(std::cell::RefCell<std::collections::BTreeMap<(u32, u64), Option<Digest>>>);
        impl Nodes for Wishes {
            fn node(&self, level: u32, index: u64) -> Option<Digest> {
                self.0.borrow_mut().insert((level, index), None);
                Some(empty_root())
            }
        }
        let wishes = Wishes(std::cell::RefCell::default());
        for leaf in leaves {
            // Only which nodes are asked for matters here.
            let _ = inclusion_proof(&wishes, leaf, size);
        }
        Self {
            size,
            wanted: wishes.0.into_inner(),
            peaks: Vec::new(),
            pushed: 0,
        }
    }

    /// Adds the next leaf by its hash.
    pub fn push(&mut self, leaf: Digest) {
        let (mut level, mut hash, mut index) = (0, leaf, self.pushed);
        self.note(level, index, hash);
        for _ in 0..self.pushed.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = node_hash(&left, &hash);
                level += 1;
                index >>= 1;
                self.note(level, index, hash);
            }
        }
        self.peaks.push(hash);
        self.pushed += 1;
    }

    fn note(&mut self, level: u32, index: u64, hash: Digest) {
        if let Some(slot) = self.wanted.get_mut(&(level, index)) {
            *slot = Some(hash);
        }
    }

    /// The proof of one of the leaves, once all were added.
    pub fn proof(&self, leaf: u64) -> Option<Vec<Digest>> {
        inclusion_proof(self, leaf, self.size)
    }
}

impl Nodes for Sieve {
    fn node(&self, level: u32, index: u64) -> Option<Digest> {
        *self.wanted.get(&(level, index))?
    }
}
