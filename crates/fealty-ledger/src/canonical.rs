//! How an entry of a log becomes bytes, and how the bytes are chained.
//!
//! The bytes are a format number, then the entry in the borsh encoding
//! (<https://borsh.io>), packed as Cap'n Proto packs words
//! (<https://capnproto.org/encoding.html#packing>), for half of it are zeros. Borsh has fields in
//! order, integers little-endian, texts and lists led by their length as 32 bits, options
//! and variants by one byte. There is one encoding for a value, so equal bytes mean equal
//! entries. Format 6 is the same without the packing.
//!
//! `chain(n) = SHA-256(chain(n - 1) || bytes(n))`, with 32 zero bytes before
//! the first.

use sha2::{Digest as _, Sha256};

use crate::{
    Entry,
    packing::{pack, unpack},
};

/// Value of a shard's chain.
pub type Chain = [u8; 32];

/// The chain before the first entry.
pub const CHAIN_START: Chain = [0; 32];

/// The encoding of this version. Another one gets another number, and this
/// one stays readable for ever.
const FORMAT: u8 = 7;
/// The one before it, without packing.
const UNPACKED: u8 = 6;

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
    let plain = part(entry);
    let mut bytes = Vec::with_capacity(1 + plain.len());
    bytes.push(FORMAT);
    pack(&plain, &mut bytes);
    bytes
}

/// Whether canonical bytes are of a format before this one.
#[must_use]
pub fn is_earlier(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|format| *format < FORMAT)
}

/// The bytes that a value has in those of an entry that it is part of.
#[must_use]
pub fn part(value: &impl borsh::BorshSerialize) -> Vec<u8> {
    borsh::to_vec(value).expect("writing to memory does not fail")
}

/// Reads canonical bytes.
pub fn decode(bytes: &[u8]) -> Result<Entry, InvalidBytes> {
    match bytes {
        [FORMAT, packed @ ..] => unpacked(bytes, packed),
        [UNPACKED, body @ ..] => borsh::from_slice(body).map_err(InvalidBytes::Encoding),
        [format, ..] => Err(InvalidBytes::Format(*format)),
        [] => Err(InvalidBytes::Empty),
    }
}

fn unpacked(bytes: &[u8], packed: &[u8]) -> Result<Entry, InvalidBytes> {
    let plain = unpack(packed).ok_or_else(|| invalid("they are not packed words"))?;
    let mut rest = &*plain;
    let entry = borsh::BorshDeserialize::deserialize(&mut rest);
    let entry = entry.map_err(InvalidBytes::Encoding)?;
    // Neither can words be packed otherwise, nor does anything come behind.
    if encode(&entry) != bytes {
        return Err(invalid("they are not the encoding of what they say"));
    }
    Ok(entry)
}

fn invalid(why: &str) -> InvalidBytes {
    InvalidBytes::Encoding(borsh::io::Error::other(why))
}

/// The chain value after `bytes`.
#[must_use]
pub fn chain(before: &Chain, bytes: &[u8]) -> Chain {
    let mut hash = Sha256::new();
    hash.update(before);
    hash.update(bytes);
    hash.finalize().into()
}
