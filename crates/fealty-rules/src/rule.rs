//! The rules of a version, checked and compiled.

use fealty_types::{
    ActivityType, BrandId, BudgetId, CounterId, CurrencyId, GroupId, Points, RuleId, Timestamp,
};

use crate::{
    calendar::{Calendar, Every},
    cel::{Bool, Number, WalletPart},
    decimal::Ratio,
    subject::Subject,
    window::Window,
};

/// The most money that a purchase comes to, in minor units.
pub(crate) const MONEY_MAX: i64 = 10_000_000_000_000;

/// Points for so much money, as an exact fraction in lowest terms: `points` for each
/// `per` minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Points; at least 0.
    pub points: i64,
    /// Minor units of money; above 0.
    pub per: i64,
}

impl Rate {
    /// So many points, which may be a fraction, for each `per` minor units.
    #[must_use]
    pub fn new(points: Ratio, per: i64) -> Option<Self> {
        let per = points.denominator.checked_mul(per).filter(|per| *per > 0)?;
        let common = gcd(points.numerator, per);
        Some(Self {
            points: points.numerator / common,
            per: per / common,
        })
    }
}

fn gcd(mut one: i64, mut other: i64) -> i64 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one.max(1)
}

/// How fractions of a point become whole ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Round {
    /// Down.
    #[default]
    Floor,
    /// To the nearest; a half up.
    HalfUp,
    /// Up.
    Ceil,
}

impl Round {
    /// A fraction of at least 0 as a whole number; `denominator` is above 0.
    #[must_use]
    pub fn whole(self, numerator: i128, denominator: i128) -> i128 {
        match self {
            Self::Floor => numerator / denominator,
            Self::HalfUp => (2 * numerator + denominator) / (2 * denominator),
            Self::Ceil => (numerator + denominator - 1) / denominator,
        }
    }
}

/// What a multiplier multiplies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MultipliedOf {
    /// What its base gives exactly: rules over one base round together, each gives what
    /// they come to so far less what was given before. 4.75 at 1 per 1.00 and a factor
    /// of 1.2 give 4 and 1.
    #[default]
    Exact,
    /// What its base gave, rounded as it was; what it adds is rounded by itself. 4.75
    /// at 1 per 1.00 and a factor of 1.2 give 4 and 0.
    Rounded,
}

/// Which of a member's tiers counts for a purchase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TierAsOf {
    /// The one held at the time of purchase.
    #[default]
    Purchase,
    /// The one held when the day of the purchase began.
    StartOfDay,
}

/// How many points a rule gives.
#[derive(Clone, Debug)]
pub(crate) enum Formula {
    /// A base: by money.
    Rate {
        /// By the rank of the member's tier, and one for any other.
        rates: Box<[Rate]>,
        /// Whether tax earns nothing.
        net: bool,
    },
    /// A base: by what the event adds to a counter, each part of it at its band's rate.
    Bands {
        counter: u16,
        /// From where on in the counter, and the rate there; the first begins at 0.
        bands: Box<[(i64, Rate)]>,
    },
    /// So many points, once, or as often as an expression says.
    Fixed {
        points: Points,
        times: Option<Number>,
    },
    /// A multiple of what a base gives, on top of it.
    Multiply {
        /// Number of the base.
        base: u16,
        /// The whole factor, by the rank of the member's tier, and one for any other.
        factors: Box<[Ratio]>,
        of: MultipliedOf,
        /// Whether it multiplies what those that add come to; else it adds to the base's
        /// factor.
        compound: bool,
    },
    /// At a period's end: a part of what a counter stands at.
    Share {
        of: u16,
        /// The counter that decides which part; the first step counts where there is none.
        by: Option<u16>,
        /// From where on in that counter, and the part there; nothing below the first.
        steps: Box<[(i64, Ratio)]>,
    },
    /// At a period's end: points that are spent, and become something of a value.
    Convert {
        /// Points at a time.
        each: i64,
        /// What each time is worth, in minor units.
        minor_units: i64,
        /// The slot that reads what is available.
        available: u16,
    },
}

impl Formula {
    /// Whether it gives by itself, and multipliers stand on it.
    pub(crate) fn is_base(&self) -> bool {
        matches!(self, Self::Rate { .. } | Self::Bands { .. })
    }
}

/// An edge of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) counter: u16,
    /// Where it is.
    pub(crate) at: i64,
    /// Whether each multiple of it is one too.
    pub(crate) each: bool,
}

/// An edge, and what is kept of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeptEdge {
    pub(crate) edge: Edge,
    /// The slot in which it stands how often it is reached.
    pub(crate) standing: u16,
    /// The slot that reads the counter beyond the window of the event's own date, where
    /// there is such a thing.
    pub(crate) beyond: Option<u16>,
}

/// A limit of what a rule gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cap {
    /// For one event.
    PerEvent(Limit),
    /// For one member, over a window.
    PerMember(Limit, u16),
}

