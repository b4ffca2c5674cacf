//! What is to be played: by which versions, whose tiers, and how budgets are drawn on; and what
//! comes of it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use fealty_postgres::{Database, DatabaseError};
use fealty_program::ProgramVersion;
use fealty_types::{MemberId, ShardId, TierId, Timestamp};

use super::{
    BudgetsBy, Judges, Missed, Options, Played, Report, Reproduced, SimulateError, TiersBy,
    read::{self, Applied, Source},
    replay::{Replay, Versions},
    report::{Circumstances, Sides},
    run::Run,
    tally::{Tally, Totals},
    tiers::Tiers,
};
use crate::shard::{Shards, number};

/// What is to be done.
pub(super) struct Prepared {
    pub(super) versions: Versions,
    pub(super) newest: ProgramVersion,
    pub(super) changed: ProgramVersion,
    tiers: TiersBy,
    budgets: BudgetsBy,
    /// Whether all shards are played together, in the order of time.
    pub(super) together: bool,
    judges: Judges,
}

impl Prepared {
    pub(super) async fn of(database: &Database, options: Options) -> Result<Self, SimulateError> {
        let program = options.changed.program.id.clone();
        let applied = read::versions(database, &program).await?;
        let newest = applied
            .values()
            .max_by_key(|applied| applied.version.version);
        let Some(newest) = newest.map(|applied| applied.version.clone()) else {
            return Err(SimulateError::NotApplied(program));
        };
        let (was, is) = (&newest.program.money, &options.changed.program.money);
        if was.currency != is.currency {
            return Err(SimulateError::OtherMoney {
                before: was.currency.to_string(),
                after: is.currency.to_string(),
            });
        }
        let is_same = |applied: &&Applied| applied.digest == options.changed.digest;
        let same = applied.values().filter(is_same);
        let same = same.max_by_key(|applied| applied.version.version);
        let numbered = same.map_or(newest.version + 1, |same| same.version.version);
        let changed = options.changed.numbered(numbered);
        let since = options.since;
        let is_unchanged = same.is_some()
            && was_all_the_time(
                database,
                &changed,
                (&applied, &options.changed.digest),
                since,
            )
            .await?;
        let has_budgets =
            |version: &ProgramVersion| version.program.earning.rules.budgets().next().is_some();
        let mut recorded = applied.values().map(|applied| &applied.version);
        let budgets = match recorded.any(has_budgets) || has_budgets(&changed) {
            false => BudgetsBy::None,
            true if is_unchanged => BudgetsBy::AsLeased,
            true => BudgetsBy::OnePurse,
        };
        let recorded = applied
            .into_iter()
            .map(|(at, applied)| (at, applied.version));
        Ok(Self {
            tiers: tiers_by(&newest, &changed),
            together: budgets == BudgetsBy::OnePurse,
            versions: Versions {
                program,
                recorded: recorded.collect(),
                changed: Some(changed.clone()),
                since,
                as_leased: budgets != BudgetsBy::OnePurse,
                is_unchanged,
            },
            newest,
            changed,
            budgets,
            judges: options.judges,
        })
    }

    /// What plays a shard.
    pub(super) async fn shard(
        &self,
        database: &Database,
        shard: ShardId,
    ) -> Result<Run, SimulateError> {
        let program = &self.versions.program;
        let named = read::named(database, shard).await?;
        let told = read::tiers(database, shard, program).await?;
        let is_computed = self.tiers == TiersBy::Computed;
        let judged = |version: &ProgramVersion| match &version.program.tiers {
            Some(_) if is_computed => Tiers::Judged((self.judges)(version)),
            _ => Tiers::Told(told.clone()),
        };
        let versions = self.versions.clone();
        let after = Replay::new(shard, versions, named.clone(), judged(&self.changed));
        // The log itself is the other side, but where tiers are worked out for it, too.
        let before = is_computed.then(|| {
            let versions = Versions {
                changed: None,
                as_leased: true,
                ..self.versions.clone()
            };
            Replay::new(shard, versions, named, judged(&self.newest))
        });
        Ok(Run {
            source: Source::of(database, shard).await?,
            before,
            after,
            tallies: (Tally::default(), Tally::default()),
            played: Played::default(),
            made: VecDeque::new(),
            reproduced: Reproduced::default(),
            until: None,
        })
    }

