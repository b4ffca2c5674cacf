//! The points service: purchases in, points on a double-entry ledger that
//! anyone can check.
//!
//! A room is a capability: [`audit`], `earning`, `feed`, `ledger`, `members`, `referrals`,
//! `settlement`, [`simulation`]. They all write through `lane`, which stands on `plan` (what a
//! command gives; pure) and `shard` (reading and writing one shard). Inside a
//! room the layers are files: `grpc` parses, calls and renders, `store` has the
//! SQL. The ledger engine is `fealty-ledger`, the rules are `fealty-rules`.

mod adjustments;
mod app;
pub mod audit;
pub mod bulk;
pub mod config;
mod earning;
mod erasure;
mod error;
mod feed;
mod grpc;
mod lane;
mod ledger;
mod members;
mod plan;
mod referrals;
mod settlement;
mod shard;
pub mod simulation;

use std::sync::Arc;

use anyhow::Context as _;
use fealty_cache::Cache;
use fealty_postgres::{Migrator, Schema};
use fealty_server::{Programs, Served, Service, ServiceClock, Troubles};
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;

use crate::{
    app::{App, Parts},
    config::Config,
    lane::BalanceCache,
    members::Renewal,
};

/// The service's name.
pub const NAME: &str = "points";

/// Connections for claims of orders; opened only where orders are claimed.
const CLAIMS_AT_ONCE: u32 = 16;

/// The service's own tables.
static MIGRATOR: Migrator = sqlx::migrate!();

/// What the service keeps.
pub const SCHEMA: Schema = Schema {
    migrator: &MIGRATOR,
    append_only: &[
        "transactions",
        "marks",
        "account_marks",
        "installation",
        "version_history",
    ],
    distributed: &[
        "shards",
        "transactions",
        "members",
        "wallets",
        "counters",
        "leases",
        "lots",
        "holds",
        "reversals",
        "returns",
        "orders",
        "accounts",
        "marks",
        "account_marks",
        "member_tiers",
        "row_types",
        "adjustments",
        "begun_versions",
        "version_history",
        "period_ends",
        "tier_changes_due",
        "tier_renewals",
        "personal_keys",
        "personal_values",
        "referrals",
    ],
};

/// Brings the service's tables up to date.
pub async fn migrate(config: &Config) -> anyhow::Result<()> {
    let migrated = config.database.bring_up_to_date(&SCHEMA).await;
    migrated.context("bringing the tables up to date")
}

/// Starts the service; it ends with `shutdown`.
pub async fn start(config: Config, shutdown: CancellationToken) -> anyhow::Result<Served> {
    anyhow::ensure!(
        (1..=256).contains(&config.ledger.shards),
        "ledger.shards must be 1 to 256"
    );
    anyhow::ensure!(
        config.ledger.batches_in_flight >= 1,
        "ledger.batches_in_flight must be at least 1"
    );
    config.serving().check()?;
    let prepared = config.database.prepare(&SCHEMA).await;
    prepared.context("the tables")?;
    let open = |connections_max| config.database.open(connections_max);
    let database = open(config.database.connections_max)
        .await
        .context("database.url")?;
    // The lanes have connections of their own: so that these stay warm, and a batch never
    // waits for a read. The lanes' permits say how many are opened: where the batches of
    // some shards do not come through, more than commit at once.
    let in_flight = config.ledger.batches_in_flight;
    let lanes = open(u32::from(in_flight) + u32::from(in_flight.max(256)))
        .await
        .context("database.url")?;
    let claims = open(CLAIMS_AT_ONCE).await.context("database.url")?;
    let clock = ServiceClock::load(&database, config.server.test_clock).await?;
    let cache = match &config.cache.url {
        Some(url) => {
            let ca_file = config.cache.ca_file.as_deref();
            let cache = Cache::open(url.expose_secret(), ca_file, "fealty");
            BalanceCache::over(cache.context("cache.url")?)
        }
        None => BalanceCache::none(),
    };
    let renewal = Renewal {
        clock: clock.clone(),
    };
    let programs = Programs::load(database.clone(), clock.clone(), Arc::new(renewal)).await?;
    let signer = config.checkpoints.signer()?;
    let parts = Parts {
        database: database.clone(),
        lanes,
        claims,
        clock: clock.clone(),
        cache,
        programs,
        signer,
    };
    let troubles = Troubles::default();
    let app = App::start(parts, &config.ledger, &troubles, &shutdown).await?;
    if let Some(url) = &config.tiers.url {
        let credentials = config.credentials.for_calls();
        let tiers = fealty_client::connect(url, &credentials).context("tiers.url")?;
        let (following, shutdown) = (app.clone().follow_tiers(tiers), shutdown.clone());
        let following = Box::pin(following);
        tokio::spawn(async move { shutdown.run_until_cancelled(following).await });
    }
    let service = Service {
        name: NAME,
        routes: grpc::routes(&app, &shutdown),
        services: &grpc::SERVICES,
        database,
        clock,
        troubles,
        operations: Arc::new(app),
        shutdown,
    };
    Ok(fealty_server::serve(service, config.serving()).await?)
}
