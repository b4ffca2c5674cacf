//! What if: the log's purchases and activities under a changed programme.
//!
//! A log is read from its beginning. Up to a moment it is played by the versions that were in
//! force, so members stand where they stood; from then on by the changed programme, over the same
//! plan and the same engine as a lane, in memory. What comes of it is added up beside what was
//! recorded. Shards are played together in the order of time, for budgets and gifts go from one to
//! another; at once where nothing has changed, so that it is known what goes. Nothing is written.
//!
//! `prepare` says what is to be done, `read` reads, `run` goes through the shards, `replay` plays,
//! `tally` adds up, `report` compares.

mod between;
mod budgets;
mod missed;
mod prepare;
mod read;
mod replay;
mod report;
mod run;
mod tally;
mod tiers;

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use fealty_postgres::{Database, DatabaseError};
use fealty_program::{ProgramSource, ProgramVersion};
use fealty_types::{ProgramId, Timestamp};

pub use missed::Missed;
pub use report::{
    BudgetsBy, Compared, Cost, MemberChange, Members, Played, Report, Reproduced, TierMove,
    TiersBy, Used,
};
pub use tally::{HeldBack, OfCurrency};
pub use tiers::Judge;

use crate::shard::Shards;
use prepare::Prepared;
use read::Source;
use run::play_all;

/// Why a simulation came to no end.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The ledger has no version of the programme.
    #[error("the programme `{0}` has not been applied here, so there is no log to try it on")]
    NotApplied(ProgramId),
    /// The money of purchases would be another.
    #[error("the log's purchases are in {before}, the programme's money is {after}")]
    OtherMoney {
        /// The recorded programme's.
        before: String,
        /// The changed programme's.
        after: String,
    },
    /// The database could not be read, or has what cannot be.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A task that plays a shard has broken off.
    #[error("playing a shard broke off")]
    BrokenOff,
}

/// Makes who works out tiers by a version of the programme.
pub type Judges = Arc<dyn Fn(&ProgramVersion) -> Box<dyn Judge> + Send + Sync>;

/// What is tried.
pub struct Options {
    /// The changed programme.
    pub changed: ProgramSource,
    /// From when on it is tried, by when entries were written; from the beginning, if nothing is
    /// said.
    pub since: Option<Timestamp>,
    /// Who works out tiers, where what they go by has changed.
    pub judges: Judges,
}

/// Plays the log of a programme under a changed version of it. `progress` hears how many entries
/// have been played, and how many there are.
pub async fn simulate(
    database: &Database,
    options: Options,
    progress: impl Fn(i64, i64) + Send + Sync + 'static,
) -> Result<Report, SimulateError> {
    let shards = Shards::known(database).await?;
    let shards = shards.ok_or(DatabaseError::Broken("the installation has no shards"))?;
    // How far the logs go is read first: what they name and need is there by then.
    let mut sources = Vec::new();
    for shard in shards.all() {
        sources.push(Source::of(database, shard).await?);
    }
    let plan = Prepared::of(database, shards, options).await?;
    let mut runs = Vec::new();
    for source in sources {
        runs.push(plan.shard(database, source).await?);
    }
    let all = runs.iter().map(|run| run.source.len()).sum();
    let played = Arc::new(AtomicI64::new(0));
    let progress = move |more| progress(played.fetch_add(more, Ordering::Relaxed) + more, all);
    let groups = if plan.together {
        vec![runs]
    } else {
        runs.into_iter().map(|run| vec![run]).collect()
    };
    let runs = play_all(database, groups, plan.sides(), Arc::new(progress)).await?;
    Ok(plan.report(runs)?)
}
