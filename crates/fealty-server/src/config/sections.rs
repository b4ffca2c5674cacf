//! The sections that services have in common, each knob with its meaning.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use secrecy::SecretString;
use serde::{Deserialize, Deserializer, de::Error as _};

use super::ConfigError;

/// `[server]`: where and how to serve.
#[derive(Clone, Debug, Deserialize)]
pub struct ServerSection {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// Serve everybody, with all roles, without a token. Only on loopback.
    #[serde(default)]
    pub insecure: bool,
    /// Whether the clock can be set over gRPC. For tests and demos.
    #[serde(default)]
    pub test_clock: bool,
    /// Whether browsers may call by gRPC-Web.
    #[serde(default)]
    pub grpc_web: bool,
    /// Origins of pages that may call by gRPC-Web, divided by commas, for example
    /// `https://app.example.com`. Those of the service's own origin always may.
    #[serde(default)]
    pub cors_origins: String,
    /// Whether callers who are known may ask for the contracts.
    #[serde(default = "yes")]
    pub reflection: bool,
    /// How long a call may take, in milliseconds; a caller's own deadline counts if
    /// it is shorter.
    #[serde(default = "request_timeout_ms")]
    pub request_timeout_ms: u64,
    /// How long to wait for calls in flight when ending, in milliseconds.
    #[serde(default = "shutdown_grace_ms")]
    pub shutdown_grace_ms: u64,
}

/// `[tls]`: certificates, PEM files that are read again when they change.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TlsSection {
    /// The service's certificate and those it is signed by; without it, the service
    /// speaks plain text.
    pub certificate_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// Whose client certificates are believed; who they are is in `[auth]`.
    pub client_ca_file: Option<PathBuf>,
    /// Whether a client must show one.
    pub client_required: bool,
}

impl TlsSection {
    /// Says what is wrong with it, but for the files.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let told = match (&self.certificate_file, &self.key_file) {
            (Some(_), None) | (None, Some(_)) => {
                "tls.certificate_file and tls.key_file must be set together"
            }
            (None, None) if self.client_ca_file.is_some() => {
                "tls.client_ca_file needs tls.certificate_file"
            }
            _ if self.client_required && self.client_ca_file.is_none() => {
                "tls.client_required needs tls.client_ca_file"
            }
            _ => return Ok(()),
        };
        Err(ConfigError::new(told))
    }
}

/// `[limits]`: what callers may ask of the service.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default)]
pub struct LimitsSection {
    /// Connections at once. One more ends the one that has been idle longest.
    /// Fewer, where the system lets the process open fewer files.
    pub connections_max: usize,
    /// Calls at once over one connection.
    pub streams_max: u32,
    /// Bytes of a call's metadata.
    pub metadata_len_max: u32,
    /// Seconds until a connection must have made its first call.
    pub first_call_s: u64,
    /// Seconds after which a connection is asked to be made anew, so that callers
    /// find new instances.
    pub connection_age_s: u64,
    /// Seconds that its calls and streams then have left.
    pub connection_age_grace_s: u64,
    /// Calls a second that a caller may make; 0 for as many as it likes.
    pub calls_per_second: u32,
    /// Calls a second that a member may make; 0 for as many as it likes.
    pub member_calls_per_second: u32,
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            connections_max: 20_000,
            streams_max: 1_024,
            metadata_len_max: 16 * 1_024,
            first_call_s: 60,
            connection_age_s: 10 * 60,
            connection_age_grace_s: 60,
            calls_per_second: 0,
            member_calls_per_second: 50,
        }
    }
}

/// `[credentials]`: what the service shows the services that it calls.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CredentialsSection {
    /// File with its token; read again when it changes.
    pub token_file: Option<PathBuf>,
    /// Certificates to believe of services at `https://`, PEM; otherwise those of
    /// the web.
    pub ca_file: Option<PathBuf>,
    /// Its client certificate, PEM.
    pub certificate_file: Option<PathBuf>,
    /// That certificate's key.
    pub key_file: Option<PathBuf>,
}

impl CredentialsSection {
    /// What a client shows.
    #[must_use]
    pub fn for_calls(&self) -> fealty_client::Credentials {
        fealty_client::Credentials {
            token: None,
            token_file: self.token_file.clone(),
            ca_file: self.ca_file.clone(),
            certificate_file: self.certificate_file.clone(),
            key_file: self.key_file.clone(),
        }
    }
}

fn request_timeout_ms() -> u64 {
    30_000
}

fn shutdown_grace_ms() -> u64 {
    20_000
}

impl ServerSection {
    /// How long a call may take.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    /// How long to wait for calls in flight when ending.
    #[must_use]
    pub fn shutdown_grace(&self) -> Duration {
        Duration::from_millis(self.shutdown_grace_ms)
    }
}

/// `[database]`: the service's own Postgres database.
#[derive(Clone, Debug, Deserialize)]
pub struct DatabaseSection {
    /// `postgres://…`. It may hold a password and is never printed. With
    /// `?sslmode=verify-full&sslrootcert=FILE` the server must prove who it is.
    pub url: SecretString,
    /// Connections at the most.
    #[serde(default = "connections_max")]
    pub connections_max: u32,
    /// How long a statement may take, in milliseconds, 100 to 30,000: up to when a feed is
    /// known rests on that. Whoever waits for longer, or has a
    /// transaction open and does nothing for so long, is taken for gone: locks are freed,
    /// connections thrown away, calls answered with UNAVAILABLE.
    #[serde(
        default = "statement_timeout_ms",
        deserialize_with = "statement_timeout_in_range"
    )]
    pub statement_timeout_ms: u64,
    /// Whether to bring the tables up to date before serving. In production a
    /// Job does it.
    #[serde(default = "yes")]
    pub migrate: bool,
    /// The role that the service connects as, where another one owns the
    /// tables: bringing them up to date gives it what it needs, and no right to
    /// update or delete a log. It must exist.
    #[serde(default)]
    pub service_role: Option<String>,
}

fn connections_max() -> u32 {
    32
}

fn statement_timeout_ms() -> u64 {
    30_000
}

fn statement_timeout_in_range<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let millis = u64::deserialize(from)?;
    if (100..=30_000).contains(&millis) {
        return Ok(millis);
    }
    Err(D::Error::custom("must be 100 to 30000"))
}

fn yes() -> bool {
    true
}

/// `[telemetry]`: what is told, and where to.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct TelemetrySection {
    /// `json` or `pretty`.
    pub log_format: LogFormat,
    /// What to log, for example `info,fealty_points=debug`.
    pub log_filter: String,
    /// Where to send traces and metrics by OTLP over gRPC, for example
    /// `http://127.0.0.1:4317`; nowhere, if nothing is said.
    pub otlp_endpoint: Option<String>,
    /// Milliseconds between two exports of metrics.
    pub metrics_interval_ms: u64,
}

impl Default for TelemetrySection {
    fn default() -> Self {
        Self {
            log_format: LogFormat::Pretty,
            log_filter: "info,sqlx::postgres::notice=warn".to_owned(),
            otlp_endpoint: None,
            metrics_interval_ms: 10_000,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}
