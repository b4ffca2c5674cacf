//! Why the points service refuses, and how that reads on the wire.

use std::time::Duration;

use fealty_ledger::Refusal;
use fealty_postgres::DatabaseError;
use fealty_proto::r#type::v1::ErrorReason as R;
use fealty_server::Rejection;
use fealty_types::{
    BrandId, CurrencyId, LotId, LotName, MoneyCurrency, OrderNumber, Points, Position, ShardId,
    TransactionName,
};

/// Why a request is refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The request id was used for another request.
    #[error("the request id was used for another request: {field} differs")]
    RequestIdReused {
        /// The first field that differs.
        field: &'static str,
    },
    /// The brand's order number was recorded before.
    #[error("order {order_number} of {brand} was recorded before")]
    OrderAlreadyRecorded {
        /// The brand.
        brand: BrandId,
        /// Its order number.
        order_number: OrderNumber,
    },
    /// The programme has no such brand.
    #[error("the programme has no brand `{0}`")]
    BrandNotFound(BrandId),
    /// The programme has no such currency of points.
    #[error("the programme has no currency `{0}`")]
    CurrencyNotFound(CurrencyId),
    /// The brand does not issue, or does not accept, the currency.
    #[error("{brand} does not {what} {currency}")]
    BrandNotAllowed {
        /// The brand.
        brand: BrandId,
        /// The currency.
        currency: CurrencyId,
        /// `issue` or `accept`.
        what: &'static str,
    },
    /// The money is not in the programme's currency.
    #[error("the programme's money is {expected}, not {actual}")]
    WrongMoneyCurrency {
        /// The programme's.
        expected: MoneyCurrency,
        /// The purchase's.
        actual: MoneyCurrency,
    },
    /// The purchase lies in the future.
    #[error("purchase_time must be at most one hour from now")]
    PurchaseInFuture,
    /// There is no such transaction.
    #[error("there is no transaction `{0}`")]
    TransactionNotFound(String),
    /// So many points need a second person.
    #[error("more than {approval_above} points need a second person's approval")]
    ApprovalRequired {
        /// The programme's limit.
        approval_above: Points,
    },
    /// There is no key to sign checkpoints with.
    #[error("the service has no key to sign checkpoints with")]
    CheckpointsDisabled,
    /// The ledger refuses.
    #[error(transparent)]
    Ledger(#[from] Refusal),
    /// A rule gave more points than there can be.
    #[error("a rule gives more than 10^15 points")]
    TooManyPoints,
    /// Too much is waiting.
    #[error("too many requests are waiting for the shard")]
    Overloaded,
    /// The service is ending.
    #[error("the service is ending")]
    Ending,
    /// The database cannot be reached.
    #[error("the database cannot be reached; send the same request id again")]
    Unavailable,
    /// A defect; the log has it.
    #[error("an internal error; the service's log has it")]
    Defect,
    /// The cursor is beyond the log.
    #[error("the cursor lies beyond the end of the log")]
    CursorOutOfRange,
}

/// The database's errors are logged where they are met; callers learn what
/// they can do about them.
impl From<&DatabaseError> for Error {
    fn from(error: &DatabaseError) -> Self {
        match error {
            DatabaseError::Unavailable(_)
            | DatabaseError::Conflict(_)
            | DatabaseError::Timeout(_) => Self::Unavailable,
            DatabaseError::Defect(_) => Self::Defect,
        }
    }
}

/// How soon a request that met a full queue or a missing database may try again.
const RETRY_AFTER: Duration = Duration::from_millis(50);

