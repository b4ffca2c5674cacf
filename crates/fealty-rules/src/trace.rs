//! Why a rule gave what it gave.

/// What became of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It gave points.
    Gave {
        /// How many.
        points: i64,
        /// How many it would have given without its caps and its budget.
        uncapped: i64,
    },
    /// The brand does not issue its currency.
    NotIssued,
    /// It did not apply yet.
    NotBegun,
    /// It applied no more.
    Over,
    /// Its `when` did not hold.
    ConditionNotMet,
    /// The edge of its counter was not reached by this event, or has been before.
    EdgeNotReached,
    /// Its budget had ended.
    BudgetOver,
    /// Its budget had too little left.
    BudgetSpent {
        /// How many points it would have given.
        uncapped: i64,
    },
    /// The event came too late for its counters and caps.
    TooLate,
    /// It picks lines, and there was none of them.
    NoLines,
    /// Another rule of its group gave.
    OutOfGroup {
        /// Number of that one.
        other: u16,
    },
    /// The rule that it multiplies gave nothing.
    BaseGaveNothing,
    /// Nothing that it reads was counted in the period that ended.
    NothingCounted,
    /// It reads the wallet, and the end of the period had been evaluated before.
    EndedBefore,
    /// It comes to less than a point.
    RoundedAway,
    /// A cap had no room left.
    CapReached {
        /// Which, from 0.
        cap: u16,
        /// How many points it would have given.
        uncapped: i64,
    },
}

/// Who hears what becomes of rules.
pub trait Trace {
    /// Whether it wants to hear of all rules, also of those that cannot apply.
    const ALL: bool;

    /// Hears what became of a rule.
    fn tell(&mut self, rule: u16, verdict: Verdict);
}

/// One who hears nothing.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Trace for Silent {
    const ALL: bool = false;

    fn tell(&mut self, _: u16, _: Verdict) {}
}

/// The verdict on each rule, in no order.
#[derive(Clone, Debug, Default)]
pub struct Verdicts(pub Vec<(u16, Verdict)>);

impl Trace for Verdicts {
    const ALL: bool = true;

    fn tell(&mut self, rule: u16, verdict: Verdict) {
        self.0.push((rule, verdict));
    }
}
