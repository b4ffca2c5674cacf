//! An issuer for development and tests: one Ed25519 key, and what it signs.
//! In production a company's own issuer does this.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use ring::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use secrecy::{ExposeSecret as _, SecretSlice};
use serde_json::{Map, Value, json};

use crate::{Role, crypto};

/// An issuer that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// The key is none.
    #[error("not an Ed25519 key in PKCS#8")]
    Key,
    /// The file cannot be read or written.
    #[error("the file of the key")]
    File(#[from] std::io::Error),
    /// The claims cannot be signed.
    #[error("the token cannot be signed")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

/// What a token grants.
#[derive(Clone, Debug, Default)]
pub struct Grant {
    /// To whom.
    pub subject: String,
    /// The roles.
    pub roles: Vec<Role>,
    /// The programmes; none for all.
    pub programs: Vec<String>,
    /// The brands; none for all.
    pub brands: Vec<String>,
    /// The member, for the role `member`.
    pub member: Option<String>,
    /// For whom it is meant.
    pub audiences: Vec<String>,
    /// Seconds from now that it holds.
    pub valid_s: i64,
    /// Its id, by which it can be revoked.
    pub token_id: Option<String>,
}

/// Signs tokens.
#[derive(Debug)]
pub struct Issuer {
    name: String,
    pkcs8: SecretSlice<u8>,
    public: Vec<u8>,
}

impl Issuer {
    /// One with a new key.
    pub fn generate(name: &str) -> Result<Self, IssuerError> {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
        let pkcs8 = pkcs8.map_err(|_| IssuerError::Key)?;
        Self::of(name, pkcs8.as_ref().to_vec())
    }

    /// One whose key is in a file, as [`Self::save`] wrote it.
    pub fn open(name: &str, path: &Path) -> Result<Self, IssuerError> {
        Self::of(name, std::fs::read(path)?)
    }

    fn of(name: &str, pkcs8: Vec<u8>) -> Result<Self, IssuerError> {
        crypto::install();
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8);
        let pair = pair.map_err(|_| IssuerError::Key)?;
        Ok(Self {
            name: name.to_owned(),
            public: pair.public_key().as_ref().to_vec(),
            pkcs8: pkcs8.into(),
        })
    }

    /// Writes the key to a new file that only its owner reads.
    pub fn save(&self, path: &Path) -> Result<(), IssuerError> {
        use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        Ok(file.write_all(self.pkcs8.expose_secret())?)
    }

    /// Its `iss`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Id of its key: the beginning of the public key.
    #[must_use]
    pub fn key_id(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.public[..9])
    }

    /// Its public key, as a JWKS.
    #[must_use]
    pub fn jwks(&self) -> String {
        let key = json!({
            "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig",
            "kid": self.key_id(), "x": URL_SAFE_NO_PAD.encode(&self.public),
        });
        json!({ "keys": [key] }).to_string()
    }

    /// The claims of a grant. `now_s` is seconds since 1970.
    #[must_use]
    pub fn claims(&self, grant: &Grant, now_s: i64) -> Map<String, Value> {
        let all = |named: &[String]| {
            if named.is_empty() {
                json!(["*"])
            } else {
                json!(named)
            }
        };
        let roles: Vec<_> = grant.roles.iter().map(|role| role.name()).collect();
        let mut claims = Map::new();
        let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        set("iss", json!(self.name));
        set("aud", json!(grant.audiences));
        set("sub", json!(grant.subject));
        set("iat", json!(now_s));
        set("exp", json!(now_s.saturating_add(grant.valid_s)));
        set("roles", json!(roles));
        set("programs", all(&grant.programs));
        set("brands", all(&grant.brands));
        if let Some(member) = &grant.member {
            set("member", json!(member));
        }
        if let Some(id) = &grant.token_id {
            set("jti", json!(id));
        }
        claims
    }

    /// A token for a grant. `now_s` is seconds since 1970.
    pub fn sign(&self, grant: &Grant, now_s: i64) -> Result<String, IssuerError> {
        self.sign_claims(&self.claims(grant, now_s))
    }

    /// A token with any claims.
    pub fn sign_claims(&self, claims: &Map<String, Value>) -> Result<String, IssuerError> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.key_id());
        let key = EncodingKey::from_ed_der(self.pkcs8.expose_secret());
        Ok(encode(&header, claims, &key)?)
    }
}
