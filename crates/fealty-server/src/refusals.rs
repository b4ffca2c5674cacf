//! What every refusal carries, whoever made it: a reason, and an id that stands in the
//! service's log too.
//!
//! Most refusals are our own [`Rejection`]s. Some are tonic's: a message that cannot be
//! read, one that is too long, a method that is not there. Those get the code and the
//! reason that the contracts promise. Calls are also given their time here, for tonic
//! would answer a late one as cancelled.

use std::{
    borrow::Cow,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use fealty_proto::r#type::v1::ErrorReason;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt as _;
use tower::{Layer, Service};

use crate::{Rejection, rejection::new_id};

const TIMEOUT_HEADER: &str = "grpc-timeout";
const STATUS_HEADERS: [&str; 3] = ["grpc-status", "grpc-message", "grpc-status-details-bin"];

/// What tonic says of a request that it cannot read begins with one of these.
const UNREADABLE: [&str; 6] = [
    "failed to decode Protobuf message",
    "Missing request message",
    "Unexpected EOF decoding stream",
    "protocol error: received message",
    "Error decompressing",
    "message not in gRPC",
];

/// Completes refusals, and ends calls that take too long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RefusalsLayer {
    /// How long a call may take until it is answered.
    pub(crate) timeout: Duration,
}

impl<S> Layer<S> for RefusalsLayer {
    type Service = Refusals<S>;

    fn layer(&self, inner: S) -> Refusals<S> {
        Refusals {
            inner,
            timeout: self.timeout,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Refusals<S> {
    inner: S,
    timeout: Duration,
}

impl<S, B> Service<Request<B>> for Refusals<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let asked = request.headers().get(TIMEOUT_HEADER);
        let asked = asked.and_then(|value| value.to_str().ok().and_then(timeout));
        // A moment before the caller's own time is over, when it would hear nothing.
        let asked = asked.map(|asked| asked.saturating_sub(asked / 50));
        let timeout = asked.map_or(self.timeout, |asked| asked.min(self.timeout));
        let method: Box<str> = request.uri().path().trim_start_matches('/').into();
        let call = self.inner.call(request);
        Box::pin(async move {
            let Ok(answered) = tokio::time::timeout(timeout, call).await else {
                let mut late = Status::from(deadline_exceeded()).into_http();
                complete(late.headers_mut(), &method);
                return Ok(late);
            };
            let mut response = answered?;
            if response.headers().contains_key(STATUS_HEADERS[0]) {
                complete(response.headers_mut(), &method);
                return Ok(response);
            }
            Ok(response.map(|body| Body::new(Completed { body, method })))
        })
    }
}

fn deadline_exceeded() -> Rejection {
    let told = "the call was not answered in its time; send the same request id again";
    Rejection::new(ErrorReason::DeadlineExceeded, told)
}

/// A time of `grpc-timeout`: up to eight digits and a unit.
fn timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_hours(number),
        "M" => Duration::from_mins(number),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Makes the refusal that stands in some headers, or trailers, whole, and has it logged.
fn complete(headers: &mut HeaderMap, method: &str) {
    let Some(status) = Status::from_header_map(headers) else {
        return;
    };
    if status.code() == Code::Ok {
        return;
    }
    let status = if status.get_details_error_info().is_some() {
        status
    } else {
        Status::from(of_tonic(&status))
    };
    let mut details = status.get_error_details();
    let id = match details.request_info() {
        Some(known) => known.request_id.clone(),
        None => new_id().into(),
    };
    details.set_request_info(id.clone(), "");
    let (code, reason) = (status.code(), reason(&details));
    match code {
        Code::Internal | Code::Unknown | Code::DataLoss => {
            tracing::error!(call = id, rpc.method = method, ?code, "a call failed");
        }
        Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted => {
            tracing::info!(call = id, rpc.method = method, ?code, %reason, "a call was refused");
        }
        _ => {
            tracing::debug!(call = id, rpc.method = method, ?code, %reason, "a call was refused");
        }
    }
    let whole = Status::with_error_details(code, status.message(), details);
    for header in STATUS_HEADERS {
        headers.remove(header);
    }
    let told = whole.add_header(headers);
    debug_assert!(told.is_ok(), "what was read from headers goes into headers");
}

fn reason(details: &tonic_types::ErrorDetails) -> Cow<'static, str> {
    details
        .error_info()
        .map_or("".into(), |info| info.reason.clone().into())
}

