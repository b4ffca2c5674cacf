//! A programme, checked.

use std::collections::{BTreeMap, BTreeSet};

use fealty_types::{
    BrandId, Code, CurrencyId, OrderScope, ProgramId, RefundTerms, RewardId, TierId, Timestamp,
};
use jiff::tz::TimeZone;

use crate::{
    ActivationRule, ActivationTerms, Activity, Adjustments, Brand, Currency, EarningRule, Expiry,
    ExpiryTerms, InactivityTerms, MoneyUnit, OrderScopeMissing, Orders, Personal, ProgramNote,
    Reward, TierScheme, calendar, sections::currencies,
};

/// A programme: its currencies, brands, earning rules, tiers and catalogue.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its id.
    pub id: ProgramId,
    /// Where its days begin and end.
    pub time_zone: TimeZone,
    /// The money its purchases are paid in.
    pub money: MoneyUnit,
    /// Its currencies of points.
    pub currencies: BTreeMap<CurrencyId, Currency>,
    /// Its brands.
    pub brands: BTreeMap<BrandId, Brand>,
    /// Its earning rules, in the order of the file.
    pub earning: Vec<EarningRule>,
    /// Its tiers, if it has any.
    pub tiers: Option<TierScheme>,
    /// Its catalogue.
    pub rewards: BTreeMap<RewardId, Reward>,
    /// How points are taken back and restored.
    pub refunds: RefundTerms,
    /// What operators may put right.
    pub adjustments: Adjustments,
    /// Within what order numbers are unique.
    pub orders: Orders,
    /// What callers keep with a change that must be deletable.
    pub personal: Personal,
}

impl Program {
    /// The start of the day in which `moment` lies, in the programme's zone.
    #[must_use]
    pub fn start_of_day(&self, moment: Timestamp) -> Timestamp {
        calendar::start_of(calendar::date_of(moment, &self.time_zone), &self.time_zone)
    }

    /// When points of `currency` earned at `earned_at` by a member of `tier`
    /// expire.
    #[must_use]
    pub fn expiry_of(
        &self,
        currency: &CurrencyId,
        earned_at: Timestamp,
        tier: Option<&TierId>,
    ) -> ExpiryTerms {
        let currency = self.currencies.get(currency);
        currency
            .and_then(|currency| currency.expiry.as_ref())
            .map_or(ExpiryTerms::Never, |expiry| {
                expiry.of(earned_at, tier, &self.time_zone)
            })
    }

    /// When points of `currency` expire that become available at `activates_at`: those
    /// that would be gone by then live from then on, as if they were earned then.
    #[must_use]
    pub fn expiry_when_active(
        &self,
        currency: &CurrencyId,
        (earned_at, activates_at): (Timestamp, Timestamp),
        tier: Option<&TierId>,
    ) -> ExpiryTerms {
        match self.expiry_of(currency, earned_at, tier) {
            ExpiryTerms::At(gone_at) if gone_at <= activates_at => {
                self.expiry_of(currency, activates_at, tier)
            }
            terms => terms,
        }
    }

    /// What the programme does that its reader may not expect.
    #[must_use]
    pub fn notes(&self) -> Vec<ProgramNote> {
        let currencies = self.currencies.iter();
        currencies
            .filter_map(|(id, currency)| currencies::note(id, currency))
            .collect()
    }

    /// What the order number of a purchase is unique within.
    pub fn order_scope(
        &self,
        store: Option<&Code>,
        purchased_at: Option<Timestamp>,
    ) -> Result<OrderScope, OrderScopeMissing> {
        self.orders.scope(store, purchased_at, &self.time_zone)
    }

    /// Whether the tier decides when points of `currency` expire.
    #[must_use]
    pub fn expires_by_tier(&self, currency: &CurrencyId) -> bool {
        let expiry = self.currencies.get(currency);
        let expiry = expiry.and_then(|currency| currency.expiry.as_ref());
        matches!(expiry, Some(Expiry::After { by_tier, .. }) if !by_tier.is_empty())
    }

    /// Whether the tier decides if points of `currency` go with inactivity.
    #[must_use]
    pub fn keeps_by_tier(&self, currency: &CurrencyId) -> bool {
        self.waivers().any(|(waived, _)| waived == currency)
    }

    /// The currencies of which some tiers keep the points that go with inactivity, and
    /// those tiers.
    pub fn waivers(&self) -> impl Iterator<Item = (&CurrencyId, &BTreeSet<TierId>)> {
        let currencies = self.currencies.iter();
        currencies.filter_map(|(id, currency)| match &currency.expiry {
            Some(Expiry::Inactivity { waived_for, .. }) if !waived_for.is_empty() => {
                Some((id, waived_for))
            }
            _ => None,
        })
    }

    /// What it means for points of `currency` that go with inactivity that a member is
    /// in `tier` from `since` on.
    #[must_use]
    pub fn inactivity_in_tier(
        &self,
        currency: &CurrencyId,
        tier: Option<&TierId>,
        since: Timestamp,
    ) -> InactivityTerms {
        let currency = self.currencies.get(currency);
        let expiry = currency.and_then(|currency| currency.expiry.as_ref());
        let counts = InactivityTerms::Counts { not_before: since };
        expiry.map_or(counts, |expiry| {
            expiry.inactivity(tier, since, &self.time_zone)
        })
    }

    /// Until when something done at `moment` keeps points of `currency` alive
    /// that go with inactivity; `None` where there are none, or it does not count.
    /// Earning such points (`activity` is `None`) always counts.
    #[must_use]
    pub fn active_until(
        &self,
        currency: &CurrencyId,
        activity: Option<Activity>,
        moment: Timestamp,
    ) -> Option<Timestamp> {
        match self.currencies.get(currency)?.expiry.as_ref()? {
            Expiry::Inactivity {
                period,
                activity: counts,
                ..
            } if activity.is_none_or(|activity| counts.contains(&activity)) => {
                Some(period.after(moment, &self.time_zone))
            }
            _ => None,
        }
    }

    /// When points of `currency` earned at `moment` become available.
    #[must_use]
    pub fn activation_of(&self, currency: &CurrencyId, moment: Timestamp) -> ActivationTerms {
        let currency = self.currencies.get(currency);
        match currency.and_then(|currency| currency.activation.as_ref()) {
            None => ActivationTerms::AtOnce,
            Some(ActivationRule::OnEvent(event)) => ActivationTerms::OnEvent(event.clone()),
            Some(ActivationRule::After(period)) => {
                ActivationTerms::At(period.after(moment, &self.time_zone))
            }
        }
    }
}
