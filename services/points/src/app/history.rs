//! A member's transactions.

use fealty_ledger::Transaction;
use fealty_server::Rejection;
use fealty_types::{MemberId, Position, ProgramId};

use super::{App, batch::decode};
use crate::store;

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

/// Some of a member's transactions, newest first.
#[derive(Clone, Debug)]
pub struct Page {
    /// The transactions.
    pub transactions: Vec<Logged>,
    /// Where the next page begins; nothing after the last.
    pub next: Option<Position>,
}

impl App {
    /// Reads a member's transactions back from before `before`, or from the
    /// newest.
    pub async fn transactions(
        &self,
        program: &ProgramId,
        member: &MemberId,
        before: Option<Position>,
        limit: i32,
    ) -> Result<Page, Rejection> {
        self.programs.newest(program)?;
        let shard = self.shard(program, member);
        let pool = self.database.pool();
        let number = store::members::number(pool, shard, program, member).await?;
        let Some(number) = number else {
            return Ok(Page {
                transactions: Vec::new(),
                next: None,
            });
        };
        let before = before.unwrap_or(Position::new(i64::MAX));
        // One more tells whether there is a next page.
        let mut rows = store::log::page(pool, shard, number, before, i64::from(limit) + 1).await?;
        let more = i64::try_from(rows.len()).is_ok_and(|len| len > i64::from(limit));
        if more {
            rows.pop();
        }
        let next = rows
            .last()
            .filter(|_| more)
            .map(|row| Position::new(row.position));
        let mut transactions = Vec::with_capacity(rows.len());
        for row in rows {
            let transaction = decode(&row.body)?;
            transactions.push(Logged {
                transaction,
                chain: row.chain,
                body: row.body,
            });
        }
        Ok(Page { transactions, next })
    }
}
