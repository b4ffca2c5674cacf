//! How many calls a caller may make.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fealty_auth::Identity;
use fealty_proto::r#type::v1::ErrorReason;
use fealty_types::Subject;
use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    state::keyed::DefaultKeyedStateStore,
};
use tokio_util::sync::CancellationToken;

use crate::{Rejection, config::LimitsSection};

/// How often callers are forgotten that have not called for a while.
const FORGOTTEN_EVERY: Duration = Duration::from_mins(1);

/// When a call that met too many of its own may try again.
const RETRY_AT_ONCE: Duration = Duration::from_millis(100);

type Limiter = RateLimiter<Subject, DefaultKeyedStateStore<Subject>, DefaultClock>;

/// Calls of a member at once: an app has some, and a call without an end holds a
/// connection.
const MEMBER_CALLS_MAX: u32 = 32;

/// The calls of each member that are under way.
type AtOnce = Arc<Mutex<HashMap<Subject, u32>>>;

/// A call of a member that is under way.
#[derive(Debug)]
pub(crate) struct CallOfCaller {
    at_once: AtOnce,
    subject: Subject,
}

impl Drop for CallOfCaller {
    fn drop(&mut self) {
        let mut at_once = self.at_once.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(calls) = at_once.get_mut(&self.subject) {
            *calls -= 1;
            if *calls == 0 {
                at_once.remove(&self.subject);
            }
        }
    }
}

/// How many calls a second each caller may make, members apart from the rest.
/// For a second's calls at once there is room.
#[derive(Debug)]
pub(crate) struct Rates {
    at_once: AtOnce,
    members: Option<Limiter>,
    others: Option<Limiter>,
}

impl Rates {
    pub(crate) fn new(limits: &LimitsSection) -> Self {
        let limiter = |per_second| {
            let quota = NonZeroU32::new(per_second).map(Quota::per_second)?;
            Some(Limiter::dashmap(quota))
        };
        Self {
            at_once: AtOnce::default(),
            members: limiter(limits.member_calls_per_second),
            others: limiter(limits.calls_per_second),
        }
    }

    /// Counts a call, or refuses it.
    pub(crate) fn check(&self, identity: &Identity) -> Result<(), Rejection> {
        let limiter = if identity.member.is_some() {
            &self.members
        } else {
            &self.others
        };
        let Some(limiter) = limiter else {
            return Ok(());
        };
        limiter.check_key(&identity.subject).map_err(|early| {
            let wait = early.wait_time_from(DefaultClock::default().now());
            Rejection::new(
                ErrorReason::RateLimited,
                "more calls a second than are allowed",
            )
            .retry_after(wait)
        })
    }

    /// Counts a call until the value is dropped, of callers who are members.
    pub(crate) fn begin(&self, identity: &Identity) -> Result<Option<CallOfCaller>, Rejection> {
        if identity.member.is_none() {
            return Ok(None);
        }
        let mut at_once = self.at_once.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = at_once.entry(identity.subject.clone()).or_default();
        if *calls == MEMBER_CALLS_MAX {
            let told = "more calls at once than are allowed";
            let refused = Rejection::new(ErrorReason::RateLimited, told);
            return Err(refused.retry_after(RETRY_AT_ONCE));
        }
        *calls += 1;
        Ok(Some(CallOfCaller {
            at_once: Arc::clone(&self.at_once),
            subject: identity.subject.clone(),
        }))
    }

    /// Forgets callers that may make as many calls as one who never called.
    pub(crate) async fn forget(&self, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(FORGOTTEN_EVERY) => {}
            }
            for limiter in [&self.members, &self.others].into_iter().flatten() {
                limiter.retain_recent();
            }
        }
    }
}
