//! Taking a purchase back.

use fealty_ledger::{Command, Return, ReturnedLine};
use fealty_types::{Money, Reference};

use crate::{
    error::Error,
    ledger::{Change, Ledger, Which},
    shard::Answer,
};

/// What is to come back, and of which purchase.
pub(crate) struct Returning {
    pub(crate) of: Which,
    pub(crate) lines: Vec<ReturnedLine>,
    pub(crate) amount: Option<Money>,
    pub(crate) reference: Reference,
}

/// Takes a purchase back, or a part of it, once.
pub(crate) async fn take_back(
    ledger: &Ledger,
    returning: Change<Returning>,
) -> Result<Answer, Error> {
    let (transaction, named_shard) = ledger.which(&returning, &returning.command.of).await?;
    let change = returning.map(|returning| {
        Command::Return(Return {
            transaction,
            lines: returning.lines,
            amount: returning.amount,
            reference: returning.reference,
        })
    });
    let change = Change {
        named_shard,
        ..change
    };
    ledger.submit(change).await
}
