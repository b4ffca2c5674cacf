//! The terms of points: when they become available, when they expire, what
//! they are worth, and how they are taken back.

use std::{collections::BTreeMap, time::Duration};

use fealty_types::{Points, TierId, Timestamp};
use jiff::tz::TimeZone;

use crate::calendar::{self, Period};

/// When points expire.
#[derive(Clone, Debug)]
pub enum Expiry {
    /// A period after they were earned.
    After {
        /// The period.
        period: Period,
        /// Other periods by the tier that counted when they were earned;
        /// `None` for never.
        by_tier: BTreeMap<TierId, Option<Period>>,
        /// Whether that is rounded up to the end of the month.
        end_of_month: bool,
    },
    /// At the end of a day of the year.
    Yearly {
        /// The month, 1 to 12.
        month: i8,
        /// The day.
        day: i8,
        /// How long they live at the least.
        at_least: Option<Period>,
    },
    /// All together, a period after the member was last active.
    Inactivity {
        /// The period.
        period: Period,
        /// What counts as activity, besides earning such points.
        activity: Vec<Activity>,
    },
}

/// What a member does that keeps points alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// A purchase, whether or not it earns.
    Purchase,
    /// Points spent or set aside.
    Redeem,
}

/// The expiry of points earned at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiryTerms {
    /// They never expire.
    Never,
    /// From that moment on they are gone.
    At(Timestamp),
    /// They are gone when the member has been inactive for long enough.
    WithInactivity,
}

/// When points earned at some moment become available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActivationTerms {
    /// At once.
    AtOnce,
    /// At that moment.
    At(Timestamp),
    /// When a request says so.
    OnEvent,
}

/// When earned points become available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActivationRule {
    /// A period after they were earned.
    After(Period),
    /// When a request says so.
    OnEvent,
}

/// How points are taken back and restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refunds {
    /// What happens to points that are to be taken back and were spent.
    pub policy: RefundPolicy,
    /// How long restored points live whose expiry has come meanwhile; `None`,
    /// and they stay expired.
    pub restore_grace: Option<Duration>,
}

impl Default for Refunds {
    fn default() -> Self {
        Self {
            policy: RefundPolicy::Balance,
            restore_grace: Some(Duration::from_hours(30 * 24)),
        }
    }
}

/// What happens to points that are to be taken back and that their lot no
/// longer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundPolicy {
    /// Nothing: the brand bears them.
    LotOnly,
    /// They are taken from the member's other lots, as far as those reach.
    Balance,
    /// As balance, and what is missing then is owed.
    Debt,
}

/// What operators may put right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adjustments {
    /// Points above which a second person must approve; `None` for never.
    pub approval_above: Option<Points>,
}

impl Expiry {
    /// The expiry of points earned at `earned_at` by a member of `tier`.
    /// Without rounding, it is at the same time of day.
    #[must_use]
    pub fn of(&self, earned_at: Timestamp, tier: Option<&TierId>, zone: &TimeZone) -> ExpiryTerms {
        match self {
            Self::After {
                period,
                by_tier,
                end_of_month,
            } => {
                let of_tier = tier.and_then(|tier| by_tier.get(tier));
                let Some(period) = of_tier.copied().unwrap_or(Some(*period)) else {
                    return ExpiryTerms::Never;
                };
                ExpiryTerms::At(if *end_of_month {
                    let date = calendar::date_of(earned_at, zone);
                    calendar::end_of_month(period.after_date(date), zone)
                } else {
                    period.after(earned_at, zone)
                })
            }
            Self::Yearly {
                month,
                day,
                at_least,
            } => {
                let date = calendar::date_of(earned_at, zone);
                let first = at_least.map_or(date, |period| period.after_date(date));
                ExpiryTerms::At(calendar::end_of(
                    calendar::next_of_year(first, *month, *day),
                    zone,
                ))
            }
            Self::Inactivity { .. } => ExpiryTerms::WithInactivity,
        }
    }
}
