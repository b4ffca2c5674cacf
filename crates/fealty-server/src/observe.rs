//! A span and a measurement for every call.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use http::{HeaderMap, Request, Response};
use opentelemetry::{KeyValue, global, metrics::Histogram, propagation::Extractor};
use tower::{Layer, Service};
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Puts every call into a span, a child of the caller's, and measures it.
#[derive(Clone, Debug)]
pub(crate) struct ObserveLayer(Histogram<f64>);

impl ObserveLayer {
    pub(crate) fn new() -> Self {
        Self(
            global::meter("fealty")
                .f64_histogram("rpc.server.call.duration")
                .with_description("Time from a call's arrival to its answer")
                .with_unit("s")
                .build(),
        )
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe {
            inner,
            duration: self.0.clone(),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Observe<S> {
    inner: S,
    duration: Histogram<f64>,
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
        let path = request.uri().path().trim_start_matches('/').to_owned();
        let method = path.rsplit_once('/').map_or("", |(_, method)| method);
        let span = tracing::info_span!(
            "rpc",
            otel.name = path,
            otel.kind = "server",
            rpc.system.name = "grpc",
            rpc.method = method,
            rpc.response.status_code = tracing::field::Empty,
        );
        let parent = global::get_text_map_propagator(|p| p.extract(&Headers(request.headers())));
        // Without a collector no span has a context, and no parent is needed.
        let _ = span.set_parent(parent);
        let duration = self.duration.clone();
        let begun = Instant::now();
        let call = self.inner.call(request);
        Box::pin(
            async move {
                let response = call.await?;
                // An answer has its status in the trailers, a refusal in the headers.
                let status = response
                    .headers()
                    .get("grpc-status")
                    .and_then(|status| status.to_str().ok())
                    .map_or(tonic::Code::Ok, |status| {
                        tonic::Code::from_bytes(status.as_bytes())
                    });
                let status = format!("{status:?}");
                tracing::Span::current().record("rpc.response.status_code", &status);
                let attributes = [
                    KeyValue::new("rpc.method", path),
                    KeyValue::new("rpc.response.status_code", status),
                ];
                duration.record(begun.elapsed().as_secs_f64(), &attributes);
                Ok(response)
            }
            .instrument(span),
        )
    }
}
