//! The one layer that says who calls, and whether it may.
//!
//! It reads the token (or the client certificate of the connection), compares
//! the roles and the scope with what the contracts declare for the RPC, counts
//! the call, and leaves a [`Caller`] for the handler, which needs one to read
//! an id. An answer that is a stream ends when its caller's token does. What
//! support reads of members is in the audit log before it is answered.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use fealty_auth::{Rule, Touched};
use fealty_proto::r#type::v1::ErrorReason;
use http::{HeaderMap, HeaderValue, Request, Response, header::AUTHORIZATION};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};

use crate::{
    Rejection,
    connections::Peer,
    gate::{ACTING_FOR, Gate, Shown, UnderWay},
    guarded::Guarded,
};

/// Whether an answer says something of what was asked for.
fn tells(response: &Response<Body>) -> bool {
    let status = response.headers().get("grpc-status");
    let code = status.map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()));
    matches!(
        code,
        Code::Ok | Code::FailedPrecondition | Code::AlreadyExists
    )
}

/// Puts the gate before every call.
#[derive(Clone)]
pub(crate) struct AuthenticateLayer(pub(crate) Arc<Gate>);

impl<S> Layer<S> for AuthenticateLayer {
    type Service = Authenticate<S>;

    fn layer(&self, inner: S) -> Authenticate<S> {
        Authenticate {
            inner,
            gate: Arc::clone(&self.0),
        }
    }
}

#[derive(Clone)]
pub(crate) struct Authenticate<S> {
    inner: S,
    gate: Arc<Gate>,
}

fn header(headers: &HeaderMap, name: impl http::header::AsHeaderName) -> Option<HeaderValue> {
    headers.get(name).cloned()
}

impl<S, B> Service<Request<B>> for Authenticate<S>
where
    S: Service<Request<B>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let peer = request.extensions().get::<Peer>().cloned();
        let (access, is_there) = match self.gate.table.rule(request.uri().path()) {
            Rule::Open => return Box::pin(self.inner.call(request)),
            Rule::Declared(access) => (Some(Arc::clone(access)), true),
            Rule::Reflection => (None, true),
            Rule::Unknown => (None, false),
        };
        let shown = Shown {
            token: header(request.headers(), AUTHORIZATION),
            acting_for: header(request.headers(), ACTING_FOR),
            identity: peer.as_ref().and_then(|peer| peer.identity.clone()),
            access,
        };
        let gate = Arc::clone(&self.gate);
        // The one that is ready is the one to call.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        Box::pin(async move {
            let mut caller = match gate.admit_with_new_keys(&shown).await {
                Ok(caller) => caller,
                Err(rejection) => return Ok(Status::from(rejection).into_http()),
            };
            if !is_there {
                let told = "there is no such RPC here";
                return Ok(
                    Status::from(Rejection::new(ErrorReason::MethodNotFound, told)).into_http(),
                );
            }
            if let Some(told) = gate.clock.distrust() {
                let rejection = Rejection::new(ErrorReason::Unavailable, told);
                return Ok(Status::from(rejection).into_http());
            }
            let under_way = match gate.rates.begin(caller.identity()) {
                Ok(of_caller) => UnderWay::begin(peer.as_ref(), of_caller),
                Err(rejection) => return Ok(Status::from(rejection).into_http()),
            };
            let access = shown.access.as_deref();
            let touched = gate.records(&caller).then(Arc::<Touched>::default);
            if let Some(touched) = &touched {
                caller = caller.noting(Arc::clone(touched));
            }
            request.extensions_mut().insert(caller.clone());
            let response = inner.call(request).await?;
            if let Some(touched) = touched
                && tells(&response)
                && let Err(rejection) = gate.record(&caller, &touched).await
            {
                return Ok(Status::from(rejection).into_http());
            }
            if access.is_none_or(|access| access.streams) {
                return Ok(
                    response.map(|body| Body::new(Guarded::new(body, gate, caller, under_way)))
                );
            }
            drop(under_way);
            Ok(response)
        })
    }
}
