//! A member's status, and the way to the next tier.

use std::collections::HashMap;

use fealty_auth::InReach;
use fealty_postgres::{DatabaseError, PgConnection, foundation, run};
use fealty_program::{Program, TierLevel, TierScheme};
use fealty_types::{Clock as _, MemberId, Money, ProgramId, TierId, Timestamp};

use super::{
    service::Statuses,
    store::{purchases, statuses},
};
use crate::{
    domain::{self, Day, DayNeeded, Spends, Status},
    error::Error,
};

/// A member's status as of now.
#[derive(Clone, Debug)]
pub(crate) struct StatusRead {
    /// The status.
    pub(crate) status: Status,
    /// Money spent in the window up to now.
    pub(crate) spent: Money,
    /// The next higher tier.
    pub(crate) next: Option<TierLevel>,
    /// The tier that the window up to now gives.
    pub(crate) projected: TierId,
}

impl Statuses {
    /// Reads members' statuses, in their order; what has fallen due is taken into
    /// account.
    pub(crate) async fn statuses(
        &self,
        program: &InReach<ProgramId>,
        members: &[InReach<MemberId>],
    ) -> Result<Vec<StatusRead>, Error> {
        let applied = self.programs.newest(program)?;
        let program = &*applied.program;
        let scheme = program
            .tiers
            .as_ref()
            .ok_or_else(|| Error::NoTiers(program.id.clone()))?;
        let now = self.clock.now();
        let programs = vec![program.id.to_string(); members.len()];
        let names: Vec<String> = members.iter().map(ToString::to_string).collect();
        let read: Result<Vec<StatusRead>, DatabaseError> =
            run!(self.database, "status", |connection| async {
                foundation::read_one_moment(connection).await?;
                read(connection, (program, scheme), (&programs, &names), now).await
            });
        Ok(read?)
    }

    /// Counts the members by tier, from the lowest up.
    pub(crate) async fn count_members(
        &self,
        program: &InReach<ProgramId>,
    ) -> Result<Vec<(TierId, i64)>, Error> {
        let applied = self.programs.newest(program)?;
        let scheme = applied
            .program
            .tiers
            .as_ref()
            .ok_or_else(|| Error::NoTiers((**program).clone()))?;
        let counted = statuses::count(self.database.pool(), program).await?;
        let counted: HashMap<TierId, i64> = counted.into_iter().collect();
        let tiers = scheme.levels.iter().map(|level| {
            (
                level.tier.clone(),
                counted.get(&level.tier).copied().unwrap_or_default(),
            )
        });
        Ok(tiers.collect())
    }
}

/// Reads members' statuses as of now.
async fn read(
    connection: &mut PgConnection,
    (program, scheme): (&Program, &TierScheme),
    (programs, names): (&[String], &[String]),
    now: Timestamp,
) -> Result<Vec<StatusRead>, DatabaseError> {
    let mut found: Vec<Option<Status>> = vec![None; names.len()];
    for (index, status) in statuses::find(connection, programs, names).await? {
        found[index] = Some(status);
    }
    let before = |at: Timestamp| Day::of(scheme.window.before(at, &program.calendar.zone));
    let from = found.iter().map(|status| {
        let due = status.as_ref().and_then(|status| status.evaluate_at);
        before(due.map_or(now, |due| due.min(now)))
    });
    let from: Vec<Day> = from.collect();
    let mut spends = vec![Spends::default(); names.len()];
    for (index, day, spent) in purchases::days(connection, programs, names, &from).await? {
        spends[index].add_day(day, spent);
    }
    // What all of them need, at once.
    for day in [before(now), Day::of(now)] {
        let days = vec![day; names.len()];
        let mut read = vec![Vec::new(); names.len()];
        for (index, spend) in purchases::of_days(connection, programs, names, &days).await? {
            read[index].push(spend);
        }
        for (spends, read) in spends.iter_mut().zip(read) {
            spends.read_day(day, read);
        }
    }
    let mut statuses = Vec::with_capacity(names.len());
    for (index, (status, mut spends)) in found.into_iter().zip(spends).enumerate() {
        let one = index..=index;
        let (program_of, name) = (&programs[one.clone()], &names[one]);
        statuses.push(loop {
            match as_of(program, scheme, status.clone(), &spends, now) {
                Ok(read) => break read,
                Err(DayNeeded(day)) => {
                    let read = purchases::of_days(connection, program_of, name, &[day]).await?;
                    spends.read_day(day, read.into_iter().map(|(_, spend)| spend));
                }
            }
        });
    }
    Ok(statuses)
}

/// A member's status at a time.
fn as_of(
    program: &Program,
    scheme: &TierScheme,
    status: Option<Status>,
    spends: &Spends,
    now: Timestamp,
) -> Result<StatusRead, DayNeeded> {
    let mut status = status.unwrap_or_else(|| Status::beginning(scheme));
    domain::advance(program, scheme, &mut status, spends, now)?;
    let spent = domain::spent(program, scheme, spends, now)?;
    let rank = scheme.rank(&status.tier).unwrap_or(0);
    let shown = spent.clamp(0, Money::MINOR_UNITS_MAX);
    let shown = Money::new(program.money.currency, shown);
    Ok(StatusRead {
        status,
        spent: shown.expect("clamped into its range"),
        next: scheme.levels.get(rank + 1).cloned(),
        projected: scheme.levels[scheme.rank_of(spent)].tier.clone(),
    })
}
