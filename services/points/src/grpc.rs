//! The service on the wire: its gRPC services, and how its errors read there.
//! A handler parses, calls, renders; it decides nothing.

use std::time::Duration;

use fealty_ledger::{Refusal, ReturnError};
use fealty_proto::{
    points::v1::{
        adjustment_service_server::{self, AdjustmentServiceServer},
        audit_service_server::{self, AuditServiceServer},
        earning_service_server::{self, EarningServiceServer},
        ledger_service_server::{self, LedgerServiceServer},
        personal_data_service_server::{self, PersonalDataServiceServer},
        referral_service_server::{self, ReferralServiceServer},
        settlement_service_server::{self, SettlementServiceServer},
    },
    program::v1::program_service_server,
    r#type::v1::ErrorReason as R,
};
use fealty_server::{REQUEST_LEN_MAX, Rejection, Violations};
use fealty_types::{Ids, LotId, LotPlace, Position, ShardId, TransactionPlace};
use tokio_util::sync::CancellationToken;
use tonic::{Status, service::Routes};

use crate::{
    adjustments::grpc::AdjustmentApi,
    app::App,
    audit::grpc::AuditApi,
    earning::grpc::EarningApi,
    erasure::grpc::PersonalDataApi,
    error::Error,
    ledger::grpc::LedgerApi,
    plan::{self, PlanError},
    referrals::grpc::ReferralApi,
    settlement::grpc::SettlementApi,
};

/// How soon a request that met a full queue or a missing database may try again.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Their full names.
pub(crate) const SERVICES: [&str; 8] = [
    adjustment_service_server::SERVICE_NAME,
    program_service_server::SERVICE_NAME,
    earning_service_server::SERVICE_NAME,
    audit_service_server::SERVICE_NAME,
    settlement_service_server::SERVICE_NAME,
    personal_data_service_server::SERVICE_NAME,
    referral_service_server::SERVICE_NAME,
    ledger_service_server::SERVICE_NAME,
];

/// The service's own gRPC services.
pub(crate) fn routes(app: &App, shutdown: &CancellationToken) -> Routes {
    let ledger = LedgerApi {
        ledger: app.ledger.clone(),
        shutdown: shutdown.clone(),
    };
    let earning = EarningApi {
        ledger: app.ledger.clone(),
        shutdown: shutdown.clone(),
    };
    Routes::new(app.programs.server())
        .add_service(EarningServiceServer::new(earning).max_decoding_message_size(REQUEST_LEN_MAX))
        .add_service(
            PersonalDataServiceServer::new(PersonalDataApi(app.erasure.clone()))
                .max_decoding_message_size(REQUEST_LEN_MAX),
        )
        .add_service(
            ReferralServiceServer::new(ReferralApi {
                referrals: app.referrals.clone(),
            })
            .max_decoding_message_size(REQUEST_LEN_MAX),
        )
        .add_service(
            AuditServiceServer::new(AuditApi(app.audit.clone()))
                .max_decoding_message_size(REQUEST_LEN_MAX),
        )
        .add_service(
            SettlementServiceServer::new(SettlementApi(app.settlement.clone()))
                .max_decoding_message_size(REQUEST_LEN_MAX),
        )
        .add_service(
            AdjustmentServiceServer::new(AdjustmentApi(app.adjustments.clone()))
                .max_decoding_message_size(REQUEST_LEN_MAX),
        )
        .add_service(LedgerServiceServer::new(ledger).max_decoding_message_size(REQUEST_LEN_MAX))
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Rejection::from(error).into()
    }
}

impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        let told = |reason| Self::new(reason, error.to_string());
        match &error {
            Error::ProgramNotFound(not_found) => not_found.clone().into(),
            Error::RequestIdReused { field } => told(R::RequestIdReused).with("field", field),
            Error::OrderAlreadyRecorded {
                order_number,
                transaction,
                ..
            } => {
                let refused = told(R::OrderAlreadyRecorded).with("order_number", order_number);
                match transaction {
                    Some(transaction) => refused.with("transaction", transaction),
                    None => refused,
                }
            }
            Error::ActivityAlreadyRecorded {
                id, transaction, ..
            } => {
                let refused = told(R::ActivityAlreadyRecorded).with("activity_id", id);
                match transaction {
                    Some(transaction) => refused.with("transaction", transaction),
                    None => refused,
                }
            }
            Error::ReferralsNotOffered => told(R::ReferralsNotOffered),
            Error::ReferralAlreadyClaimed(transaction) => {
                told(R::ReferralAlreadyClaimed).with("transaction", transaction)
            }
            Error::ReferralNotNew(_) => told(R::ReferralNotNew),
            Error::ReferralNotFound(member) => told(R::ReferralNotFound).with("member", member),
            Error::VersionMoved { expected, actual } => told(R::ProgramVersionMoved)
                .with("expected", expected)
                .with("actual", actual),
            Error::Plan(refused) => by_plan(refused),
            Error::Ledger {
                ids,
                shard,
                refusal,
            } => by_ledger(*ids, *shard, refusal),
            Error::TransactionNotFound(asked) => {
                told(R::TransactionNotFound).with("transaction", asked)
            }
            Error::AdjustmentNotFound(id) => told(R::AdjustmentNotFound).with("adjustment", id),
            Error::AdjustmentDecided { adjustment, state } => told(R::AdjustmentDecided)
                .with("adjustment", adjustment)
                .with("state", state),
            Error::SecondPersonRequired(id) => told(R::SecondPersonRequired).with("adjustment", id),
            Error::CursorOutOfRange | Error::AnotherLog => told(R::CursorOutOfRange),
            Error::CheckpointsDisabled => told(R::CheckpointsDisabled),
            Error::Overloaded => told(R::Overloaded).retry_after(RETRY_AFTER),
            Error::Ending | Error::Unavailable => told(R::Unavailable).retry_after(RETRY_AFTER),
            Error::Defect => told(R::Internal),
        }
    }
}

