//! The service's configuration.

use std::path::PathBuf;

use data_encoding::HEXLOWER_PERMISSIVE;
use ed25519_dalek::SigningKey;
use fealty_server::{
    Serving,
    config::{
        CredentialsSection, DatabaseSection, LimitsSection, ServerSection, TelemetrySection,
        TlsSection,
    },
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::audit::signer::{Signer, is_key_name};

/// The configuration of a points service.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// Where and how to serve.
    pub server: ServerSection,
    /// Whom it serves.
    #[serde(default)]
    pub auth: fealty_auth::Settings,
    /// With which certificates.
    #[serde(default)]
    pub tls: TlsSection,
    /// How much callers may ask of it.
    #[serde(default)]
    pub limits: LimitsSection,
    /// What it shows the services that it calls.
    #[serde(default)]
    pub credentials: CredentialsSection,
    /// Its database.
    pub database: DatabaseSection,
    /// What is told, and where to.
    #[serde(default)]
    pub telemetry: TelemetrySection,
    /// The ledger.
    #[serde(default)]
    pub ledger: LedgerSection,
    /// The cache of balances.
    #[serde(default)]
    pub cache: CacheSection,
    /// The tiers service.
    #[serde(default)]
    pub tiers: TiersSection,
    /// The signed heads of the logs.
    #[serde(default)]
    pub checkpoints: CheckpointsSection,
}

impl Config {
    /// How it serves.
    #[must_use]
    pub fn serving(&self) -> Serving<'_> {
        Serving {
            server: &self.server,
            auth: &self.auth,
            tls: &self.tls,
            limits: &self.limits,
        }
    }
}

/// `[checkpoints]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct CheckpointsSection {
    /// The Ed25519 key to sign checkpoints with: 32 secret bytes in
    /// hexadecimal. Without it, none are signed.
    pub key: Option<SecretString>,
    /// The name of the key and the origin of the log, which should be nobody else's: a
    /// domain and a path, without a scheme.
    pub origin: String,
}

impl Default for CheckpointsSection {
    fn default() -> Self {
        Self {
            key: None,
            origin: "fealty.dev/points".to_owned(),
        }
    }
}

impl CheckpointsSection {
    /// What signs them, if a key is configured.
    pub fn signer(&self) -> anyhow::Result<Option<Signer>> {
        anyhow::ensure!(
            is_key_name(&self.origin),
            "checkpoints.origin must have neither spaces nor plus signs"
        );
        let Some(key) = &self.key else {
            return Ok(None);
        };
        let bytes = HEXLOWER_PERMISSIVE.decode(key.expose_secret().as_bytes());
        let bytes: Option<[u8; 32]> = bytes.ok().and_then(|bytes| bytes.try_into().ok());
        let bytes = bytes
            .ok_or_else(|| anyhow::anyhow!("checkpoints.key must be 64 hexadecimal digits"))?;
        Ok(Some(Signer {
            origin: self.origin.clone(),
            key: SigningKey::from_bytes(&bytes),
        }))
    }
}

/// `[ledger]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct LedgerSection {
    /// Shards of a new installation, 1 to 256; of one that has some, the
    /// number never changes.
    pub shards: u16,
    /// Batches that this instance commits at once, over all shards; about the
    /// processors that the database has for it.
    pub batches_in_flight: u16,
    /// Members whose wallets this instance remembers between batches, over all
    /// shards; some 400 bytes each. Of use where no other instance writes to
    /// the same shards all the time.
    pub members_in_memory: usize,
    /// Whether the tables are distributed: `auto` asks the database;
    /// `distributed` works as if they were.
    pub placement: PlacementSetting,
}

/// How the placement is found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlacementSetting {
    /// By asking the database.
    #[default]
    Auto,
    /// As if the tables were distributed, whether they are or not. Right on one
    /// node too, and slower there.
    Distributed,
}

impl Default for LedgerSection {
    fn default() -> Self {
        Self {
            shards: 8,
            batches_in_flight: 3,
            members_in_memory: 100_000,
            placement: PlacementSetting::Auto,
        }
    }
}

/// `[cache]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CacheSection {
    /// `redis://…`, or `rediss://…` for TLS; without it, balances are read from
    /// Postgres. It may hold a password and is never printed.
    pub url: Option<SecretString>,
    /// Certificates to believe of a server at `rediss://`, PEM; otherwise those of
    /// the web.
    pub ca_file: Option<PathBuf>,
}

/// `[tiers]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TiersSection {
    /// `http://…` of the tiers service, whose feed tells members' tiers;
    /// without it, everybody has the lowest.
    pub url: Option<String>,
}
