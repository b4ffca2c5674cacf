//! A span and a measurement for every call.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use http::{HeaderMap, Request, Response};
use opentelemetry::{KeyValue, global, metrics::Histogram, propagation::Extractor};
use tonic::Code;
use tower::{Layer, Service};
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::{connections::CallsUnderWay, telemetry};

/// Puts every call into a span, a child of the caller's, and measures it, where
/// that is exported: to no collector it would cost as much as a cached read.
#[derive(Clone, Debug)]
pub(crate) struct ObserveLayer {
    calls: CallsUnderWay,
    duration: Option<Histogram<f64>>,
}

impl ObserveLayer {
    pub(crate) fn new(calls: CallsUnderWay) -> Self {
        let duration = telemetry::is_exported().then(|| {
            global::meter("fealty")
                .f64_histogram("rpc.server.call.duration")
                .with_description("Time from a call's arrival to its answer")
                .with_unit("s")
                .build()
        });
        Self { calls, duration }
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe {
            inner,
            calls: self.calls.clone(),
            duration: self.duration.clone(),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Observe<S> {
    inner: S,
    calls: CallsUnderWay,
    /// None where nothing is exported.
    duration: Option<Histogram<f64>>,
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

impl<S, B, R> Service<Request<B>> for Observe<S>
where
    S: Service<Request<B>, Response = Response<R>> + Send,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let uri = request.uri().clone();
        let duration = self.duration.clone();
        let span = if duration.is_some() {
            exported_span(&request)
        } else {
            tracing::debug_span!("rpc", rpc.method = method(&uri))
        };
        let begun = Instant::now();
        let under_way = self.calls.begin();
        let call = self.inner.call(request);
        Box::pin(
            async move {
                let response = call.await;
                drop(under_way);
                let response = response?;
                let code = code(&response);
                if let Some(duration) = duration {
                    let status = format!("{code:?}");
                    tracing::Span::current().record("rpc.response.status_code", &status);
                    let attributes = [
                        KeyValue::new("rpc.method", method(&uri).to_owned()),
                        KeyValue::new("rpc.response.status_code", status),
                    ];
                    duration.record(begun.elapsed().as_secs_f64(), &attributes);
                }
                Ok(response)
            }
            .instrument(span),
        )
    }
}

/// The full name of the method that is called.
fn method(uri: &http::Uri) -> &str {
    uri.path().trim_start_matches('/')
}

fn exported_span<B>(request: &Request<B>) -> tracing::Span {
    let name = method(request.uri());
    let span = tracing::info_span!(
        "rpc",
        otel.name = name,
        otel.kind = "server",
        rpc.system.name = "grpc",
        rpc.method = name.rsplit_once('/').map_or("", |(_, method)| method),
        rpc.response.status_code = tracing::field::Empty,
    );
    let parent = global::get_text_map_propagator(|p| p.extract(&Headers(request.headers())));
    // Where the filter leaves the span out it has no context, and no parent is
    // needed.
    let _ = span.set_parent(parent);
    span
}

/// An answer has its status in the trailers, a refusal in the headers.
fn code<R>(response: &Response<R>) -> Code {
    let status = response.headers().get("grpc-status");
    status.map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}
