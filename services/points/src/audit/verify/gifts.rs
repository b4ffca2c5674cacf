//! The two sides of transfers between members, over all shards.
//!
//! Each shard is verified at a moment of its own, so a gift may lie in the part
//! of one shard that was verified and beyond that of the other. Such transfers are
//! looked up in what has been written since.

use std::time::Duration;

use fealty_ledger::{Cause, Command, Transaction};
use fealty_postgres::{Database, DatabaseError, PgConnection, run};
use fealty_types::{Position, ShardId};
use tokio::time::Instant;

use super::{READ_LEN, shard::side};
use crate::shard::{Placement, Shards, received, store::log};

/// How long the other side of a gift is waited for where it may lie on another
/// node: after a crash it is committed there within a minute
/// (`citus.recover_2pc_interval`).
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Whether what was given is what was received, up to `heads`; `difference` is the
/// sum over the sides given less those received.
pub(super) async fn settled(
    database: &Database,
    shards: Shards,
    heads: &[Position],
    difference: u128,
) -> Result<bool, DatabaseError> {
    if difference == 0 {
        return Ok(true);
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let corrected: Result<u128, DatabaseError> =
            run!(database, "verify_gifts", |connection| async {
                let mut corrected = difference;
                for shard in shards.all() {
                    let part = beyond(connection, shards, shard, heads).await?;
                    corrected = corrected.wrapping_add(part);
                }
                Ok(corrected)
            });
        // On one node both sides are seen at once: there is nothing to wait for.
        let waits = shards.placement() == Placement::Distributed && Instant::now() < deadline;
        match corrected? {
            0 => return Ok(true),
            _ if !waits => return Ok(false),
            _ => {}
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// What the transfers add of which one side lies beyond a shard's head, and the
/// other within what was verified.
async fn beyond(
    connection: &mut PgConnection,
    shards: Shards,
    shard: ShardId,
    heads: &[Position],
) -> Result<u128, DatabaseError> {
    let verified = |shard: ShardId| heads[usize::from(shard.get())];
    let (mut after, mut sum) = (verified(shard), 0_u128);
    loop {
        let rows = log::read(&mut *connection, shard, after, READ_LEN).await?;
        let Some(last) = rows.last() else {
            return Ok(sum);
        };
        after = Position::new(last.position);
        for row in &rows {
            let Some(transaction) = row.entry()?.into_transaction() else {
                continue;
            };
            if let Cause::Received(received) = &transaction.cause {
                let giver = received.gift;
                if giver.position <= verified(giver.shard) {
                    sum = sum.wrapping_sub(side(&transaction.member, received));
                }
            } else if let Some(other) = taken(connection, shards, &transaction).await?
                && other.position <= verified(other.shard)
                && let Cause::Received(received) = &other.cause
            {
                sum = sum.wrapping_add(side(&other.member, received));
            }
        }
    }
}

/// The recipient's side of a gift, if it is one and that can be seen.
async fn taken(
    connection: &mut PgConnection,
    shards: Shards,
    transaction: &Transaction,
) -> Result<Option<Transaction>, DatabaseError> {
    let Some(Command::Gift(gift)) = transaction.command() else {
        return Ok(None);
    };
    let shard = shards.of(&transaction.program, &gift.to);
    let member = (&transaction.program, &gift.to);
    received(connection, shard, member, transaction.place()).await
}
