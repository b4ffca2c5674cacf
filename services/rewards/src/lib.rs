//! The rewards service: a catalogue, and redemptions that survive a crash.
//!
//! A redemption holds points in the points service before it issues anything,
//! and every step is stored before the next. Its rooms are [`redemption`] and
//! `catalog`.

mod app;
mod catalog;
pub mod config;
mod error;
mod grpc;
mod points_client;
pub mod redemption;

use std::sync::Arc;

use anyhow::Context as _;
use fealty_postgres::{Database, Migrator, Schema};
use fealty_server::{Decider, Programs, Served, Service, ServiceClock, Troubles};
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;

use crate::{
    app::App,
    catalog::OpenStock,
    config::Config,
    points_client::PointsClient,
    redemption::{Redemptions, VoucherKey},
};

/// The service's name.
pub const NAME: &str = "rewards";

/// The service's own tables.
static MIGRATOR: Migrator = sqlx::migrate!();

/// What the service keeps.
pub const SCHEMA: Schema = Schema {
    migrator: &MIGRATOR,
    append_only: &[],
    distributed: &[],
};

/// Brings the service's tables up to date.
pub async fn migrate(config: &Config) -> anyhow::Result<()> {
    let migrated = config.database.bring_up_to_date(&SCHEMA).await;
    migrated.context("bringing the tables up to date")
}

/// Redemptions as configured, without recovery at work and not served.
pub async fn open(config: &Config) -> anyhow::Result<Redemptions> {
    Ok(assemble(config).await?.0.redemptions)
}

async fn assemble(config: &Config) -> anyhow::Result<(App, Database, ServiceClock)> {
    let key = VoucherKey::parse(config.vouchers.key.expose_secret()).context("vouchers.key")?;
    let prepared = config.database.prepare(&SCHEMA).await;
    prepared.context("the tables")?;
    let database = config.database.open(config.database.connections_max).await;
    let database = database.context("database.url")?;
    let clock = ServiceClock::load(&database, config.server.test_clock).await?;
    let programs = Programs::load(database.clone(), clock.clone(), Arc::new(OpenStock)).await?;
    let credentials = config.credentials.for_calls();
    let points = fealty_client::connect(&config.points.url, &credentials).context("points.url")?;
    let programs = programs.decided_by(Decider::over(points.clone()));
    let points = PointsClient::new(points);
    Ok((
        App::new(database.clone(), clock.clone(), programs, points, key),
        database,
        clock,
    ))
}

/// Starts the service; it ends with `shutdown`.
pub async fn start(config: Config, shutdown: CancellationToken) -> anyhow::Result<Served> {
    config.serving().check()?;
    let (app, database, clock) = assemble(&config).await?;
    app.start_background(&shutdown);
    let service = Service {
        name: NAME,
        routes: grpc::routes(&app),
        services: &grpc::SERVICES,
        database,
        clock,
        troubles: Troubles::default(),
        operations: Arc::new(app),
        shutdown,
    };
    Ok(fealty_server::serve(service, config.serving()).await?)
}
