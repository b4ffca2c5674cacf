//! The statements over members' statuses and what they rest on.

pub(crate) mod purchases;
pub(crate) mod statuses;
