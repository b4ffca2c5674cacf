//! Retries.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const BACKOFF_FIRST: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// Until when a call and its retries may last.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// That long from now.
    #[must_use]
    pub fn within(duration: Duration) -> Self {
        Self(Instant::now() + duration)
    }
}

/// Sends a request, and again with the same request id as long as that may
/// help: no connection, overload, a conflict, an answer that was lost. Gives up
/// at the deadline with the last error.
pub async fn call<T, F: Future<Output = Result<tonic::Response<T>, Status>>>(
    deadline: Deadline,
    send: impl Fn() -> F,
) -> Result<T, Status> {
    let mut backoff = ExponentialBuilder::default()
        .with_min_delay(BACKOFF_FIRST)
        .with_max_delay(BACKOFF_MAX)
        .without_max_times()
        .with_jitter()
        .build();
    loop {
        let error = match tokio::time::timeout_at(deadline.0, send()).await {
            Ok(Ok(response)) => return Ok(response.into_inner()),
            Ok(Err(error)) => error,
            Err(_) => return Err(Status::deadline_exceeded("the deadline has passed")),
        };
        if !may_help(&error) {
            return Err(error);
        }
        let delay = retry_after(&error)
            .or_else(|| backoff.next())
            .unwrap_or(BACKOFF_MAX);
        if Instant::now() + delay >= deadline.0 {
            return Err(error);
        }
        tracing::debug!(%error, ?delay, "sending again");
        tokio::time::sleep(delay).await;
    }
}

/// Whether sending the same request again may help: no connection, overload, a conflict, an
/// answer that was lost.
#[must_use]
pub fn may_help(error: &Status) -> bool {
    match error.code() {
        Code::Unavailable | Code::Aborted | Code::ResourceExhausted => true,
        // What a broken connection makes of a call in flight; a defect that the
        // service tells of has a reason.
        Code::Unknown | Code::Cancelled | Code::Internal => reason(error).is_none(),
        _ => false,
    }
}

/// Why a call was refused: one of `fealty.type.v1.ErrorReason`, without prefix.
#[must_use]
pub fn reason(error: &Status) -> Option<String> {
    Some(error.get_details_error_info()?.reason)
}

/// The fields of a request that are wrong, each with the rule that it breaks.
#[must_use]
pub fn violations(error: &Status) -> Vec<(String, String)> {
    let wrong = error.get_details_bad_request().into_iter();
    wrong
        .flat_map(|wrong| wrong.field_violations)
        .map(|violation| (violation.field, violation.description))
        .collect()
}

/// When the service says that trying again may help.
#[must_use]
pub fn retry_after(error: &Status) -> Option<Duration> {
    error.get_details_retry_info()?.retry_delay
}
