//! `fealty demo`: real purchases, played through the three services.

mod fleet;
mod play;
mod purchases;
mod report;

use clap::Args;
use fealty_stack::{Durability, Stack};
use indicatif::{ProgressBar, ProgressStyle};

pub use fleet::{Fleet, Ground, RunningService};
pub use play::{Pace, play};
pub use purchases::{Day, PURCHASES, Purchase, csv, days};
pub use report::Report;

/// The programme that the demo plays.
pub const PROGRAM: &str = include_str!("../../../../examples/programs/record-club.yaml");

/// Play 69,659 real purchases of a record shop through the three services.
///
/// Starts a private Postgres and Redis and the three services as processes of
/// their own, applies the programme record-club, and plays eighteen months day
/// by day on a test clock. Everything ends with the demo.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Print one JSON object with the figures as the last line.
    #[arg(long)]
    json: bool,
    /// Leave the services running until Ctrl-C, with a line to paste into
    /// grpcurl for each.
    #[arg(long)]
    keep: bool,
}

/// Runs the subcommand.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    eprintln!("starting a private Postgres and Redis, and the services");
    // The purchases are in the file: nobody misses them after a power cut.
    let stack = tokio::task::spawn_blocking(|| Stack::start(Durability::Unsynced)).await??;
    let fleet = Fleet::start(&std::env::current_exe()?, stack).await?;
    let days = days(PURCHASES)?;
    let count: usize = days.iter().map(|day| day.purchases.len()).sum();
    let bar = ProgressBar::new(count as u64).with_style(ProgressStyle::with_template(
        "{msg} {bar:40} {pos}/{len} purchases, {elapsed}",
    )?);
    let playing = play(&fleet, &days, Pace::default(), |day, played| {
        bar.set_message(day.to_string());
        bar.set_position(played);
    });
    let report = tokio::select! {
        report = playing => report,
        () = fealty_server::shutdown_signal() => Err(anyhow::anyhow!("interrupted")),
    };
    bar.finish_and_clear();
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            tokio::task::spawn_blocking(move || drop(fleet)).await?;
            return Err(error);
        }
    };
    report.print();
    if arguments.keep {
        println!("\nThe services run until Ctrl-C. For example:");
        for line in fleet.grpcurl_lines()? {
            println!("  {line}");
        }
        println!(
            "  fealty verify --database-url '{}'",
            fleet.points_database_url()
        );
        if arguments.json {
            println!("{}", serde_json::to_string(&report)?);
        }
        fealty_server::shutdown_signal().await;
    } else if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    }
    tokio::task::spawn_blocking(move || drop(fleet)).await?;
    anyhow::ensure!(report.holds(), "the figures do not tie out");
    Ok(())
}
