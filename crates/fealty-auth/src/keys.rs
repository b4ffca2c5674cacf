//! The issuer's public keys.

use std::collections::HashMap;

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};

/// The longest text that is read as a set of keys, in bytes.
pub(crate) const JWKS_LEN_MAX: usize = 256 * 1024;
/// An RSA key shorter than this is not used, in bytes of its modulus.
const RSA_MODULUS_LEN_MIN: usize = 256;

/// A text that is no set of keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidKeys {
    /// It is too long.
    #[error("a set of keys has at most 256 KiB")]
    TooLong,
    /// It is no JWKS.
    #[error("not a JSON Web Key Set")]
    Json(#[from] serde_json::Error),
    /// None of its keys can be used.
    #[error("no key for EdDSA, ES256 or RS256 with a `kid`")]
    None,
}

/// A key, and the one algorithm that it is for.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) algorithm: Algorithm,
    pub(crate) key: DecodingKey,
}

/// Keys by their `kid`.
#[derive(Debug, Default)]
pub(crate) struct Keys(HashMap<String, Key>);

impl Keys {
    /// Reads a JWKS. Keys that are for something else are left out.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, InvalidKeys> {
        if text.len() > JWKS_LEN_MAX {
            return Err(InvalidKeys::TooLong);
        }
        let set: JwkSet = serde_json::from_slice(text)?;
        let keys = set.keys.iter().filter_map(|jwk| {
            let kid = jwk.common.key_id.clone()?;
            Some((kid, Key::of(jwk)?))
        });
        let keys: HashMap<_, _> = keys.collect();
        // A set without keys says that all are withdrawn.
        if keys.is_empty() && !set.keys.is_empty() {
            return Err(InvalidKeys::None);
        }
        Ok(Self(keys))
    }

    pub(crate) fn get(&self, kid: &str) -> Option<&Key> {
        self.0.get(kid)
    }
}

impl Key {
    fn of(jwk: &Jwk) -> Option<Self> {
        if !matches!(
            jwk.common.public_key_use,
            None | Some(PublicKeyUse::Signature)
        ) {
            return None;
        }
        let (algorithm, named) = match &jwk.algorithm {
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
            }
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                (Algorithm::ES256, KeyAlgorithm::ES256)
            }
            // Four letters of base64 are three bytes.
            AlgorithmParameters::RSA(key) if key.n.len() * 3 / 4 >= RSA_MODULUS_LEN_MIN => {
                (Algorithm::RS256, KeyAlgorithm::RS256)
            }
            _ => return None,
        };
        if jwk.common.key_algorithm.is_some_and(|said| said != named) {
            return None;
        }
        let key = DecodingKey::from_jwk(jwk).ok()?;
        Some(Self { algorithm, key })
    }
}
