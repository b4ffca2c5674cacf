//! Errors as callers see them: the one mapping from reasons to gRPC.

use std::{borrow::Cow, collections::HashMap, time::Duration};

use fealty_postgres::DatabaseError;
use fealty_proto::r#type::v1::ErrorReason;
use fealty_types::InvalidValue;
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};
use uuid::Uuid;

/// Where the reasons are defined, as `google.rpc.ErrorInfo` wants it.
const DOMAIN: &str = "fealty.dev";

/// A refusal on its way to the caller.
#[derive(Clone, Debug)]
pub struct Rejection {
    reason: ErrorReason,
    message: String,
    metadata: Vec<(String, String)>,
    violations: Vec<FieldViolation>,
    retry_after: Option<Duration>,
    /// By which the service's log can be asked for more.
    id: Option<Box<str>>,
}

/// An id by which the service's log can be asked for a refusal.
pub(crate) fn new_id() -> Box<str> {
    Uuid::now_v7().simple().to_string().into()
}

impl Rejection {
    /// A refusal for a reason, with a sentence for people.
    #[must_use]
    pub fn new(reason: ErrorReason, message: impl Into<String>) -> Self {
        let id = (reason == ErrorReason::Internal).then(new_id);
        if let Some(id) = &id {
            tracing::error!(call = &**id, "a defect is told");
        }
        Self {
            reason,
            message: message.into(),
            metadata: Vec::new(),
            violations: Vec::new(),
            retry_after: None,
            id,
        }
    }

    /// The id by which the service's log can be asked for more, if it has one yet.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Adds a figure that the reason documents.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "figures are small and often made here"
    )]
    #[must_use]
    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        let value = value.to_string();
        let value = shortened(&value, TEXT_LEN_MAX).into_owned();
        self.metadata.push((key.to_owned(), value));
        self
    }

    /// Says when trying again may help.
    #[must_use]
    pub fn retry_after(mut self, duration: Duration) -> Self {
        self.retry_after = Some(duration);
        self
    }

    /// A refusal for all that is wrong with a request.
    #[must_use]
    pub fn violating(reason: ErrorReason, violations: Violations) -> Self {
        let told = violations.told.iter();
        let told = told.map(|wrong| format!("{} {}", wrong.field, wrong.description));
        let more = (violations.left_out > 0).then(|| format!("and {} more", violations.left_out));
        let message = told.chain(more).collect::<Vec<_>>().join("; ");
        Self {
            violations: violations.told,
            ..Self::new(reason, message)
        }
    }

    /// A defect: the caller learns nothing of it, the log does.
    #[must_use]
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        let told = "an internal error; the service's log has it";
        let rejection = Self::new(ErrorReason::Internal, told);
        tracing::error!(call = rejection.id(), error, "a defect");
        rejection
    }

    /// The reason as it reads on the wire.
    #[must_use]
    pub fn reason_name(&self) -> &'static str {
        let name = self.reason.as_str_name();
        name.strip_prefix("ERROR_REASON_").unwrap_or(name)
    }

    /// The refusal as a message, for answers in a stream.
    #[must_use]
    pub fn to_wire(mut self) -> tonic_types::Status {
        self.id.get_or_insert_with(new_id);
        let status = Status::from(self);
        tonic_types::Status {
            code: status.code().into(),
            message: status.message().to_owned(),
            details: tonic_types::Status::decode(status.details())
                .unwrap_or_default()
                .details,
        }
    }

    /// The code that belongs to the reason.
    fn code(&self) -> Code {
        use ErrorReason as R;
        match self.reason {
            R::Unspecified | R::Internal => Code::Internal,
            R::InvalidField | R::ProgramInvalid | R::MalformedRequest => Code::InvalidArgument,
            R::RequestIdReused
            | R::OrderAlreadyRecorded
            | R::ActivityAlreadyRecorded
            | R::ReferralAlreadyClaimed => Code::AlreadyExists,
            R::ProgramNotFound
            | R::BrandNotFound
            | R::CurrencyNotFound
            | R::HoldNotFound
            | R::RewardNotFound
            | R::RedemptionNotFound
            | R::MemberNotFound
            | R::TransactionNotFound
            | R::LotNotFound
            | R::AdjustmentNotFound
            | R::ReferralNotFound
            | R::NotFound => Code::NotFound,
            R::BrandNotAllowed
            | R::InsufficientPoints
            | R::HoldExhausted
            | R::AmountLimit
            | R::TooManyHolds
            | R::SoldOut
            | R::WrongMoneyCurrency
            | R::ProgramConflict
            | R::ProgramVersionMoved
            | R::ProgramScheduled
            | R::ProgramMomentPassed
            | R::AdjustmentDecided
            | R::SecondPersonRequired
            | R::NotReversible
            | R::ReversalExceeded
            | R::ReturnExceeded
            | R::ActivitySensitive
            | R::ReferralsNotOffered
            | R::ReferralNotNew
            | R::CurrencyUnclear
            | R::LotClosed
            | R::LotNotExpired
            | R::ExpiryNotLater
            | R::NothingPending
            | R::ApprovalRequired
            | R::TooManyLots
            | R::LotTermsInvalid
            | R::CheckpointsDisabled
            | R::ClockBackwards => Code::FailedPrecondition,
            R::Overloaded | R::RateLimited | R::MessageTooLong => Code::ResourceExhausted,
            R::Unauthenticated => Code::Unauthenticated,
            R::PermissionDenied => Code::PermissionDenied,
            R::Unavailable => Code::Unavailable,
            R::StockContended | R::RedemptionInProgress => Code::Aborted,
            R::TestClockDisabled | R::MethodNotFound => Code::Unimplemented,
            R::CursorOutOfRange => Code::OutOfRange,
            R::DeadlineExceeded => Code::DeadlineExceeded,
        }
    }
}

