//! Checkpoints: the heads of the logs, signed, for a third party to keep. What
//! was under a checkpoint cannot be changed or cut off later without its
//! holder seeing it.
//!
//! A checkpoint is a [signed note](https://c2sp.org/signed-note) in the form of a
//! [tlog-checkpoint](https://c2sp.org/tlog-checkpoint), so tools for those check its
//! signature and keep it:
//!
//! ```text
//! fealty.dev/points
//! 40
//! 4uFVOVWwdr1RZbsB6kQQeO7jL7xTtZKjY6mLh0g3e0A=
//! time 2026-11-25T12:00:00Z
//! shard 0 17 3nh0cXKr…
//! shard 1 23 M4b2n0aA…
//!
//! — fealty.dev/points 2Zs0kLkf…
//! ```
//!
//! The lines: the origin, which is the key's name; the transactions of all shards; the
//! root: SHA-256 over position (eight bytes, big-endian) and chain of each shard in
//! order; when it was made; each shard's position and chain. The logs are chains, not
//! Merkle trees: nothing is proven by hashes of their own, and who checks a checkpoint
//! reads the log.

use data_encoding::BASE64;
use ed25519_dalek::{Signature, Signer as _};
use fealty_ledger::canonical::Chain;
use fealty_types::{Clock as _, Position, ShardId, Timestamp};
use sha2::{Digest as _, Sha256};

use super::{
    service::Audit,
    signer::{Signer, VerifierKey},
};
use crate::{error::Error, shard::store::head::Head};

/// What begins the line of a signature: an em dash and a space.
const SIGNED: &str = "\u{2014} ";

/// A checkpoint that cannot be believed.
#[derive(Debug, thiserror::Error)]
pub enum InvalidCheckpoint {
    /// It is not of the form that this module writes.
    #[error("line {0} is not one of a checkpoint's")]
    Line(usize),
    /// The signature is not the key's over the text.
    #[error("the signature does not fit the text")]
    Signature,
    /// The key has not signed it.
    #[error("the key `{0}` has not signed it")]
    Key(String),
    /// The root is not that of the shards.
    #[error("the root does not fit the shards")]
    Root,
}

/// A checkpoint: what a third party keeps.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The signed note.
    pub note: String,
    /// What verifies it.
    pub verifier_key: VerifierKey,
}

/// SHA-256 over position and chain of each shard.
fn root(heads: impl Iterator<Item = (Position, Chain)>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for (position, chain) in heads {
        hash.update(position.get().to_be_bytes());
        hash.update(chain);
    }
    hash.finalize().into()
}

impl Checkpoint {
    /// Signs heads.
    pub(crate) fn sign(heads: &[Head], at: Timestamp, signer: &Signer) -> Self {
        use std::fmt::Write as _;
        let size: i64 = heads.iter().map(|head| head.position.get()).sum();
        let root = root(heads.iter().map(|head| (head.position, head.chain)));
        let root = BASE64.encode(&root);
        let mut text = format!("{}\n{size}\n{root}\ntime {at}\n", signer.origin);
        for (shard, head) in heads.iter().enumerate() {
            let (position, chain) = (head.position, BASE64.encode(&head.chain));
            // Writing to a text does not fail.
            let _ = writeln!(text, "shard {shard} {position} {chain}");
        }
        let verifier_key = signer.verifier_key();
        let signature = signer.key.sign(text.as_bytes()).to_bytes();
        let signed = BASE64.encode(&[&verifier_key.id()[..], &signature].concat());
        Self {
            note: format!("{text}\n{SIGNED}{} {signed}\n", signer.origin),
            verifier_key,
        }
    }

    /// Reads a note, and checks that the key has signed it; other signatures beside
    /// are left alone.
    pub fn parse(note: &str, key: &VerifierKey) -> Result<Self, InvalidCheckpoint> {
        let lines = note.lines().count();
        let end = note.rfind("\n\n").ok_or(InvalidCheckpoint::Line(lines))?;
        let (text, signatures) = (&note[..=end], &note[end + 2..]);
        let unsigned = || InvalidCheckpoint::Key(key.name.clone());
        let signature = signatures.lines().find_map(|line| {
            let signed = line.strip_prefix(SIGNED)?.strip_prefix(&*key.name)?;
            let signed = BASE64.decode(signed.strip_prefix(' ')?.as_bytes()).ok()?;
            let signature: [u8; 64] = signed.strip_prefix(&key.id())?.try_into().ok()?;
            Some(Signature::from_bytes(&signature))
        });
        let signature = signature.ok_or_else(unsigned)?;
        key.key
            .verify_strict(text.as_bytes(), &signature)
            .map_err(|_| InvalidCheckpoint::Signature)?;
        if text.lines().next() != Some(&*key.name) {
            return Err(InvalidCheckpoint::Line(1));
        }
        Ok(Self {
            note: note.to_owned(),
            verifier_key: key.clone(),
        })
    }

