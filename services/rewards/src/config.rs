//! The service's configuration.

use fealty_server::config::{DatabaseSection, ServerSection, TelemetrySection};
use serde::Deserialize;

/// The configuration of a rewards service.
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
    /// The points service.
    pub points: PointsSection,
    /// Vouchers.
    pub vouchers: VouchersSection,
}

/// `[points]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointsSection {
    /// `http://…` of the points service, which holds and captures points.
    pub url: String,
}

/// `[vouchers]`
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VouchersSection {
    /// The key under which codes are hashed and encrypted: 64 hexadecimal
    /// digits. A secret, never printed; without it issued codes are lost.
    pub key: String,
}

impl std::fmt::Debug for VouchersSection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VouchersSection").finish_non_exhaustive()
    }
}
