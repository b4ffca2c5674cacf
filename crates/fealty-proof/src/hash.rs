//! The two hashes of a tree.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use sha2::{Digest as _, Sha256};

/// Bytes of a leaf's salt.
pub const SALT_LEN: usize = 16;

/// What a leaf's hash begins with, and an inner node's: so that neither passes for the other.
const LEAF: [u8; 1] = [0];
const INNER: [u8; 1] = [1];

/// A hash of a tree: SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The root of a tree without leaves: SHA-256 over nothing.
    #[must_use]
    pub fn of_nothing() -> Self {
        Self(Sha256::digest(b"").into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.0.iter();
        bytes.try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// The hash of a leaf: over a salt, so that nobody finds what it says by guessing, and what it
/// says. RFC 9162 hashes the two as one: the salt is the beginning of the leaf.
#[must_use]
pub fn leaf(salt: &[u8; SALT_LEN], says: &[u8]) -> Hash {
    let mut hash = Sha256::new_with_prefix(LEAF);
    hash.update(salt);
    hash.update(says);
    Hash(hash.finalize().into())
}

/// The hash of an inner node.
#[must_use]
pub fn node(left: &Hash, right: &Hash) -> Hash {
    let mut hash = Sha256::new_with_prefix(INNER);
    hash.update(left.0);
    hash.update(right.0);
    Hash(hash.finalize().into())
}
