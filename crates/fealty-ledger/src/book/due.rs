//! What falls due in a wallet, and when.

use fealty_types::{CurrencyId, LotId, Position, Timestamp};

use super::{ReadThrough, SpendKey, WalletBook};
use crate::{LotTerms, Moment, Stop, TIER_WAIT_MAX, TIER_WAIT_STEP};

/// What falls due next in a wallet. The order is that of events at the same
/// instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    Activate,
    HoldTimeout(Position),
    /// Points that can be spent expire.
    Expire,
    /// Points that go with inactivity do.
    ExpireInactive,
    /// Points that wait for an event do.
    ExpirePending,
    /// Points that wait for an event and go with inactivity do.
    ExpirePendingInactive,
}

impl Event {
    /// Whether points are gone with it.
    pub(crate) fn is_expiry(self) -> bool {
        match self {
            Self::Activate | Self::HoldTimeout(_) => false,
            Self::Expire
            | Self::ExpireInactive
            | Self::ExpirePending
            | Self::ExpirePendingInactive => true,
        }
    }
}

impl WalletBook {
    /// When points that go with inactivity are gone, as things stand.
    pub(super) fn inactive_at(&self) -> Option<Timestamp> {
        self.wallet.goes_at(None)
    }

    /// When points that go with inactivity are due. Where a tier decides and it is not
    /// known yet, that is when to look again.
    pub(super) fn inactivity_due(
        &self,
        not_before: Option<Timestamp>,
        moment: Moment,
    ) -> Option<Timestamp> {
        let goes_at = self.wallet.goes_at(not_before)?;
        let waits = self.tiers_decide && goes_at <= moment.now && goes_at > moment.tiers_known;
        if !waits {
            return Some(goes_at);
        }
        let again = moment.now.checked_add(TIER_WAIT_STEP);
        let latest = self.latest(goes_at);
        again.into_iter().chain(latest).min()
    }

    /// Until when what goes with inactivity may wait for the member's tier.
    fn latest(&self, goes_at: Timestamp) -> Option<Timestamp> {
        if self.tiers_decide {
            goes_at.checked_add(TIER_WAIT_MAX)
        } else {
            Some(goes_at)
        }
    }

    /// Whether the points of a lot are gone at a moment, whatever is not known yet.
    pub(crate) fn is_gone(&self, terms: &LotTerms, at: Timestamp) -> bool {
        let gone_at = if terms.goes_with_inactivity() {
            let goes_at = self.wallet.goes_at(terms.not_before());
            goes_at.and_then(|goes_at| self.latest(goes_at))
        } else {
            terms.expires_at
        };
        gone_at.is_some_and(|gone_at| gone_at <= at)
    }

    /// Whether something is due by a moment, of a wallet that has been read so far as to
    /// tell.
    pub fn is_due_by(
        &self,
        currency: &CurrencyId,
        moment: impl Into<Moment>,
    ) -> Result<bool, Stop> {
        let moment = moment.into();
        let next = self.next_event(currency, moment)?;
        Ok(next.is_some_and(|(due, _)| due <= moment.now))
    }

    /// What falls due first, whenever that is.
    pub(crate) fn next_event(
        &self,
        currency: &CurrencyId,
        moment: Moment,
    ) -> Result<Option<(Timestamp, Event)>, Stop> {
        if !self.due_is_read() {
            return Err(Stop::LotsNeeded {
                currency: currency.clone(),
            });
        }
        let timeout = self
            .holds
            .values()
            .filter(|hold| !hold.lots.is_empty())
            .map(|hold| (hold.expires_at, Event::HoldTimeout(hold.position)))
            .min();
        let pending = self.next_pending(currency, moment)?;
        let expiry = self.next_expiry(currency, moment)?;
        Ok([pending, timeout, expiry].into_iter().flatten().min())
    }

