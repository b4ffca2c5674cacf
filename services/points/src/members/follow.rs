//! What tiers tells of members' tiers, kept for purchases. With tiers down,
//! the last tier known counts.

use fealty_client::{Channel, FeedConsumer};
use fealty_postgres::{Database, DatabaseError, StoredRow, foundation, run};
use fealty_proto::{
    tiers::v1::{
        WatchTierChangesRequest, WatchTierChangesResponse, tier_service_client::TierServiceClient,
    },
    r#type::v1::{FeedStart, feed_start::At},
};
use fealty_server::from_wire_time;
use fealty_types::{MemberId, ProgramId, TierId};
use tonic::{Response, Status, Streaming, async_trait};

use super::store;
use crate::shard::{Shards, store::tier_changes};

/// The feed's name among the stored cursors.
pub(crate) const SOURCE: &str = "tiers";

struct TierConsumer {
    database: Database,
    shards: Shards,
    tiers: Channel,
}

/// Consumes the tiers service's feed, for ever.
pub(crate) async fn follow(database: Database, shards: Shards, tiers: Channel) {
    let consumer = TierConsumer {
        database,
        shards,
        tiers,
    };
    fealty_client::consume(SOURCE, consumer).await;
}

#[async_trait]
impl FeedConsumer for TierConsumer {
    type Item = WatchTierChangesResponse;
    type Error = DatabaseError;

    async fn cursor(&self) -> Result<String, DatabaseError> {
        foundation::feed_cursor(self.database.pool(), SOURCE).await
    }

    async fn open(&self, cursor: String) -> Result<Response<Streaming<Self::Item>>, Status> {
        let mut client = TierServiceClient::new(self.tiers.clone());
        let start = Some(FeedStart {
            at: Some(At::Cursor(cursor)),
        });
        client
            .watch_tier_changes(WatchTierChangesRequest { start })
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
        if item.cursor == from && item.known_time.is_none() {
            return Ok(Some(item.cursor));
        }
        let known = item.known_time.and_then(|time| from_wire_time(time).ok());
        run!(self.database, "take_tier_changes", |connection| async {
            let moved =
                foundation::move_feed_cursor(connection, SOURCE, (from, &item.cursor), known)
                    .await?;
            if !moved {
                return Ok(None);
            }
            for change in &item.changes {
                let told = StoredRow::of("tier_changes", change.position);
                let program: ProgramId = told.parse("program", &change.program)?;
                let member: MemberId = told.parse("member", &change.member)?;
                let tier: TierId = told.parse("tier", &change.tier)?;
                let effective_at = change.effective_time;
                let effective_at = effective_at.and_then(|time| from_wire_time(time).ok());
                let effective_at = told.check("effective_at", effective_at)?;
                let shard = self.shards.of(&program, &member);
                let (program, member) = (program.as_str(), member.as_str());
                store::note(connection, shard, program, member, effective_at, &tier).await?;
                let name = (program, member);
                tier_changes::note(connection, shard, name, effective_at).await?;
            }
            Ok(Some(item.cursor.clone()))
        })
    }
}
