//! Merkle trees after [RFC 9162](https://www.rfc-editor.org/rfc/rfc9162) section 2.1 (those of
//! RFC 6962): a log's leaves are hashed into one root, and a few hashes prove that a leaf is under
//! it, or that a later root has all leaves of an earlier one.
//!
//! - [`leaf`] and [`node`] are the two hashes: a leaf is SHA-256 over 0x00, a salt and what it says,
//!   an inner node SHA-256 over 0x01 and its two children.
//! - [`Frontier`] is what an appender keeps of a tree: at most 64 hashes, whatever its size.
//! - [`plan`] says which stored nodes a proof is made of, so that whoever stores them reads no
//!   others.
//! - [`verify`] checks proofs. It needs no tree.
//!
//! Nothing here reads or stores anything.

mod frontier;
mod hash;
pub mod plan;
pub mod verify;

pub use frontier::{Frontier, Node};
pub use hash::{Hash, SALT_LEN, leaf, node};
