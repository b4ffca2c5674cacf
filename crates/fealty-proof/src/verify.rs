//! Whether a proof holds.

use crate::{Hash, node};

/// Whether a proof shows that a leaf stands at a place in the tree of a size and a root. (Section
/// 2.1.3.2.)
#[must_use]
pub fn inclusion((leaf, at): (&Hash, u64), (size, root): (u64, &Hash), proof: &[Hash]) -> bool {
    if at >= size {
        return false;
    }
    let (mut place, mut last, mut hash) = (at, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            hash = node(sibling, &hash);
            // Where a node has no right sibling, it stands for its parent too.
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            hash = node(&hash, sibling);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    last == 0 && hash == *root
}

/// Whether a proof shows that the tree of a size and a root begins with all leaves of an earlier
/// one. (Section 2.1.4.2.)
#[must_use]
pub fn consistency(
    (earlier, earlier_root): (u64, &Hash),
    (size, root): (u64, &Hash),
    proof: &[Hash],
) -> bool {
    if earlier == 0 {
        return proof.is_empty() && *earlier_root == Hash::of_nothing();
    }
    if earlier >= size {
        return earlier == size && proof.is_empty() && earlier_root == root;
    }
    // Where the earlier tree is one whole subtree, its root begins the proof.
    let (first, rest) = match proof.split_first() {
        None => return false,
        Some(_) if earlier.is_power_of_two() => (*earlier_root, proof),
        Some((first, rest)) => (*first, rest),
    };
    let (mut place, mut last) = (earlier - 1, size - 1);
    while place & 1 == 1 {
        (place, last) = (place >> 1, last >> 1);
    }
    let (mut of_earlier, mut of_all) = (first, first);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if place & 1 == 1 || place == last {
            of_earlier = node(sibling, &of_earlier);
            of_all = node(sibling, &of_all);
            while place & 1 == 0 && place != 0 {
                (place, last) = (place >> 1, last >> 1);
            }
        } else {
            of_all = node(&of_all, sibling);
        }
        (place, last) = (place >> 1, last >> 1);
    }
    last == 0 && of_earlier == *earlier_root && of_all == *root
}
