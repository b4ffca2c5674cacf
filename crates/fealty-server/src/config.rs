//! Configuration: a TOML file, and over it variables of the environment.
//!
//! A knob `listen` of a section `[server]` is set by `FEALTY_SERVER_LISTEN`.
//! What a file says and nobody knows is refused. An environment is not ours alone:
//! what Kubernetes and the `fealty` command put there is left alone, and other
//! variables that are no knobs are named, in case one was meant ([`Loaded`]).

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::SecretString;
use serde::{Deserialize, de::DeserializeOwned};

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("configuration: {0}")]
pub struct ConfigError(String);

impl ConfigError {
    /// One that names the knob.
    #[must_use]
    pub fn new(told: impl Into<String>) -> Self {
        Self(told.into())
    }
}

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

/// A configuration as it was read.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// What is configured.
    pub config: T,
    /// Variables that look like knobs and are none.
    pub unknown_variables: Vec<String>,
}

impl<T> Loaded<T> {
    /// The same, as another kind of configuration.
    pub fn map<U>(self, of: impl FnOnce(T) -> U) -> Loaded<U> {
        Loaded {
            config: of(self.config),
            unknown_variables: self.unknown_variables,
        }
    }
}

/// Names variables that look like knobs and are none, in the log.
pub fn warn_of_unknown(variables: &[String]) {
    for variable in variables {
        tracing::warn!(variable, "there is no such knob: was another one meant?");
    }
}

/// Variables that the `fealty` command reads itself.
const COMMANDS_OWN: [&str; 7] = [
    "FEALTY_POINTS_URL",
    "FEALTY_TIERS_URL",
    "FEALTY_REWARDS_URL",
    "FEALTY_TOKEN",
    "FEALTY_TOKEN_FILE",
    "FEALTY_CA_FILE",
    "FEALTY_TEST_DATABASE_URL",
];

/// Whether a variable is one of those that Kubernetes sets for each Service of a
/// namespace, whatever its name: `…_SERVICE_HOST`, `…_SERVICE_PORT`, `…_PORT`,
/// `…_PORT_7001_TCP` and what stands behind these.
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    if name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT") {
        return true;
    }
    if name.ends_with("_PORT") {
        return ["tcp://", "udp://", "sctp://"]
            .iter()
            .any(|kind| value.starts_with(kind));
    }
    name.match_indices("_PORT_").any(|(at, found)| {
        let behind = &name[at + found.len()..];
        let digits = behind.chars().take_while(char::is_ascii_digit).count();
        let behind = &behind[digits..];
        digits > 0
            && ["_TCP", "_UDP", "_SCTP"]
                .iter()
                .any(|kind| behind.starts_with(kind))
    })
}

/// Reads a configuration.
pub fn load<T: DeserializeOwned>(source: Source<'_>) -> Result<Loaded<T>, ConfigError> {
    load_with(source, env::vars_os())
}

