//! `fealty bench`: how fast the points ledger is, next to what the machine and
//! Postgres can do at all, in one run.
//!
//! Everything is on this machine: a private Postgres with fsync on, a private
//! Redis, the service as a process of its own, and the callers in this process,
//! each of which sends its next request when the last is answered. `walls` is
//! what bounds the service (pgbench, an empty call, the same rows by bare SQL),
//! `measures` the ledger's own figures, `report` the table, the chart and the
//! ratios. The calls and their callers are those of `crate::load`.

mod fill;
mod measured;
mod measures;
mod month;
mod report;
mod rules;
mod service;
mod walls;

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use fealty_client::Channel;
use fealty_proto::program::v1::{
    ApplyProgramRequest, program_service_client::ProgramServiceClient,
};
use fealty_stack::{Binaries, Durability, Postgres, Redis};

use measured::Measured;
use report::Report;
use service::{Callers, Service};

/// Five rules: a base, a multiplier by tier, and three more rates.
pub const PROGRAM: &str = include_str!("program.yaml");
/// Points of so long ago have expired.
const YEAR_AND_MORE: Duration = Duration::from_hours(400 * 24);
/// Members of the small ledger.
const MEMBERS: usize = 100_000;

/// Measure the points ledger on this machine.
///
/// Starts a private Postgres (fsync on) and Redis and the service, and measures
/// accruals, purchases, redemptions, holds, balances and batches at 1, 64 and
/// 512 callers, next to pgbench's TPC-B, an empty gRPC call and bare SQL. Takes
/// some ten minutes; with --quick two or three, for a glance.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Measure for a shorter time, and a smaller large ledger.
    #[arg(long)]
    quick: bool,
    /// Print one JSON object with every figure as the last line.
    #[arg(long)]
    json: bool,
    /// Folder for the table, the chart and the figures.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// Shards of the ledgers, two for each processor if nothing is said.
    #[arg(long)]
    shards: Option<u16>,
    /// Only the measures whose name begins with this; for work on one of them.
    #[arg(long)]
    only: Option<String>,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What runs in a process of its own.
#[derive(Clone, Debug, Subcommand)]
enum Part {
    /// Serve an empty call, for comparison.
    #[command(hide = true)]
    ServeEmpty {
        /// Port of the loopback address.
        port: u16,
    },
}

/// How long and how much is measured.
#[derive(Clone, Copy, Debug)]
struct Scale {
    /// Each measure.
    measure: Duration,
    /// Before it, without counting.
    warm_up: Duration,
    /// Members of the large ledger.
    large_members: usize,
    /// Transactions of the large ledger.
    large_transactions: usize,
}

impl Scale {
    fn of(quick: bool) -> Self {
        if quick {
            return Self {
                measure: Duration::from_secs(3),
                warm_up: Duration::from_millis(700),
                large_members: 100_000,
                large_transactions: 300_000,
            };
        }
        Self {
            measure: Duration::from_secs(8),
            warm_up: Duration::from_secs(2),
            large_members: 1_000_000,
            large_transactions: 5_000_000,
        }
    }
}

/// How the service is fitted to the machine, as anybody who installs it would.
#[derive(Clone, Copy, Debug)]
struct Sizing {
    shards: u16,
    batches_in_flight: u16,
}

impl Sizing {
    /// For a database that has the processors of this machine.
    fn of_this_machine(shards: Option<u16>) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let processors = u16::try_from(processors).unwrap_or(u16::MAX);
        Self {
            shards: shards.unwrap_or(processors.saturating_mul(2)).clamp(1, 256),
            batches_in_flight: processors,
        }
    }
}

/// Runs the subcommand.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    if let Some(Part::ServeEmpty { port }) = arguments.part {
        return walls::serve_empty(port).await;
    }
    let scale = Scale::of(arguments.quick);
    let wants = |name: &str| {
        let only = arguments.only.as_deref();
        only.is_none_or(|only| name.starts_with(only))
    };
    let sizing = Sizing::of_this_machine(arguments.shards);
    let binaries = Binaries::find()?;
    let postgres = Postgres::start_with(&binaries, Durability::Synced, walls::SETTINGS)?;
    walls::age(&postgres)?;
    let redis = Redis::start(&binaries)?;
    let mut report = Report::new(&postgres, scale.measure, sizing)?;
    let pgbench = walls::Pgbench::prepare(&postgres)?;
    if wants("tpcb") {
        report.add_all(pgbench.measure(scale.measure)?);
    }
    for (callers, name) in [(1, "empty_1"), (64, "empty_64"), (512, "empty_512")] {
        if wants(name) {
            report.add(walls::empty_call(name, callers, scale).await?);
        }
    }
    postgres.create_database("bare")?;
    if wants("bare_insert") {
        let filled = fill::Ledger::open(&postgres.url("bare"), sizing.shards, MEMBERS).await?;
        report.add(filled.bare_insert(scale).await?);
    }
    postgres.create_database("small")?;
    let small = fill::Ledger::open(&postgres.url("small"), sizing.shards, MEMBERS).await?;
    small.fill(MEMBERS).await?;
    let start = |callers| Service::start(postgres.url("small"), redis.url(), callers, sizing);
    let service = start(Callers::Known).await?;
    measures::small_ledger(&service, &small, scale, &wants, &mut report).await?;
    if wants("purchase_rules") {
        rules::measure(&service, &small, scale, &mut report).await?;
    }
    if wants("import_purchases") {
        report.settle().await?;
        report.add(measures::import(&service).await?);
    }
    if wants("token") {
        let open = start(Callers::Anybody).await?;
        measures::tokens(&service, &open, &small, scale, &mut report).await?;
        open.stop();
    }
    if wants("tpcb") {
        report.settle().await?;
        report.add_all(pgbench.measure(scale.measure)?);
    }
    if wants("large") {
        let beside = (&service, &small);
        large(&postgres, &binaries, (scale, sizing), beside, &mut report).await?;
    }
    swept(&postgres, &binaries, (scale, sizing), &wants, &mut report).await?;
    service.stop();
    std::fs::create_dir_all(&arguments.out)
        .with_context(|| format!("making {}", arguments.out.display()))?;
    report.write(&arguments.out)?;
    println!("{}", report.table());
    println!("chart: {}", arguments.out.join("chart.svg").display());
    if arguments.json {
        println!("{}", serde_json::to_string(&report.json())?);
    }
    Ok(())
}

