//! Points that wait: what gave them, and what has happened.

use fealty_ledger::{Activate, Command};
use fealty_types::{EventName, Position, Reference};

use super::{
    history::By,
    service::{Change, Ledger},
};
use crate::{error::Error, shard::OrderName};

/// What gave the points that are to become available.
pub(crate) enum Gave {
    /// A transaction.
    Transaction(Position),
    /// The purchase of a brand's order.
    Order(OrderName),
}

/// Points that are to become available.
pub(crate) struct Activating {
    /// What gave them.
    pub(crate) gave: Gave,
    /// What has happened: only those that wait for it.
    pub(crate) event: Option<EventName>,
    /// The caller's word for it.
    pub(crate) reference: Reference,
}

impl Ledger {
    /// The change that makes points available: an order is that of the member, and
    /// leads to the transaction that recorded it.
    pub(crate) async fn activation(&self, asked: Change<Activating>) -> Result<Change, Error> {
        let (transaction, named_shard) = match &asked.command.gave {
            Gave::Transaction(position) => (*position, asked.named_shard),
            Gave::Order(order) => {
                let by = By::Order(order.clone());
                let found = self.transaction(&asked.caller, &asked.program, &by).await?;
                if found.member != *asked.member {
                    return Err(Error::TransactionNotFound(order.order_number.to_string()));
                }
                (found.position, Some(found.shard))
            }
        };
        let change = asked.map(|asked| {
            Command::Activate(Activate {
                transaction,
                event: asked.event,
                reference: asked.reference,
            })
        });
        Ok(Change {
            named_shard,
            ..change
        })
    }
}
