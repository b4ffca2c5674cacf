//! A member's transactions and lots.

use fealty_auth::{Caller, InReach};
use fealty_ledger::{Cause, Command, Lot, Reversal, Transaction};
use fealty_postgres::DatabaseError;
use fealty_types::{LotId, MemberId, Position, ProgramId, RequestId, TransactionPlace};
use uuid::Uuid;

use super::service::Ledger;
use crate::{
    error::Error,
    feed::Filter,
    plan::{OfRule, recorded, recorded_end},
    shard::{
        ActivityName, OrderName, activity_key, order_key, order_shard, request_key,
        store::{self, log::Row},
    },
};

/// Transactions looked at for one page of a filtered list.
const SCANNED_MAX: usize = 10_000;
const SCAN_LEN: i64 = 1_000;
/// Canonical bytes of a page; see the feed.
const PAGE_BYTES_MAX: usize = 512 * 1024;

/// Some of a member's transactions, newest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    /// The transactions.
    pub(crate) transactions: Vec<Transaction>,
    /// Where the next page begins; nothing after the last.
    pub(crate) next: Option<Position>,
}

/// How a transaction is asked for.
#[derive(Clone, Debug)]
pub(crate) enum By {
    /// Where it stands.
    Place(TransactionPlace),
    /// The request that made it.
    Request(InReach<MemberId>, RequestId),
    /// The purchase that it recorded.
    Order(OrderName),
    /// The activity that it recorded.
    Activity(ActivityName),
}

/// A transaction with what belongs to its explanation.
#[derive(Debug)]
pub(crate) struct Explained {
    /// The transaction.
    pub(crate) transaction: Transaction,
    /// The lots that it made, took from or gave back to, as they stand now.
    pub(crate) lots: Vec<Lot>,
    /// What has been reversed of it.
    pub(crate) reversal: Reversal,
    /// What became of each rule, where that is evaluated again.
    pub(crate) rules: Vec<OfRule>,
}

