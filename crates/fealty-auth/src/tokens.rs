//! Tokens: verified once, remembered until they expire.

use std::{
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
    num::NonZeroUsize,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header, errors::ErrorKind};
use lru::LruCache;
use serde_json::{Map, Value};
use tokio::sync::{Notify, watch};

use crate::{Identity, Roles, Settings, SettingsError, crypto, keys::Keys};

/// The longest token that is looked at, in bytes.
pub const TOKEN_LEN_MAX: usize = 8 * 1024;
/// How far clocks may differ, in seconds.
const SKEW_S: u64 = 60;
/// Tokens that are remembered, in as many parts as callers seldom meet in:
/// 16 x 1,024, of some 1 KiB each.
const PARTS: usize = 16;
const REMEMBERED_MAX: NonZeroUsize = NonZeroUsize::new(1_024).expect("not zero");
/// How long a call with a key that is not known waits for the keys to be read
/// again.
const KEYS_AWAITED: Duration = Duration::from_secs(2);

/// What is wrong with a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// There is none.
    #[error("the call carries no token: send `authorization: Bearer TOKEN`")]
    Missing,
    /// It is none, or too long.
    #[error("the token is not a JWT of at most 8 KiB with a `kid`")]
    Malformed,
    /// It is signed by none of the ways that are taken.
    #[error("the token must be signed by EdDSA, ES256 or RS256, as its key is for")]
    Algorithm,
    /// No key has its `kid`.
    #[error("the token is signed by a key that is not known")]
    UnknownKey,
    /// The signature is not that key's.
    #[error("the token's signature is not valid")]
    Signature,
    /// It has expired.
    #[error("the token has expired")]
    Expired,
    /// It is not valid yet.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Somebody else issued it.
    #[error("the token is another issuer's")]
    Issuer,
    /// It is for somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// It does not say what it must.
    #[error("the token does not say what it must: {0}")]
    Claims(String),
    /// It was revoked.
    #[error("the token was revoked")]
    Revoked,
}

impl TokenFault {
    /// Its name for programs, as the contracts list them.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Claims(_) => "claims",
            Self::Revoked => "revoked",
        }
    }
}

/// A token that was verified.
#[derive(Clone, Debug)]
struct Remembered {
    identity: Arc<Identity>,
    /// The set of keys that it was verified with.
    keys: u64,
}

/// Verifies tokens.
#[derive(Debug)]
pub struct Tokens {
    pub(crate) settings: Settings,
    keys: ArcSwap<Keys>,
    /// Counts the sets of keys: what an older one verified is verified again.
    generation: AtomicU64,
    revoked: ArcSwap<HashSet<String>>,
    remembered: Vec<Mutex<LruCache<Box<str>, Remembered>>>,
    hasher: RandomState,
    validation: Validation,
    /// Somebody met a key that is not known.
    pub(crate) wanted: Notify,
    /// How often the keys were looked for.
    pub(crate) looked: watch::Sender<u64>,
    /// Whether a look is permitted now: they are rare, whoever asks.
    pub(crate) may_look: std::sync::atomic::AtomicBool,
}

impl Tokens {
    /// Verifies by these settings; there are no keys yet.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        settings.check()?;
        crypto::install();
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.leeway = SKEW_S;
        validation.validate_nbf = true;
        validation.set_audience(&[&settings.audience]);
        validation.set_issuer(&[&settings.issuer]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        Ok(Self {
            settings,
            keys: ArcSwap::default(),
            generation: AtomicU64::new(0),
            revoked: ArcSwap::default(),
            remembered: (0..PARTS)
                .map(|_| Mutex::new(LruCache::new(REMEMBERED_MAX)))
                .collect(),
            hasher: RandomState::new(),
            validation,
            wanted: Notify::new(),
            looked: watch::Sender::new(0),
            may_look: std::sync::atomic::AtomicBool::new(true),
        })
    }

