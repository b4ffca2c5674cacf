//! The tiers service: the status that a member's purchases give.
//!
//! It learns of purchases from the points service's feed, and tells of changes
//! of tier by a feed of its own. Its rooms are `status`, `feed` and `activities`, where
//! what is sensitive stands; what is decided is in `domain`, which does no I/O.

mod activities;
mod app;
pub mod config;
mod domain;
mod error;
mod feed;
mod grpc;
mod status;

use std::sync::Arc;

use anyhow::Context as _;
use fealty_postgres::{Migrator, Schema};
use fealty_server::{Decider, NothingToApply, Programs, Served, Service, ServiceClock, Troubles};
use tokio_util::sync::CancellationToken;

pub use domain::Histories;

use crate::{app::App, config::Config};

/// The service's name.
pub const NAME: &str = "tiers";

/// The service's own tables.
static MIGRATOR: Migrator = sqlx::migrate!();

/// What the service keeps.
pub const SCHEMA: Schema = Schema {
    migrator: &MIGRATOR,
    append_only: &["tier_changes"],
    distributed: &[],
};

/// Brings the service's tables up to date.
pub async fn migrate(config: &Config) -> anyhow::Result<()> {
    let migrated = config.database.bring_up_to_date(&SCHEMA).await;
    migrated.context("bringing the tables up to date")
}

/// Starts the service; it ends with `shutdown`.
pub async fn start(config: Config, shutdown: CancellationToken) -> anyhow::Result<Served> {
    config.serving().check()?;
    let prepared = config.database.prepare(&SCHEMA).await;
    prepared.context("the tables")?;
    let database = config.database.open(config.database.connections_max).await;
    let database = database.context("database.url")?;
    let clock = ServiceClock::load(&database, config.server.test_clock).await?;
    let programs =
        Programs::load(database.clone(), clock.clone(), Arc::new(NothingToApply)).await?;
    let credentials = config.credentials.for_calls();
    let points = fealty_client::connect(&config.points.url, &credentials).context("points.url")?;
    let programs = programs.decided_by(Decider::over(points.clone()));
    let (parts, troubles) = ((database.clone(), clock.clone()), Troubles::default());
    let app = App::start(parts, programs, troubles.clone(), &shutdown).await?;
    let (following, ending) = (app.clone().follow_points(points), shutdown.clone());
    tokio::spawn(async move { ending.run_until_cancelled(following).await });
    let service = Service {
        name: NAME,
        routes: grpc::routes(&app.statuses, &shutdown),
        services: &grpc::SERVICES,
        database,
        clock,
        troubles,
        operations: Arc::new(app),
        shutdown,
    };
    Ok(fealty_server::serve(service, config.serving()).await?)
}
