//! Purchases, as the points service's feed tells of them.

use std::collections::BTreeSet;

use fealty_client::{Channel, FeedConsumer};
use fealty_postgres::{DatabaseError, foundation, run};
use fealty_proto::points::v1::{
    FeedFilter, Transaction, TransactionKind, WatchTransactionsRequest, WatchTransactionsResponse,
    ledger_service_client::LedgerServiceClient,
};
use fealty_server::from_wire_time;
use tonic::{Response, Status, Streaming, async_trait};

use super::{App, judging::Judging};
use crate::{
    domain::Spend,
    store::{self, purchases::Purchase},
};

/// The feed's name among the stored cursors.
pub(super) const SOURCE: &str = "points";

struct PointsConsumer {
    app: App,
    points: Channel,
}

pub(super) async fn follow(app: App, points: Channel) {
    fealty_client::consume(SOURCE, PointsConsumer { app, points }).await;
}

/// The purchase that a transaction records, if it records one.
fn purchase(transaction: &Transaction) -> Option<Result<Purchase, DatabaseError>> {
    let purchase = transaction.purchase.as_ref()?;
    let read = || {
        Some(Purchase {
            program: transaction.program.parse().ok()?,
            member: transaction.member.parse().ok()?,
            spend: Spend {
                at: from_wire_time(purchase.purchase_time?).ok()?,
                minor_units: purchase.amount.as_ref()?.minor_units,
            },
            shard: i16::try_from(transaction.shard).ok()?,
            position: transaction.position,
        })
    };
    Some(read().ok_or_else(|| {
        let told = format!("the purchase {} cannot be read", transaction.name);
        DatabaseError::Defect(sqlx::Error::Protocol(told))
    }))
}

#[async_trait]
impl FeedConsumer for PointsConsumer {
    type Item = WatchTransactionsResponse;
    type Error = DatabaseError;

    async fn cursor(&self) -> Result<String, DatabaseError> {
        foundation::feed_cursor(self.app.database.pool(), SOURCE).await
    }

    async fn open(&self, cursor: String) -> Result<Response<Streaming<Self::Item>>, Status> {
        let mut client = LedgerServiceClient::new(self.points.clone());
        let request = WatchTransactionsRequest {
            cursor,
            include_canonical_bytes: false,
            filter: Some(FeedFilter {
                kinds: vec![TransactionKind::Purchase.into()],
                ..FeedFilter::default()
            }),
        };
        client.watch_transactions(request).await
    }

    fn behind(item: &Self::Item) -> i64 {
        item.behind
    }

    async fn take(
        &self,
        from: &str,
        item: WatchTransactionsResponse,
    ) -> Result<Option<String>, DatabaseError> {
        if item.cursor == from {
            return Ok(Some(item.cursor));
        }
        let purchases = item.transactions.iter().filter_map(purchase);
        let purchases: Vec<Purchase> = purchases.collect::<Result<_, _>>()?;
        let earliest = purchases.iter().map(|purchase| purchase.spend.at).min();
        let members: BTreeSet<_> = purchases
            .iter()
            .map(|purchase| (purchase.program.clone(), purchase.member.clone()))
            .collect();
        let taken: Result<Option<i64>, DatabaseError> =
            run!(self.app.database, "take_transactions", |connection| async {
                let to = &item.cursor;
                if !foundation::move_feed_cursor(connection, SOURCE, from, to).await? {
                    return Ok(None);
                }
                let Some(earliest) = earliest else {
                    return Ok(Some(0));
                };
                let mut judging = Judging::begin(connection).await?;
                let members = members.iter().cloned().collect();
                judging
                    .read(connection, &self.app, members, earliest)
                    .await?;
                judging.credit_all(&self.app, &purchases);
                store::purchases::insert(connection, &purchases).await?;
                judging.write(connection).await?;
                Ok(Some(judging.position))
            });
        Ok(taken?.map(|position| {
            self.app.heads.reached(0, position);
            item.cursor
        }))
    }
}
