//! The keys that checkpoints are signed and verified with, as C2SP writes them.

use data_encoding::BASE64;
use ed25519_dalek::{SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};

/// What a key of Ed25519 begins with, where keys are written.
const ED25519: u8 = 1;

/// A text that is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key is written `name+id+key`, as `fealty checkpoint --key` tells it")]
pub struct InvalidKey;

/// A key that verifies notes, with its name: `name+id+key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    pub(super) name: String,
    pub(super) key: VerifyingKey,
}

impl VerifierKey {
    fn new(name: &str, key: VerifyingKey) -> Self {
        let name = name.to_owned();
        Self { name, key }
    }

    /// The first four bytes of SHA-256 over name, newline, algorithm and key.
    pub(super) fn id(&self) -> [u8; 4] {
        let mut hash = Sha256::new();
        hash.update(&self.name);
        hash.update([b'\n', ED25519]);
        hash.update(self.key.as_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        [digest[0], digest[1], digest[2], digest[3]]
    }
}

impl std::fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let id = u32::from_be_bytes(self.id());
        let key = [&[ED25519][..], self.key.as_bytes()].concat();
        write!(f, "{}+{id:08x}+{}", self.name, BASE64.encode(&key))
    }
}

impl std::str::FromStr for VerifierKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let parsed = || {
            let mut parts = text.splitn(3, '+');
            let name = parts.next().filter(|name| is_key_name(name))?;
            let id = u32::from_str_radix(parts.next()?, 16).ok()?;
            let key = BASE64.decode(parts.next()?.as_bytes()).ok()?;
            let key: [u8; 32] = key.strip_prefix(&[ED25519])?.try_into().ok()?;
            let key = Self::new(name, VerifyingKey::from_bytes(&key).ok()?);
            (u32::from_be_bytes(key.id()) == id).then_some(key)
        };
        parsed().ok_or(InvalidKey)
    }
}

/// Whether a key can have that name: without spaces and plus signs.
#[must_use]
pub fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

/// What checkpoints are signed with.
#[derive(Clone, Debug)]
pub struct Signer {
    /// The name of the key, and the origin of the log.
    pub origin: String,
    /// The key.
    pub key: SigningKey,
}

impl Signer {
    /// What verifies its signatures.
    #[must_use]
    pub fn verifier_key(&self) -> VerifierKey {
        VerifierKey::new(&self.origin, self.key.verifying_key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key of the specification's own example.
    #[test]
    fn keys_are_written_as_the_specification_writes_them() {
        let example = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let key: VerifierKey = example.parse().expect("a key");
        assert_eq!(key.to_string(), example);
        for wrong in ["", "a+b", &example[..60], &example.replace("c74f", "c74e")] {
            assert!(wrong.parse::<VerifierKey>().is_err(), "{wrong}");
        }
    }
}