/// How much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// So many points.
    Points(i64),
    /// So many times that it gives something.
    Times(i64),
}

/// An earning rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its id.
    pub id: RuleId,
    /// What it is asked of.
    pub on: Subject,
    /// The currency that it gives.
    pub currency: CurrencyId,
    /// The brand that issues the points; the purchase's own where none is named.
    pub funded_by: Option<BrandId>,
    /// From when on.
    pub from: Option<Timestamp>,
    /// Until before when.
    pub until: Option<Timestamp>,
    /// Its condition, as it was written.
    pub when_text: Option<Box<str>>,
    /// Which lines it picks, as it was written.
    pub lines_text: Option<Box<str>>,
    pub(crate) when: Bool,
    pub(crate) edge: Option<KeptEdge>,
    /// Number of the condition that picks its lines; all lines where there is none.
    pub(crate) lines: Option<u16>,
    /// Number of its group.
    pub(crate) group: Option<u16>,
    pub(crate) formula: Formula,
    pub(crate) caps: Box<[Cap]>,
    /// The budget that its points come from.
    pub(crate) budget: Option<u16>,
    pub(crate) round: Round,
    /// The slots that are read of every purchase for its sake, where it may give otherwise
    /// of what is left after a return.
    pub(crate) reads: Option<Box<[u16]>>,
    /// What is kept of a rule for the end of a period.
    pub(crate) end: Option<KeptEnd>,
}

/// What is kept of a rule for the end of a period.
#[derive(Clone, Debug)]
pub(crate) struct KeptEnd {
    /// The slot in which it stands what the rule has given for a period.
    pub(crate) given: u16,
    /// The slots that it reads: where all are at nothing, it gives nothing.
    pub(crate) reads: Box<[u16]>,
    /// Whether it reads the wallet, or spends from it: then it is evaluated once only.
    pub(crate) is_of_wallet: bool,
    /// Whether it reads the member's tier.
    pub(crate) reads_tier: bool,
}

impl Rule {
    /// Whether it adds to what another gives, or gives without a purchase's money: what
    /// accounts keep apart as promotion.
    #[must_use]
    pub fn is_bonus(&self) -> bool {
        !self.formula.is_base()
    }

    /// Whether it converts points instead of giving some.
    #[must_use]
    pub fn converts(&self) -> bool {
        matches!(self.formula, Formula::Convert { .. })
    }

    /// Whether it is for the end of a period, and reads the wallet or spends from it.
    #[must_use]
    pub fn is_of_wallet(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.is_of_wallet)
    }
}

/// Which rule of a group gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// The one that gives most, after its own caps; of equal ones the first.
    Best,
    /// The first that applies, in the order of the file.
    First,
}

/// Rules of which one gives.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its id.
    pub id: GroupId,
    /// Which.
    pub pick: Pick,
}

/// What a counter adds up.
#[derive(Clone, Debug)]
pub(crate) enum Adds {
    /// For each purchase that the condition picks.
    Purchase { when: Bool, add: Number },
    /// For each line of a purchase.
    Line { when: Bool, add: Number },
    /// For each activity of a type that the condition picks.
    Activity { of: u16, when: Bool, add: Number },
    /// Points that rules give.
    Points { rules: Box<[u16]> },
}

/// A number that is kept for each member.
#[derive(Clone, Debug)]
pub(crate) struct Counter {
    pub(crate) id: CounterId,
    pub(crate) adds: Adds,
    pub(crate) is_money: bool,
    /// Whether it counts what was before it began, by the log.
    pub(crate) backfill: bool,
    /// Its slot.
    pub(crate) slot: u16,
}

/// Where a number of a member stands: a counter, what a cap has used, or how often an
/// edge stands.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    /// What it is known by from version to version: whoever counts otherwise is another.
    pub(crate) key: u64,
    pub(crate) window: Window,
    /// Whether it counts days on which there was something.
    pub(crate) once_per_day: bool,
    pub(crate) reads: Reads,
}

/// What is read of a slot for an event of a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// The window of the date.
    OwnDate,
    /// The fullest window that has the date in it: what a limit must hold for.
    Fullest,
    /// The streak that begins after the date.
    RunBeyond,
    /// Of an edge of a streak: how often it stands in the periods in a row that the event's
    /// is among, by the counter in this slot.
    AlongRun(u16),
    /// Of a budget: what is left of it where the event is recorded.
    Budget(u16),
    /// What there was since the last activity of a type, from its day on, by the slot in which
    /// its days stand. Before the first one there is nothing.
    Since(u16),
    /// The same of a cap: before the first one, it has room for nothing.
    UsedSince(u16),
    /// Points of a currency in a part of the member's wallet, by its number in the version.
    Wallet(u16),
}

/// A type of activity of a version.
#[derive(Clone, Debug)]
pub(crate) struct ActivityKind {
    pub(crate) id: ActivityType,
    pub(crate) attributes: crate::Attributes,
    /// Whether rules may read it.
    pub(crate) readable: bool,
    /// The rules that are asked of it.
    pub(crate) rules: Vec<u16>,
    /// The slot in which its days stand, which are kept whether or not something counts since
    /// them yet; none of what no rule may read.
    pub(crate) days: Option<u16>,
}

