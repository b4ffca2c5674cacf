//! A tree as whoever appends to it keeps it.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::{Hash, node};

/// A node under which all leaves are there: `1 << level` of them, beginning with leaf
/// `index << level`. Once it is there it never changes. Leaves are level 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// How far above the leaves; at most 63.
    pub level: u8,
    /// How many such nodes stand left of it.
    pub index: u64,
}

/// A tree as whoever appends to it keeps it: the largest whole subtrees, from left to right. There
/// is one for each bit of the size that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// One that is stored: its size, and its subtrees from left to right; `None` if there are not
    /// as many as a tree of the size has.
    #[must_use]
    pub fn stored(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        let expected = usize::try_from(size.count_ones()).ok()?;
        (peaks.len() == expected).then_some(Self { size, peaks })
    }

    /// How many leaves it has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The largest whole subtrees, from left to right.
    #[must_use]
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Appends a leaf; answers with the nodes that are whole with it, the leaf first: what is to
    /// be stored, so that proofs can be made.
    ///
    /// # Panics
    /// If there are 2^64 - 1 leaves.
    pub fn push(&mut self, leaf: Hash) -> Vec<(Node, Hash)> {
        let index = self.size;
        self.size = index.checked_add(1).expect("no log is as long as that");
        let mut whole = Vec::with_capacity(1);
        let (mut level, mut hash) = (0_u8, leaf);
        whole.push((Node { level, index }, hash));
        // As many subtrees are joined as the old size has ones at its end.
        while (index >> level) & 1 == 1 {
            let left = self.peaks.pop().expect("one for each bit that is set");
            hash = node(&left, &hash);
            level += 1;
            let index = index >> level;
            whole.push((Node { level, index }, hash));
        }
        self.peaks.push(hash);
        whole
    }

    /// The root over all leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        joined(&self.peaks)
    }
}

/// The root over subtrees that stand side by side, each smaller than the one before it.
pub(crate) fn joined(peaks: &[Hash]) -> Hash {
    let Some((last, before)) = peaks.split_last() else {
        return Hash::of_nothing();
    };
    let before = before.iter().rev();
    before.fold(*last, |right, left| node(left, &right))
}
