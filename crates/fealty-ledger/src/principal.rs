//! Who asked for a transaction.

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_types::Subject;

/// Who asked for a transaction: whose credentials came with the request, and
/// for whom, where a service acted for somebody.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Principal {
    /// Whose credentials they were.
    pub subject: Subject,
    /// For whom it acted.
    pub acting_for: Option<Subject>,
    /// The roles that it had: bit n for the role of number n in
    /// `fealty.access.v1.Role`.
    pub roles: u16,
}
