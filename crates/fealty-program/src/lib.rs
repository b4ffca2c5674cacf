//! The programme file: parse, validate, compare.
//!
//! A programme file is YAML. [`Program::parse`] turns its text into a
//! [`Program`] in which every reference resolves and every figure is within
//! its limits, or says where it is wrong. What a file may say and this version
//! does not know is refused by name, never passed over: a rule that is
//! silently ignored gives wrong points.
//!
//! `file` is the text's shape, `program` the meaning, `validate` the way from
//! one to the other, `terms` what the programme says of its points, `calendar` the date arithmetic, `diff` the comparison.

mod calendar;
mod decimal;
mod diff;
mod file;
mod program;
mod terms;
mod validate;

pub use calendar::Period;
pub use decimal::Ratio;
pub use diff::{Change, diff};
pub use program::{
    Brand, Currency, EarnFormula, EarningRule, MoneyUnit, Program, ProgramSource, Reward, TierAsOf,
    TierLevel, TierScheme,
};
pub use terms::{
    ActivationRule, ActivationTerms, Activity, Adjustments, Expiry, ExpiryTerms, RefundPolicy,
    Refunds,
};

/// The longest programme file, in bytes.
pub const SOURCE_LEN_MAX: usize = 256 * 1024;

/// A programme file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct ProgramError {
    /// Where in the file, for example `earning.base.earn`; `file` for its form.
    pub path: String,
    /// What is wrong there.
    pub message: String,
    /// Line and column, from 1, where the form is wrong.
    pub location: Option<(u64, u64)>,
}
