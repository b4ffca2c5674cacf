//! Where a member stands, counter by counter.

use fealty_auth::InReach;
use fealty_rules::Standing;
use fealty_types::{Clock as _, MemberId, ProgramId, Timestamp};

use crate::{
    error::Error,
    ledger::Ledger,
    plan::{LedgerNumbers, LeftOf},
    shard::store::counters,
};

/// A member's counters as they stand now.
pub(crate) async fn standing(
    ledger: &Ledger,
    program: &InReach<ProgramId>,
    member: &InReach<MemberId>,
) -> Result<(Timestamp, Vec<Standing>), Error> {
    let applied = ledger.programs.newest(program)?;
    let (shard, now) = (ledger.shards.of(program, member), ledger.clock.now());
    ledger.backfill_before_read(shard, &applied, member).await;
    let pool = ledger.database.pool();
    let stored = counters::of_member(pool, shard, (&**program, &**member)).await?;
    let rules = &applied.program.earning.rules;
    let numbers = LedgerNumbers {
        counters: Some(&stored),
        left: LeftOf::Nothing,
        wallets: None,
    };
    Ok((now, rules.standing(&numbers, now)))
}
