//! An entry as it stands in the log.

use fealty_ledger::Entry;
use fealty_postgres::DatabaseError;

use super::store;

/// An entry as it stands in the log.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    /// The entry.
    pub(crate) entry: Entry,
    /// The chain after it.
    pub(crate) chain: Vec<u8>,
    /// Its canonical bytes.
    pub(crate) body: Vec<u8>,
}

impl TryFrom<store::log::Row> for Logged {
    type Error = DatabaseError;

    fn try_from(row: store::log::Row) -> Result<Self, DatabaseError> {
        Ok(Self {
            entry: row.entry()?,
            chain: row.chain,
            body: row.body,
        })
    }
}
