//! A member's status, and the way to the next tier.

use std::collections::HashMap;

use fealty_auth::InReach;
use fealty_postgres::{DatabaseError, run};
use fealty_program::TierLevel;
use fealty_types::{Clock as _, MemberId, Money, ProgramId, TierId};

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
    /// The next higher tier, and what is missing to it in minor units.
    pub(crate) next: Option<(TierLevel, i64)>,
    /// The tier that the window up to now gives.
    pub(crate) projected: TierId,
}

impl Statuses {
    /// Reads a member's status; what has fallen due is taken into account.
    pub(crate) async fn status(
        &self,
        program: &InReach<ProgramId>,
        member: &InReach<MemberId>,
    ) -> Result<StatusRead, Error> {
        let applied = self.programs.newest(program)?;
        let program = &*applied.program;
        let scheme = program
            .tiers
            .as_ref()
            .ok_or_else(|| Error::NoTiers(program.id.clone()))?;
        let now = self.clock.now();
        let (programs, members) = ([program.id.to_string()], [member.to_string()]);
        let read: Result<(Option<Status>, Vec<Spend>), DatabaseError> =
            run!(self.database, "status", |connection| async {
                let found = statuses::find(connection, &programs, &members).await?;
                let status = found.into_iter().next().map(|(_, status)| status);
                let due = status.as_ref().and_then(|status| status.evaluate_at);
                let from = scheme
                    .window
                    .before(due.map_or(now, |due| due.min(now)), &program.time_zone);
                let spends = purchases::spends(connection, &programs, &members, from).await?;
                Ok((status, spends.into_iter().map(|(_, spend)| spend).collect()))
            });
        let (status, spends) = read?;
        let mut status = status.unwrap_or_else(|| Status::beginning(scheme));
        domain::advance(program, scheme, &mut status, &spends, now);
        let spent = domain::spent(program, scheme, &spends, now);
        let rank = scheme.rank(&status.tier).unwrap_or(0);
        let next = scheme.levels.get(rank + 1).map(|level| {
            (
                level.clone(),
                (level.threshold.minor_units() - spent).max(0),
            )
        });
        let spent_money = Money::new(
            program.money.currency,
            spent.clamp(0, Money::MINOR_UNITS_MAX),
        );
        Ok(StatusRead {
            status,
            spent: spent_money.expect("clamped into its range"),
            next,
            projected: scheme.levels[scheme.rank_of(spent)].tier.clone(),
        })
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
