//! What is to be played: by which versions, whose tiers, and how budgets are drawn on; and what
//! comes of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use fealty_postgres::{Database, DatabaseError};
use fealty_program::ProgramVersion;
use fealty_types::{MemberId, ProgramId, TierId, Timestamp};

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
    versions: Versions,
    newest: ProgramVersion,
    changed: ProgramVersion,
    tiers: TiersBy,
    budgets: BudgetsBy,
    /// Whether all shards are played together, in the order of time: budgets and gifts go from one
    /// to another.
    pub(super) together: bool,
    judges: Judges,
}

impl Prepared {
    pub(super) async fn of(
        database: &Database,
        shards: Shards,
        options: Options,
    ) -> Result<Self, SimulateError> {
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
        let in_force = in_force(database, (shards, &program), since).await?;
        // Lots say the number of the version.
        let is_same = |version: &u32| {
            let known = applied.get(version);
            known.is_some_and(|known| known.digest == options.changed.digest)
                && *version == number(&changed)
        };
        let is_unchanged = same.is_some() && in_force.iter().all(is_same);
        let then = in_force.iter().filter_map(|version| applied.get(version));
        let then: Vec<ProgramVersion> = then.map(|applied| applied.version.clone()).collect();
        let tiers = tiers_by(&then, &changed, is_unchanged);
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
            tiers,
            together: !is_unchanged,
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

    /// By which versions logs are played, the one in force, and the one that is tried.
    pub(super) fn sides(&self) -> (&Versions, &ProgramVersion, &ProgramVersion) {
        (&self.versions, &self.newest, &self.changed)
    }

    /// What plays a shard.
    pub(super) async fn shard(
        &self,
        database: &Database,
        source: Source,
    ) -> Result<Run, SimulateError> {
        let shard = source.shard;
        let program = &self.versions.program;
        let named = read::named(database, shard).await?;
        let told = read::tiers(database, shard, program).await?;
        let is_computed = self.tiers == TiersBy::Computed;
        // Up to the change members have the tiers of the version before it.
        let judged = |version: &ProgramVersion| match &version.program.tiers {
            Some(_) if is_computed => Tiers::Judged((self.judges)(&self.newest)),
            _ => Tiers::Told(told.clone()),
        };
        let versions = self.versions.clone();
        let after = Replay::new(shard, versions, named.clone(), judged(&self.changed));
        // The log itself is the other side, but where tiers are worked out for it, too.
        let before = is_computed.then(|| {
            // Other tiers may draw on budgets otherwise than the leases of then allow.
            let versions = Versions {
                changed: None,
                as_leased: false,
                ..self.versions.clone()
            };
            Replay::new(shard, versions, named, judged(&self.newest))
        });
        Ok(Run {
            source,
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
            run.played.members += shard.after.members().count() as u64;
            run.missed.add(shard.after.missed);
            reproduced.add(shard.reproduced);
            // Something that was never recorded.
            if let Some(made) = shard.made.front() {
                let place = (u16::from(made.shard.get()), made.position.get());
                reproduced.first.get_or_insert(place);
            }
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
            let is = is.or_else(|| lowest(&self.changed));
            // Who had none begins with the lowest.
            let first = || lowest(&self.newest).or_else(|| lowest(&self.changed));
            let was = was.or_else(first);
            if let Some(moved) = was.zip(is)
                && moved.0 != moved.1
            {
                *moves.entry(moved).or_default() += 1;
            }
        }
    }
}

/// The versions that were in force in some shard since a moment.
async fn in_force(
    database: &Database,
    (shards, program): (Shards, &ProgramId),
    since: Option<Timestamp>,
) -> Result<BTreeSet<u32>, DatabaseError> {
    let mut in_force = BTreeSet::new();
    for shard in shards.all() {
        in_force.extend(read::in_force(database, (shard, program), since).await?);
    }
    Ok(in_force)
}

/// By what members' tiers are known, where some versions were in force.
fn tiers_by(then: &[ProgramVersion], changed: &ProgramVersion, is_unchanged: bool) -> TiersBy {
    let of = |version: &ProgramVersion| {
        let zone = &version.program.calendar.zone;
        let zone = zone.iana_name().map(str::to_owned);
        (version.program.tiers.clone(), zone)
    };
    let (tiers, zone) = of(changed);
    let has_none = |version: &ProgramVersion| version.program.tiers.is_none();
    if tiers.is_none() && then.iter().all(has_none) {
        TiersBy::None
    } else if is_unchanged
        || then
            .iter()
            .all(|then| of(then) == (tiers.clone(), zone.clone()))
    {
        TiersBy::Recorded
    } else {
        TiersBy::Computed
    }
}
