//! The programme file: parse, check, compare.
//!
//! A programme file is YAML. [`Program::parse`] turns its text into a
//! [`Program`] in which every reference resolves and every figure is within
//! its limits, or says all that is wrong with it, each with line and column. What
//! a file may say and this version does not know is refused by name, never passed
//! over: a rule that is silently ignored gives wrong points.
//!
//! `source` is the text, `sections` its parts, each with its form, its meaning and
//! its check; `faults` gathers what is wrong, `check` puts them together, `program` is
//! what comes of it, `schema` what editors know of it, `version` how it is applied, `diff` the comparison, `meaning` what it comes to in words. Conditions and
//! calendar arithmetic are those of `fealty-rules`, which runs what is compiled here.

mod check;
mod diff;
mod error;
mod faults;
mod meaning;
mod program;
mod schema;
mod sections;
mod source;
mod version;
mod words;

pub use diff::{Change, diff};
pub use error::{ProgramError, ProgramErrors, ProgramNote};
pub use fealty_rules::{AttributeType, Calendar, MultipliedOf, Period, Ratio, Round, TierAsOf};
pub use meaning::meanings;
pub use program::Program;
pub use schema::schema;
pub use sections::{
    activities::DeclaredActivity,
    adjustments::Adjustments,
    attributes::{DeclaredAttributes, check_attributes},
    brands::Brand,
    currencies::{ActivationRule, ActivationTerms, Currency},
    earning::{Earning, RuleTerms},
    examples::Example,
    expiry::{Activity, Expiry, ExpiryTerms, InactivityTerms},
    orders::{OrderScopeMissing, Orders},
    personal::Personal,
    program::MoneyUnit,
    referrals::{ReferralStep, Referrals, code_attribute},
    rewards::Reward,
    tiers::{TierLevel, TierScheme},
};
pub use version::{ProgramSource, ProgramVersion, text_digest};
pub use words::{Effect, Meaning};

/// The longest programme file, in bytes.
pub const SOURCE_LEN_MAX: usize = 4 * 1024 * 1024;
