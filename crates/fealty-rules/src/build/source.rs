//! Counters and rules as a programme file says them, and what is wrong with one.

use std::collections::BTreeMap;

use fealty_types::{
    ActivityType, BrandId, BudgetId, CounterId, CurrencyId, GroupId, Points, RuleId, TierId,
    Timestamp,
};

use crate::{
    Attributes,
    calendar::{Calendar, Every},
    cel::CelError,
    decimal::Ratio,
    rule::{Limit, MultipliedOf, Pick, Rate, Round, TierAsOf},
    window::Window,
};

/// What is wrong with a counter or a rule, and in which of its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The field, such as `when` or `earn.times`.
    pub field: &'static str,
    /// What is wrong.
    pub message: String,
    /// Where in an expression, in characters from its beginning.
    pub offset: Option<usize>,
}

impl Fault {
    pub(super) fn new(field: &'static str, message: impl Into<String>) -> Self {
        Self {
            field,
            message: message.into(),
            offset: None,
        }
    }

    pub(super) fn of(field: &'static str, error: CelError) -> Self {
        Self {
            field,
            message: error.message,
            offset: Some(error.offset),
        }
    }
}

/// What a counter counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Counts {
    /// Purchases.
    Purchases,
    /// Lines of purchases.
    Lines,
    /// Points that rules give.
    Points,
    /// Activities of a type.
    Activities(ActivityType),
}

/// What a rule is asked of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum On {
    /// Purchases.
    Purchase,
    /// Activities of a type.
    Activity(ActivityType),
    /// The ends of periods.
    End(Every),
}

/// Over what a counter or a cap counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over {
    /// A window of the calendar.
    Window(Window),
    /// Since the last activity of a type, from its day on.
    Since(ActivityType),
}

/// A counter as the programme file says it.
#[derive(Clone, Debug)]
pub struct CounterSource<'a> {
    /// Its id.
    pub id: CounterId,
    /// What it counts.
    pub of: Counts,
    /// Which of them.
    pub when: Option<&'a str>,
    /// What it adds for each.
    pub add: Option<&'a str>,
    /// Whether a day counts once.
    pub once_per_day: bool,
    /// Over what.
    pub over: Over,
    /// The rules whose points it adds.
    pub rules: Vec<RuleId>,
    /// Whether it counts what was before it began, by the log.
    pub backfill: bool,
    /// All of it as text: whoever says another thing is another counter.
    pub identity: String,
}

/// What a rule gives, as the programme file says it.
#[derive(Clone, Debug)]
pub enum FormulaSource<'a> {
    /// Points for money.
    Rate {
        /// By the rank of the tier, and one for any other, last.
        rates: Vec<Rate>,
        /// Whether tax earns nothing.
        net: bool,
    },
    /// Points by what the event adds to a counter.
    Bands {
        /// The counter.
        counter: CounterId,
        /// From where on, and the rate there; the first begins at 0.
        bands: Vec<(i64, Rate)>,
    },
    /// So many points.
    Fixed {
        /// How many.
        points: Points,
        /// How many times.
        times: Option<&'a str>,
    },
    /// A multiple of what another rule gives.
    Multiply {
        /// That rule.
        base: RuleId,
        /// The factor by the rank of the tier, and one for any other, last.
        factors: Vec<Ratio>,
        /// What is multiplied.
        of: MultipliedOf,
        /// Whether it multiplies what those that add come to.
        compound: bool,
    },
    /// At a period's end, a part of what a counter stands at.
    Share {
        /// The counter.
        of: CounterId,
        /// The counter that decides which part.
        by: Option<CounterId>,
        /// From where on in that counter, and the part there; one that begins at 0, where
        /// there is no such counter.
        steps: Vec<(String, Ratio)>,
    },
    /// At a period's end, points that become something of a value.
    Convert {
        /// Points at a time.
        each: Points,
        /// What each time is worth, in minor units.
        minor_units: i64,
    },
}

/// A cap as the programme file says it.
#[derive(Clone, Debug)]
pub struct CapSource {
    /// How much.
    pub limit: Limit,
    /// Over what, for a member; for one event, if nothing is said.
    pub over: Option<Over>,
}

/// A rule as the programme file says it.
#[derive(Clone, Debug)]
pub struct RuleSource<'a> {
    /// Its id.
    pub id: RuleId,
    /// What it is asked of.
    pub on: On,
    /// The currency; that of the base, for one that multiplies.
    pub currency: Option<CurrencyId>,
    /// Who issues the points.
    pub funded_by: Option<BrandId>,
    /// From when on.
    pub from: Option<Timestamp>,
    /// Until before when.
    pub until: Option<Timestamp>,
    /// Its condition.
    pub when: Option<&'a str>,
    /// Which lines it is about.
    pub lines: Option<&'a str>,
    /// The group of which one gives.
    pub group: Option<GroupId>,
    /// What it gives.
    pub formula: FormulaSource<'a>,
    /// Its limits.
    pub caps: Vec<CapSource>,
    /// The budget that its points come from.
    pub budget: Option<BudgetId>,
}

/// What the rules of a version stand on.
#[derive(Clone, Debug)]
pub struct Foundation {
    /// Whose days count.
    pub calendar: Calendar,
    /// The tiers, from the lowest up.
    pub tiers: Vec<TierId>,
    /// Digits of money's minor unit after the point.
    pub decimals: u8,
    /// Attributes of purchases.
    pub purchase: Attributes,
    /// Attributes of their lines.
    pub line: Attributes,
    /// Types of activities with their attributes; none of those that no rule may read.
    pub activities: BTreeMap<ActivityType, Option<Attributes>>,
    /// How fractions of a currency's points become whole ones.
    pub rounding: BTreeMap<CurrencyId, Round>,
    /// Groups of rules of which one gives.
    pub groups: BTreeMap<GroupId, Pick>,
    /// Which tier counts for a purchase.
    pub tier_as_of: TierAsOf,
    /// Days after which an event touches no counter.
    pub late_days: i32,
}
