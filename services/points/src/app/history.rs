//! A member's transactions and lots.

use std::collections::HashSet;

use fealty_ledger::{Command, Lot, LotTerms, Reversal, SpendKey, Transaction};
use fealty_postgres::DatabaseError;
use fealty_server::Rejection;
use fealty_types::{
    BrandId, CurrencyId, LotId, MemberId, OrderNumber, Position, ProgramId, RequestId, ShardId,
    Timestamp, TransactionName,
};

use super::{App, batch::decode};
use crate::{
    domain::{order_key, request_key},
    error::Error,
    store,
};

/// Transactions looked at for one page of a filtered list.
const SCANNED_MAX: usize = 10_000;
const SCAN_LEN: i64 = 1_000;

/// A transaction as it stands in the log.
#[derive(Clone, Debug)]
pub struct Logged {
    /// The transaction.
    pub transaction: Transaction,
    /// The chain after it.
    pub chain: Vec<u8>,
    /// Its canonical bytes.
    pub body: Vec<u8>,
}

impl TryFrom<store::log::Row> for Logged {
    type Error = DatabaseError;

    fn try_from(row: store::log::Row) -> Result<Self, DatabaseError> {
        Ok(Self {
            transaction: decode(&row.body)?,
            chain: row.chain,
            body: row.body,
        })
    }
}

/// Some of a member's transactions, newest first.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The transactions.
    pub transactions: Vec<Logged>,
    /// Where the next page begins; nothing after the last.
    pub next: Option<Position>,
}

/// Which transactions are wanted: those that meet all that is set.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this programme.
    pub program: Option<ProgramId>,
    /// Of this member.
    pub member: Option<MemberId>,
    /// In effect at this time or later.
    pub start: Option<Timestamp>,
    /// In effect before this time.
    pub end: Option<Timestamp>,
    /// Of one of these kinds; of all, if there are none.
    pub kinds: HashSet<&'static str>,
    /// With one of these brands; with any, if there are none.
    pub brands: HashSet<BrandId>,
    /// Of the purchase with this order number.
    pub order_number: Option<OrderNumber>,
}

impl Filter {
    /// Whether everything is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.program.is_none()
            && self.member.is_none()
            && self.start.is_none()
            && self.end.is_none()
            && self.kinds.is_empty()
            && self.brands.is_empty()
            && self.order_number.is_none()
    }

    /// Whether a transaction is wanted.
    #[must_use]
    pub fn wants(&self, transaction: &Transaction) -> bool {
        let at = transaction.effective_at;
        self.program
            .as_ref()
            .is_none_or(|program| *program == transaction.program)
            && self
                .member
                .as_ref()
                .is_none_or(|member| *member == transaction.member)
            && self.start.is_none_or(|start| start <= at)
            && self.end.is_none_or(|end| at < end)
            && (self.kinds.is_empty() || self.kinds.contains(transaction.kind()))
            && (self.brands.is_empty() || transaction.brands().any(|b| self.brands.contains(b)))
            && self.order_number.as_ref().is_none_or(|wanted| {
                matches!(transaction.command(),
                    Some(Command::Purchase(purchase)) if purchase.order_number == *wanted)
            })
    }
}

/// How a transaction is asked for.
#[derive(Clone, Debug)]
pub enum By {
    /// Its name.
    Name(TransactionName),
    /// The request that made it.
    Request(MemberId, RequestId),
    /// The purchase that it recorded.
    Order(BrandId, OrderNumber),
}

/// A transaction with what belongs to its explanation.
#[derive(Debug)]
pub struct Explained {
    /// The transaction.
    pub logged: Logged,
    /// The lots that it made, took from or gave back to, as they stand now.
    pub lots: Vec<Lot>,
    /// What has been reversed of it.
    pub reversal: Reversal,
}

/// Where a page of lots begins.
#[derive(Clone, Copy, Debug)]
pub enum LotsAfter {
    /// After a lot that can be spent.
    Spendable(SpendKey),
    /// After one that cannot.
    Other(LotId),
}

