//! The service's configuration.

use fealty_server::{
    Serving,
    config::{
        CredentialsSection, DatabaseSection, LimitsSection, ServerSection, TelemetrySection,
        TlsSection,
    },
};
use serde::Deserialize;

/// The configuration of a tiers service.
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
    /// The points service.
    pub points: PointsSection,
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

/// `[points]`
#[derive(Clone, Debug, Deserialize)]
pub struct PointsSection {
    /// `http://…` of the points service, whose feed tells purchases.
    pub url: String,
}
