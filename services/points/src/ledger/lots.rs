//! A wallet's open lots, page by page.

use fealty_auth::InReach;
use fealty_ledger::{Lot, LotTerms, SpendKey};
use fealty_types::{CurrencyId, LotId, MemberId, ProgramId};

use super::service::Ledger;
use crate::{error::Error, shard::store};

/// Lots of one page at the most, and one to see whether there is another.
const LOTS_MAX: i64 = 1_001;

/// Where a page of lots begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LotsAfter {
    /// After a lot that can be spent.
    Spendable(SpendKey),
    /// After one that cannot.
    Other(LotId),
}

impl Ledger {
    /// Reads a wallet's open lots: those that can be spent, in that order, then
    /// those that cannot.
    pub(crate) async fn lots(
        &self,
        program: &InReach<ProgramId>,
        member: &InReach<MemberId>,
        currency: &CurrencyId,
        after: Option<LotsAfter>,
        limit: usize,
    ) -> Result<(Vec<Lot>, Option<LotsAfter>), Error> {
        let applied = self.with_currency(program, currency)?;
        let shard = self.shards.of(program, member);
        self.end_before_read(shard, &applied, member).await;
        let pool = self.database.pool();
        let number = store::members::number(pool, shard, program, member).await?;
        let Some(number) = number else {
            return Ok((Vec::new(), None));
        };
        let wanted = limit + 1;
        let slice = |len: usize| i64::try_from(wanted - len).unwrap_or(LOTS_MAX);
        let mut lots = Vec::new();
        let mut other_after = LotId::from_stored(0);
        if let Some(LotsAfter::Other(lot)) = after {
            other_after = lot;
        } else {
            let key = match after {
                Some(LotsAfter::Spendable(key)) => key,
                _ => SpendKey::START,
            };
            let read = store::lots::spendable(pool, shard, number, currency, key, slice(0));
            lots.extend(read.await?);
        }
        let spendable = lots.len();
        if lots.len() < wanted {
            let read = store::lots::not_spendable(
                pool,
                shard,
                number,
                currency,
                other_after,
                slice(lots.len()),
            );
            lots.extend(read.await?);
        }
        if lots.len() < wanted {
            return Ok((lots, None));
        }
        lots.truncate(limit);
        let next = lots.last().map(|last| {
            let lot = last.terms.lot;
            if limit <= spendable {
                LotsAfter::Spendable(SpendKey {
                    expires_at: last.terms.expires_at.unwrap_or(LotTerms::NEVER),
                    lot,
                })
            } else {
                LotsAfter::Other(lot)
            }
        });
        Ok((lots, next))
    }
}
