//! A version of a programme that keeps other tiers' points than the one before: what it
//! says is to be written of all whom it concerns.

use std::collections::{BTreeMap, BTreeSet};

use fealty_postgres::PgConnection;
use fealty_program::Program;
use fealty_server::{OnApply, ProgramsError, ServiceClock, async_trait};
use fealty_types::{Clock as _, CurrencyId, TierId};

use crate::shard::store::tier_changes;

/// Has the members gone through that such a version concerns.
pub(crate) struct Renewal {
    pub(crate) clock: ServiceClock,
}

#[async_trait]
impl OnApply for Renewal {
    async fn apply(
        &self,
        connection: &mut PgConnection,
        before: Option<&Program>,
        after: &Program,
    ) -> Result<(), ProgramsError> {
        let waived = |program: &Program| -> BTreeMap<CurrencyId, BTreeSet<TierId>> {
            let waivers = program.waivers();
            waivers
                .map(|(currency, tiers)| (currency.clone(), tiers.clone()))
                .collect()
        };
        let (before, now) = (before.map(waived).unwrap_or_default(), waived(after));
        if before == now {
            return Ok(());
        }
        let tiers: BTreeSet<&TierId> = before.values().chain(now.values()).flatten().collect();
        let tiers: Vec<String> = tiers.into_iter().map(ToString::to_string).collect();
        Ok(tier_changes::renew(connection, &after.id, self.clock.now(), &tiers).await?)
    }
}
