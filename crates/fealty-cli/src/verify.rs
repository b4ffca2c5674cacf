//! `fealty verify`

use clap::Args;
use fealty_points::app::verify;
use fealty_postgres::Database;
use indicatif::{ProgressBar, ProgressStyle};

/// Verify a points database, transaction by transaction.
///
/// Walks every shard's log, checks the hash chain, runs the rules and the
/// engine over it again, and compares every wallet, lot, hold and account with
/// what is stored. Says the first difference with shard and position, and exits
/// with 1.
#[derive(Args, Debug)]
pub struct Arguments {
    /// URL of the points service's database, or of a copy of it.
    #[arg(long, env = "FEALTY_DATABASE_URL", hide_env_values = true)]
    database_url: String,
}

/// Runs the subcommand.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let database = Database::open(&arguments.database_url, 1)?;
    let bar = ProgressBar::no_length().with_style(ProgressStyle::with_template(
        "verifying {bar:40} {pos}/{len} transactions, {per_sec}",
    )?);
    let progress = bar.clone();
    let verified = verify::verify(&database, move |walked, all| {
        progress.set_length(u64::try_from(all).unwrap_or_default());
        progress.set_position(u64::try_from(walked).unwrap_or_default());
    })
    .await;
    bar.finish_and_clear();
    let verified = verified?;
    println!(
        "verified: {} transactions in {} shards make {} wallets and {} open lots; debits {} credits",
        verified.transactions,
        verified.shards,
        verified.wallets,
        verified.lots,
        if verified.debits_equal_credits {
            "equal"
        } else {
            "DO NOT EQUAL"
        },
    );
    anyhow::ensure!(verified.debits_equal_credits, "debits do not equal credits");
    Ok(())
}
