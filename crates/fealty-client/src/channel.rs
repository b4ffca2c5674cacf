//! Connections.

use std::time::Duration;

use opentelemetry::{global, propagation::Injector};
use tonic::{
    Request, Status,
    metadata::{MetadataKey, MetadataMap},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{self, Endpoint},
};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection that carries the caller's trace along.
pub type Channel = InterceptedService<transport::Channel, TraceContext>;

/// A connection to `url`, for example `http://127.0.0.1:7001`. It is made when
/// it is first used, and again when it is lost.
pub fn connect(url: &str) -> Result<Channel, transport::Error> {
    let endpoint = Endpoint::from_shared(url.to_owned())?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(30));
    Ok(InterceptedService::new(
        endpoint.connect_lazy(),
        TraceContext,
    ))
}

/// Writes the present span's context into a call's metadata.
#[derive(Clone, Copy, Debug)]
pub struct TraceContext;

struct Metadata<'a>(&'a mut MetadataMap);

impl Injector for Metadata<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (MetadataKey::from_bytes(key.as_bytes()), value.parse()) {
            self.0.insert(key, value);
        }
    }
}

impl Interceptor for TraceContext {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let context = tracing::Span::current().context();
        global::get_text_map_propagator(|propagator| {
            propagator.inject_context(&context, &mut Metadata(request.metadata_mut()));
        });
        Ok(request)
    }
}