/// Points that rules may give, all members together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Its id.
    pub id: BudgetId,
    /// The currency.
    pub currency: CurrencyId,
    /// How many.
    pub points: i64,
    /// Whether a purchase that wants more than is left gets that; else it gets nothing of it.
    pub partial: bool,
    /// Until before when purchases draw on it.
    pub until: Option<Timestamp>,
    /// At how many of a hundred parts used it is told, once.
    pub warn_at: Option<u8>,
}

/// A budget as a version keeps it.
#[derive(Clone, Debug)]
pub(crate) struct KeptBudget {
    pub(crate) terms: Budget,
    pub(crate) slot: u16,
}

/// The rules of a version.
#[derive(Clone, Debug)]
pub struct Rules {
    pub(crate) texts: crate::text::Texts,
    pub(crate) calendar: Calendar,
    pub(crate) rules: Vec<Rule>,
    pub(crate) groups: Vec<Group>,
    /// Conditions that pick lines.
    pub(crate) selections: Vec<Bool>,
    pub(crate) counters: Vec<Counter>,
    pub(crate) budgets: Vec<KeptBudget>,
    pub(crate) slots: Vec<Slot>,
    /// The slots' numbers by their keys.
    pub(crate) by_key: std::collections::HashMap<u64, u16>,
    /// Of the rules that are asked of purchases.
    pub(crate) index: crate::index::Index,
    pub(crate) activities: Vec<ActivityKind>,
    /// The parts of wallets that slots read.
    pub(crate) wallets: Vec<(CurrencyId, WalletPart)>,
    /// The kinds of periods for whose ends there are rules, with the slot in which it stands how
    /// often the end of one was written.
    pub(crate) ends: std::collections::BTreeMap<Every, u16>,
    pub(crate) no_attributes: crate::Attributes,
    /// Names of attributes, by their places.
    pub(crate) purchase_attributes: crate::Attributes,
    pub(crate) line_attributes: crate::Attributes,
    /// Which tier counts.
    pub(crate) tier_as_of: TierAsOf,
    /// Days after which an event touches no counter.
    pub(crate) late_days: i32,
}

impl Rules {
    /// The rules, in the order of the file.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What an event is that is an activity of a type; `None` where the version has none such.
    #[must_use]
    pub fn activity(&self, of_type: &ActivityType) -> Option<Subject> {
        let mut numbered = (0_u16..).zip(&self.activities);
        let found = numbered.find(|(_, known)| known.id == *of_type && known.readable);
        found.map(|(number, _)| Subject::Activity(number))
    }

    /// Which tier counts for a purchase, or an activity.
    #[must_use]
    pub fn tier_as_of(&self) -> TierAsOf {
        self.tier_as_of
    }

    /// Where days, weeks, months, quarters and years begin.
    #[must_use]
    pub fn calendar(&self) -> &Calendar {
        &self.calendar
    }

    /// Whether a rule has caps, or draws on a budget.
    #[must_use]
    pub fn has_limits(&self) -> bool {
        let mut rules = self.rules.iter();
        rules.any(|rule| !rule.caps.is_empty() || rule.budget.is_some())
    }

    /// Whether each rule applies to each purchase, and reads its amount and the tier alone.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let is_plain = |rule: &Rule| {
            rule.when == Bool::Known(true)
                && rule.lines.is_none()
                && rule.group.is_none()
                && rule.from.is_none()
                && rule.until.is_none()
                && matches!(
                    rule.formula,
                    Formula::Rate { .. } | Formula::Multiply { .. }
                )
                && rule.caps.is_empty()
        };
        self.slots.is_empty() && self.rules.iter().all(is_plain)
    }

    /// The rule with a number.
    #[must_use]
    pub fn rule(&self, number: u16) -> Option<&Rule> {
        self.rules.get(usize::from(number))
    }

    /// The budgets, in their order.
    pub fn budgets(&self) -> impl Iterator<Item = &Budget> {
        self.budgets.iter().map(|budget| &budget.terms)
    }

    /// Whether a rule's points come from a budget.
    #[must_use]
    pub fn draws_on(&self, rule: &RuleId, budget: &BudgetId) -> bool {
        let mut rules = self.rules.iter();
        let rule = rules.find(|known| known.id == *rule);
        let number = rule.and_then(|rule| rule.budget);
        number.is_some_and(|number| self.budgets[usize::from(number)].terms.id == *budget)
    }

    /// The budget that a slot is of, if it is of one.
    #[must_use]
    pub fn budget_of(&self, slot: u16) -> Option<&Budget> {
        match self.slots.get(usize::from(slot))?.reads {
            Reads::Budget(budget) => Some(&self.budgets[usize::from(budget)].terms),
            _ => None,
        }
    }
}
