//! `fealty serve`

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::{Args, ValueEnum};
use fealty_server::{
    Served, Telemetry,
    config::{Source, TelemetrySection, load},
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
    fn load(service: ServiceName, file: Option<&Path>, all: bool) -> anyhow::Result<Self> {
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
            ServiceName::Points => Self::Points(load(source)?),
            ServiceName::Tiers => Self::Tiers(load(source)?),
            ServiceName::Rewards => Self::Rewards(load(source)?),
        })
    }

    fn set_test_clock(&mut self) {
        let server = match self {
            Self::Points(config) => &mut config.server,
            Self::Tiers(config) => &mut config.server,
            Self::Rewards(config) => &mut config.server,
        };
        server.test_clock = true;
    }

    fn telemetry(&self) -> (&'static str, &TelemetrySection) {
        match self {
            Self::Points(config) => (fealty_points::NAME, &config.telemetry),
            Self::Tiers(config) => (fealty_tiers::NAME, &config.telemetry),
            Self::Rewards(config) => (fealty_rewards::NAME, &config.telemetry),
        }
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
    for name in names {
        let mut config = Config::load(name, arguments.config.as_deref(), arguments.all)?;
        if arguments.test_clock {
            config.set_test_clock();
        }
        configs.push(config);
    }
    if arguments.check_config {
        println!("the configuration is valid");
        return Ok(());
    }
    let Some(first) = configs.first() else {
        bail!("no service is named")
    };
    let (name, section) = first.telemetry();
    let telemetry = Telemetry::start(if arguments.all { "fealty" } else { name }, section)?;
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
