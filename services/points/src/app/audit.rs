//! What auditors and partners ask of the accounts.

use fealty_ledger::AccountTotals;
use fealty_postgres::{DatabaseError, PgConnection, run};
use fealty_server::Rejection;
use fealty_types::{Cursor, Position, ProgramId, ShardId};

use super::{App, batch::decode};
use crate::{
    error::Error,
    store::{self, shards::Head},
};

/// Transactions read at a time between a mark and a position.
const READ_LEN: i64 = 1_000;

impl App {
    /// The accounts of a programme, now or at a cursor, and where in the log
    /// that is.
    pub async fn account_totals(
        &self,
        program: &ProgramId,
        cursor: &str,
    ) -> Result<(AccountTotals, Cursor), Rejection> {
        self.programs.newest(program)?;
        let anywhere = ShardId::new(0);
        let at = if cursor.is_empty() {
            None
        } else {
            let at = self.cursor(cursor).await;
            Some(at.map_err(|error| error.rejection(anywhere))?)
        };
        let read: Result<_, DatabaseError> =
            run!(self.database, "account_totals", |connection| async {
                store::shards::read_one_moment(connection).await?;
                let Some(at) = at.clone() else {
                    let heads = store::shards::heads(&mut *connection).await?;
                    let heads = heads.iter().map(|head| head.position.get()).collect();
                    let totals = store::accounts::of_program(connection, program).await?;
                    return Ok((totals, Cursor::new(heads)));
                };
                let mut totals = AccountTotals::default();
                for (shard, position) in self.shard_ids().zip(at.positions()) {
                    let position = Position::new(*position);
                    let of_shard = totals_at(connection, program, shard, position).await?;
                    for (key, sums) in of_shard.rows() {
                        totals.add_sums(key.clone(), *sums);
                    }
                }
                Ok((totals, at))
            });
        Ok(read?)
    }

    /// What was moved between two cursors, by account and issuer; an empty end
    /// is now.
    pub async fn movements(
        &self,
        program: &ProgramId,
        start: &str,
        end: &str,
    ) -> Result<(AccountTotals, Cursor), Rejection> {
        let anywhere = ShardId::new(0);
        let (until, at) = self.account_totals(program, end).await?;
        let from = if start.is_empty() {
            AccountTotals::default()
        } else {
            let (from, start) = self.account_totals(program, start).await?;
            let mut positions = start.positions().iter().zip(at.positions());
            if positions.any(|(start, end)| start > end) {
                return Err(Error::CursorOutOfRange.rejection(anywhere));
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
    pub async fn log_heads(&self) -> Result<Vec<Head>, Rejection> {
        Ok(store::shards::heads(self.database.pool()).await?)
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
    let mark = store::accounts::last_mark(connection, shard, position).await?;
    let mut totals = store::accounts::at_mark(connection, shard, program, mark).await?;
    let mut after = mark;
    while after < position {
        let rows = store::log::read(&mut *connection, shard, after, READ_LEN).await?;
        let Some(last) = rows.last() else { break };
        after = Position::new(last.position);
        for row in rows.iter().filter(|row| row.position <= position.get()) {
            let transaction = decode(&row.body)?;
            if transaction.program == *program {
                totals.add(&transaction);
            }
        }
    }
    Ok(totals)
}
