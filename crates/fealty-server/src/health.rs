//! Whether a service can do its work, and what keeps it from it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fealty_postgres::Database;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::ServiceClock;

/// How often the health looks at the database, and how long it waits for it.
const INTERVAL: Duration = Duration::from_millis(500);
const TIMEOUT: Duration = Duration::from_secs(2);
/// How often the clock is compared with the database's.
const CLOCK_INTERVAL: Duration = Duration::from_secs(5);

/// What keeps a service from its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It can do nothing: the health of the whole service is `NOT_SERVING`.
    Stops(String),
    /// Something is wrong, and the rest goes on: only the health of that part says so.
    Limits(String),
}

/// What is wrong with the parts of a service. Each part is also a name that the health
/// service knows, beside the empty one for the whole.
#[derive(Clone, Debug, Default)]
pub struct Troubles(Arc<Mutex<BTreeMap<&'static str, Option<Trouble>>>>);

impl Troubles {
    /// Says how a part is.
    pub fn report(&self, part: &'static str, trouble: Option<Trouble>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.insert(part, trouble.clone());
        match (before.flatten(), trouble) {
            (before, Some(Trouble::Stops(reason) | Trouble::Limits(reason)))
                if before.is_none() =>
            {
                tracing::error!(part, reason, "in trouble");
            }
            (Some(_), None) => tracing::info!(part, "well again"),
            _ => {}
        }
    }

    fn parts(&self) -> BTreeMap<&'static str, Option<Trouble>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Keeps what the health service says true until the service ends.
pub(crate) async fn watch(
    health: HealthReporter,
    (database, clock): (Database, ServiceClock),
    troubles: Troubles,
    shutdown: CancellationToken,
) {
    let serves = |well: bool| {
        if well {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        }
    };
    let mut compare_at = Instant::now();
    loop {
        let answers = database.answers(TIMEOUT).await;
        let silent = || Trouble::Stops("the database does not answer".to_owned());
        troubles.report("database", (!answers).then(silent));
        if answers && Instant::now() >= compare_at {
            compare_at = Instant::now() + CLOCK_INTERVAL;
            let _ = tokio::time::timeout(TIMEOUT, clock.compare(&database)).await;
        }
        troubles.report("clock", clock.distrust().map(Trouble::Stops));
        let parts = troubles.parts();
        for (part, trouble) in &parts {
            health
                .set_service_status(*part, serves(trouble.is_none()))
                .await;
        }
        let stops = |trouble: &Option<Trouble>| matches!(trouble, Some(Trouble::Stops(_)));
        let well = !parts.values().any(stops);
        health.set_service_status("", serves(well)).await;
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
    health
        .set_service_status("", ServingStatus::NotServing)
        .await;
}
