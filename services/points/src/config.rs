//! The service's configuration.

use fealty_server::config::{DatabaseSection, ServerSection, TelemetrySection};
use serde::Deserialize;

/// The configuration of a points service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where and how to serve.
    pub server: ServerSection,
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
}

/// `[ledger]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerSection {
    /// Shards of a new installation, 1 to 256; of one that has some, the
    /// number never changes.
    pub shards: u16,
}

impl Default for LedgerSection {
    fn default() -> Self {
        Self { shards: 8 }
    }
}

/// `[cache]`
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheSection {
    /// `redis://…`; without it, balances are read from Postgres. It may hold a
    /// password and is never printed.
    pub url: Option<String>,
}

impl std::fmt::Debug for CacheSection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CacheSection")
            .field("configured", &self.url.is_some())
            .finish()
    }
}

/// `[tiers]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TiersSection {
    /// `http://…` of the tiers service, whose feed tells members' tiers;
    /// without it, everybody has the lowest.
    pub url: Option<String>,
}
