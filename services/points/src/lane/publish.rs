//! Telling the cache and the feed of what was committed.

use fealty_postgres::Heads;
use fealty_types::ShardId;
use opentelemetry::{KeyValue, global, metrics::Counter};

use super::cache::BalanceCache;
use crate::shard::Written;

/// Tells the cache and the feed of what was committed.
#[derive(Clone)]
pub(crate) struct Publisher {
    cache: BalanceCache,
    heads: Heads,
    points: Counter<u64>,
}

impl Publisher {
    pub(crate) fn new(cache: BalanceCache, heads: Heads) -> Self {
        let points = global::meter("fealty")
            .u64_counter("fealty.points.moved")
            .build();
        Self {
            cache,
            heads,
            points,
        }
    }

    /// Before the answers, so that a caller who then asks the cache finds what
    /// it was told.
    pub(crate) async fn publish(&self, shard: ShardId, written: &Written) {
        let (after, through) = (written.after.0, written.through.0);
        // Where only the date changed on which to look, the log has nothing of it.
        if through > after || !written.wallets.is_empty() {
            self.cache
                .put(shard, written.after, written.through, &written.wallets)
                .await;
        }
        self.heads.reached(usize::from(shard.get()), through.get());
        for (kind, points) in &written.moved {
            self.points
                .add(*points, &[KeyValue::new("fealty.account", *kind)]);
        }
    }
}