impl Error {
    /// The refusal for the caller; a hold is named after its shard.
    #[must_use]
    pub fn rejection(&self, shard: ShardId) -> Rejection {
        let told = |reason| Rejection::new(reason, self.to_string());
        let name = |hold: Position| TransactionName {
            shard,
            position: hold,
        };
        let lot_name = |lot: LotId| LotName { shard, lot };
        match self {
            Self::TransactionNotFound(asked) => {
                told(R::TransactionNotFound).with("transaction", asked)
            }
            Self::ApprovalRequired { approval_above } => {
                told(R::ApprovalRequired).with("approval_above", approval_above)
            }
            Self::CheckpointsDisabled => told(R::CheckpointsDisabled),
            Self::RequestIdReused { field } => told(R::RequestIdReused).with("field", field),
            Self::OrderAlreadyRecorded { order_number, .. } => {
                told(R::OrderAlreadyRecorded).with("order_number", order_number)
            }
            Self::BrandNotFound(brand) => told(R::BrandNotFound).with("brand", brand),
            Self::CurrencyNotFound(currency) => {
                told(R::CurrencyNotFound).with("currency", currency)
            }
            Self::BrandNotAllowed {
                brand, currency, ..
            } => told(R::BrandNotAllowed)
                .with("brand", brand)
                .with("currency", currency),
            Self::WrongMoneyCurrency { expected, actual } => told(R::WrongMoneyCurrency)
                .with("expected", expected)
                .with("actual", actual),
            Self::PurchaseInFuture => {
                let mut violations = fealty_server::Violations::new();
                violations.add("purchase_time", "must be at most one hour from now");
                violations.into()
            }
            Self::Ledger(refusal) => match refusal {
                Refusal::InsufficientPoints {
                    available,
                    required,
                } => told(R::InsufficientPoints)
                    .with("available", available)
                    .with("required", required),
                Refusal::AmountLimit => told(R::AmountLimit),
                Refusal::TimeOutOfRange => told(R::LotTermsInvalid),
                Refusal::TooManyLots => {
                    told(R::TooManyLots).with("lots_max", fealty_ledger::LOTS_PER_SPEND_MAX)
                }
                Refusal::TransactionNotFound { transaction } => {
                    told(R::TransactionNotFound).with("transaction", name(*transaction))
                }
                Refusal::NotReversible { transaction, kind } => told(R::NotReversible)
                    .with("transaction", name(*transaction))
                    .with("kind", kind),
                Refusal::ReversalExceeded { transaction, left } => told(R::ReversalExceeded)
                    .with("transaction", name(*transaction))
                    .with("left", left),
                Refusal::CurrencyUnclear { transaction } => {
                    told(R::CurrencyUnclear).with("transaction", name(*transaction))
                }
                Refusal::LotNotFound { lot } => told(R::LotNotFound).with("lot", lot_name(*lot)),
                Refusal::LotClosed { lot } => told(R::LotClosed).with("lot", lot_name(*lot)),
                Refusal::ExpiryNotLater { lot } => {
                    told(R::ExpiryNotLater).with("lot", lot_name(*lot))
                }
                Refusal::NotExpired { lot, expired } => told(R::LotNotExpired)
                    .with("lot", lot_name(*lot))
                    .with("expired", expired),
                Refusal::NothingPending { transaction } => {
                    told(R::NothingPending).with("transaction", name(*transaction))
                }
                Refusal::HoldNotFound { hold } => told(R::HoldNotFound).with("hold", name(*hold)),
                Refusal::HoldExhausted { hold, remaining } => told(R::HoldExhausted)
                    .with("hold", name(*hold))
                    .with("remaining", remaining),
                Refusal::TooManyHolds => {
                    told(R::TooManyHolds).with("holds_max", fealty_ledger::HOLDS_PER_WALLET_MAX)
                }
            },
            Self::TooManyPoints => told(R::AmountLimit),
            Self::Overloaded => told(R::Overloaded).retry_after(RETRY_AFTER),
            Self::Ending | Self::Unavailable => told(R::Unavailable).retry_after(RETRY_AFTER),
            Self::Defect => told(R::Internal),
            Self::CursorOutOfRange => told(R::CursorOutOfRange),
        }
    }
}
