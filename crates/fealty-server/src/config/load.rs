//! Reading a configuration: the file, over it the environment, and what nobody
//! knows of either.

use std::{collections::BTreeMap, env, ffi::OsString, path::Path};

use serde::de::DeserializeOwned;

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

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::config::{DatabaseSection, ServerSection};

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
        for out_of_range in ["0", "99", "30001"] {
            let told = with("FEALTY_DATABASE_STATEMENT_TIMEOUT_MS", out_of_range);
            assert!(told.contains("must be 100 to 30000"), "{told}");
            assert!(told.contains("database.statement_timeout_ms"), "{told}");
        }
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
