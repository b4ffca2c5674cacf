//! What auditors and partners ask of the accounts.

use std::collections::BTreeMap;

use fealty_auth::InReach;
use fealty_ledger::{Account, AccountTotals, Sums};
use fealty_postgres::{DatabaseError, PgConnection, foundation, run};
use fealty_types::{BrandId, CurrencyId, Cursor, Mark, Position, ProgramId, ShardId};

use super::{service::Audit, store};
use crate::{
    error::Error,
    plan::PlanError,
    shard::store::{
        head::{self, Head},
        log,
    },
};

/// Transactions read at a time between a mark and a position.
const READ_LEN: i64 = 1_000;

impl Audit {
    /// The accounts of a programme, now or at a cursor, and where in the log
    /// that is.
    pub(crate) async fn account_totals(
        &self,
        program: &InReach<ProgramId>,
        cursor: &str,
    ) -> Result<(AccountTotals, Cursor), Error> {
        self.programs.newest(program)?;
        let at = if cursor.is_empty() {
            None
        } else {
            Some(self.feed.cursor(cursor).await?)
        };
        let read: Result<_, DatabaseError> =
            run!(self.database, "account_totals", |connection| async {
                foundation::read_one_moment(connection).await?;
                // Shard by shard, each at its own head: the cursor says where.
                let (mut totals, mut cursor) = (AccountTotals::default(), Vec::new());
                for shard in self.shards.all() {
                    let (of_shard, end) = match &at {
                        None => {
                            let head = head::head(&mut *connection, shard).await?;
                            let of_shard = store::of_program(connection, shard, program).await?;
                            (of_shard, (head.position.get(), Mark::of(&head.chain)))
                        }
                        Some(at) => {
                            let position = at.positions()[usize::from(shard.get())];
                            let position = Position::new(position);
                            let of_shard = totals_at(connection, program, shard, position).await?;
                            let mark = log::mark_at(&mut *connection, shard, position).await?;
                            (of_shard, (position.get(), mark))
                        }
                    };
                    cursor.push(end);
                    for (key, sums) in of_shard.rows() {
                        totals.add_sums(key.clone(), *sums);
                    }
                }
                Ok((totals, Cursor::marked(cursor)))
            });
        Ok(read?)
    }

    /// The same by currency and account, over all issuers. Who speaks for some brands
    /// sees the accounts of these.
    pub(crate) async fn trial_balance(
        &self,
        program: &InReach<ProgramId>,
        cursor: &str,
        own: Option<&[BrandId]>,
    ) -> Result<(BTreeMap<(CurrencyId, Account), Sums>, Cursor), Error> {
        let (totals, cursor) = self.account_totals(program, cursor).await?;
        let is_own = |account: &Account| {
            own.is_none_or(|own| account.brand().is_some_and(|brand| own.contains(brand)))
        };
        let mut accounts: BTreeMap<(CurrencyId, Account), Sums> = BTreeMap::new();
        for (key, sums) in totals.rows().filter(|(key, _)| is_own(&key.account)) {
            let known = accounts.entry((key.currency.clone(), key.account.clone()));
            let known = known.or_default();
            known.debits += sums.debits;
            known.credits += sums.credits;
        }
        Ok((accounts, cursor))
    }

    /// An account now, by issuer, and where in the log that is.
    pub(crate) async fn account(
        &self,
        program: &InReach<ProgramId>,
        currency: &CurrencyId,
        account: &Account,
    ) -> Result<(AccountTotals, Cursor), Error> {
        let applied = self.programs.newest(program)?;
        if !applied.program.currencies.contains_key(currency) {
            return Err(PlanError::CurrencyNotFound(currency.clone()).into());
        }
        if let Some(brand) = account.brand()
            && !applied.program.brands.contains_key(brand)
        {
            return Err(PlanError::BrandNotFound(brand.clone()).into());
        }
        let (all, cursor) = self.account_totals(program, "").await?;
        let mut totals = AccountTotals::default();
        for (key, sums) in all.rows() {
            if key.currency == *currency && key.account == *account {
                totals.add_sums(key.clone(), *sums);
            }
        }
        Ok((totals, cursor))
    }

    /// What was moved between two cursors, by account and issuer; an empty end
    /// is now.
    pub(crate) async fn movements(
        &self,
        program: &InReach<ProgramId>,
        start: &str,
        end: &str,
    ) -> Result<(AccountTotals, Cursor), Error> {
        let (until, at) = self.account_totals(program, end).await?;
        let from = if start.is_empty() {
            AccountTotals::default()
        } else {
            let (from, start) = self.account_totals(program, start).await?;
            let mut positions = start.positions().iter().zip(at.positions());
            if positions.any(|(start, end)| start > end) {
                return Err(Error::CursorOutOfRange);
            }
            from
        };
        let mut moved = until;
        for (key, sums) in from.rows() {
            let less = fealty_ledger::Sums {
                debits: -sums.debits,
                credits: -sums.credits,
            };
            moved.add_sums(key.clone(), less);
        }
        Ok((moved, at))
    }

    /// The heads of all shards.
    pub(crate) async fn log_heads(&self) -> Result<Vec<Head>, Error> {
        let mut heads = Vec::new();
        for shard in self.shards.all() {
            heads.push(head::head(self.database.pool(), shard).await?);
        }
        Ok(heads)
    }
}

/// A shard's totals at a position: those of the mark before it, and the
/// transactions in between.
async fn totals_at(
    connection: &mut PgConnection,
    program: &ProgramId,
    shard: ShardId,
    position: Position,
) -> Result<AccountTotals, DatabaseError> {
    let mark = store::last_mark(connection, shard, position).await?;
    let mut totals = store::at_mark(connection, shard, program, mark).await?;
    let mut after = mark;
    while after < position {
        let rows = log::read(&mut *connection, shard, after, READ_LEN).await?;
        let Some(last) = rows.last() else { break };
        after = Position::new(last.position);
        for row in rows.iter().filter(|row| row.position <= position.get()) {
            let entry = row.entry()?;
            let own = entry.transaction().filter(|t| t.program == *program);
            if let Some(transaction) = own {
                totals.add(transaction);
            }
        }
    }
    Ok(totals)
}