/// What the contracts promise for a refusal of tonic's own.
fn of_tonic(status: &Status) -> Rejection {
    let message = status.message();
    let told = |reason, text: &str| Rejection::new(reason, text);
    match status.code() {
        Code::Unimplemented if message.is_empty() => {
            told(ErrorReason::MethodNotFound, "there is no such RPC here")
        }
        Code::Unimplemented => told(ErrorReason::MethodNotFound, message),
        Code::Internal if UNREADABLE.iter().any(|begins| message.starts_with(begins)) => {
            told(ErrorReason::MalformedRequest, "the request cannot be read").with("fault", message)
        }
        Code::OutOfRange | Code::ResourceExhausted => told(ErrorReason::MessageTooLong, message),
        Code::Cancelled | Code::DeadlineExceeded => deadline_exceeded(),
        Code::NotFound => told(ErrorReason::NotFound, message),
        Code::InvalidArgument => told(ErrorReason::MalformedRequest, message),
        Code::Unavailable => told(ErrorReason::Unavailable, message),
        _ => {
            tracing::error!(%status, "a refusal that no part of this service made");
            told(
                ErrorReason::Internal,
                "an internal error; the service's log has it",
            )
        }
    }
}

/// A body whose trailers may refuse.
struct Completed {
    body: Body,
    method: Box<str>,
}

impl http_body::Body for Completed {
    type Data = <Body as http_body::Body>::Data;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            complete(trailers, &self.method);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_time_is_read_as_grpc_writes_it() {
        assert_eq!(timeout("20S"), Some(Duration::from_secs(20)));
        assert_eq!(timeout("1500m"), Some(Duration::from_millis(1_500)));
        assert_eq!(timeout("3H"), Some(Duration::from_hours(3)));
        for wrong in ["", "S", "123456789S", "5x", "5", "-1S", "ß"] {
            assert_eq!(timeout(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_refusal_has_a_reason_and_keeps_what_it_has() {
        let completed = |status: Status| {
            let mut headers = HeaderMap::new();
            status.add_header(&mut headers).expect("a header");
            complete(&mut headers, "a/B");
            let status = Status::from_header_map(&headers).expect("a status");
            let details = status.get_error_details();
            let info = details.error_info().expect("a reason").clone();
            assert_eq!(info.domain, "fealty.dev");
            let id = details.request_info().expect("an id").request_id.clone();
            (status.code(), info.reason, id)
        };
        let unread = Status::internal("failed to decode Protobuf message: buffer underflow");
        let (code, reason, _) = completed(unread);
        assert_eq!(
            (code, &*reason),
            (Code::InvalidArgument, "MALFORMED_REQUEST")
        );
        let long = Status::out_of_range("Error, decoded message length too large: found 9 bytes");
        let (code, reason, _) = completed(long);
        assert_eq!(
            (code, &*reason),
            (Code::ResourceExhausted, "MESSAGE_TOO_LONG")
        );
        let (code, reason, _) = completed(Status::unimplemented(""));
        assert_eq!((code, &*reason), (Code::Unimplemented, "METHOD_NOT_FOUND"));
        let (code, reason, _) = completed(Status::cancelled("Timeout expired"));
        assert_eq!(
            (code, &*reason),
            (Code::DeadlineExceeded, "DEADLINE_EXCEEDED")
        );
        let defect = Rejection::internal(&std::io::Error::other("a fault"));
        let id = defect.id().expect("a defect has one").to_owned();
        let (code, reason, told) = completed(defect.into());
        assert_eq!((code, &*reason, told), (Code::Internal, "INTERNAL", id));
    }
}
