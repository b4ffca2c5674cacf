//! A programme, validated.

use std::{collections::BTreeMap, sync::Arc};

use fealty_types::{
    BrandId, CurrencyId, Money, MoneyCurrency, Points, ProgramId, RewardId, RuleId, TierId,
    Timestamp,
};
use jiff::tz::TimeZone;

use crate::{
    ActivationRule, ActivationTerms, Activity, Adjustments, Expiry, ExpiryTerms, ProgramError,
    Ratio, Refunds,
    calendar::{self, Period},
    validate,
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
    pub refunds: Refunds,
    /// What operators may put right.
    pub adjustments: Adjustments,
}

/// A programme together with the text it was read from.
#[derive(Clone, Debug)]
pub struct ProgramSource {
    /// The meaning.
    pub program: Arc<Program>,
    /// The text.
    pub source: String,
    /// SHA-256 of the meaning, in hexadecimal: equal for texts that differ
    /// only in layout and comments.
    pub digest: String,
}

/// A currency of money with its minor unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoneyUnit {
    /// The currency.
    pub currency: MoneyCurrency,
    /// Digits of the minor unit after the point, 0 to 4.
    pub decimals: u8,
}

/// A currency of points.
#[derive(Clone, Debug)]
pub struct Currency {
    /// Digits after the point when shown; amounts count the smallest unit.
    pub decimals: u8,
    /// When points expire; never, if there is nothing.
    pub expiry: Option<Expiry>,
    /// When earned points become available; at once, if there is nothing.
    pub activation: Option<ActivationRule>,
    /// What a point is worth, in millionths of one unit of the programme's
    /// money: 10,000 is 0.01 USD.
    pub unit_value_micros: Option<i64>,
}

/// What a brand may do with points.
#[derive(Clone, Debug)]
pub struct Brand {
    /// Currencies it issues.
    pub issues: Vec<CurrencyId>,
    /// Currencies it accepts.
    pub accepts: Vec<CurrencyId>,
}

/// An earning rule.
#[derive(Clone, Debug)]
pub struct EarningRule {
    /// Its id.
    pub id: RuleId,
    /// The currency it gives.
    pub currency: CurrencyId,
    /// How many points it gives.
    pub formula: EarnFormula,
}

/// How many points an earning rule gives; always rounded down.
#[derive(Clone, Debug)]
pub enum EarnFormula {
    /// `points` for each `per` minor units of money.
    Rate {
        /// Points given.
        points: Points,
        /// Minor units of money for which they are given; above 0.
        per: i64,
    },
    /// A multiple of what the rule `base` gave, on top of it.
    Multiply {
        /// The rule whose points are multiplied.
        base: RuleId,
        /// The whole factor for each tier, at least 1: 1.25 adds a quarter.
        by_tier: BTreeMap<TierId, Ratio>,
        /// Which tier counts.
        tier_as_of: TierAsOf,
    },
}

/// Which of a member's tiers counts for a purchase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TierAsOf {
    /// The one held at the time of purchase.
    Purchase,
    /// The one held when the day of the purchase began.
    StartOfDay,
}

/// Tiers reached by money spent in a rolling window.
#[derive(Clone, Debug)]
pub struct TierScheme {
    /// The window that counts: the moment it ends is in it, the one a period
    /// before is not.
    pub window: Period,
    /// How long a tier is held before it is judged again.
    pub validity: Period,
    /// The tiers, from the lowest, whose threshold is 0, up.
    pub levels: Vec<TierLevel>,
}

/// A tier and what it takes.
#[derive(Clone, Debug)]
pub struct TierLevel {
    /// The tier.
    pub tier: TierId,
    /// Money spent in the window from which on it is reached.
    pub threshold: Money,
}

impl TierScheme {
    /// Rank of the tier that `spent` minor units in the window give.
    #[must_use]
    pub fn rank_of(&self, spent_minor_units: i64) -> usize {
        self.levels
            .iter()
            .rposition(|level| level.threshold.minor_units() <= spent_minor_units)
            .unwrap_or(0)
    }

    /// Rank of a tier, 0 for the lowest.
    #[must_use]
    pub fn rank(&self, tier: &TierId) -> Option<usize> {
        self.levels.iter().position(|level| level.tier == *tier)
    }

    /// When a tier reached at `reached_at` is judged: the midnight that ends
    /// the date one validity later.
    #[must_use]
    pub fn first_evaluation(&self, reached_at: Timestamp, zone: &TimeZone) -> Timestamp {
        let date = calendar::date_of(reached_at, zone);
        calendar::end_of(self.validity.after_date(date), zone)
    }

    /// When a tier judged at the midnight `evaluated_at` is judged next: at the
    /// end of the same date, one validity on.
    #[must_use]
    pub fn next_evaluation(&self, evaluated_at: Timestamp, zone: &TimeZone) -> Timestamp {
        let last_day = calendar::date_of(evaluated_at, zone)
            .yesterday()
            .unwrap_or(jiff::civil::Date::MIN);
        calendar::end_of(self.validity.after_date(last_day), zone)
    }
}

/// A reward of the catalogue.
#[derive(Clone, Debug)]
pub struct Reward {
    /// Its name for people.
    pub name: String,
    /// The currency of points it is paid in.
    pub currency: CurrencyId,
    /// The points it costs.
    pub points: Points,
    /// The brand that accepts the points.
    pub accepted_by: BrandId,
    /// How many there are in all; without limit, if there is nothing.
    pub stock: Option<i64>,
}

impl Program {
    /// Reads and validates a programme file.
    pub fn parse(source: &str) -> Result<ProgramSource, ProgramError> {
        validate::parse(source)
    }

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

    /// Whether the tier decides when points of `currency` expire.
    #[must_use]
    pub fn expires_by_tier(&self, currency: &CurrencyId) -> bool {
        let expiry = self.currencies.get(currency);
        let expiry = expiry.and_then(|currency| currency.expiry.as_ref());
        matches!(expiry, Some(Expiry::After { by_tier, .. }) if !by_tier.is_empty())
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
        match currency.and_then(|currency| currency.activation) {
            None => ActivationTerms::AtOnce,
            Some(ActivationRule::OnEvent) => ActivationTerms::OnEvent,
            Some(ActivationRule::After(period)) => {
                ActivationTerms::At(period.after(moment, &self.time_zone))
            }
        }
    }
}