impl App {
    /// Reads a member's transactions back from before `before`, or from the
    /// newest.
    pub async fn transactions(
        &self,
        program: &ProgramId,
        member: &MemberId,
        before: Option<Position>,
        limit: usize,
        filter: &Filter,
    ) -> Result<Page, Rejection> {
        self.programs.newest(program)?;
        let shard = self.shard(program, member);
        let pool = self.database.pool();
        let number = store::members::number(pool, shard, program, member).await?;
        let Some(number) = number else {
            return Ok(Page::default());
        };
        let mut before = before.unwrap_or(Position::new(i64::MAX));
        let mut page = Page::default();
        let mut scanned = 0;
        // One more tells whether there is a next page.
        let slice = if filter.is_empty() {
            i64::try_from(limit).unwrap_or(SCAN_LEN) + 1
        } else {
            SCAN_LEN
        };
        loop {
            let rows = store::log::page(pool, shard, number, before, slice).await?;
            let all_read = i64::try_from(rows.len()).is_ok_and(|len| len < slice);
            for row in rows {
                let logged = Logged::try_from(row)?;
                if page.transactions.len() == limit || scanned == SCANNED_MAX {
                    page.next = Some(before);
                    return Ok(page);
                }
                before = logged.transaction.position;
                scanned += 1;
                if filter.wants(&logged.transaction) {
                    page.transactions.push(logged);
                }
            }
            if all_read {
                return Ok(page);
            }
        }
    }

    /// Reads one transaction.
    pub async fn transaction(&self, program: &ProgramId, by: &By) -> Result<Logged, Rejection> {
        self.programs.newest(program)?;
        let pool = self.database.pool();
        let row = match by {
            By::Name(name) if u16::from(name.shard.get()) >= self.shards() => None,
            By::Name(name) => store::log::at(pool, name.shard, name.position).await?,
            By::Request(member, request_id) => {
                let shard = self.shard(program, member);
                let key = request_key(program, member, request_id);
                store::log::by_request(pool, shard, key).await?
            }
            By::Order(brand, order_number) => {
                let key = order_key(program, brand, order_number);
                match store::orders::transaction(pool, key).await? {
                    Some(name) => store::log::at(pool, name.shard, name.position).await?,
                    None => None,
                }
            }
        };
        let logged = row.map(Logged::try_from).transpose()?;
        let logged = logged.filter(|logged| logged.transaction.program == *program);
        let asked = match by {
            By::Name(name) => name.to_string(),
            By::Request(_, request_id) => request_id.to_string(),
            By::Order(_, order_number) => order_number.to_string(),
        };
        logged.ok_or_else(|| Error::TransactionNotFound(asked).rejection(ShardId::new(0)))
    }

    /// Reads a transaction with what explains it.
    pub async fn explain(
        &self,
        program: &ProgramId,
        name: TransactionName,
    ) -> Result<Explained, Rejection> {
        let logged = self.transaction(program, &By::Name(name)).await?;
        let transaction = &logged.transaction;
        let pool = self.database.pool();
        let number = store::members::number(pool, name.shard, program, &transaction.member).await?;
        let moved = transaction.transfers.iter().map(|transfer| transfer.lot);
        let made = transaction.lots.iter().map(|terms| terms.lot);
        let changed = transaction.expiry_changes.iter().map(|change| change.lot);
        let mut lots: Vec<i64> = moved.chain(made).chain(changed).map(LotId::get).collect();
        lots.sort_unstable();
        lots.dedup();
        let lots = match number {
            Some(number) => store::lots::named(pool, name.shard, number, &lots).await?,
            None => Vec::new(),
        };
        let reversal = store::reversals::of(pool, name.shard, name.position).await?;
        Ok(Explained {
            logged,
            lots,
            reversal: reversal.unwrap_or_default(),
        })
    }

    /// Reads a wallet's open lots: those that can be spent, in that order, then
    /// those that cannot.
    pub async fn lots(
        &self,
        program: &ProgramId,
        member: &MemberId,
        currency: &CurrencyId,
        after: Option<LotsAfter>,
        limit: usize,
    ) -> Result<(Vec<Lot>, Option<LotsAfter>), Rejection> {
        let applied = self.programs.newest(program)?;
        let shard = self.shard(program, member);
        if !applied.program.currencies.contains_key(currency) {
            return Err(Error::CurrencyNotFound(currency.clone()).rejection(shard));
        }
        let pool = self.database.pool();
        let number = store::members::number(pool, shard, program, member).await?;
        let Some(number) = number else {
            return Ok((Vec::new(), None));
        };
        let wanted = limit + 1;
        let slice = |len: usize| i64::try_from(wanted - len).unwrap_or(SCAN_LEN);
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
