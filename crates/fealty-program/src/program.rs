//! A programme, checked.

use std::collections::{BTreeMap, BTreeSet};

use fealty_rules::{Every, calendar};
use fealty_types::{
    ActivityType, BrandId, Code, CurrencyId, OrderScope, ProgramId, RefundTerms, RewardId, TierId,
    Timestamp,
};

use crate::{
    ActivationRule, ActivationTerms, Activity, Adjustments, Brand, Calendar, Currency,
    DeclaredActivity, DeclaredAttributes, Earning, Example, Expiry, ExpiryTerms, InactivityTerms,
    MoneyUnit, OrderScopeMissing, Orders, Personal, ProgramNote, Referrals, Reward, TierScheme,
    sections::{currencies, earning::ends},
};

/// A programme: its currencies, brands, earning rules, tiers and catalogue.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its id.
    pub id: ProgramId,
    /// Where its days begin and end, and its weeks, months, quarters and years.
    pub calendar: Calendar,
    /// The money its purchases are paid in.
    pub money: MoneyUnit,
    /// Its currencies of points.
    pub currencies: BTreeMap<CurrencyId, Currency>,
    /// Its brands.
    pub brands: BTreeMap<BrandId, Brand>,
    /// The facts of purchases and lines that it declares.
    pub attributes: DeclaredAttributes,
    /// The types of activities that it declares.
    pub activities: BTreeMap<ActivityType, DeclaredActivity>,
    /// How purchases and activities earn.
    pub earning: Earning,
    /// Its tiers, if it has any.
    pub tiers: Option<TierScheme>,
    /// Its catalogue.
    pub rewards: BTreeMap<RewardId, Reward>,
    /// How members bring others, if they do.
    pub referrals: Option<Referrals>,
    /// How points are taken back and restored.
    pub refunds: RefundTerms,
    /// What operators may put right.
    pub adjustments: Adjustments,
    /// Within what order numbers are unique.
    pub orders: Orders,
    /// What callers keep with a change that must be deletable.
    pub personal: Personal,
    /// Purchases with what they must earn.
    pub examples: Vec<Example>,
}

impl Program {
    /// The start of the day in which `moment` lies, in the programme's zone.
    #[must_use]
    pub fn start_of_day(&self, moment: Timestamp) -> Timestamp {
        calendar::start_of(self.calendar.date_of(moment), &self.calendar.zone)
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
                expiry.of(earned_at, tier, &self.calendar.zone)
            })
    }

    /// When points of `currency` expire that become available at a moment.
    #[must_use]
    pub fn expiry_when_active(
        &self,
        currency: &CurrencyId,
        times: (Timestamp, Timestamp),
        tier: Option<&TierId>,
    ) -> ExpiryTerms {
        let currency = self.currencies.get(currency);
        self.expiry_by(
            currency.and_then(|currency| currency.expiry.as_ref()),
            times,
            tier,
        )
    }

    /// When points with some expiry expire that are earned at `earned_at` and become
    /// available at `activates_at`: those that would be gone by then live from then on, as
    /// if they were earned then.
    #[must_use]
    pub fn expiry_by(
        &self,
        expiry: Option<&Expiry>,
        (earned_at, activates_at): (Timestamp, Timestamp),
        tier: Option<&TierId>,
    ) -> ExpiryTerms {
        let Some(expiry) = expiry else {
            return ExpiryTerms::Never;
        };
        match expiry.of(earned_at, tier, &self.calendar.zone) {
            ExpiryTerms::At(gone_at) if gone_at <= activates_at => {
                expiry.of(activates_at, tier, &self.calendar.zone)
            }
            terms => terms,
        }
    }

    /// What the programme does that its reader may not expect.
    #[must_use]
    pub fn notes(&self) -> Vec<ProgramNote> {
        let currencies = self.currencies.iter();
        let of_currencies = currencies.filter_map(|(id, currency)| currencies::note(id, currency));
        let of_rules = self.earning.rules.notes().into_iter();
        let of_rules = of_rules.map(|note| ProgramNote {
            path: format!("earning.{}.{}", note.rule, note.field),
            message: note.message,
        });
        of_currencies.chain(of_rules).collect()
    }

    /// What the order number of a purchase is unique within.
    pub fn order_scope(
        &self,
        store: Option<&Code>,
        purchased_at: Option<Timestamp>,
    ) -> Result<OrderScope, OrderScopeMissing> {
        self.orders.scope(store, purchased_at, &self.calendar.zone)
    }

    /// Whether the tier decides when points of `currency` expire.
    #[must_use]
    pub fn expires_by_tier(&self, currency: &CurrencyId) -> bool {
        let expiry = self.currencies.get(currency);
        let expiry = expiry.and_then(|currency| currency.expiry.as_ref());
        matches!(expiry, Some(Expiry::After { by_tier, .. }) if !by_tier.is_empty())
    }

    /// Whether the member's tier at the end of a kind of period decides something of what that
    /// gives.
    #[must_use]
    pub fn end_waits_for_tiers(&self, every: Every) -> bool {
        let of = (&self.currencies, self.tiers.as_ref());
        ends::waits_for_tiers(&self.earning, of, every)
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
            expiry.inactivity(tier, since, &self.calendar.zone)
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
                Some(period.after(moment, &self.calendar.zone))
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
            Some(rule) => self.activation_by(rule, moment),
        }
    }

    /// When points earned at `moment` become available by a rule.
    #[must_use]
    pub fn activation_by(&self, rule: &ActivationRule, moment: Timestamp) -> ActivationTerms {
        match rule {
            ActivationRule::OnEvent(event) => ActivationTerms::OnEvent(event.clone()),
            ActivationRule::After(period) => {
                ActivationTerms::At(period.after(moment, &self.calendar.zone))
            }
        }
    }
}
