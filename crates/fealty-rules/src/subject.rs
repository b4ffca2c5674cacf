//! What rules are asked of.

use crate::calendar::Every;

/// What an event is, and what a rule is asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A purchase.
    Purchase,
    /// An activity, by the number of its type in the version; see [`crate::Rules::activity`].
    Activity(u16),
    /// The end of a period of the calendar.
    End(Every),
}