    /// The heads that it holds, by shard.
    pub fn heads(&self) -> Result<Vec<(ShardId, Position, Chain)>, InvalidCheckpoint> {
        let mut heads = Vec::new();
        let mut lines = (1..).zip(self.note.lines());
        let mut next = || lines.next().ok_or(InvalidCheckpoint::Line(0));
        next()?;
        let (_, size) = next()?;
        let size: i64 = size.parse().map_err(|_| InvalidCheckpoint::Line(2))?;
        let (_, said) = next()?;
        let (number, time) = next()?;
        if !time.starts_with("time ") {
            return Err(InvalidCheckpoint::Line(number));
        }
        loop {
            let (number, line) = next()?;
            if line.is_empty() {
                break;
            }
            let head = (|| {
                let mut words = line.strip_prefix("shard ")?.split(' ');
                let shard = ShardId::new(words.next()?.parse().ok()?);
                let position = Position::new(words.next()?.parse().ok()?);
                let chain = BASE64.decode(words.next()?.as_bytes()).ok()?;
                let head = (shard, position, chain.try_into().ok()?);
                (words.next().is_none() && usize::from(shard.get()) == heads.len()).then_some(head)
            })();
            heads.push(head.ok_or(InvalidCheckpoint::Line(number))?);
        }
        let sum: i64 = heads.iter().map(|(_, position, _)| position.get()).sum();
        let expected = root(heads.iter().map(|(_, position, chain)| (*position, *chain)));
        if sum != size || BASE64.encode(&expected) != said {
            return Err(InvalidCheckpoint::Root);
        }
        Ok(heads)
    }
}

impl Audit {
    /// The heads of all shards, signed.
    pub(crate) async fn checkpoint(&self) -> Result<Checkpoint, Error> {
        let signer = self.signer.as_deref();
        let signer = signer.ok_or(Error::CheckpointsDisabled)?;
        let heads = self.log_heads().await?;
        Ok(Checkpoint::sign(&heads, self.clock.now(), signer))
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;

    #[test]
    fn a_checkpoint_is_believed_as_it_was_signed_and_not_otherwise() {
        let signer = |byte, origin: &str| Signer {
            origin: origin.to_owned(),
            key: SigningKey::from_bytes(&[byte; 32]),
        };
        let head = |position| Head {
            position: Position::new(position),
            chain: [9; 32],
            members: 1,
            fence: 0,
            written_at: Timestamp::EPOCH,
        };
        let ours = signer(7, "ledger.example.com/club");
        let made = Checkpoint::sign(&[head(3), head(0)], Timestamp::EPOCH, &ours);
        let key: VerifierKey = ours.verifier_key().to_string().parse().expect("a key");
        assert_eq!(key, made.verifier_key);
        let read = Checkpoint::parse(&made.note, &key).expect("as signed");
        let heads = read.heads().expect("its own form");
        assert_eq!(heads[0], (ShardId::new(0), Position::new(3), [9; 32]));
        assert_eq!(heads.len(), 2);
        let changed = made.note.replace("shard 0 3", "shard 0 2");
        assert!(matches!(
            Checkpoint::parse(&changed, &key),
            Err(InvalidCheckpoint::Signature)
        ));
        for other in [signer(8, "ledger.example.com/club"), signer(7, "another")] {
            assert!(matches!(
                Checkpoint::parse(&made.note, &other.verifier_key()),
                Err(InvalidCheckpoint::Key(_))
            ));
        }
        assert!(Checkpoint::parse("", &key).is_err());
        // Signatures of witnesses beside it change nothing.
        let witnessed = format!("{}{SIGNED}witness.example.org AAAAAAAA\n", made.note);
        assert!(Checkpoint::parse(&witnessed, &key).is_ok());
    }
}
