//! Connections, with the caller's trace and token.

use opentelemetry::{global, propagation::Injector};
use tonic::{
    Request, Status,
    metadata::{MetadataKey, MetadataMap},
    service::{Interceptor, interceptor::InterceptedService},
};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::{
    ConnectError, Credentials,
    balanced::{Balanced, Targets},
    credentials::{self, SentToken},
};

/// The metadata by which a service says for whom it acts.
const ACTING_FOR: &str = "fealty-acting-for";

/// A connection that carries the caller's trace and token along, balanced over
/// all addresses of the service.
pub type Channel = InterceptedService<Balanced, Outgoing>;

/// A connection to a service at `url`, for example `http://127.0.0.1:7001`, or to
/// several, divided by commas. Calls are spread over all addresses that the names
/// have, and follow their changes. Connections are made when they are first used,
/// and again when they are lost. To be called in a Tokio runtime.
pub fn connect(url: &str, credentials: &Credentials) -> Result<Channel, ConnectError> {
    let outgoing = Outgoing {
        token: credentials::token(credentials)?,
    };
    let balanced = Balanced::over(Targets::parse(url)?, credentials.clone())?;
    Ok(InterceptedService::new(balanced, outgoing))
}

/// Says for whom a service acts by this call. The service must have the role
/// `service`.
///
/// # Panics
/// If `whom` is no subject: 1 to 128 printable ASCII characters.
pub fn acting_for<T>(mut request: Request<T>, whom: &str) -> Request<T> {
    let value = whom.parse().expect("a subject can be sent");
    request.metadata_mut().insert(ACTING_FOR, value);
    request
}

/// Writes the present span's context and the token into a call's metadata.
// It has a token in it, so it cannot be printed.
#[derive(Clone)]
pub struct Outgoing {
    token: SentToken,
}

struct Metadata<'a>(&'a mut MetadataMap);

impl Injector for Metadata<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (MetadataKey::from_bytes(key.as_bytes()), value.parse()) {
            self.0.insert(key, value);
        }
    }
}

impl Interceptor for Outgoing {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let context = tracing::Span::current().context();
        global::get_text_map_propagator(|propagator| {
            propagator.inject_context(&context, &mut Metadata(request.metadata_mut()));
        });
        if let Some(token) = &*self.token.load() {
            let token = (**token).clone();
            request.metadata_mut().insert("authorization", token);
        }
        Ok(request)
    }
}
