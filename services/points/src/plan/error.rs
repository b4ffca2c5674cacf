//! Why the programme refuses a command.

use fealty_ledger::ReturnError;
use fealty_program::OrderScopeMissing;
use fealty_types::{BrandId, CurrencyId, MoneyCurrency, Points};

/// Why the programme refuses a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlanError {
    #[error("the programme has no brand `{0}`")]
    BrandNotFound(BrandId),
    #[error("the programme has no currency `{0}`")]
    CurrencyNotFound(CurrencyId),
    /// The brand does not issue, or does not accept, the currency.
    #[error("{brand} does not {what} {currency}")]
    BrandNotAllowed {
        brand: BrandId,
        currency: CurrencyId,
        /// `issue` or `accept`.
        what: &'static str,
    },
    #[error("the programme's money is {expected}, not {actual}")]
    WrongMoneyCurrency {
        expected: MoneyCurrency,
        actual: MoneyCurrency,
    },
    #[error("purchase_time must be at most one hour from now")]
    PurchaseInFuture,
    #[error("activity_time must be at most one hour from now")]
    ActivityInFuture,
    #[error("activities of this type are sensitive: they are recorded with the tiers service")]
    ActivitySensitive,
    #[error("{} must be set: order numbers are unique within it", field(*.0))]
    OrderScope(OrderScopeMissing),
    #[error("earned_time must not be later than now")]
    EarnedInFuture,
    /// So many points need a second person.
    #[error("more than {approval_above} points need a second person's approval")]
    ApprovalRequired { approval_above: Points },
    /// Points that would be gone before they are there.
    #[error("the points would expire before they become available")]
    TermsOutOfRange,
    #[error("a rule gives more than 10^15 points")]
    TooManyPoints,
    /// More is to come back of a purchase than is left of it.
    #[error(transparent)]
    Return(ReturnError),
    /// A field that is not as the programme wants it.
    #[error("{field}: {what}")]
    Field { field: String, what: &'static str },
}

/// The field that a purchase must set so that its order number is unique.
pub(crate) fn field(missing: OrderScopeMissing) -> &'static str {
    match missing {
        OrderScopeMissing::Store => "store",
        OrderScopeMissing::PurchaseTime => "purchase_time",
    }
}