    pub(crate) fn set_keys(&self, keys: Keys) {
        self.keys.store(Arc::new(keys));
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn set_revoked(&self, list: &[u8]) {
        let text = String::from_utf8_lossy(list);
        let lines = text.lines().map(str::trim);
        let ids = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let ids = ids.map(ToOwned::to_owned).collect();
        self.revoked.store(Arc::new(ids));
    }

    /// Checks that an identity still stands: not expired, not revoked, its key still
    /// there.
    pub fn check_standing(&self, identity: &Identity, now_s: i64) -> Result<(), TokenFault> {
        let skew = i64::try_from(SKEW_S).unwrap_or(0);
        if identity.expires_at_s.saturating_add(skew) < now_s {
            return Err(TokenFault::Expired);
        }
        if let Some(key_id) = &identity.key_id
            && self.keys.load().get(key_id).is_none()
        {
            return Err(TokenFault::UnknownKey);
        }
        let revoked = self.revoked.load();
        if identity
            .token_id
            .as_ref()
            .is_some_and(|id| revoked.contains(id))
        {
            return Err(TokenFault::Revoked);
        }
        Ok(())
    }

    /// Whether the issuer's keys may be read again now for a key that is not known:
    /// that is rare, whoever asks.
    #[must_use]
    pub fn may_look(&self) -> bool {
        self.may_look.load(Ordering::Relaxed)
    }

    /// Has the issuer's keys read again, and waits for it a while. Keys change:
    /// whoever meets a new one first does this and tries again.
    pub async fn read_keys_again(&self) {
        let mut looked = self.looked.subscribe();
        self.wanted.notify_one();
        // After that time it is a key that is not known.
        let _ = tokio::time::timeout(KEYS_AWAITED, looked.changed()).await;
    }

    /// Who carries a token. `now_s` is seconds since 1970.
    pub fn verify(&self, token: &str, now_s: i64) -> Result<Arc<Identity>, TokenFault> {
        if token.len() > TOKEN_LEN_MAX {
            return Err(TokenFault::Malformed);
        }
        let part = usize::from(self.hasher.hash_one(token).to_le_bytes()[0]) % PARTS;
        let part = &self.remembered[part];
        let lock = || {
            part.lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
        };
        let keys = self.generation.load(Ordering::SeqCst);
        let known = lock()
            .get(token)
            .filter(|known| known.keys == keys)
            .cloned();
        if let Some(known) = known {
            self.check_standing(&known.identity, now_s)?;
            return Ok(known.identity);
        }
        let identity = Arc::new(self.read(token)?);
        self.check_standing(&identity, now_s)?;
        let remembered = Remembered {
            identity: Arc::clone(&identity),
            keys,
        };
        lock().put(token.into(), remembered);
        Ok(identity)
    }

    /// Verifies a token that is not remembered.
    fn read(&self, token: &str) -> Result<Identity, TokenFault> {
        let header = decode_header(token).map_err(|error| match error.kind() {
            // `none` and the like are not even names to the library.
            ErrorKind::Json(_) if names_an_algorithm(token) => TokenFault::Algorithm,
            _ => TokenFault::Malformed,
        })?;
        if !matches!(
            header.alg,
            Algorithm::EdDSA | Algorithm::ES256 | Algorithm::RS256
        ) {
            return Err(TokenFault::Algorithm);
        }
        // What must be understood and is not; see RFC 7515, 4.1.11.
        if header.crit.is_some() {
            return Err(TokenFault::Malformed);
        }
        let kid = header.kid.as_deref().ok_or(TokenFault::Malformed)?;
        let keys = self.keys.load();
        let key = keys.get(kid).ok_or(TokenFault::UnknownKey)?;
        if key.algorithm != header.alg {
            return Err(TokenFault::Algorithm);
        }
        let mut validation = self.validation.clone();
        validation.algorithms = vec![key.algorithm];
        let decoded = decode::<Map<String, Value>>(token, &key.key, &validation);
        let claims = decoded.map_err(|error| match error.kind() {
            ErrorKind::InvalidSignature => TokenFault::Signature,
            ErrorKind::ExpiredSignature => TokenFault::Expired,
            ErrorKind::ImmatureSignature => TokenFault::NotYetValid,
            ErrorKind::InvalidIssuer => TokenFault::Issuer,
            ErrorKind::InvalidAudience => TokenFault::Audience,
            ErrorKind::InvalidAlgorithm => TokenFault::Algorithm,
            ErrorKind::MissingRequiredClaim(claim) | ErrorKind::InvalidClaimFormat(claim) => {
                TokenFault::Claims(format!("the claim `{claim}` must be set"))
            }
            _ => TokenFault::Malformed,
        })?;
        Identity::of_claims(&claims.claims, kid, &self.settings)
            .map_err(|error| TokenFault::Claims(error.to_string()))
    }

    /// Who shows a client certificate with these names, until it expires.
    #[must_use]
    pub fn certificate(&self, names: &[String], expires_at_s: i64) -> Option<Identity> {
        let (name, roles): (&str, Roles) = self.settings.certificate(names)?;
        Some(Identity::of_certificate(
            name.parse().ok()?,
            roles,
            expires_at_s,
        ))
    }
}

/// Whether a token's header is one but for its algorithm.
fn names_an_algorithm(token: &str) -> bool {
    use base64::Engine as _;
    let header = token.split('.').next().unwrap_or_default();
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header);
    let header = header
        .ok()
        .and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    header.is_some_and(|header| header.get("alg").is_some_and(Value::is_string))
}
