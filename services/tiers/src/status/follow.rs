//! Purchases, as the points service's feed tells of them.

use std::collections::BTreeMap;

use fealty_client::{Channel, FEED_MESSAGE_BYTES_MAX, FeedConsumer};
use fealty_postgres::{DatabaseError, StoredRow, foundation, run};
use fealty_proto::points::v1::{
    FeedFilter, Transaction, TransactionKind, WatchTransactionsRequest, WatchTransactionsResponse,
    ledger_service_client::LedgerServiceClient,
};
use fealty_proto::r#type::v1::{FeedStart, feed_start::At};
use fealty_server::from_wire_time;
use fealty_types::{MemberId, ProgramId, Timestamp};
use tonic::{Response, Status, Streaming, async_trait};

use super::{
    judging::Judging,
    service::{SOURCE, Statuses},
    store::purchases::{self, Purchase},
};
use crate::domain::Spend;

struct PointsConsumer {
    statuses: Statuses,
    points: Channel,
}

/// Consumes the points service's feed, for ever.
pub(crate) async fn follow(statuses: Statuses, points: Channel) {
    fealty_client::consume(SOURCE, PointsConsumer { statuses, points }).await;
}

/// The purchase that a transaction records, if it does; or what came back of one, which is so
/// much less from then on.
fn purchase(transaction: &Transaction) -> Option<Result<Purchase, DatabaseError>> {
    let (time, amount) = if let Some(made) = &transaction.purchase {
        (made.purchase_time, &made.amount)
    } else {
        let returned = transaction.purchase_return.as_ref()?;
        (returned.purchase_time, &returned.amount)
    };
    let is_return = transaction.purchase.is_none();
    let written = || from_wire_time(transaction.written_time?).ok();
    let read = || {
        Some(Purchase {
            program: transaction.program.parse().ok()?,
            member: transaction.member.parse().ok()?,
            spend: Spend {
                at: from_wire_time(time?).ok()?,
                minor_units: amount.as_ref()?.minor_units * if is_return { -1 } else { 1 },
            },
            returned_at: if is_return { Some(written()?) } else { None },
            shard: i16::try_from(transaction.shard?).ok()?,
            position: transaction.position,
            transaction: transaction.id.clone(),
        })
    };
    let told = StoredRow::of("transactions", &transaction.id);
    Some(told.check("purchase", read()))
}

#[async_trait]
impl FeedConsumer for PointsConsumer {
    type Item = WatchTransactionsResponse;
    type Error = DatabaseError;

    async fn cursor(&self) -> Result<String, DatabaseError> {
        foundation::feed_cursor(self.statuses.database.pool(), SOURCE).await
    }

    async fn open(&self, cursor: String) -> Result<Response<Streaming<Self::Item>>, Status> {
        let client = LedgerServiceClient::new(self.points.clone());
        let mut client = client.max_decoding_message_size(FEED_MESSAGE_BYTES_MAX);
        let request = WatchTransactionsRequest {
            start: Some(FeedStart {
                at: Some(At::Cursor(cursor)),
            }),
            include_canonical_bytes: false,
            filter: Some(FeedFilter {
                kinds: vec![
                    TransactionKind::Purchase.into(),
                    TransactionKind::Return.into(),
                ],
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
        if item.cursor == from && item.known_time.is_none() {
            return Ok(Some(item.cursor));
        }
        let known = item.known_time.and_then(|time| from_wire_time(time).ok());
        let made = item.transactions.iter().filter_map(purchase);
        let made: Vec<Purchase> = made.collect::<Result<_, _>>()?;
        let mut earliest: BTreeMap<(ProgramId, MemberId), Timestamp> = BTreeMap::new();
        for purchase in &made {
            let member = (purchase.program.clone(), purchase.member.clone());
            let known = earliest.entry(member).or_insert(purchase.spend.at);
            *known = (*known).min(purchase.spend.at);
        }
        let taken: Result<Option<i64>, DatabaseError> = run!(
            self.statuses.database,
            "take_transactions",
            |connection| async {
                let moved = (from, &*item.cursor);
                if !foundation::move_feed_cursor(connection, SOURCE, moved, known).await? {
                    return Ok(None);
                }
                if earliest.is_empty() {
                    return Ok(Some(0));
                }
                let mut judging = Judging::begin(connection, &self.statuses).await?;
                let members = earliest.iter();
                let members = members.map(|((p, m), earliest)| (p.clone(), m.clone(), *earliest));
                let (statuses, members) = (&self.statuses, members.collect());
                judging.read(connection, statuses, members).await?;
                judging.credit_all(connection, statuses, &made).await?;
                purchases::insert(connection, &made).await?;
                judging.write(connection).await?;
                Ok(Some(judging.position))
            }
        );
        Ok(taken?.map(|position| {
            self.statuses.feed.reached(position);
            item.cursor
        }))
    }
}