/// What the programme refuses.
fn by_plan(error: &PlanError) -> Rejection {
    let told = |reason| Rejection::new(reason, error.to_string());
    match error {
        PlanError::BrandNotFound(brand) => told(R::BrandNotFound).with("brand", brand),
        PlanError::CurrencyNotFound(currency) => {
            told(R::CurrencyNotFound).with("currency", currency)
        }
        PlanError::BrandNotAllowed {
            brand, currency, ..
        } => told(R::BrandNotAllowed)
            .with("brand", brand)
            .with("currency", currency),
        PlanError::WrongMoneyCurrency { expected, actual } => told(R::WrongMoneyCurrency)
            .with("expected", expected)
            .with("actual", actual),
        PlanError::PurchaseInFuture => {
            let mut violations = Violations::new();
            violations.add("purchase_time", "must be at most one hour from now");
            violations.into()
        }
        PlanError::ActivityInFuture => {
            let mut violations = Violations::new();
            violations.add("activity_time", "must be at most one hour from now");
            violations.into()
        }
        PlanError::ActivitySensitive => told(R::ActivitySensitive),
        PlanError::OrderScope(missing) => {
            let mut violations = Violations::new();
            let rule = "must be set: order numbers are unique within it";
            violations.add(plan::field(*missing), rule);
            violations.into()
        }
        PlanError::Field { field, what } => {
            let mut violations = Violations::new();
            violations.add(field, *what);
            violations.into()
        }
        PlanError::Return(error) => beyond_what_is_left(*error),
        PlanError::EarnedInFuture => {
            let mut violations = Violations::new();
            violations.add("earned_time", "must not be later than now");
            violations.into()
        }
        PlanError::ApprovalRequired { approval_above } => {
            told(R::ApprovalRequired).with("approval_above", approval_above)
        }
        PlanError::TermsOutOfRange => told(R::LotTermsInvalid),
        PlanError::TooManyPoints => told(R::AmountLimit),
    }
}

/// A return of more than is left.
fn beyond_what_is_left(error: ReturnError) -> Rejection {
    let told = Rejection::new(R::ReturnExceeded, error.to_string());
    match error {
        ReturnError::NoSuchLine { at, lines } => {
            let mut violations = Violations::new();
            let rule = match lines {
                0 => "must be empty: the purchase has no lines".to_owned(),
                lines => format!("must be one of the purchase's lines: 1 to {lines}"),
            };
            violations.add(&format!("lines[{at}].line"), rule);
            violations.into()
        }
        ReturnError::LineExceeded {
            at,
            quantity,
            minor_units,
        } => told
            .with("field", format!("lines[{at}]"))
            .with("left_quantity", quantity)
            .with("left_minor_units", minor_units),
        ReturnError::AmountExceeded { minor_units } => told.with("left_minor_units", minor_units),
    }
}

/// What the ledger refuses; transactions, holds and lots are named after their
/// shard.
fn by_ledger(ids: Ids, shard: ShardId, refusal: &Refusal) -> Rejection {
    let told = |reason| Rejection::new(reason, refusal.to_string());
    let transaction = |reason, position: &Position| {
        let position = *position;
        told(reason).with(
            "transaction",
            ids.transaction(TransactionPlace { shard, position }),
        )
    };
    let hold = |reason, position: &Position| {
        let position = *position;
        told(reason).with("hold", ids.hold(TransactionPlace { shard, position }))
    };
    let lot =
        |reason, lot: &LotId| told(reason).with("lot", ids.lot(LotPlace { shard, lot: *lot }));
    match refusal {
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
        Refusal::TransactionNotFound { transaction: at } => transaction(R::TransactionNotFound, at),
        Refusal::NotReversible {
            transaction: at,
            kind,
        }
        | Refusal::NotAPurchase {
            transaction: at,
            kind,
        } => transaction(R::NotReversible, at).with("kind", kind),
        Refusal::ReversalExceeded {
            transaction: at,
            left,
        } => transaction(R::ReversalExceeded, at).with("left", left),
        Refusal::CurrencyUnclear { transaction: at } => transaction(R::CurrencyUnclear, at),
        Refusal::LotNotFound { lot: named } => lot(R::LotNotFound, named),
        Refusal::LotClosed { lot: named } => lot(R::LotClosed, named),
        Refusal::ExpiryNotLater { lot: named } => lot(R::ExpiryNotLater, named),
        Refusal::NotExpired {
            lot: named,
            expired,
        } => lot(R::LotNotExpired, named).with("expired", expired),
        Refusal::NothingPending { transaction: at } => transaction(R::NothingPending, at),
        Refusal::HoldNotFound { hold: at } => hold(R::HoldNotFound, at),
        Refusal::HoldExhausted {
            hold: at,
            remaining,
        } => hold(R::HoldExhausted, at).with("remaining", remaining),
        Refusal::HoldNotLater { hold: at } => hold(R::ExpiryNotLater, at),
        Refusal::TooManyHolds => {
            told(R::TooManyHolds).with("holds_max", fealty_ledger::HOLDS_PER_WALLET_MAX)
        }
    }
}
