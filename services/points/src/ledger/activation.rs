//! Points that wait: what gave them, and what has happened.

use fealty_ledger::{Activate, Command};
use fealty_types::{EventName, Reference};

use super::{
    service::{Change, Ledger},
    which::Which,
};
use crate::error::Error;

/// Points that are to become available.
pub(crate) struct Activating {
    /// What gave them.
    pub(crate) gave: Which,
    /// What has happened: only those that wait for it.
    pub(crate) event: Option<EventName>,
    /// The caller's word for it.
    pub(crate) reference: Reference,
}

impl Ledger {
    /// The change that makes points available.
    pub(crate) async fn activation(&self, asked: Change<Activating>) -> Result<Change, Error> {
        let (transaction, named_shard) = self.which(&asked, &asked.command.gave).await?;
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
