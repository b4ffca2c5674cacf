//! The recipient's side of a gift. It has a key of its own; where it was written before it
//! had one, it is searched for.

use fealty_ledger::{Cause, Transaction};
use fealty_postgres::{DatabaseError, PgConnection};
use fealty_types::{MemberId, Position, ProgramId, ShardId, TransactionPlace};

use super::{
    keys::received_key,
    store::{log, members},
};

/// Transactions looked at in one step of the search.
const SEARCH_LEN: i64 = 500;

/// What a member of a shard received by a gift.
pub(crate) async fn received(
    connection: &mut PgConnection,
    shard: ShardId,
    (program, member): (&ProgramId, &MemberId),
    gift: TransactionPlace,
) -> Result<Option<Transaction>, DatabaseError> {
    let key = received_key(program, member, gift);
    if let Some(row) = log::by_request(&mut *connection, shard, key).await? {
        return row.transaction().map(Some);
    }
    // It was written before it had a key.
    let number = members::number(&mut *connection, shard, program, member).await?;
    let mut before = Position::new(i64::MAX);
    while let Some(number) = number {
        let rows = log::page(&mut *connection, shard, number, before, SEARCH_LEN).await?;
        let Some(last) = rows.last() else { break };
        before = Position::new(last.position);
        for row in &rows {
            let known = row.transaction()?;
            if let Cause::Received(received) = &known.cause
                && received.gift == gift
            {
                return Ok(Some(known));
            }
        }
    }
    Ok(None)
}
