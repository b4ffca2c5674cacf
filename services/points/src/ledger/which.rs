//! Transactions as callers name them: by id, or by the order that they recorded.

use fealty_types::{Position, ShardId};

use super::{
    history::By,
    service::{Change, Ledger},
};
use crate::{error::Error, shard::OrderName};

/// A member's transaction, as it is named.
pub(crate) enum Which {
    /// By its place in the log.
    At(Position),
    /// By the purchase's order.
    Order(OrderName),
}

impl Ledger {
    /// The transaction that a change names, and its shard: an order is that of the member.
    pub(crate) async fn which<C>(
        &self,
        change: &Change<C>,
        which: &Which,
    ) -> Result<(Position, Option<ShardId>), Error> {
        let order = match which {
            Which::At(position) => return Ok((*position, change.named_shard)),
            Which::Order(order) => order,
        };
        let by = By::Order(order.clone());
        let (caller, program) = (&change.caller, &change.program);
        let found = self.transaction(caller, program, &by).await?;
        if found.member != *change.member {
            return Err(Error::TransactionNotFound(order.order_number.to_string()));
        }
        Ok((found.position, Some(found.shard)))
    }
}
