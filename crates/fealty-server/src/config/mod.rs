//! Configuration: a TOML file, and over it variables of the environment.
//!
//! A knob `listen` of a section `[server]` is set by `FEALTY_SERVER_LISTEN`.
//! What a file says and nobody knows is refused. An environment is not ours alone:
//! what Kubernetes and the `fealty` command put there is left alone, and other
//! variables that are no knobs are named, in case one was meant ([`Loaded`]).

mod load;
mod sections;

pub use load::{ConfigError, Loaded, Source, load, warn_of_unknown};
pub use sections::{
    CredentialsSection, DatabaseSection, LimitsSection, LogFormat, ServerSection, TelemetrySection,
    TlsSection,
};
