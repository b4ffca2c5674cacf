//! The earning rules: an event and a member's numbers in, points out, no I/O.
//!
//! - `build` compiles what a programme file says, once for each version, and names all
//!   that is wrong with it. Conditions are CEL (`cel`), typed and bounded.
//! - [`evaluate`] says what an event earns: which rules apply (`index` finds the few that
//!   can), to which lines, what they give, and what moves with it. [`Trace`] hears of each
//!   rule why it gave what it gave.
//! - [`evaluate_end`] says what the end of a period comes to, in all and beyond what it came to
//!   before.
//! - A member's numbers stand in slots (`slot`): counters, what caps have used, and how
//!   often edges stand. Over what they count is one arithmetic, `window`, on the
//!   programme's [`Calendar`].
//!
//! Integers throughout, exact fractions until points are rounded: the same input gives the
//! same points on every machine, so that anyone can recompute them.

#![deny(clippy::float_arithmetic)]

mod backfill;
mod build;
pub mod calendar;
mod cel;
mod decimal;
mod ends;
mod evaluate;
mod event;
mod index;
mod near;
mod notes;
mod outcome;
mod rule;
mod slot;
mod standing;
mod steps;
mod subject;
mod text;
mod trace;
mod window;

pub use backfill::BackfilledCounters;
pub use build::{
    Builder, CapSource, CounterSource, Counts, Fault, FormulaSource, Foundation, On, Over,
    RuleSource,
};
pub use calendar::{Calendar, Every, Period};
pub use cel::{
    AttributeType, Attributes, CelError, CounterName, LEN_MAX as CONDITION_LEN_MAX, Scope,
    WalletPart,
};
pub use decimal::Ratio;
pub use ends::{End, EndOutcome, EndResult, evaluate_end};
pub use evaluate::{TooManyPoints, evaluate};
pub use event::{AttributeValue, Event, Given as GivenAttributes, Line};
pub use near::hint;
pub use notes::Note;
pub use outcome::{Given, Move, Outcome, SlotValue, Unmet};
pub use rule::{Budget, Group, Limit, MultipliedOf, Pick, Rate, Round, Rule, Rules, TierAsOf};
pub use slot::{Book, Inputs, Numbers, Recorded, Stored};
pub use standing::{Goal, Standing};
pub use subject::Subject;
pub use trace::{Silent, Trace, Verdict, Verdicts};
pub use window::{Buckets, Window};
