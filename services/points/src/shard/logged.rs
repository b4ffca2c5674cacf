//! A transaction as it stands in the log.

use fealty_ledger::Transaction;
use fealty_postgres::DatabaseError;

use super::store;

/// A transaction as it stands in the log.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    /// The transaction.
    pub(crate) transaction: Transaction,
    /// The chain after it.
    pub(crate) chain: Vec<u8>,
    /// Its canonical bytes.
    pub(crate) body: Vec<u8>,
}

impl TryFrom<store::log::Row> for Logged {
    type Error = DatabaseError;

    fn try_from(row: store::log::Row) -> Result<Self, DatabaseError> {
        Ok(Self {
            transaction: row.transaction()?,
            chain: row.chain,
            body: row.body,
        })
    }
}
