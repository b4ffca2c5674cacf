//! Finishes or undoes what a process that died has left.

use std::time::Duration;

use fealty_postgres::DatabaseError;
use tokio_util::sync::CancellationToken;

use super::{
    redeem::{LEASE_S, Redemptions, new_lease},
    store,
};
use crate::error::Error;

const RECOVERY_INTERVAL: Duration = Duration::from_millis(500);
const RECOVERED_MAX: i64 = 20;

/// Recovers until the service ends. Every instance does; a lease keeps two
/// from working on the same redemption.
pub(crate) async fn keep_recovering(redemptions: Redemptions, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(RECOVERY_INTERVAL) => {}
        }
        if let Err(error) = redemptions.recover().await {
            tracing::debug!(%error, "recovery did not finish");
        }
    }
}

impl Redemptions {
    /// Goes on with redemptions that nobody works on, with all that it takes at once, for
    /// their leases run; counts them.
    pub async fn recover(&self) -> Result<i64, DatabaseError> {
        let pool = self.database.pool();
        let left = store::take_over(pool, None, new_lease(), LEASE_S, RECOVERED_MAX).await?;
        let recovered = i64::try_from(left.len()).unwrap_or(RECOVERED_MAX);
        let finished = left.into_iter().map(|redemption| async {
            let id = redemption.id;
            match self.finish(redemption).await {
                Ok(_) => tracing::info!(redemption = %id, "finished"),
                Err(Error::Database(error)) => return Err(error),
                // Refused is an end as well; what is not known is tried again.
                Err(error) => tracing::info!(redemption = %id, %error, "not finished"),
            }
            Ok(())
        });
        let failed = futures::future::join_all(finished)
            .await
            .into_iter()
            .find_map(Result::err);
        failed.map_or(Ok(recovered), Err)
    }
}
