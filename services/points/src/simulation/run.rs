//! Shards, played on both sides, entry by entry: each by itself, or all together in the order of
//! time.

use std::{collections::VecDeque, sync::Arc};

use fealty_ledger::{Cause, Command, Entry, Transaction};
use fealty_postgres::{Database, DatabaseError};
use fealty_program::ProgramVersion;
use fealty_types::Timestamp;
use tokio::task::JoinSet;

use super::{
    Played, Reproduced, SimulateError,
    between::Between,
    read::Source,
    replay::{Replay, Versions},
    tally::Tally,
};

/// A shard, played on both sides.
pub(super) struct Run {
    pub(super) source: Source,
    /// The other side; without one, the log itself.
    pub(super) before: Option<Replay>,
    pub(super) after: Replay,
    pub(super) tallies: (Tally, Tally),
    pub(super) played: Played,
    /// What was made and is still to be compared.
    pub(super) made: VecDeque<Transaction>,
    pub(super) reproduced: Reproduced,
    pub(super) until: Option<Timestamp>,
}

/// What passes between shards, on both sides.
struct Both {
    before: Between,
    after: Between,
}

impl Run {
    fn entry(
        &mut self,
        entry: &Entry,
        (versions, both): (&Versions, &mut Both),
    ) -> Result<(), DatabaseError> {
        let counts = versions
            .since
            .is_none_or(|since| entry.written_at() >= since);
        let recorded = entry.transaction();
        let recorded = recorded.filter(|recorded| recorded.program == versions.program);
        if let Some(recorded) = recorded {
            self.note(recorded, counts);
        }
        match (&mut self.before, recorded) {
            (Some(replay), _) => {
                for made in replay.entry(entry, &mut both.before)? {
                    let applied = versions.of(&made);
                    self.tallies.0.add(&made, applied, counts);
                }
            }
            (None, Some(recorded)) => {
                let applied = versions.of(recorded);
                self.tallies.0.add(recorded, applied, counts);
            }
            (None, None) => {}
        }
        let made = self.after.entry(entry, &mut both.after)?;
        for made in &made {
            self.tallies.1.add(made, versions.of(made), counts);
        }
        if let Some(recorded) = recorded.filter(|_| counts && versions.is_unchanged) {
            self.compare(recorded, made);
        }
        Ok(())
    }

    fn note(&mut self, recorded: &Transaction, counts: bool) {
        self.until = self.until.max(Some(recorded.written_at));
        self.played.transactions += 1;
        if !counts {
            return;
        }
        self.played.tried += 1;
        match recorded.command() {
            Some(Command::Purchase(_)) => self.played.purchases += 1,
            Some(Command::Return(_)) => self.played.returns += 1,
            Some(Command::Activity(_)) => self.played.activities += 1,
            _ => {}
        }
    }

    /// Compares what was made with what was recorded. Who asked and the nonce are not made. What
    /// one entry leads to at once, such as a period's end for something late, is recorded after
    /// it.
    fn compare(&mut self, recorded: &Transaction, made: Vec<Transaction>) {
        self.made.extend(made);
        self.reproduced.transactions += 1;
        let is_same = self.made.pop_front().is_some_and(|mut made| {
            made.nonce = recorded.nonce;
            made.principal.clone_from(&recorded.principal);
            made == *recorded
        });
        if !is_same {
            self.reproduced.different += 1;
            let place = (u16::from(recorded.shard.get()), recorded.position.get());
            self.reproduced.first.get_or_insert(place);
        }
    }

    /// Has everything come that is due by a moment.
    pub(super) fn finish(
        &mut self,
        until: Timestamp,
        versions: &Versions,
    ) -> Result<(), DatabaseError> {
        if let Some(before) = &mut self.before {
            for made in before.finish(until)? {
                self.tallies.0.add(&made, versions.of(&made), true);
            }
        }
        for made in self.after.finish(until)? {
            self.tallies.1.add(&made, versions.of(&made), true);
        }
        Ok(())
    }
}

impl Versions {
    /// The version that a transaction was made by.
    fn of(&self, made: &Transaction) -> Option<&ProgramVersion> {
        let version = match &made.cause {
            Cause::Request {
                program_version, ..
            } => *program_version,
            Cause::Ended(ended) => ended.program_version,
            Cause::Due(_) | Cause::Received(_) | Cause::TierChanged(_) | Cause::Backfilled(_) => {
                return None;
            }
        };
        self.numbered(version)
    }
}

/// Entries after which it is said how far it is.
const TOLD_EVERY: i64 = 1_000;

/// Plays groups of shards, as many at once as there are processors.
pub(super) async fn play_all(
    database: &Database,
    groups: Vec<Vec<Run>>,
    (versions, newest, changed): (&Versions, &ProgramVersion, &ProgramVersion),
    progress: Arc<dyn Fn(i64) + Send + Sync>,
) -> Result<Vec<Run>, SimulateError> {
    let at_once = std::thread::available_parallelism().map_or(2, usize::from);
    let (mut playing, mut played) = (JoinSet::new(), Vec::new());
    for runs in groups {
        if playing.len() >= at_once
            && let Some(done) = playing.join_next().await
        {
            played.extend(done.map_err(|_| SimulateError::BrokenOff)??);
        }
        let both = Both {
            before: Between::of(newest),
            after: Between::of(changed),
        };
        let (database, versions) = (database.clone(), versions.clone());
        let progress = Arc::clone(&progress);
        playing.spawn(play(database, runs, (versions, both), progress));
    }
    while let Some(done) = playing.join_next().await {
        played.extend(done.map_err(|_| SimulateError::BrokenOff)??);
    }
    played.sort_by_key(|run| run.source.shard);
    Ok(played)
}

/// Plays shards together: at one moment, the entries of the first come first.
async fn play(
    database: Database,
    mut runs: Vec<Run>,
    (versions, mut both): (Versions, Both),
    progress: Arc<dyn Fn(i64) + Send + Sync>,
) -> Result<Vec<Run>, SimulateError> {
    let mut untold = 0;
    loop {
        let mut first: Option<(Timestamp, bool, usize)> = None;
        for (at, run) in runs.iter_mut().enumerate() {
            if let Some(entry) = run.source.peek(&database).await? {
                // What is received was given in the same moment, maybe in a later shard.
                let next = (entry.written_at(), is_received(entry), at);
                first = Some(first.map_or(next, |first| first.min(next)));
            }
        }
        let Some((.., at)) = first else { break };
        let run = &mut runs[at];
        if let Some(entry) = run.source.take() {
            run.entry(&entry, (&versions, &mut both))?;
        }
        untold += 1;
        if untold == TOLD_EVERY {
            progress(std::mem::take(&mut untold));
            tokio::task::yield_now().await;
        }
    }
    progress(untold);
    Ok(runs)
}

/// Whether an entry is the other side of a gift.
fn is_received(entry: &Entry) -> bool {
    let transaction = entry.transaction();
    transaction.is_some_and(|transaction| matches!(transaction.cause, Cause::Received(_)))
}
