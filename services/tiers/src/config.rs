//! The service's configuration.

use fealty_server::config::{DatabaseSection, ServerSection, TelemetrySection};
use serde::Deserialize;

/// The configuration of a tiers service.
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
}

/// `[points]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointsSection {
    /// `http://…` of the points service, whose feed tells purchases.
    pub url: String,
}
