//! What tells the same request from another one.

use fealty_ledger::{Command, Transaction};
use fealty_types::{Metadata, RequestId};

use crate::error::Error;

/// What may be recorded once only, and was.
pub(super) fn recorded_before(command: &Command) -> Result<(), Error> {
    match command {
        Command::Purchase(purchase) => Err(Error::OrderAlreadyRecorded {
            brand: purchase.brand.clone(),
            order_number: purchase.order_number.clone(),
            transaction: None,
        }),
        Command::Activity(activity) => Err(Error::ActivityAlreadyRecorded {
            brand: activity.brand.clone(),
            id: activity.id.clone(),
            transaction: None,
        }),
        _ => Ok(()),
    }
}

/// The first field in which a request differs from the one that was there
/// under its id, as a refusal.
pub(crate) fn same_request(
    (request_id, metadata): (&RequestId, &Metadata),
    command: &Command,
    before: &Transaction,
) -> Result<(), Error> {
    let field = match (before.request_id(), before.command()) {
        // Other ids with the same key do not happen; were it so, this refuses.
        (Some(stored), _) if stored != request_id => Some("request_id"),
        (Some(_), Some(stored)) => command
            .first_difference(stored)
            .or_else(|| (before.metadata() != Some(metadata)).then_some("metadata")),
        _ => Some("method"),
    };
    field.map_or(Ok(()), |field| Err(Error::RequestIdReused { field }))
}
