//! `fealty verify` and `fealty checkpoint`

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::Args;
use fealty_client::{Deadline, call, connect};
use fealty_points::audit::{
    checkpoint::Checkpoint,
    signer::VerifierKey,
    verify::{self, Options, Verified},
};
use fealty_postgres::Database;
use fealty_proto::points::v1::{GetCheckpointRequest, audit_service_client::AuditServiceClient};
use indicatif::{ProgressBar, ProgressStyle};

use crate::endpoints::Shown;

/// Verify a points database, transaction by transaction.
///
/// Walks every shard's log, checks the hash chain, runs the rules and the
/// engine over it again, and compares every wallet, lot, hold, reversal and
/// account with what is stored, each shard as of a moment of its own. It may run while the
/// service does, or on a restored backup. Says the first difference with shard
/// and position, and exits with 1.
#[derive(Args, Debug)]
pub struct Arguments {
    /// URL of the points service's database, or of a copy of it.
    #[arg(long, env = "FEALTY_DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// Folder to keep what has been verified in; the next run goes on from
    /// there, after an interruption or a day later.
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
    /// A checkpoint that `fealty checkpoint` has saved: the log must have what
    /// it has seen.
    #[arg(long, value_name = "FILE", requires = "checkpoint_key")]
    checkpoint: Option<PathBuf>,
    /// The key that must have signed the checkpoint, as `fealty checkpoint --key` told
    /// it when you got it.
    #[arg(long, value_name = "KEY", requires = "checkpoint")]
    checkpoint_key: Option<VerifierKey>,
}

/// Runs the subcommand.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut options = Options {
        state: arguments.state,
        ..Options::default()
    };
    if let (Some(path), Some(key)) = (&arguments.checkpoint, &arguments.checkpoint_key) {
        let file =
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        options.checkpoint = Checkpoint::parse(&file, key)?.heads()?;
    }
    let database = Database::open_within(
        &arguments.database_url,
        1,
        fealty_postgres::Limits::LONG_READ,
    )
    .await?;
    let bar = ProgressBar::no_length().with_style(ProgressStyle::with_template(
        "verifying {bar:40} {pos}/{len} transactions, {per_sec}, {eta} left",
    )?);
    let progress = bar.clone();
    let verified = verify::verify(&database, &options, move |walked, all| {
        progress.set_length(u64::try_from(all).unwrap_or_default());
        progress.set_position(u64::try_from(walked).unwrap_or_default());
    })
    .await;
    bar.finish_and_clear();
    let verified = verified?;
    print(&verified);
    if let Some(path) = arguments.checkpoint {
        println!("the log has all that {} has seen", path.display());
    }
    anyhow::ensure!(verified.debits_equal_credits, "debits do not equal credits");
    Ok(())
}

fn print(verified: &Verified) {
    let before = match verified.verified_before {
        0 => String::new(),
        before => format!(" ({before} of them by an earlier run)"),
    };
    println!(
        "verified: {} transactions{before} in {} shards make {} wallets and {} open lots; debits \
         {} credits",
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
}

/// Print a signed checkpoint of the points service's log, to be kept.
///
/// It holds each shard's position and chain value. `fealty verify --checkpoint`
/// later shows that nothing that was under it has been changed or cut off. The
/// token is one of a caller who reaches all programmes: an auditor's, for one.
#[derive(Args, Debug)]
pub struct CheckpointArguments {
    /// URL of the points service.
    #[arg(
        long,
        env = "FEALTY_POINTS_URL",
        default_value = "http://127.0.0.1:7001"
    )]
    points: String,
    /// Print only the key that verifies checkpoints, which you get once, from somebody
    /// whom you trust.
    #[arg(long)]
    key: bool,
    #[command(flatten)]
    shown: Shown,
}

/// Runs the subcommand.
pub async fn checkpoint(arguments: CheckpointArguments) -> anyhow::Result<()> {
    let channel = connect(&arguments.points, &arguments.shown.credentials())?;
    let signed = call(Deadline::within(Duration::from_secs(10)), || {
        let mut client = AuditServiceClient::new(channel.clone());
        async move { client.get_checkpoint(GetCheckpointRequest {}).await }
    });
    let signed = signed.await?;
    let key: VerifierKey = signed.verifier_key.parse()?;
    Checkpoint::parse(&signed.note, &key)?.heads()?;
    if arguments.key {
        println!("{key}");
    } else {
        print!("{}", signed.note);
    }
    Ok(())
}
