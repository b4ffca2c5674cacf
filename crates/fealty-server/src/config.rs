//! Configuration: a TOML file, and over it variables of the environment.
//!
//! A knob `listen` of a section `[server]` is set by `FEALTY_SERVER_LISTEN`.
//! What is not known is refused, and every error names the knob.

use std::{env, net::SocketAddr, path::Path, time::Duration};

use serde::{Deserialize, de::DeserializeOwned};

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("configuration: {0}")]
pub struct ConfigError(String);

/// Where a service's configuration stands.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The TOML file, if there is one.
    pub file: Option<&'a Path>,
    /// The table of the file to read; the whole file, if nothing is said.
    pub table: Option<&'a str>,
    /// What the variables begin with: `FEALTY_`.
    pub prefix: &'a str,
}

/// Reads a configuration.
pub fn load<T: DeserializeOwned>(source: Source<'_>) -> Result<T, ConfigError> {
    load_with(source, env::vars())
}

fn load_with<T: DeserializeOwned>(
    source: Source<'_>,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<T, ConfigError> {
    let told = |error: config::ConfigError| ConfigError(error.to_string());
    let mut builder = config::Config::builder();
    if let Some(file) = source.file {
        let file = config::File::from(file).format(config::FileFormat::Toml);
        let read = config::Config::builder()
            .add_source(file)
            .build()
            .map_err(told)?;
        let read = match source.table {
            Some(table) => read
                .get::<config::Map<String, config::Value>>(table)
                .map_err(told)?,
            None => read.try_deserialize().map_err(told)?,
        };
        for (key, value) in read {
            builder = builder.set_default(key, value).map_err(told)?;
        }
    }
    for (name, value) in variables {
        let Some(knob) = name.strip_prefix(source.prefix) else {
            continue;
        };
        // No section has an underscore in its name, so the first one ends it.
        let (section, knob) = knob.split_once('_').unwrap_or((knob, ""));
        let key = format!("{}.{}", section.to_lowercase(), knob.to_lowercase());
        builder = builder
            .set_override(key.trim_end_matches('.'), value)
            .map_err(|error| ConfigError(format!("{name}: {error}")))?;
    }
    builder
        .build()
        .and_then(config::Config::try_deserialize)
        .map_err(told)
}

/// `[server]`: where and how to serve.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSection {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// Whether the clock can be set over gRPC. For tests and demos.
    #[serde(default)]
    pub test_clock: bool,
    /// Whether browsers may call by gRPC-Web.
    #[serde(default)]
    pub grpc_web: bool,
    /// How long a call may take, in milliseconds.
    #[serde(default = "request_timeout_ms")]
    pub request_timeout_ms: u64,
    /// How long to wait for calls in flight when ending, in milliseconds.
    #[serde(default = "shutdown_grace_ms")]
    pub shutdown_grace_ms: u64,
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
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseSection {
    /// `postgres://…`. It may hold a password and is never printed.
    pub url: String,
    /// Connections at the most.
    #[serde(default = "connections_max")]
    pub connections_max: u32,
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

fn yes() -> bool {
    true
}

impl std::fmt::Debug for DatabaseSection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseSection")
            .field("connections_max", &self.connections_max)
            .field("migrate", &self.migrate)
            .field("service_role", &self.service_role)
            .finish_non_exhaustive()
    }
}

/// `[telemetry]`: what is told, and where to.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        server: ServerSection,
        database: DatabaseSection,
    }

    fn load_from(variables: &[(&str, &str)]) -> Result<Example, ConfigError> {
        let variables = variables
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        load_with(
            Source {
                file: None,
                table: None,
                prefix: "FEALTY_",
            },
            variables,
        )
    }

    #[test]
    fn knobs_are_read_and_errors_name_them() {
        let good = [
            ("FEALTY_SERVER_LISTEN", "127.0.0.1:7001"),
            ("FEALTY_DATABASE_URL", "postgres://user:secret@host/points"),
            ("FEALTY_DATABASE_CONNECTIONS_MAX", "7"),
            ("HOME", "/"),
        ];
        let example = load_from(&good).expect("valid");
        assert_eq!(example.database.connections_max, 7);
        assert_eq!(example.server.listen.port(), 7001);
        assert!(!format!("{example:?}").contains("secret"));

        let with = |knob, value| {
            let mut variables = good.to_vec();
            variables.push((knob, value));
            load_from(&variables).expect_err("refused").to_string()
        };
        assert!(with("FEALTY_SERVER_LISTEN", "here").contains("server.listen"));
        assert!(
            with("FEALTY_DATABASE_CONNECTIONS_MAX", "many").contains("database.connections_max")
        );
        assert!(with("FEALTY_SERVER_LISTENN", "x").contains("listenn"));
        assert!(with("FEALTY_SEVER_LISTEN", "x").contains("sever"));
        let missing = load_from(&good[..1]).expect_err("refused").to_string();
        assert!(missing.contains("database"), "{missing}");
    }
}
