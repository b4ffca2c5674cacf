//! How an entry of a log becomes bytes, and how the bytes are chained.
//!
//! The bytes are a format number, then the entry in the borsh encoding
//! (<https://borsh.io>): fields in order, integers little-endian, texts and
//! lists led by their length as 32 bits, options and variants by one byte.
//! There is one encoding for a value, so equal bytes mean equal entries.
//!
//! `chain(n) = SHA-256(chain(n - 1) || bytes(n))`, with 32 zero bytes before
//! the first.

use sha2::{Digest as _, Sha256};

use crate::Entry;

/// Value of a shard's chain.
pub type Chain = [u8; 32];

/// The chain before the first entry.
pub const CHAIN_START: Chain = [0; 32];

/// The encoding of this version. Another one gets another number, and this
/// one stays readable for ever.
const FORMAT: u8 = 6;

/// Bytes that are no entry.
#[derive(Debug, thiserror::Error)]
pub enum InvalidBytes {
    /// An encoding that this version does not know.
    #[error("the format {0} is not known")]
    Format(u8),
    /// Not an encoding of an entry.
    #[error("the bytes are no entry of a log")]
    Encoding(#[source] borsh::io::Error),
    /// No bytes.
    #[error("there are no bytes")]
    Empty,
}

/// The canonical bytes.
#[must_use]
pub fn encode(entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(384);
    bytes.push(FORMAT);
    borsh::to_writer(&mut bytes, entry).expect("writing to memory does not fail");
    bytes
}

/// The bytes that a value has in those of an entry that it is part of.
#[must_use]
pub fn part(value: &impl borsh::BorshSerialize) -> Vec<u8> {
    borsh::to_vec(value).expect("writing to memory does not fail")
}

/// Reads canonical bytes.
pub fn decode(bytes: &[u8]) -> Result<Entry, InvalidBytes> {
    match bytes {
        [FORMAT, body @ ..] => borsh::from_slice(body).map_err(InvalidBytes::Encoding),
        [format, ..] => Err(InvalidBytes::Format(*format)),
        [] => Err(InvalidBytes::Empty),
    }
}

/// The chain value after `bytes`.
#[must_use]
pub fn chain(before: &Chain, bytes: &[u8]) -> Chain {
    let mut hash = Sha256::new();
    hash.update(before);
    hash.update(bytes);
    hash.finalize().into()
}