    fn next_expiry(
        &self,
        currency: &CurrencyId,
        moment: Moment,
    ) -> Result<Option<(Timestamp, Event)>, Stop> {
        let needed = || {
            Err(Stop::LotsNeeded {
                currency: currency.clone(),
            })
        };
        let first = match self.spendable.first() {
            Some(key) if self.has_read(key) => Some(key),
            _ if self.read_through == ReadThrough::All => None,
            _ => return needed(),
        };
        let dated = first
            .filter(|key| key.expires_at < LotTerms::WITH_ACTIVITY)
            .map(|key| (key.expires_at, Event::Expire));
        let Some(earliest) = self.inactivity_due(None, moment) else {
            return Ok(dated);
        };
        if dated.is_some_and(|(at, _)| at <= earliest) {
            return Ok(dated);
        }
        match self.with_activity().next() {
            // None goes before the wallet's own date; that some do later, is known of the
            // first of them.
            Some(first) if first.expires_at == LotTerms::WITH_ACTIVITY || self.has_read(first) => {
                let not_before = LotTerms::not_before_of(first.expires_at);
                let due = self.inactivity_due(not_before, moment);
                let due = due.map(|due| (due, Event::ExpireInactive));
                Ok(dated.into_iter().chain(due).min())
            }
            _ if self.has_read_past(LotTerms::NEVER) => Ok(dated),
            _ => needed(),
        }
    }

    /// Lots that go with inactivity, as far as they are known, in the order in which they
    /// do.
    fn with_activity(&self) -> impl Iterator<Item = &SpendKey> {
        let from = SpendKey {
            expires_at: LotTerms::WITH_ACTIVITY,
            lot: LotId::from_stored(0),
        };
        let lots = self.spendable.range(from..);
        lots.take_while(|key| LotTerms::is_with_activity(key.expires_at))
    }

    /// Whether all lots that can be spent and expire before a moment have been read.
    fn has_read_past(&self, expires_at: Timestamp) -> bool {
        match self.read_through {
            ReadThrough::Nothing => false,
            ReadThrough::Key(key) => key.expires_at >= expires_at,
            ReadThrough::All => true,
        }
    }

    /// When the next thing falls due at the latest, of a wallet that has been read so
    /// far as to tell.
    pub fn first_due(&self, currency: &CurrencyId) -> Result<Option<Timestamp>, Stop> {
        let all_known = Moment {
            now: LotTerms::NEVER,
            tiers_known: LotTerms::NEVER,
        };
        let next = self.next_event(currency, all_known)?;
        Ok(next.map(|(due, event)| match event {
            // The programme may have it wait for members' tiers.
            Event::ExpireInactive | Event::ExpirePendingInactive => {
                due.checked_add(TIER_WAIT_MAX).unwrap_or(due)
            }
            _ => due,
        }))
    }
    /// The first `max` lots that an expiry at `at` ends.
    pub(crate) fn expiring(
        &self,
        currency: &CurrencyId,
        event: Event,
        at: Timestamp,
        max: usize,
    ) -> Result<Vec<LotId>, Stop> {
        if matches!(event, Event::ExpirePending | Event::ExpirePendingInactive) {
            return self.pending_at(currency, event, at, max);
        }
        // Those that go with inactivity go together as far as their date is the same.
        let first = self.with_activity().next();
        let first =
            first.and_then(|key| self.wallet.goes_at(LotTerms::not_before_of(key.expires_at)));
        let goes = |key: &&SpendKey| match event {
            Event::ExpireInactive => {
                LotTerms::is_with_activity(key.expires_at)
                    && self.wallet.goes_at(LotTerms::not_before_of(key.expires_at)) <= first
            }
            _ => key.expires_at == at,
        };
        let from = SpendKey {
            expires_at: match event {
                Event::ExpireInactive => LotTerms::WITH_ACTIVITY,
                _ => at,
            },
            lot: LotId::from_stored(0),
        };
        let lots = self.spendable.range(from..);
        let lots = lots.take_while(|key| self.has_read(key)).take_while(goes);
        let lots: Vec<SpendKey> = lots.take(max).copied().collect();
        let all_read = match event {
            // Of a lot that goes later the first has been read, if any has.
            Event::ExpireInactive => {
                let last = lots.last().copied();
                let later = self.with_activity().find(|key| Some(**key) > last);
                self.has_read_past(LotTerms::NEVER) || later.is_some_and(|key| self.has_read(key))
            }
            _ => match self.read_through {
                ReadThrough::Key(key) => key.expires_at > at,
                ReadThrough::Nothing | ReadThrough::All => self.has_read_past(at),
            },
        };
        if lots.len() < max && !all_read {
            return Err(Stop::LotsNeeded {
                currency: currency.clone(),
            });
        }
        Ok(lots.into_iter().map(|key| key.lot).collect())
    }

    /// Sets when the wallet is to be looked at next.
    pub(crate) fn set_next_due(&mut self, due: Option<Timestamp>) {
        if self.wallet.next_due != due {
            self.wallet.next_due = due;
            self.changed = true;
        }
    }
}
