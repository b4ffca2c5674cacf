//! What could not be played again as it was.

use std::{collections::BTreeMap, fmt::Display};

use fealty_types::CurrencyId;

/// Kinds of refusals that are told apart.
const REASONS_MAX: usize = 100;

/// What could not be played again as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Missed {
    /// Requests that spent points of which fewer were there.
    pub spends: u64,
    /// Points that were not there, by currency.
    pub points: BTreeMap<CurrencyId, i64>,
    /// Tenders in points whose hold did not come about.
    pub holds: u64,
    /// Events at which a tier would count that was not recorded: who they are of had the lowest.
    pub tiers: u64,
    /// Requests that the programme or the ledger refuses, by why.
    pub refused: BTreeMap<String, u64>,
}

impl Missed {
    /// Notes that a request is refused.
    pub(super) fn refused(&mut self, why: &impl Display) {
        let mut why = why.to_string();
        if self.refused.len() >= REASONS_MAX && !self.refused.contains_key(&why) {
            "other reasons".clone_into(&mut why);
        }
        *self.refused.entry(why).or_default() += 1;
    }

    /// Whether all could be played.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what was missed elsewhere.
    pub(super) fn add(&mut self, other: Self) {
        self.spends += other.spends;
        self.holds += other.holds;
        self.tiers += other.tiers;
        for (currency, points) in other.points {
            *self.points.entry(currency).or_default() += points;
        }
        for (why, times) in other.refused {
            *self.refused.entry(why).or_default() += times;
        }
    }
}
