//! `fealty-tiers`: the tiers service alone, configured by `FEALTY_…`.

use fealty_server::{Telemetry, config, shutdown_signal};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let source = config::Source {
        file: None,
        table: None,
        prefix: "FEALTY_",
    };
    let loaded: config::Loaded<fealty_tiers::config::Config> = config::load(source)?;
    let telemetry = Telemetry::start(fealty_tiers::NAME, &loaded.config.telemetry)?;
    config::warn_of_unknown(&loaded.unknown_variables);
    let shutdown = CancellationToken::new();
    let served = fealty_tiers::start(loaded.config, shutdown.clone()).await?;
    shutdown_signal().await;
    shutdown.cancel();
    served.task.await??;
    tokio::task::spawn_blocking(|| telemetry.end()).await?;
    Ok(())
}
