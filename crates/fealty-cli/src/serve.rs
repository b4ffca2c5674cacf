//! `fealty serve`

use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};
use clap::{Args, ValueEnum};
use fealty_server::{
    Served, Telemetry,
    config::{Loaded, ServerSection, Source, TelemetrySection, load, warn_of_unknown},
    shutdown_signal,
};
use tokio_util::sync::CancellationToken;

/// Serve one of the services, or all three.
///
/// A service is configured by a TOML file and, over it, by variables of the
/// environment: `listen` in section `[server]` is `FEALTY_SERVER_LISTEN`. With
/// --all, the file has the services' configurations in tables `[points]`,
/// `[tiers]` and `[rewards]`, and the variables begin with `FEALTY_POINTS`_ and so
/// on; examples/fealty.toml is one. SIGTERM and Ctrl-C finish what is in flight.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The service to serve.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    service: Option<ServiceName>,
    /// Serve all three in this process.
    #[arg(long)]
    all: bool,
    /// The configuration file.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Let the clock be set over gRPC. For tests and demos.
    #[arg(long)]
    test_clock: bool,
    /// Serve everybody, with all roles, without a token. Only on loopback.
    #[arg(long)]
    insecure: bool,
    /// Only say whether the configuration is valid.
    #[arg(long)]
    check_config: bool,
    /// Only bring the database's tables up to date.
    #[arg(long)]
    migrate_only: bool,
}

/// A service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ServiceName {
    /// Purchases in, points out.
    Points,
    /// The status that purchases give.
    Tiers,
    /// What points buy.
    Rewards,
}

/// A service's configuration.
enum Config {
    Points(fealty_points::config::Config),
    Tiers(fealty_tiers::config::Config),
    Rewards(fealty_rewards::config::Config),
}

impl Config {
    fn load(service: ServiceName, file: Option<&Path>, all: bool) -> anyhow::Result<Loaded<Self>> {
        let (table, prefix) = match service {
            ServiceName::Points => (fealty_points::NAME, "FEALTY_POINTS_"),
            ServiceName::Tiers => (fealty_tiers::NAME, "FEALTY_TIERS_"),
            ServiceName::Rewards => (fealty_rewards::NAME, "FEALTY_REWARDS_"),
        };
        let source = if all {
            Source {
                file,
                table: Some(table),
                prefix,
            }
        } else {
            Source {
                file,
                table: None,
                prefix: "FEALTY_",
            }
        };
        Ok(match service {
            ServiceName::Points => load(source)?.map(Self::Points),
            ServiceName::Tiers => load(source)?.map(Self::Tiers),
            ServiceName::Rewards => load(source)?.map(Self::Rewards),
        })
    }

    fn server(&mut self) -> &mut ServerSection {
        match self {
            Self::Points(config) => &mut config.server,
            Self::Tiers(config) => &mut config.server,
            Self::Rewards(config) => &mut config.server,
        }
    }

    fn telemetry(&self) -> (&'static str, &TelemetrySection) {
        match self {
            Self::Points(config) => (fealty_points::NAME, &config.telemetry),
            Self::Tiers(config) => (fealty_tiers::NAME, &config.telemetry),
            Self::Rewards(config) => (fealty_rewards::NAME, &config.telemetry),
        }
    }

    /// Says what is wrong with how it would serve.
    fn check(&self) -> anyhow::Result<()> {
        let serving = match self {
            Self::Points(config) => config.serving(),
            Self::Tiers(config) => config.serving(),
            Self::Rewards(config) => config.serving(),
        };
        Ok(serving.check()?)
    }

    async fn migrate(&self) -> anyhow::Result<()> {
        match self {
            Self::Points(config) => fealty_points::migrate(config).await,
            Self::Tiers(config) => fealty_tiers::migrate(config).await,
            Self::Rewards(config) => fealty_rewards::migrate(config).await,
        }
    }

    async fn start(self, shutdown: CancellationToken) -> anyhow::Result<Served> {
        match self {
            Self::Points(config) => fealty_points::start(config, shutdown).await,
            Self::Tiers(config) => fealty_tiers::start(config, shutdown).await,
            Self::Rewards(config) => fealty_rewards::start(config, shutdown).await,
        }
    }
}

/// Runs the subcommand.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let names = match arguments.service {
        Some(service) => vec![service],
        None => vec![
            ServiceName::Points,
            ServiceName::Tiers,
            ServiceName::Rewards,
        ],
    };
    let mut configs = Vec::new();
    let mut unknown = Vec::new();
    for name in names {
        let file = arguments.config.as_deref();
        let mut named = Config::load(name, file, arguments.all)?;
        let server = named.config.server();
        server.test_clock |= arguments.test_clock;
        server.insecure |= arguments.insecure;
        configs.push(named.config);
        unknown.append(&mut named.unknown_variables);
    }
    if arguments.check_config {
        ensure!(
            unknown.is_empty(),
            "there is no such knob: {}",
            unknown.join(", ")
        );
        for config in &configs {
            config.check()?;
        }
        println!("the configuration is valid");
        return Ok(());
    }
    let Some(first) = configs.first() else {
        bail!("no service is named")
    };
    let (name, section) = first.telemetry();
    let telemetry = Telemetry::start(if arguments.all { "fealty" } else { name }, section)?;
    warn_of_unknown(&unknown);
    if arguments.migrate_only {
        for config in &configs {
            config.migrate().await?;
        }
        return Ok(());
    }
    let shutdown = CancellationToken::new();
    let mut served = Vec::new();
    for config in configs {
        served.push(config.start(shutdown.clone()).await?);
    }
    shutdown_signal().await;
    shutdown.cancel();
    for service in served {
        service.task.await??;
    }
    tokio::task::spawn_blocking(|| telemetry.end()).await?;
    Ok(())
}
