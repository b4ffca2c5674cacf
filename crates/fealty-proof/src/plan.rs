//! What proofs are made of. A proof is a list of hashes, each over a run of leaves; a run consists
//! of whole subtrees, whose hashes are stored. So whoever makes a proof asks here which nodes that
//! are, reads them, and has each run joined.

use std::ops::Range;

use crate::{Hash, Node, frontier};

/// The nodes of one hash of a proof, from left to right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run(Vec<Node>);

impl Run {
    /// Its nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.0
    }

    /// The hash of the proof, by those of its nodes, in their order.
    #[must_use]
    pub fn joined(&self, hashes: &[Hash]) -> Hash {
        frontier::joined(hashes)
    }

    /// Leaves that form a whole subtree, or the right edge of the tree from a subtree's first
    /// leaf on.
    fn of(leaves: Range<u64>) -> Self {
        let (mut nodes, mut from) = (Vec::new(), leaves.start);
        while from < leaves.end {
            // The largest subtree that begins here and does not reach further.
            let fits = (leaves.end - from).ilog2();
            let level = fits.min(from.trailing_zeros());
            let index = from >> level;
            let level = u8::try_from(level).unwrap_or(u8::MAX);
            nodes.push(Node { level, index });
            from += 1 << level;
        }
        Self(nodes)
    }
}

/// How many of so many leaves are under the left child of the root: the largest power of two that
/// is less. There are at least two.
fn under_left(leaves: u64) -> u64 {
    1 << (leaves - 1).ilog2()
}

/// The runs of the proof that a leaf is in a tree of a size; `None` if it has no such leaf. (PATH
/// in section 2.1.3.1.)
#[must_use]
pub fn inclusion(leaf: u64, size: u64) -> Option<Vec<Run>> {
    if leaf >= size {
        return None;
    }
    let (mut runs, mut under) = (Vec::new(), 0..size);
    while under.end - under.start > 1 {
        let middle = under.start + under_left(under.end - under.start);
        if leaf < middle {
            runs.push(Run::of(middle..under.end));
            under.end = middle;
        } else {
            runs.push(Run::of(under.start..middle));
            under.start = middle;
        }
    }
    runs.reverse();
    Some(runs)
}

/// The runs of the proof that a tree of a size begins with all leaves of an earlier one; `None` if
/// that one is larger. With an empty tree all is consistent, and with the same one too: the proof
/// is empty. (PROOF in section 2.1.4.1.)
#[must_use]
pub fn consistency(earlier: u64, size: u64) -> Option<Vec<Run>> {
    if earlier > size {
        return None;
    }
    let (mut runs, mut under) = (Vec::new(), 0..size);
    if earlier == 0 || earlier == size {
        return Some(runs);
    }
    // Whether the earlier tree is all that is under the node at hand and left of it, and is known.
    let mut is_known = true;
    while earlier < under.end {
        let middle = under.start + under_left(under.end - under.start);
        if earlier <= middle {
            runs.push(Run::of(middle..under.end));
            under.end = middle;
        } else {
            runs.push(Run::of(under.start..middle));
            under.start = middle;
            is_known = false;
        }
    }
    if !is_known {
        runs.push(Run::of(under));
    }
    runs.reverse();
    Some(runs)
}