impl Ledger {
    /// Reads a member's transactions back from before a position.
    pub(crate) async fn transactions(
        &self,
        program: &InReach<ProgramId>,
        member: &InReach<MemberId>,
        mut before: Position,
        limit: usize,
        filter: &Filter,
    ) -> Result<Page, Error> {
        self.programs.newest(program)?;
        let shard = self.shards.of(program, member);
        let pool = self.database.pool();
        let number = store::members::number(pool, shard, program, member).await?;
        let Some(number) = number else {
            return Ok(Page::default());
        };
        let mut page = Page::default();
        let (mut scanned, mut bytes) = (0, 0);
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
                let transaction = row.transaction()?;
                let is_wanted = filter.wants(&transaction);
                // A page ends where it would become too long; one transaction it has.
                let long = is_wanted && bytes + row.body.len() > PAGE_BYTES_MAX;
                let full = page.transactions.len() == limit;
                if full || scanned == SCANNED_MAX || long && !page.transactions.is_empty() {
                    page.next = Some(before);
                    self.unseal(&mut page.transactions).await?;
                    return Ok(page);
                }
                before = transaction.position;
                scanned += 1;
                if is_wanted {
                    bytes += row.body.len();
                    page.transactions.push(transaction);
                }
            }
            if all_read {
                self.unseal(&mut page.transactions).await?;
                return Ok(page);
            }
        }
    }

    /// Reads one transaction. One of a member whom the caller does not reach is as
    /// one that is not there.
    pub(crate) async fn transaction(
        &self,
        caller: &Caller,
        program: &InReach<ProgramId>,
        by: &By,
    ) -> Result<Transaction, Error> {
        self.programs.newest(program)?;
        let pool = self.database.pool();
        let row = match by {
            By::Place(place) if self.shards.has(place.shard) => {
                store::log::transaction_at(pool, place.shard, place.position).await?
            }
            By::Place(_) => None,
            By::Request(member, request_id) => {
                let shard = self.shards.of(program, member);
                let key = request_key(program, member, request_id);
                store::log::by_request(pool, shard, key).await?
            }
            By::Order(order) => self.recorded_under(order_key(program, order)).await?,
            By::Activity(activity) => {
                let key = activity_key(program, activity);
                self.recorded_under(key).await?
            }
        };
        let transaction = row.map(|row| row.transaction()).transpose()?;
        let transaction = transaction.filter(|transaction| {
            transaction.program == **program && caller.reaches_member(program, &transaction.member)
        });
        let asked = match by {
            By::Place(place) => self.shards.ids().transaction(*place),
            By::Request(_, request_id) => request_id.to_string(),
            By::Order(order) => order.order_number.to_string(),
            By::Activity(activity) => activity.id.to_string(),
        };
        let mut transaction = transaction.ok_or(Error::TransactionNotFound(asked))?;
        self.unseal(std::slice::from_mut(&mut transaction)).await?;
        Ok(transaction)
    }

    /// The transaction that records an order or an activity, by its key.
    async fn recorded_under(&self, key: Uuid) -> Result<Option<Row>, DatabaseError> {
        let pool = self.database.pool();
        let shard = order_shard(key, self.shards);
        let holder = store::orders::holder(pool, shard, key).await?;
        match holder {
            Some(holder) => {
                let (shard, request) = (holder.member_shard, holder.request_key);
                store::log::by_request(pool, shard, request).await
            }
            None => Ok(None),
        }
    }

    /// What became of each rule of a purchase or an activity, evaluated again from the facts that the log
    /// has of it; nothing where they say all there is.
    async fn rules_of(&self, transaction: &Transaction) -> Result<Vec<OfRule>, Error> {
        if let Cause::Ended(ended) = &transaction.cause {
            let program = &transaction.program;
            let applied = self.programs.version(program, ended.program_version);
            let applied = applied.await?;
            let of_rules = applied.iter().flat_map(|by| recorded_end(by, ended));
            return Ok(of_rules.collect());
        }
        let Cause::Request {
            command: command @ (Command::Purchase(_) | Command::Activity(_)),
            facts: Some(facts),
            asked_at,
            program_version,
            ..
        } = &transaction.cause
        else {
            return Ok(Vec::new());
        };
        let Some(facts) = facts.earned() else {
            return Ok(Vec::new());
        };
        let program = &transaction.program;
        let applied = self.programs.version(program, *program_version).await?;
        let recorded_at = asked_at.unwrap_or(transaction.effective_at);
        let applied = applied.iter();
        let of_rules = applied.flat_map(|applied| recorded(applied, command, facts, recorded_at));
        Ok(of_rules.collect())
    }

    /// Reads a transaction with what explains it.
    pub(crate) async fn explain(
        &self,
        caller: &Caller,
        program: &InReach<ProgramId>,
        place: TransactionPlace,
    ) -> Result<Explained, Error> {
        let by = By::Place(place);
        let transaction = self.transaction(caller, program, &by).await?;
        let pool = self.database.pool();
        let number =
            store::members::number(pool, place.shard, program, &transaction.member).await?;
        let moved = transaction.transfers.iter().map(|transfer| transfer.lot);
        let made = transaction.lots.iter().map(|terms| terms.lot);
        let changed = transaction.expiry_changes.iter().map(|change| change.lot);
        let mut lots: Vec<i64> = moved.chain(made).chain(changed).map(LotId::get).collect();
        lots.sort_unstable();
        lots.dedup();
        let lots = match number {
            Some(number) => store::lots::named(pool, place.shard, number, &lots).await?,
            None => Vec::new(),
        };
        let reversal = store::reversals::of(pool, place.shard, place.position).await?;
        Ok(Explained {
            rules: self.rules_of(&transaction).await?,
            transaction,
            lots,
            reversal: reversal.unwrap_or_default(),
        })
    }
}
