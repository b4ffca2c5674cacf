//! The trees against published vectors, and against the definition of the RFC written down as it
//! stands there.

use std::collections::HashMap;

use data_encoding::HEXLOWER;
use fealty_proof::{Frontier, Hash, Node, leaf, node, plan, verify};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

fn hash(hex: &str) -> Hash {
    let bytes = HEXLOWER.decode(hex.as_bytes()).expect("hexadecimal");
    Hash(bytes.try_into().expect("32 bytes"))
}

/// A leaf without a salt, as the RFC has it.
fn plain(says: &[u8]) -> Hash {
    Hash(
        Sha256::new_with_prefix([0])
            .chain_update(says)
            .finalize()
            .into(),
    )
}

/// The eight leaves of the vectors of Certificate Transparency.
const LEAVES: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];

/// The roots of the trees of none of them, the first, the first two, and so on.
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

/// A leaf, a size, and the proof.
const INCLUSIONS: [(u64, u64, &[&str]); 4] = [
    (
        0,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        &[
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        3,
        &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    ),
    (
        1,
        5,
        &[
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
];

/// Two sizes, and the proof.
const CONSISTENCIES: [(u64, u64, &[&str]); 3] = [
    (
        1,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        &[
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        &[
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
];

/// A tree with the nodes that were whole one day.
#[derive(Default)]
struct Tree {
    frontier: Frontier,
    nodes: HashMap<Node, Hash>,
    roots: Vec<Hash>,
}

impl Tree {
    fn of(leaves: &[Hash]) -> Self {
        let mut tree = Self::default();
        tree.roots.push(tree.frontier.root());
        for leaf in leaves {
            tree.nodes.extend(tree.frontier.push(*leaf));
            tree.roots.push(tree.frontier.root());
        }
        tree
    }

    fn proof(&self, runs: Option<Vec<plan::Run>>) -> Vec<Hash> {
        let runs = runs.expect("there is one").into_iter();
        runs.map(|run| {
            let hashes: Vec<Hash> = run.nodes().iter().map(|node| self.nodes[node]).collect();
            run.joined(&hashes)
        })
        .collect()
    }
}

/// MTH, as section 2.1.1 has it.
fn mth(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash::of_nothing(),
        [one] => *one,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node(&mth(left), &mth(right))
        }
    }
}

/// The largest power of two less than n.
fn split(n: usize) -> usize {
    let mut k = 1;
    while 2 * k < n {
        k *= 2;
    }
    k
}

/// PATH, as section 2.1.3.1 has it.
fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut path, other) = if m < left.len() {
        (path(m, left), mth(right))
    } else {
        (path(m - left.len(), right), mth(left))
    };
    path.push(other);
    path
}

/// SUBPROOF, as section 2.1.4.1 has it.
fn subproof(m: usize, leaves: &[Hash], is_known: bool) -> Vec<Hash> {
    if m == leaves.len() {
        return if is_known {
            Vec::new()
        } else {
            vec![mth(leaves)]
        };
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut proof, other) = if m <= left.len() {
        (subproof(m, left, is_known), mth(right))
    } else {
        (subproof(m - left.len(), right, false), mth(left))
    };
    proof.push(other);
    proof
}

fn vectors() -> Vec<Hash> {
    let leaves = LEAVES.iter();
    leaves
        .map(|says| plain(&HEXLOWER.decode(says.as_bytes()).expect("hexadecimal")))
        .collect()
}

#[test]
fn the_published_vectors_hold() {
    let leaves = vectors();
    let tree = Tree::of(&leaves);
    let roots: Vec<String> = tree.roots.iter().map(Hash::to_string).collect();
    assert_eq!(roots, ROOTS);
    let root = |size: u64| tree.roots[usize::try_from(size).expect("few")];
    for (at, size, expected) in INCLUSIONS {
        let proof = tree.proof(plan::inclusion(at, size));
        let expected: Vec<Hash> = expected.iter().map(|hex| hash(hex)).collect();
        assert_eq!(proof, expected, "leaf {at} of {size}");
        let leaf = &leaves[usize::try_from(at).expect("few")];
        assert!(verify::inclusion((leaf, at), (size, &root(size)), &proof));
    }
    for (earlier, size, expected) in CONSISTENCIES {
        let proof = tree.proof(plan::consistency(earlier, size));
        let expected: Vec<Hash> = expected.iter().map(|hex| hash(hex)).collect();
        assert_eq!(proof, expected, "{earlier} to {size}");
        let (before, after) = ((earlier, &root(earlier)), (size, &root(size)));
        assert!(verify::consistency(before, after, &proof));
    }
}

#[test]
fn a_salt_is_the_beginning_of_its_leaf() {
    let salt = *b"sixteen, random.";
    assert_eq!(leaf(&salt, b"says"), plain(b"sixteen, random.says"));
    assert_ne!(leaf(&salt, b""), leaf(&[0; 16], b""));
}

#[test]
fn what_is_not_there_has_no_proof() {
    assert_eq!(plan::inclusion(3, 3), None);
    assert_eq!(plan::consistency(4, 3), None);
    assert_eq!(plan::consistency(0, 3), Some(Vec::new()));
    assert_eq!(plan::consistency(3, 3), Some(Vec::new()));
    assert_eq!(plan::inclusion(0, 1), Some(Vec::new()));
    assert_eq!(Frontier::stored(3, vec![Hash::of_nothing()]), None);
}

fn leaves() -> impl Strategy<Value = Vec<Hash>> {
    proptest::collection::vec(any::<[u8; 4]>().prop_map(|says| plain(&says)), 1..70)
}

proptest! {
    /// Whatever the tree: roots and proofs are those of the definition, hold, and hold for nothing
    /// else; what is stored of a frontier goes on as it would have.
    #[test]
    fn trees_are_those_of_the_definition(
        leaves in leaves(),
        (at, earlier) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
        (other, wrong) in (any::<prop::sample::Index>(), any::<[u8; 32]>()),
    ) {
        let tree = Tree::of(&leaves);
        let (size, root) = (leaves.len() as u64, tree.frontier.root());
        prop_assert_eq!(root, mth(&leaves));
        let at = at.index(leaves.len());
        let proof = tree.proof(plan::inclusion(at as u64, size));
        prop_assert_eq!(&proof, &path(at, &leaves));
        let holds = |leaf: &Hash, at: usize, size: u64, root: &Hash, proof: &[Hash]| {
            verify::inclusion((leaf, at as u64), (size, root), proof)
        };
        prop_assert!(holds(&leaves[at], at, size, &root, &proof));
        let wrong = Hash(wrong);
        prop_assert!(!holds(&wrong, at, size, &root, &proof));
        prop_assert!(!holds(&leaves[at], at, size, &wrong, &proof));
        let longer = [&*proof, &[wrong]].concat();
        prop_assert!(!holds(&leaves[at], at, size, &root, &longer));
        if let Some((_, shorter)) = proof.split_last() {
            prop_assert!(!holds(&leaves[at], at, size, &root, shorter));
            let mut changed = proof.clone();
            changed[other.index(proof.len())] = wrong;
            prop_assert!(!holds(&leaves[at], at, size, &root, &changed));
        }

        let earlier = earlier.index(leaves.len()) + 1;
        let before = &tree.roots[earlier];
        let proof = tree.proof(plan::consistency(earlier as u64, size));
        prop_assert_eq!(&proof, &subproof(earlier, &leaves, true));
        let holds = |before: &Hash, root: &Hash, proof: &[Hash]| {
            verify::consistency((earlier as u64, before), (size, root), proof)
        };
        prop_assert!(holds(before, &root, &proof));
        prop_assert!(!holds(&wrong, &root, &proof));
        prop_assert!(!holds(before, &wrong, &proof));
        prop_assert!(!holds(before, &root, &[&*proof, &[wrong]].concat()));
        if let Some((_, shorter)) = proof.split_last() {
            prop_assert!(!holds(before, &root, shorter));
        }

        let half = Tree::of(&leaves[..earlier]).frontier;
        let stored = Frontier::stored(half.size(), half.peaks().to_vec());
        let mut stored = stored.expect("as many as it has");
        for leaf in &leaves[earlier..] {
            stored.push(*leaf);
        }
        prop_assert_eq!(stored.root(), root);
    }
}
