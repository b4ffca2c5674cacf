//! What decides who may call: tokens and certificates, what the contracts declare,
//! rates; and whether what is told is recorded.

use std::sync::Arc;

use fealty_auth::{
    Access, AccessTable, Caller, Identity, Role, Scope, TokenFault, Tokens, Touched,
};
use fealty_postgres::{
    Database,
    audit_log::{self, NewAuditEntry},
};
use fealty_proto::r#type::v1::ErrorReason;
use fealty_types::{Clock as _, Subject, SystemClock};
use http::HeaderValue;

use crate::{
    Rejection, ServiceClock,
    connections::{CallOnConnection, Peer},
    rates::{CallOfCaller, Rates},
};

/// The metadata by which a service says for whom it acts.
pub(crate) const ACTING_FOR: &str = "fealty-acting-for";

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
    /// Without it, nothing is done.
    pub(crate) clock: ServiceClock,
}

/// What of a call says who makes it.
pub(crate) struct Shown {
    pub(crate) access: Option<Arc<Access>>,
    pub(crate) token: Option<HeaderValue>,
    pub(crate) acting_for: Option<HeaderValue>,
    /// Whose client certificate came with the connection.
    pub(crate) identity: Option<Arc<Identity>>,
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
            Some(Scope::Member | Scope::ProgramOpen) => {}
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
    pub(crate) async fn admit_with_new_keys(&self, shown: &Shown) -> Result<Caller, Rejection> {
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
    pub(crate) fn records(&self, caller: &Caller) -> bool {
        matches!(self.authentication, Authentication::By(_)) && caller.is(Role::Support)
    }

    /// Records of whom a caller was told something, unless its change was.
    pub(crate) async fn record(&self, caller: &Caller, touched: &Touched) -> Result<(), Rejection> {
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

/// A call that is under way, for its connection and its caller.
pub(crate) struct UnderWay {
    _of_connection: Option<CallOnConnection>,
    _of_caller: Option<CallOfCaller>,
}

impl UnderWay {
    /// Counts it until the value is dropped.
    pub(crate) fn begin(peer: Option<&Peer>, of_caller: Option<CallOfCaller>) -> Self {
        Self {
            _of_connection: peer.map(Peer::begin),
            _of_caller: of_caller,
        }
    }
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
