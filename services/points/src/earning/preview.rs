//! What a purchase would earn. Nothing is written.

use fealty_auth::InReach;
use fealty_ledger::{Command, Purchase};
use fealty_postgres::{DatabaseError, run};
use fealty_types::{Clock as _, MemberId, ProgramId};

use crate::{
    error::Error,
    ledger::Ledger,
    plan::{self, LeftOf, OfMember, tier_moment},
    shard::{
        left_of,
        store::{batch_read, counters, leases},
    },
};

/// A purchase that is asked about.
pub(crate) struct Asked {
    pub(crate) program: InReach<ProgramId>,
    pub(crate) member: InReach<MemberId>,
    pub(crate) purchase: Purchase,
}

/// What a purchase would earn, and the version of the programme that says so.
pub(crate) async fn preview(ledger: &Ledger, asked: Asked) -> Result<(i64, plan::Preview), Error> {
    let Asked {
        program,
        member,
        purchase,
    } = asked;
    let applied = ledger.programs.newest(&program)?;
    let (shard, now) = (ledger.shards.of(&program, &member), ledger.clock.now());
    ledger.backfill_before_read(shard, &applied, &member).await;
    let command = Command::Purchase(purchase.clone());
    let mut tiers = batch_read::AskedTiers::default();
    if let Some(moment) = tier_moment(&applied.program, &command, now) {
        tiers.push(program.to_string(), member.to_string(), moment);
    }
    let has_budgets = applied.program.earning.rules.budgets().next().is_some();
    let read: Result<_, DatabaseError> = run!(ledger.database, "preview", |connection| async {
        let name = (&*program, &*member);
        let counters = counters::of_member(&mut *connection, shard, name).await?;
        let budgets = if has_budgets {
            leases::of_program(&mut *connection, &program).await?
        } else {
            Vec::new()
        };
        let tiers = if tiers.is_empty() {
            Vec::new()
        } else {
            batch_read::tiers(&mut *connection, shard, &tiers).await?
        };
        Ok((counters, tiers, budgets))
    });
    let (counters, tiers, budgets) = read?;
    let left = left_of(&applied.program.earning.rules, &budgets);
    let of_member = OfMember {
        tier: tiers.into_iter().next().map(|(_, tier)| tier),
        counters: Some(&counters),
        left: LeftOf::All(&left),
    };
    let preview = plan::preview(&applied, &purchase, of_member, now)?;
    Ok((applied.version, preview))
}