fn load_with<T: DeserializeOwned>(
    source: Source<'_>,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Loaded<T>, ConfigError> {
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
    let mut unknown_variables = Vec::new();
    let mut by_key = BTreeMap::new();
    for (name, value) in variables {
        // What is no text is nobody's knob.
        let Some(name) = name.to_str().map(ToOwned::to_owned) else {
            continue;
        };
        let Some(knob) = name.strip_prefix(source.prefix) else {
            continue;
        };
        let Some(value) = value.to_str().map(ToOwned::to_owned) else {
            return Err(ConfigError(format!("{name}: is not UTF-8")));
        };
        if is_of_kubernetes(&name, &value) {
            continue;
        }
        // No section has an underscore in its name, so the first one ends it.
        let words = |text: &str| {
            text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !text.ends_with('_')
        };
        let Some((section, knob)) = knob.split_once('_').filter(|_| words(knob)) else {
            unknown_variables.push(name);
            continue;
        };
        let key = format!("{}.{}", section.to_lowercase(), knob.to_lowercase());
        builder = builder
            .set_override(&key, value)
            .map_err(|error| ConfigError(format!("{name}: {error}")))?;
        by_key.insert(key, name);
    }
    let built = builder.build().map_err(told)?;
    let mut unknown = Vec::new();
    let config = serde_ignored::deserialize(built, |path| unknown.push(path.to_string()));
    let config = config.map_err(told)?;
    let mut of_file = Vec::new();
    for path in unknown {
        let below = format!("{path}.");
        let is_here = |key: &str| key == path || key.starts_with(&below);
        let named = by_key.iter().filter(|(key, _)| is_here(key));
        let mut named: Vec<_> = named.map(|(_, name)| name.clone()).collect();
        if named.is_empty() {
            of_file.push(path);
        }
        unknown_variables.append(&mut named);
    }
    if !of_file.is_empty() {
        let of_file = of_file.join(", ");
        return Err(ConfigError(format!("there is no such knob: {of_file}")));
    }
    unknown_variables.retain(|name| !COMMANDS_OWN.contains(&name.as_str()));
    Ok(Loaded {
        config,
        unknown_variables,
    })
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Example {
        server: ServerSection,
        database: DatabaseSection,
    }

    fn load_from(variables: &[(&str, &str)]) -> Result<Loaded<Example>, ConfigError> {
        let variables = variables
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let source = Source {
            file: None,
            table: None,
            prefix: "FEALTY_",
        };
        load_with(source, variables)
    }

    const GOOD: [(&str, &str); 4] = [
        ("FEALTY_SERVER_LISTEN", "127.0.0.1:7001"),
        ("FEALTY_DATABASE_URL", "postgres://user:secret@host/points"),
        ("FEALTY_DATABASE_CONNECTIONS_MAX", "7"),
        ("HOME", "/"),
    ];

    #[test]
    fn knobs_are_read_and_errors_name_them() {
        let example = load_from(&GOOD).expect("valid").config;
        assert_eq!(example.database.connections_max, 7);
        assert_eq!(example.server.listen.port(), 7001);
        assert!(!format!("{example:?}").contains("secret"));

        let with = |knob, value| {
            let mut variables = GOOD.to_vec();
            variables.push((knob, value));
            load_from(&variables).expect_err("refused").to_string()
        };
        assert!(with("FEALTY_SERVER_LISTEN", "here").contains("server.listen"));
        assert!(
            with("FEALTY_DATABASE_CONNECTIONS_MAX", "many").contains("database.connections_max")
        );
        let missing = load_from(&GOOD[..1]).expect_err("refused").to_string();
        assert!(missing.contains("database"), "{missing}");
    }

    #[test]
    fn foreign_variables_do_no_harm_and_mistyped_ones_are_named() {
        let mut variables = GOOD.to_vec();
        // Kubernetes, for Services `fealty-points`, `fealty-server` and `fealty`.
        variables.extend([
            ("FEALTY_POINTS_SERVICE_HOST", "10.0.0.1"),
            ("FEALTY_POINTS_SERVICE_PORT_GRPC", "7001"),
            ("FEALTY_POINTS_PORT", "tcp://10.0.0.1:7001"),
            ("FEALTY_POINTS_PORT_7001_TCP_ADDR", "10.0.0.1"),
            ("FEALTY_SERVER_PORT", "tcp://10.0.0.2:80"),
            ("FEALTY_SERVER_PORT_80_TCP", "tcp://10.0.0.2:80"),
            ("FEALTY_SERVICE_HOST", "10.0.0.3"),
            ("FEALTY_PORT", "tcp://10.0.0.3:80"),
        ]);
        // The command's own.
        variables.extend([("FEALTY_POINTS_URL", "http://x"), ("FEALTY_TOKEN", "x")]);
        let loaded = load_from(&variables).expect("no harm");
        assert_eq!(loaded.unknown_variables, Vec::<String>::new());
        let mistyped = [
            ("FEALTY_SERVER_LISTENN", "x"),
            ("FEALTY_SEVER_LISTEN", "x"),
            ("FEALTY_SERVER", "x"),
            ("FEALTY_FOO_", "x"),
            ("FEALTY_A_B.C[", "x"),
        ];
        variables.extend(mistyped);
        let mut unknown = load_from(&variables).expect("no harm").unknown_variables;
        unknown.sort_unstable();
        assert_eq!(
            unknown,
            [
                "FEALTY_A_B.C[",
                "FEALTY_FOO_",
                "FEALTY_SERVER",
                "FEALTY_SERVER_LISTENN",
                "FEALTY_SEVER_LISTEN"
            ]
        );
    }

    #[test]
    fn what_a_file_says_and_nobody_knows_is_refused() {
        let file = tempfile::Builder::new()
            .suffix(".toml")
            .tempfile()
            .expect("a file");
        let text = "[server]\nlisten = \"127.0.0.1:1\"\nlissten = 1\n[sever]\na = 1\n\
                    [database]\nurl = \"postgres://x\"\n";
        std::fs::write(file.path(), text).expect("written");
        let source = Source {
            file: Some(file.path()),
            table: None,
            prefix: "FEALTY_",
        };
        let refused = load_with::<Example>(source, std::iter::empty()).expect_err("refused");
        let told = refused.to_string();
        assert!(
            told.contains("server.lissten") && told.contains("sever"),
            "{told}"
        );
    }
}