impl From<DatabaseError> for Rejection {
    fn from(error: DatabaseError) -> Self {
        if !error.is_passing() {
            return Self::internal(&error);
        }
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the database did not do it"
        );
        Self::new(
            ErrorReason::Unavailable,
            "the database cannot be reached; send the same request id again",
        )
        .retry_after(Duration::from_millis(100))
    }
}

impl From<Rejection> for Status {
    fn from(rejection: Rejection) -> Self {
        let mut details = ErrorDetails::new();
        details.set_error_info(
            rejection.reason_name(),
            DOMAIN,
            rejection
                .metadata
                .iter()
                .cloned()
                .collect::<HashMap<_, _>>(),
        );
        if !rejection.violations.is_empty() {
            details.set_bad_request(rejection.violations.clone());
        }
        if let Some(id) = &rejection.id {
            details.set_request_info(&**id, "");
        }
        if rejection.retry_after.is_some() {
            details.set_retry_info(rejection.retry_after);
        }
        Self::with_error_details(rejection.code(), rejection.message, details)
    }
}

/// Refusals travel in headers, twice, and clients bound those, many to 8 KiB. So many
/// violations are told at the most, in so many bytes; how many there are besides is said.
const VIOLATIONS_MAX: usize = 16;
const VIOLATIONS_LEN_MAX: usize = 2_048;
/// Bytes that are told of a field's name, which may be the caller's own text, and of a
/// rule or a figure.
const FIELD_LEN_MAX: usize = 96;
const TEXT_LEN_MAX: usize = 256;

/// The beginning of a text that is too long.
fn shortened(text: &str, len_max: usize) -> Cow<'_, str> {
    if text.len() <= len_max {
        return text.into();
    }
    format!("{}…", &text[..text.floor_char_boundary(len_max)]).into()
}

/// Collects what is wrong with the fields of a request, so that the caller
/// learns all of it at once.
#[derive(Debug, Default)]
pub struct Violations {
    told: Vec<FieldViolation>,
    /// Bytes of those.
    len: usize,
    /// How many there are besides.
    left_out: usize,
}

impl Violations {
    /// None so far.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a violation of `rule` by `field`.
    pub fn add(&mut self, field: &str, rule: impl Into<String>) {
        let rule = rule.into();
        let (field, rule) = (
            shortened(field, FIELD_LEN_MAX),
            shortened(&rule, TEXT_LEN_MAX),
        );
        self.len += field.len() + rule.len();
        if self.told.len() == VIOLATIONS_MAX || self.len > VIOLATIONS_LEN_MAX {
            self.left_out += 1;
        } else {
            self.told.push(FieldViolation::new(field, rule));
        }
    }

    /// The value, or `None` with its violation noted.
    pub fn check<T>(&mut self, field: &str, value: Result<T, InvalidValue>) -> Option<T> {
        value
            .map_err(|error| self.add(field, error.to_string()))
            .ok()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// Parses a text field.
    pub(crate) fn parse<T: std::str::FromStr<Err = InvalidValue>>(
        &mut self,
        field: &str,
        text: &str,
    ) -> Option<T> {
        self.check(field, text.parse())
    }

    /// What was parsed, if nothing was wrong. A value is missing only where a
    /// violation was noted.
    pub fn finish<T>(self, parsed: Option<T>) -> Result<T, Rejection> {
        match parsed {
            Some(parsed) if self.is_empty() => Ok(parsed),
            _ => Err(self.into()),
        }
    }
}

impl From<Violations> for Rejection {
    fn from(violations: Violations) -> Self {
        Self::violating(ErrorReason::InvalidField, violations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_fits_into_the_headers_that_clients_take() {
        let mut violations = Violations::new();
        violations.add(&"é".repeat(100_000), "x".repeat(100_000));
        for index in 0..1_000 {
            violations.add(&format!("members[{index}]"), "must be something else");
        }
        let rejection = Rejection::from(violations).with("field", "x".repeat(100_000));
        let status = Status::from(rejection);
        let details = status.get_error_details();
        let told = &details
            .bad_request()
            .expect("there are some")
            .field_violations;
        assert_eq!(told.len(), VIOLATIONS_MAX);
        assert_eq!(told[15].field, "members[14]");
        assert!(status.message().ends_with("; and 985 more"), "{status:?}");
        let headers = status.into_http::<()>().into_parts().0.headers;
        let len: usize = headers.values().map(http::HeaderValue::len).sum();
        assert!(len < 6 * 1_024, "{len} bytes");
    }
}
