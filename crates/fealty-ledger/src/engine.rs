//! The engines that wrote logs. A log is never rewritten, so what an earlier engine made
//! is verified by its own rules; they stay here, chosen by the number in the entry.

/// Which rules make a transaction.
///
/// The number grows with each change by which the same request in the same state would
/// make another transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Engine(u16);

impl Engine {
    /// The first.
    pub const FIRST: Self = Self(1);
    /// The one that writes.
    ///
    /// Since 2: points that come back repay debt first, as those that are given do;
    /// points that go with inactivity and are received live a full term from then.
    pub const NEWEST: Self = Self(2);

    /// The engine with a number, if it is known here.
    #[must_use]
    pub fn numbered(number: u16) -> Option<Self> {
        let known = Self::FIRST.0..=Self::NEWEST.0;
        known.contains(&number).then_some(Self(number))
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }

    /// Whether points that are restored, reinstated or released repay debt first.
    pub(crate) fn repays_by_what_comes_back(self) -> bool {
        self.0 >= 2
    }

    /// Whether points that are received live a full term from then.
    pub(crate) fn gives_a_term_to_what_is_received(self) -> bool {
        self.0 >= 2
    }
}
