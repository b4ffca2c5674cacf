//! A member's status, and the way to the next tier.

use std::collections::HashMap;

use fealty_auth::InReach;
use fealty_postgres::{DatabaseError, run};
use fealty_program::{Program, TierLevel, TierScheme};
use fealty_types::{Clock as _, MemberId, Money, ProgramId, TierId, Timestamp};

use super::{
    service::Statuses,
    store::{purchases, statuses},
};
use crate::{
    domain::{self, Spend, Status},
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

/// What was read of members: an index into those asked for, and what is of them.
type Known = (Vec<(usize, Status)>, Vec<(usize, Spend)>);

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
        let read: Result<Known, DatabaseError> =
            run!(self.database, "status", |connection| async {
                let found = statuses::find(connection, &programs, &names).await?;
                let due = found.iter().filter_map(|(_, status)| status.evaluate_at);
                let earliest = due.fold(now, Timestamp::min);
                let from = scheme.window.before(earliest, &program.time_zone);
                let spends = purchases::spends(connection, &programs, &names, from).await?;
                Ok((found, spends))
            });
        let (found, spends) = read?;
        let mut statuses: Vec<Option<Status>> = vec![None; members.len()];
        for (index, status) in found {
            statuses[index] = Some(status);
        }
        let mut spends_of: Vec<Vec<Spend>> = vec![Vec::new(); members.len()];
        for (index, spend) in spends {
            spends_of[index].push(spend);
        }
        let read = statuses.into_iter().zip(spends_of);
        Ok(read
            .map(|(status, spends)| as_of(program, scheme, status, &spends, now))
            .collect())
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

/// A member's status at a time.
fn as_of(
    program: &Program,
    scheme: &TierScheme,
    status: Option<Status>,
    spends: &[Spend],
    now: Timestamp,
) -> StatusRead {
    let mut status = status.unwrap_or_else(|| Status::beginning(scheme));
    domain::advance(program, scheme, &mut status, spends, now);
    let spent = domain::spent(program, scheme, spends, now);
    let rank = scheme.rank(&status.tier).unwrap_or(0);
    let shown = spent.clamp(0, Money::MINOR_UNITS_MAX);
    let shown = Money::new(program.money.currency, shown);
    StatusRead {
        status,
        spent: shown.expect("clamped into its range"),
        next: scheme.levels.get(rank + 1).cloned(),
        projected: scheme.levels[scheme.rank_of(spent)].tier.clone(),
    }
}
