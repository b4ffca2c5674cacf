//! What the points service does: every use case, over `domain` and `store`.

mod audit;
mod balance;
mod batch;
mod cache;
pub mod checkpoint;
mod feed;
mod history;
mod lane;
mod sweeper;
mod tier_feed;
mod transfer;
pub mod verify;

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use fealty_ledger::{Command, Transaction, canonical::Chain};
use fealty_postgres::{Database, DatabaseError, Heads, foundation, run};
use fealty_server::{ConsumedFeed, FeedStatus, Operations, Programs, Rejection, ServiceClock};
use fealty_types::{Cursor, MemberId, ProgramId, RequestId, ShardId, Timestamp, shard_of};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::async_trait;

pub use balance::{BalanceRead, Moment};
pub use cache::BalanceCache;
pub use feed::{WATCH_BATCH_LEN_MAX, Watched};
pub use history::{By, Explained, Filter, Logged, LotsAfter, Page};
pub use transfer::Transferred;

use crate::{config::LedgerSection, error::Error, store};
use batch::Memory;
use lane::{Lane, Publisher, Work};

/// The points service at work.
#[derive(Clone)]
pub struct App {
    /// Its programmes.
    pub programs: Programs,
    database: Database,
    /// Its clock.
    pub clock: ServiceClock,
    cache: BalanceCache,
    lanes: Arc<[Lane]>,
    heads: Heads,
    publisher: Publisher,
    signing_key: Option<Arc<SigningKey>>,
}

/// Connections to the service's database.
#[derive(Debug)]
pub struct Connections {
    /// For everything but the lanes.
    pub database: Database,
    /// For the lanes: as many as commit at once.
    pub lanes: Database,
}

/// What a request brought about.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its transaction.
    pub transaction: Arc<Transaction>,
    /// The chain after it.
    pub chain: Chain,
    /// Whether it was there already, from the same request sent before.
    pub replayed: bool,
}

impl App {
    /// Starts the lanes and the work in the background, which ends with
    /// `shutdown`.
    pub async fn start(
        Connections {
            database,
            lanes: lanes_of_database,
        }: Connections,
        clock: ServiceClock,
        cache: BalanceCache,
        programs: Programs,
        ledger: &LedgerSection,
        signing_key: Option<SigningKey>,
        shutdown: &CancellationToken,
    ) -> Result<Self, DatabaseError> {
        let shards: Result<u16, DatabaseError> = run!(database, "initialise", |connection| async {
            store::shards::initialise(connection, ledger.shards).await
        });
        let shards = shards?;
        let heads = Heads::new(usize::from(shards));
        let in_flight = Arc::new(Semaphore::new(usize::from(ledger.batches_in_flight)));
        let publisher = Publisher::new(cache.clone(), heads.clone());
        let lanes = (0..shards)
            .filter_map(|shard| u8::try_from(shard).ok())
            .map(|shard| {
                Lane::start(
                    ShardId::new(shard),
                    lanes_of_database.clone(),
                    clock.clone(),
                    publisher.clone(),
                    Arc::clone(&in_flight),
                    Memory::new(ledger.members_in_memory / usize::from(shards)),
                )
            });
        let lanes = lanes.collect();
        let app = Self {
            programs,
            database,
            clock,
            cache,
            lanes,
            heads,
            publisher,
            signing_key: signing_key.map(Arc::new),
        };
        app.look_at_heads().await?;
        tokio::spawn(app.programs.clone().keep_fresh(shutdown.clone()));
        tokio::spawn(feed::follow_heads(app.clone(), shutdown.clone()));
        tokio::spawn(cache::tail(app.clone(), shutdown.clone()));
        tokio::spawn(sweeper::sweep(app.clone(), shutdown.clone()));
        Ok(app)
    }

    /// Consumes the tiers service's feed, for ever.
    pub async fn follow_tiers(self, tiers: fealty_client::Channel) {
        tier_feed::follow(self, tiers).await;
    }

    /// The shard of a member.
    #[must_use]
    pub fn shard(&self, program: &ProgramId, member: &MemberId) -> ShardId {
        shard_of(program, member, self.shards())
    }

    fn shards(&self) -> u16 {
        u16::try_from(self.lanes.len()).expect("at most 256 shards")
    }

    fn shard_ids(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.shards())
            .filter_map(|shard| u8::try_from(shard).ok())
            .map(ShardId::new)
    }

    /// Does what a request asks, once, however often it is sent.
    pub async fn submit(
        &self,
        program: &ProgramId,
        member: MemberId,
        request_id: RequestId,
        command: Command,
    ) -> Result<Answer, Rejection> {
        let applied = self.programs.newest(program)?;
        let shard = self.shard(program, &member);
        let work = Work::Request {
            request_id,
            command,
        };
        let done = self.lanes[usize::from(shard.get())]
            .submit(applied, member, work)
            .await;
        let answer = done.map_err(|error| error.rejection(shard))?;
        answer.ok_or_else(|| Error::Defect.rejection(shard))
    }

    /// Tells the cache and the feed of what was committed.
    async fn publish(&self, shard: ShardId, written: &batch::Written) {
        self.publisher.publish(shard, written).await;
    }

    /// Reads how far the logs reach.
    async fn look_at_heads(&self) -> Result<Cursor, DatabaseError> {
        let heads = store::shards::heads(self.database.pool()).await?;
        let cursor = Cursor::new(heads.iter().map(|head| head.position.get()).collect());
        self.heads.reached_all(&cursor);
        Ok(cursor)
    }
}

#[async_trait]
impl Operations for App {
    async fn feed_status(&self) -> Result<FeedStatus, Rejection> {
        let head = self.look_at_heads().await?;
        let cursor = foundation::feed_cursor(self.database.pool(), tier_feed::SOURCE).await?;
        Ok(FeedStatus {
            head: Some(head),
            consumed: vec![ConsumedFeed {
                source: tier_feed::SOURCE,
                cursor,
            }],
        })
    }

    async fn save_test_time(&self, now: Timestamp) -> Result<(), Rejection> {
        Ok(foundation::set_test_time(self.database.pool(), now).await?)
    }

    async fn do_due(&self) -> Result<i64, Rejection> {
        sweeper::sweep_once(self).await
    }
}
