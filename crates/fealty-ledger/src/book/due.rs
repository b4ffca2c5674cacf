//! What falls due in a wallet, and when.

use fealty_types::{CurrencyId, LotId, Position, Timestamp};

use super::{ReadThrough, SpendKey, WalletBook};
use crate::{Inactivity, LotTerms, Moment, Stop, TIER_WAIT_MAX, TIER_WAIT_STEP};

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

impl WalletBook {
    /// When points that go with inactivity are gone, as things stand.
    pub(super) fn inactive_at(&self) -> Option<Timestamp> {
        let waived = self.wallet.inactivity == Inactivity::Waived;
        self.wallet.inactive_at.filter(|_| !waived)
    }

    /// When points that go with inactivity are due. Where a tier decides and it is not
    /// known yet, that is when to look again.
    fn inactivity_due(&self, moment: Moment) -> Option<Timestamp> {
        let inactive_at = self.inactive_at()?;
        let waits =
            self.tiers_decide && inactive_at <= moment.now && inactive_at > moment.tiers_known;
        if !waits {
            return Some(inactive_at);
        }
        let again = moment.now.checked_add(TIER_WAIT_STEP);
        let latest = self.latest_inactive_at();
        again.into_iter().chain(latest).min()
    }

    /// When points that go with inactivity are gone at the latest.
    fn latest_inactive_at(&self) -> Option<Timestamp> {
        let inactive_at = self.inactive_at()?;
        if self.tiers_decide {
            inactive_at.checked_add(TIER_WAIT_MAX)
        } else {
            Some(inactive_at)
        }
    }

    /// Whether the points of a lot are gone at a moment, whatever is not known yet.
    pub(crate) fn is_gone(&self, terms: &LotTerms, at: Timestamp) -> bool {
        let gone_at = if terms.expires_at == Some(LotTerms::WITH_ACTIVITY) {
            self.latest_inactive_at()
        } else {
            terms.expires_at
        };
        gone_at.is_some_and(|gone_at| gone_at <= at)
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
        let activation = self
            .pending
            .first()
            .filter(|(at, _)| *at < LotTerms::ON_EVENT)
            .map(|(at, _)| (*at, Event::Activate));
        let timeout = self
            .holds
            .values()
            .filter(|hold| !hold.lots.is_empty())
            .map(|hold| (hold.expires_at, Event::HoldTimeout(hold.position)))
            .min();
        let waiting = self.waiting().filter_map(|lot| {
            let terms = &self.lots[&lot].terms;
            if terms.expires_at == Some(LotTerms::WITH_ACTIVITY) {
                let at = self.inactivity_due(moment);
                at.map(|at| (at, Event::ExpirePendingInactive))
            } else {
                terms.expires_at.map(|at| (at, Event::ExpirePending))
            }
        });
        let waiting = waiting.min();
        let expiry = self.next_expiry(currency, moment)?;
        Ok([activation, timeout, expiry, waiting]
            .into_iter()
            .flatten()
            .min())
    }

    /// Lots that wait for an event.
    fn waiting(&self) -> impl Iterator<Item = LotId> {
        let from = (LotTerms::ON_EVENT, LotId::from_stored(0));
        self.pending.range(from..).map(|(_, lot)| *lot)
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
        let Some(inactive_at) = self.inactivity_due(moment) else {
            return Ok(dated);
        };
        if dated.is_some_and(|(at, _)| at <= inactive_at) {
            return Ok(dated);
        }
        if self.with_activity().next().is_some() {
            return Ok(Some((inactive_at, Event::ExpireInactive)));
        }
        let read_past = match self.read_through {
            ReadThrough::Nothing => false,
            ReadThrough::Key(key) => key.expires_at > LotTerms::WITH_ACTIVITY,
            ReadThrough::All => true,
        };
        if read_past { Ok(dated) } else { needed() }
    }

    /// Lots that go with inactivity, as far as they are known.
    fn with_activity(&self) -> impl Iterator<Item = LotId> {
        let from = SpendKey {
            expires_at: LotTerms::WITH_ACTIVITY,
            lot: LotId::from_stored(0),
        };
        self.spendable
            .range(from..)
            .take_while(|key| key.expires_at == LotTerms::WITH_ACTIVITY)
            .map(|key| key.lot)
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
    /// The first `max` pending lots that are activated at `at`.
    pub(crate) fn activating(&self, at: Timestamp, max: usize) -> Vec<LotId> {
        let at_instant = self
            .pending
            .iter()
            .take_while(|(activates_at, _)| *activates_at == at);
        at_instant.take(max).map(|(_, lot)| *lot).collect()
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
            let of_event = match event {
                Event::ExpirePending => at,
                _ => LotTerms::WITH_ACTIVITY,
            };
            let due = |lot: &LotId| self.lots[lot].terms.expires_at == Some(of_event);
            return Ok(self.waiting().filter(due).take(max).collect());
        }
        let (lots, date): (Vec<LotId>, Timestamp) = if event == Event::ExpireInactive {
            (
                self.with_activity().take(max).collect(),
                LotTerms::WITH_ACTIVITY,
            )
        } else {
            let at_instant = self
                .spendable
                .iter()
                .take_while(|key| key.expires_at == at && self.has_read(key));
            (at_instant.take(max).map(|key| key.lot).collect(), at)
        };
        let all_read = match self.read_through {
            ReadThrough::Nothing => false,
            ReadThrough::Key(key) => key.expires_at > date,
            ReadThrough::All => true,
        };
        if (lots.len() < max || event == Event::ExpireInactive) && !all_read {
            return Err(Stop::LotsNeeded {
                currency: currency.clone(),
            });
        }
        Ok(lots)
    }

    /// Sets when the wallet is to be looked at next.
    pub(crate) fn set_next_due(&mut self, due: Option<Timestamp>) {
        if self.wallet.next_due != due {
            self.wallet.next_due = due;
            self.changed = true;
        }
    }
}
