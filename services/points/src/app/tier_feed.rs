//! What tiers tells of members' tiers, kept for purchases. With tiers down,
//! the last tier known counts.

use fealty_client::{Channel, FeedConsumer};
use fealty_postgres::{DatabaseError, foundation, run};
use fealty_proto::tiers::v1::{
    WatchTierChangesRequest, WatchTierChangesResponse, tier_service_client::TierServiceClient,
};
use fealty_server::from_wire_time;
use fealty_types::{MemberId, ProgramId, TierId};
use tonic::{Response, Status, Streaming, async_trait};

use super::App;
use crate::store;

/// The feed's name among the stored cursors.
pub(super) const SOURCE: &str = "tiers";

struct TierConsumer {
    app: App,
    tiers: Channel,
}

pub(super) async fn follow(app: App, tiers: Channel) {
    fealty_client::consume(SOURCE, TierConsumer { app, tiers }).await;
}

fn unreadable(what: &str) -> DatabaseError {
    DatabaseError::Defect(sqlx::Error::Protocol(format!(
        "a change of tier has no valid {what}"
    )))
}

#[async_trait]
impl FeedConsumer for TierConsumer {
    type Item = WatchTierChangesResponse;
    type Error = DatabaseError;

    async fn cursor(&self) -> Result<String, DatabaseError> {
        foundation::feed_cursor(self.app.database.pool(), SOURCE).await
    }

    async fn open(&self, cursor: String) -> Result<Response<Streaming<Self::Item>>, Status> {
        let mut client = TierServiceClient::new(self.tiers.clone());
        client
            .watch_tier_changes(WatchTierChangesRequest { cursor })
            .await
    }

    fn behind(item: &Self::Item) -> i64 {
        item.behind
    }

    async fn take(
        &self,
        from: &str,
        item: WatchTierChangesResponse,
    ) -> Result<Option<String>, DatabaseError> {
        if item.changes.is_empty() {
            return Ok(Some(from.to_owned()));
        }
        run!(self.app.database, "take_tier_changes", |connection| async {
            let moved =
                foundation::move_feed_cursor(connection, SOURCE, from, &item.cursor).await?;
            if !moved {
                return Ok(None);
            }
            for change in &item.changes {
                let program: ProgramId =
                    change.program.parse().map_err(|_| unreadable("program"))?;
                let member: MemberId = change.member.parse().map_err(|_| unreadable("member"))?;
                let tier: TierId = change.tier.parse().map_err(|_| unreadable("tier"))?;
                let effective_at = change
                    .effective_time
                    .and_then(|time| from_wire_time(time).ok())
                    .ok_or_else(|| unreadable("time"))?;
                let shard = self.app.shard(&program, &member);
                let (program, member) = (program.as_str(), member.as_str());
                store::tiers::note(connection, shard, program, member, effective_at, &tier).await?;
            }
            Ok(Some(item.cursor.clone()))
        })
    }
}
