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

use fealty_auth::{
    Access, AccessTable, Caller, Identity, Role, Rule, Scope, TokenFault, Tokens, Touched,
};
use fealty_postgres::{
    Database,
    audit_log::{self, NewAuditEntry},
};
use fealty_proto::r#type::v1::ErrorReason;
use fealty_types::{Clock as _, Subject, SystemClock};
use http::{HeaderMap, HeaderValue, Request, Response, header::AUTHORIZATION};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};

use crate::{
    Rejection,
    connections::{CallOnConnection, Peer},
    guarded::Guarded,
    rates::{CallOfCaller, Rates},
};

/// The metadata by which a service says for whom it acts.
const ACTING_FOR: &str = "fealty-acting-for";

/// How callers are known.
pub(crate) enum Authentication {
    /// They are not: everybody is served.
    Off(Arc<Identity>),
    /// By their tokens and certificates.
    By(Arc<Tokens>),
}

/// What decides who may call.
pub(crate) struct Gate {
    pub(crate) table: AccessTable,
    pub(crate) authentication: Authentication,
    pub(crate) rates: Rates,
    /// Where the audit log is.
    pub(crate) database: Database,
}

/// What of a call says who makes it.
struct Shown {
    access: Option<Arc<Access>>,
    token: Option<HeaderValue>,
    acting_for: Option<HeaderValue>,
    /// Whose client certificate came with the connection.
    identity: Option<Arc<Identity>>,
}

/// Why a call is not let in.
enum Refused {
    /// Its token is signed by a key that may be a new one.
    ByUnknownKey,
    For(Rejection),
}

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        Self::For(rejection)
    }
}

impl From<TokenFault> for Rejection {
    fn from(fault: TokenFault) -> Self {
        Self::new(ErrorReason::Unauthenticated, fault.to_string()).with("token", fault.name())
    }
}

fn now_s() -> i64 {
    SystemClock.now().micros().div_euclid(1_000_000)
}

/// The token of `authorization: Bearer …`.
fn bearer(value: &HeaderValue) -> Result<&str, TokenFault> {
    let text = value.to_str().map_err(|_| TokenFault::Malformed)?;
    let (scheme, token) = text.split_once(' ').ok_or(TokenFault::Missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(TokenFault::Missing);
    }
    Ok(token.trim())
}

impl Gate {
    /// Who shows what is shown, if it may make the call.
    fn admit(&self, shown: &Shown) -> Result<Caller, Refused> {
        let identity = match &self.authentication {
            Authentication::Off(anybody) => Arc::clone(anybody),
            Authentication::By(tokens) => Self::identity(tokens, shown)?,
        };
        self.rates.check(&identity)?;
        let access = shown.access.as_ref();
        if let Some(access) = access
            && identity.roles.and(access.roles).is_empty()
        {
            let told = format!("{} is for the roles {}", access.method, access.roles);
            let denied = Rejection::new(ErrorReason::PermissionDenied, told);
            return Err(denied.with("roles", access.roles).into());
        }
        let denied = |told: &str| Rejection::new(ErrorReason::PermissionDenied, told);
        match access.map(|access| access.scope) {
            // What a member's token reaches is that member.
            Some(Scope::Member) => {}
            _ if identity.member.is_some() => {
                return Err(denied("the call is not for callers kept to a member").into());
            }
            _ => {}
        }
        let mut caller = Caller::new(identity, access.cloned());
        if access.is_some_and(|access| access.scope == Scope::Installation) && !caller.reaches_all()
        {
            let told = "the call is for callers who reach all programmes";
            return Err(denied(told).into());
        }
        if let Some(whom) = &shown.acting_for {
            let denied = |told: &str| denied(told).with("field", ACTING_FOR);
            if !caller.is(Role::Service) {
                return Err(denied("only a service may act for somebody").into());
            }
            let whom: Option<Subject> = whom.to_str().ok().and_then(|text| text.parse().ok());
            let rule = "whom it acts for must be 1 to 128 printable ASCII characters";
            caller = caller.acting_for(whom.ok_or_else(|| denied(rule))?);
        }
        Ok(caller)
    }

    fn identity(tokens: &Tokens, shown: &Shown) -> Result<Arc<Identity>, Refused> {
        let Some(token) = &shown.token else {
            let identity = shown.identity.clone();
            let standing = identity.ok_or(TokenFault::Missing).and_then(|identity| {
                tokens.check_standing(&identity, now_s())?;
                Ok(identity)
            });
            return standing.map_err(|fault| Rejection::from(fault).into());
        };
        let verified = bearer(token).and_then(|token| tokens.verify(token, now_s()));
        verified.map_err(|fault| match fault {
            TokenFault::UnknownKey if tokens.may_look() => Refused::ByUnknownKey,
            fault => Rejection::from(fault).into(),
        })
    }

    /// Admits a call, if need be after the issuer's keys have been read again.
    async fn admit_with_new_keys(&self, shown: &Shown) -> Result<Caller, Rejection> {
        let admitted = match (self.admit(shown), &self.authentication) {
            (Err(Refused::ByUnknownKey), Authentication::By(tokens)) => {
                tokens.read_keys_again().await;
                self.admit(shown)
            }
            (admitted, _) => admitted,
        };
        admitted.map_err(|refused| match refused {
            Refused::For(rejection) => rejection,
            Refused::ByUnknownKey => TokenFault::UnknownKey.into(),
        })
    }

    /// Whether it is recorded of whom a caller is told something: of whom support is,
    /// in answers and in refusals that have figures.
    fn records(&self, caller: &Caller) -> bool {
        matches!(self.authentication, Authentication::By(_)) && caller.is(Role::Support)
    }

    /// Records of whom a caller was told something, unless its change was.
    async fn record(&self, caller: &Caller, touched: &Touched) -> Result<(), Rejection> {
        let members = touched.take();
        if !members.is_empty() {
            let entry = audit_entry(caller);
            audit_log::append_reads(self.database.pool(), &entry, &members).await?;
        }
        Ok(())
    }

    /// Checks that a caller may still be told something.
    pub(crate) fn check_standing(&self, identity: &Identity) -> Result<(), TokenFault> {
        match &self.authentication {
            Authentication::Off(_) => Ok(()),
            Authentication::By(tokens) => tokens.check_standing(identity, now_s()),
        }
    }
}

/// Whether an answer says something of what was asked for.
fn tells(response: &Response<Body>) -> bool {
    let status = response.headers().get("grpc-status");
    let code = status.map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()));
    matches!(
        code,
        Code::Ok | Code::FailedPrecondition | Code::AlreadyExists
    )
}

/// A call that is under way, for its connection and its caller.
pub(crate) struct UnderWay {
    _of_connection: Option<CallOnConnection>,
    _of_caller: Option<CallOfCaller>,
}

/// An entry of the audit log by a caller, about nothing yet.
#[must_use]
pub fn audit_entry(caller: &Caller) -> NewAuditEntry {
    NewAuditEntry {
        subject: caller.subject().clone(),
        acting_for: caller.whom().cloned(),
        roles: caller.roles().iter().map(|role| role.to_string()).collect(),
        method: caller.method().to_owned(),
        program: None,
        member: None,
        reason: None,
        before: None,
        after: None,
        transaction: None,
    }
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
                return Ok(Status::from(Rejection::new(ErrorReason::NotFound, told)).into_http());
            }
            let under_way = match gate.rates.begin(caller.identity()) {
                Ok(of_caller) => UnderWay {
                    _of_connection: peer.map(|peer| peer.begin()),
                    _of_caller: of_caller,
                },
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