    /// Puts together what shards come to.
    pub(super) fn report(&self, mut runs: Vec<Run>) -> Result<Report, DatabaseError> {
        let until = runs.iter().filter_map(|run| run.until).max();
        let (mut before, mut after) = (Totals::default(), Totals::default());
        let mut run = Circumstances {
            since: self.versions.since,
            until,
            played: Played::default(),
            reproduced: None,
            tiers: self.tiers,
            budgets: self.budgets,
            tier_moves: BTreeMap::new(),
            missed: Missed::default(),
        };
        let mut reproduced = Reproduced::default();
        for shard in &mut runs {
            if let Some(until) = until.filter(|_| !self.versions.is_unchanged) {
                shard.finish(until, &self.versions)?;
                self.move_tiers(shard, until, &mut run.tier_moves);
            }
        }
        for shard in runs {
            before.merge(shard.tallies.0.finish(&self.newest.program));
            after.merge(shard.tallies.1.finish(&self.changed.program));
            run.played.add(shard.played);
            run.missed.add(shard.after.missed);
            reproduced.add(shard.reproduced);
            // Something that was never recorded.
            reproduced.different += shard.made.len() as u64;
        }
        run.reproduced = self.versions.is_unchanged.then_some(reproduced);
        let sides = Sides {
            before: (&self.newest, before),
            after: (&self.changed, after),
        };
        Ok(Report::of(sides, run))
    }

    /// Counts who would have another tier.
    fn move_tiers(
        &self,
        shard: &mut Run,
        until: Timestamp,
        moves: &mut BTreeMap<(TierId, TierId), u64>,
    ) {
        let Some(before) = &mut shard.before else {
            return;
        };
        let lowest = |version: &ProgramVersion| {
            let scheme = version.program.tiers.as_ref();
            scheme.and_then(|scheme| Some(scheme.levels.first()?.tier.clone()))
        };
        let members: Vec<MemberId> = shard.after.members().cloned().collect();
        for member in members {
            let was = before.tiers.at(&member, until);
            let is = shard.after.tiers.at(&member, until);
            let was = was.or_else(|| lowest(&self.newest));
            let is = is.or_else(|| lowest(&self.changed));
            if let Some(moved) = was.zip(is)
                && moved.0 != moved.1
            {
                *moves.entry(moved).or_default() += 1;
            }
        }
    }
}

/// Whether what a version says was in force all the time since a moment.
async fn was_all_the_time(
    database: &Database,
    changed: &ProgramVersion,
    (applied, digest): (&HashMap<u32, Applied>, &str),
    since: Option<Timestamp>,
) -> Result<bool, SimulateError> {
    let shards = Shards::known(database).await?;
    let shards = shards.ok_or(DatabaseError::Broken("the installation has no shards"))?;
    for shard in shards.all() {
        let of = (shard, &changed.program.id);
        for version in read::in_force(database, of, since).await? {
            let is_same = applied
                .get(&version)
                .is_some_and(|known| known.digest == digest);
            // Lots say the number of the version.
            if !is_same || version != number(changed) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn tiers_by(newest: &ProgramVersion, changed: &ProgramVersion) -> TiersBy {
    let (was, is) = (&newest.program, &changed.program);
    let zone = |version: &ProgramVersion| {
        let zone = &version.program.calendar.zone;
        zone.iana_name().map(str::to_owned)
    };
    match (&was.tiers, &is.tiers) {
        (None, None) => TiersBy::None,
        (was, is) if was == is && zone(newest) == zone(changed) => TiersBy::Recorded,
        _ => TiersBy::Computed,
    }
}
