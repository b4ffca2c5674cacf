//! The service put together: each room gets what it works with, and the work in
//! the background is started.

use fealty_postgres::{Database, DatabaseError, Heads, foundation};
use fealty_server::{
    ConsumedFeed, FeedStatus, Operations, Programs, Rejection, ServiceClock, Troubles, async_trait,
};
use fealty_types::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{
    adjustments::Adjustments,
    audit::{Audit, signer::Signer},
    config::{LedgerSection, PlacementSetting},
    erasure::Erasure,
    feed::Feed,
    lane::{self, BalanceCache, LaneSettings, Lanes, Publisher},
    ledger::Ledger,
    members,
    referrals::Referrals,
    settlement::Settlement,
    shard::{Orders, Placement, Shards},
};

/// The points service at work.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) programs: Programs,
    pub(crate) ledger: Ledger,
    pub(crate) adjustments: Adjustments,
    pub(crate) audit: Audit,
    pub(crate) settlement: Settlement,
    pub(crate) erasure: Erasure,
    pub(crate) referrals: Referrals,
    database: Database,
    shards: Shards,
}

/// What the service works with.
pub(crate) struct Parts {
    /// For everything but the lanes.
    pub(crate) database: Database,
    /// For the lanes: as many connections as commit at once.
    pub(crate) lanes: Database,
    /// For claims of orders, while a lane's connection is in use: nobody who waits
    /// for a head may have one of these.
    pub(crate) claims: Database,
    pub(crate) clock: ServiceClock,
    pub(crate) cache: BalanceCache,
    pub(crate) programs: Programs,
    pub(crate) signer: Option<Signer>,
}

impl App {
    /// Starts the lanes and the work in the background, which ends with
    /// `shutdown`.
    pub(crate) async fn start(
        parts: Parts,
        settings: &LedgerSection,
        troubles: &Troubles,
        shutdown: &CancellationToken,
    ) -> Result<Self, DatabaseError> {
        let Parts {
            database,
            lanes,
            claims,
            clock,
            cache,
            programs,
            signer,
        } = parts;
        let placement = placement(&database, settings).await?;
        let shards = Shards::open(&database, settings.shards, placement).await?;
        let orders = Orders::new(claims, shards);
        let heads = Heads::new(usize::from(shards.count()));
        let publisher = Publisher::new(cache.clone(), heads.clone());
        let lanes = Lanes::start(
            (&lanes, &database),
            shards,
            &orders,
            programs.clone(),
            &clock,
            &publisher,
            LaneSettings {
                batches_in_flight: settings.batches_in_flight,
                members_in_memory: settings.members_in_memory,
            },
        );
        let feed = Feed::new(database.clone(), shards, heads.clone(), clock.clone());
        feed.head().await?;
        let audit = Audit::new(
            programs.clone(),
            database.clone(),
            clock.clone(),
            shards,
            feed.clone(),
            signer,
        );
        let ledger = Ledger {
            programs: programs.clone(),
            database: database.clone(),
            clock,
            shards,
            cache: cache.clone(),
            lanes,
            publisher,
            feed: feed.clone(),
        };
        let referrals = Referrals::new(ledger.clone());
        let ending = || shutdown.clone();
        tokio::spawn(programs.clone().keep_fresh(ending()));
        tokio::spawn(ledger.lanes.clone().watch(troubles.clone(), ending()));
        tokio::spawn(feed.follow_heads(ending()));
        tokio::spawn(lane::tail(cache, database.clone(), shards, heads, ending()));
        tokio::spawn(ledger.clone().sweep(ending()));
        tokio::spawn(referrals.clone().follow(ending()));
        Ok(Self {
            settlement: Settlement::new(audit.clone()),
            erasure: Erasure::new(&programs, &database, shards),
            referrals,
            programs,
            adjustments: Adjustments {
                ledger: ledger.clone(),
            },
            ledger,
            audit,
            database,
            shards,
        })
    }

    /// Consumes the tiers service's feed, for ever.
    pub(crate) async fn follow_tiers(self, tiers: fealty_client::Channel) {
        members::follow(self.database, self.shards, tiers).await;
    }
}

/// Where the shards lie.
async fn placement(
    database: &Database,
    settings: &LedgerSection,
) -> Result<Placement, DatabaseError> {
    match settings.placement {
        PlacementSetting::Auto => Placement::of(database).await,
        PlacementSetting::Distributed => Ok(Placement::Distributed),
    }
}

#[async_trait]
impl Operations for App {
    async fn feed_status(&self) -> Result<FeedStatus, Rejection> {
        let cursor = foundation::feed_cursor(self.database.pool(), members::SOURCE).await?;
        let head = self.ledger.feed.head().await?;
        Ok(FeedStatus {
            head: Some(head),
            consumed: vec![ConsumedFeed {
                source: members::SOURCE,
                cursor,
            }],
        })
    }

    async fn save_test_time(&self, now: Timestamp) -> Result<(), Rejection> {
        Ok(foundation::set_test_time(self.database.pool(), now).await?)
    }

    async fn do_due(&self) -> Result<i64, Rejection> {
        let looked = self.referrals.follow_all().await?;
        Ok(looked + self.ledger.sweep_once().await?)
    }
}