/// Measures a large ledger beside the small one, and verifies it.
async fn large(
    postgres: &Postgres,
    binaries: &Binaries,
    (scale, sizing): (Scale, Sizing),
    (service, small): (&Service, &fill::Ledger),
    report: &mut Report,
) -> anyhow::Result<()> {
    postgres.create_database("large")?;
    let url = postgres.url("large");
    let large = fill::Ledger::open(&url, sizing.shards, scale.large_members).await?;
    large.fill(scale.large_transactions).await?;
    let redis = Redis::start(binaries)?;
    let other = Service::start(url.clone(), redis.url(), Callers::Known, sizing).await?;
    measures::large_ledger(service, small, &other, &large, scale, report).await?;
    other.stop();
    measures::verified(&url, report).await
}

/// Measures while much is swept.
async fn swept(
    postgres: &Postgres,
    binaries: &Binaries,
    (scale, sizing): (Scale, Sizing),
    wants: &impl Fn(&str) -> bool,
    report: &mut Report,
) -> anyhow::Result<()> {
    if wants("year_end") {
        year_end(postgres, binaries, scale, sizing, report).await?;
    }
    if wants("month_end") {
        month_end(postgres, binaries, scale, sizing, report).await?;
    }
    Ok(())
}

/// Measures a ledger all of which is due when a service begins to serve it.
async fn year_end(
    postgres: &Postgres,
    binaries: &Binaries,
    scale: Scale,
    sizing: Sizing,
    report: &mut Report,
) -> anyhow::Result<()> {
    postgres.create_database("year_end")?;
    let url = postgres.url("year_end");
    let ledger = fill::Ledger::open(&url, sizing.shards, scale.large_members).await?;
    ledger.fill_of(scale.large_members, YEAR_AND_MORE).await?;
    let redis = Redis::start(binaries)?;
    let service = Service::start(url, redis.url(), Callers::Known, sizing).await?;
    measures::year_end(&service, &ledger, scale, report).await?;
    service.stop();
    Ok(())
}

/// Measures a ledger in which a month has ended for everybody when a service begins to serve
/// it.
async fn month_end(
    postgres: &Postgres,
    binaries: &Binaries,
    scale: Scale,
    sizing: Sizing,
    report: &mut Report,
) -> anyhow::Result<()> {
    postgres.create_database("month_end")?;
    let url = postgres.url("month_end");
    let (shards, members) = (sizing.shards, scale.large_members);
    let of = (month::TRUED_UP, month::SPENT);
    let ledger = fill::Ledger::of_purchases(&url, shards, members, of).await?;
    ledger.fill_of(members, month::AGO).await?;
    let redis = Redis::start(binaries)?;
    let begun = tokio::time::Instant::now();
    let service = Service::start(url, redis.url(), Callers::Known, sizing).await?;
    month::measure(&service, &ledger, begun, scale, report).await?;
    service.stop();
    Ok(())
}

/// Says what is being measured.
fn say(measured: &Measured) {
    eprintln!(
        "{:<22} {:>4} callers {:>9} /s   p50 {:>8} us   p99 {:>8} us   p99.9 {:>8} us",
        measured.name,
        measured.callers,
        measured.per_second,
        measured.p50_us,
        measured.p99_us,
        measured.p999_us
    );
}

/// Applies the bench's programmes.
async fn apply(operator: &Channel) -> anyhow::Result<()> {
    let mut client = ProgramServiceClient::new(operator.clone());
    let club = crate::demo::PROGRAM.to_owned();
    for source in [PROGRAM.to_owned(), rules::program(), club] {
        let request = ApplyProgramRequest {
            source,
            request_id: crate::apply::request_id(),
            ..ApplyProgramRequest::default()
        };
        client.apply_program(request).await?;
    }
    Ok(())
}
