//! How many calls a caller may make.

use std::{num::NonZeroU32, time::Duration};

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
const FORGOTTEN_EVERY: Duration = Duration::from_secs(60);

type Limiter = RateLimiter<Subject, DefaultKeyedStateStore<Subject>, DefaultClock>;

/// How many calls a second each caller may make, members apart from the rest.
/// For a second's calls at once there is room.
#[derive(Debug)]
pub(crate) struct Rates {
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
