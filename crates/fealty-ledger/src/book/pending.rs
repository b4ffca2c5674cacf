//! Points that wait: which of them something becomes of first.

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_types::{CurrencyId, LotId, Timestamp};

use super::{Event, WalletBook};
use crate::{Lot, LotTerms, Moment, Stop};

/// Where a pending lot stands in the order in which something becomes of them: it is
/// activated, or, where it waits for an event, expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct PendingKey {
    /// When, by its dates; see [`super::SpendKey::expires_at`].
    pub due: Timestamp,
    /// When it is activated: at the same instant before others expire.
    pub activates_at: Timestamp,
    /// The lot.
    pub lot: LotId,
}

impl PendingKey {
    /// Of a lot.
    #[must_use]
    pub fn of(lot: &Lot) -> Self {
        let terms = &lot.terms;
        let activates_at = terms.activates_at.unwrap_or(Timestamp::EPOCH);
        let expires_at = terms.expires_at.unwrap_or(LotTerms::NEVER);
        Self {
            due: activates_at.min(expires_at),
            activates_at,
            lot: terms.lot,
        }
    }

    /// Before all that are due at a moment, and activated at another.
    fn from(due: Timestamp, activates_at: Timestamp) -> Self {
        Self {
            due,
            activates_at,
            lot: LotId::from_stored(0),
        }
    }
}

/// How far pending lots have been read, in the order of their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum PendingThrough {
    /// Up to and with this lot.
    Key(PendingKey),
    /// Entirely.
    All,
}

fn after(at: Timestamp) -> Timestamp {
    Timestamp::from_micros(at.micros() + 1).unwrap_or(at)
}

impl WalletBook {
    /// Adds pending lots that were read in their order, up to some. What is here already is
    /// newer and stays.
    pub fn add_pending(&mut self, lots: impl IntoIterator<Item = Lot>, through: PendingThrough) {
        self.add_named(lots, []);
        self.pending_through = through;
    }

    /// How far its pending lots have been read, where any have.
    #[must_use]
    pub fn pending_through(&self) -> PendingThrough {
        self.pending_through
    }

    pub(super) fn has_read_pending(&self, key: &PendingKey) -> bool {
        match self.pending_through {
            PendingThrough::Key(read) => *key <= read,
            PendingThrough::All => true,
        }
    }

    fn needed<T>(currency: &CurrencyId) -> Result<T, Stop> {
        Err(Stop::LotsNeeded {
            currency: currency.clone(),
        })
    }

    /// What becomes of a pending lot first, whenever that is.
    pub(super) fn next_pending(
        &self,
        currency: &CurrencyId,
        moment: Moment,
    ) -> Result<Option<(Timestamp, Event)>, Stop> {
        let first = match self.pending.first() {
            Some(key) if self.has_read_pending(key) => Some(key),
            _ if self.pending_through == PendingThrough::All => None,
            _ => return Self::needed(currency),
        };
        let dated = first.filter(|key| key.due < LotTerms::WITH_ACTIVITY);
        let dated = dated.map(|key| {
            let event = if key.activates_at < LotTerms::ON_EVENT {
                Event::Activate
            } else {
                Event::ExpirePending
            };
            (key.due, event)
        });
        let Some(earliest) = self.inactivity_due(None, moment) else {
            return Ok(dated);
        };
        if dated.is_some_and(|(at, _)| at <= earliest) {
            return Ok(dated);
        }
        match self.pending_with_activity().next() {
            Some(first) if first.due == LotTerms::WITH_ACTIVITY || self.has_read_pending(first) => {
                let due = self.inactivity_due(LotTerms::not_before_of(first.due), moment);
                let due = due.map(|due| (due, Event::ExpirePendingInactive));
                Ok(dated.into_iter().chain(due).min())
            }
            _ if self.has_read_pending(&PendingKey::from(LotTerms::NEVER, Timestamp::EPOCH)) => {
                Ok(dated)
            }
            _ => Self::needed(currency),
        }
    }

    /// Pending lots that go with inactivity, as far as they are known, in the order in
    /// which they do.
    fn pending_with_activity(&self) -> impl Iterator<Item = &PendingKey> {
        let from = PendingKey::from(LotTerms::WITH_ACTIVITY, Timestamp::EPOCH);
        let lots = self.pending.range(from..);
        lots.take_while(|key| LotTerms::is_with_activity(key.due))
    }

    /// The first `max` pending lots of which an event at `at` is.
    pub(crate) fn pending_at(
        &self,
        currency: &CurrencyId,
        event: Event,
        at: Timestamp,
        max: usize,
    ) -> Result<Vec<LotId>, Stop> {
        let first = self.pending_with_activity().next();
        let first = first.and_then(|key| self.wallet.goes_at(LotTerms::not_before_of(key.due)));
        let (from, end) = match event {
            Event::Activate => (
                PendingKey::from(at, at),
                PendingKey::from(at, LotTerms::ON_EVENT),
            ),
            Event::ExpirePending => (
                PendingKey::from(at, LotTerms::ON_EVENT),
                PendingKey::from(after(at), Timestamp::EPOCH),
            ),
            _ => (
                PendingKey::from(LotTerms::WITH_ACTIVITY, Timestamp::EPOCH),
                PendingKey::from(LotTerms::NEVER, Timestamp::EPOCH),
            ),
        };
        let is_of_it = |key: &&PendingKey| match event {
            Event::Activate => key.due == at && key.activates_at == at,
            Event::ExpirePending => key.due == at && key.activates_at == LotTerms::ON_EVENT,
            _ => {
                LotTerms::is_with_activity(key.due)
                    && self.wallet.goes_at(LotTerms::not_before_of(key.due)) <= first
            }
        };
        let lots = self.pending.range(from..);
        let lots = lots.take_while(|key| self.has_read_pending(key));
        let lots: Vec<LotId> = lots
            .take_while(is_of_it)
            .take(max)
            .map(|key| key.lot)
            .collect();
        if lots.len() < max && !self.has_read_pending(&end) {
            return Self::needed(currency);
        }
        Ok(lots)
    }
}
