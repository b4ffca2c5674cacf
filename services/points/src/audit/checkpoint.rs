//! Checkpoints: the heads of the logs, signed, for a third party to keep. What
//! was under a checkpoint cannot be changed or cut off later without its
//! holder seeing it.
//!
//! A checkpoint is a text of lines: what it is, when it was made, each shard's
//! position and chain value; in its file a last line adds the signature
//! (Ed25519, over all bytes before that line) and the public key.

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use fealty_ledger::canonical::Chain;
use fealty_types::{Clock as _, Position, ShardId, Timestamp};

use super::service::Audit;
use crate::{error::Error, shard::store::head::Head};

const TITLE: &str = "fealty checkpoint 1";
const SIGNATURE: &str = "signature ";

/// A checkpoint with its signature.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// What is signed.
    pub text: String,
    /// The signature.
    pub signature: [u8; 64],
    /// The key that verifies it.
    pub public_key: [u8; 32],
}

/// A checkpoint that cannot be believed.
#[derive(Debug, thiserror::Error)]
pub enum InvalidCheckpoint {
    /// It is not of the form that this module writes.
    #[error("line {0} is not one of a checkpoint's")]
    Line(usize),
    /// The signature is not the key's over the text.
    #[error("the signature does not fit the text")]
    Signature,
    /// It was signed with another key than the one expected.
    #[error("it was signed with another key: {0}")]
    Key(String),
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Bytes from hexadecimal digits.
#[must_use]
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| {
            digit
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        })
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[pair.len() - 1])
        .collect();
    (digits.len() == 2 * N).then_some(())?;
    bytes.try_into().ok()
}

impl Checkpoint {
    /// Signs heads.
    pub(crate) fn sign(heads: &[Head], at: Timestamp, key: &SigningKey) -> Self {
        use std::fmt::Write as _;
        let mut text = format!("{TITLE}\ntime {at}\nshards {}\n", heads.len());
        for (shard, head) in heads.iter().enumerate() {
            let (position, chain) = (head.position, hex(&head.chain));
            // Writing to a text does not fail.
            let _ = writeln!(text, "shard {shard} {position} {chain}");
        }
        Self {
            signature: key.sign(text.as_bytes()).to_bytes(),
            public_key: key.verifying_key().to_bytes(),
            text,
        }
    }

    /// The text of its file.
    #[must_use]
    pub fn file(&self) -> String {
        let (signature, key) = (hex(&self.signature), hex(&self.public_key));
        format!("{}{SIGNATURE}{signature} {key}\n", self.text)
    }

    /// Reads a file, and checks its signature; with `expected`, also that it
    /// is that key's.
    pub fn parse(file: &str, expected: Option<[u8; 32]>) -> Result<Self, InvalidCheckpoint> {
        let lines = file.lines().count();
        let last = file
            .rfind(SIGNATURE)
            .ok_or(InvalidCheckpoint::Line(lines))?;
        let (text, signature) = file.split_at(last);
        let (signature, key) = signature
            .strip_prefix(SIGNATURE)
            .and_then(|rest| rest.trim_end().split_once(' '))
            .ok_or(InvalidCheckpoint::Line(lines))?;
        let checkpoint = Self {
            text: text.to_owned(),
            signature: unhex(signature).ok_or(InvalidCheckpoint::Line(lines))?,
            public_key: unhex(key).ok_or(InvalidCheckpoint::Line(lines))?,
        };
        if expected.is_some_and(|expected| expected != checkpoint.public_key) {
            return Err(InvalidCheckpoint::Key(key.to_owned()));
        }
        let key = VerifyingKey::from_bytes(&checkpoint.public_key)
            .map_err(|_| InvalidCheckpoint::Signature)?;
        let signature = Signature::from_bytes(&checkpoint.signature);
        key.verify_strict(checkpoint.text.as_bytes(), &signature)
            .map_err(|_| InvalidCheckpoint::Signature)?;
        Ok(checkpoint)
    }

    /// The heads that it holds, by shard.
    pub fn heads(&self) -> Result<Vec<(ShardId, Position, Chain)>, InvalidCheckpoint> {
        let mut heads = Vec::new();
        for (number, line) in (1..).zip(self.text.lines()) {
            match number {
                1 if line == TITLE => continue,
                2 if line.starts_with("time ") => continue,
                3 if line.starts_with("shards ") => continue,
                _ => {}
            }
            let head = (|| {
                let mut words = line.strip_prefix("shard ")?.split(' ');
                let shard = ShardId::new(words.next()?.parse().ok()?);
                let position = Position::new(words.next()?.parse().ok()?);
                let chain = unhex(words.next()?)?;
                words.next().is_none().then_some((shard, position, chain))
            })();
            heads.push(head.ok_or(InvalidCheckpoint::Line(number))?);
        }
        let said = self
            .text
            .lines()
            .nth(2)
            .and_then(|line| line.strip_prefix("shards "));
        if said.and_then(|said| said.parse().ok()) != Some(heads.len()) {
            return Err(InvalidCheckpoint::Line(3));
        }
        Ok(heads)
    }
}

impl Audit {
    /// The heads of all shards, signed.
    pub(crate) async fn checkpoint(&self) -> Result<Checkpoint, Error> {
        let key = self.signing_key.as_deref();
        let key = key.ok_or(Error::CheckpointsDisabled)?;
        let heads = self.log_heads().await?;
        Ok(Checkpoint::sign(&heads, self.clock.now(), key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_believed_as_it_was_signed_and_not_otherwise() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let head = |position| Head {
            position: Position::new(position),
            chain: [9; 32],
            members: 1,
            fence: 0,
            written_at: Timestamp::EPOCH,
        };
        let made = Checkpoint::sign(&[head(3), head(0)], Timestamp::EPOCH, &key);
        let file = made.file();
        let read = Checkpoint::parse(&file, Some(made.public_key)).expect("as signed");
        let heads = read.heads().expect("its own form");
        assert_eq!(heads[0], (ShardId::new(0), Position::new(3), [9; 32]));
        assert_eq!(heads.len(), 2);
        let changed = file.replace("shard 0 3", "shard 0 2");
        assert!(matches!(
            Checkpoint::parse(&changed, None),
            Err(InvalidCheckpoint::Signature)
        ));
        assert!(matches!(
            Checkpoint::parse(&file, Some([1; 32])),
            Err(InvalidCheckpoint::Key(_))
        ));
        assert!(Checkpoint::parse("", None).is_err());
    }
}
