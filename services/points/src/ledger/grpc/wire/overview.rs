//! All of a member's wallets.

use fealty_proto::points::v1 as wire;
use fealty_server::to_wire_time;
use fealty_types::{CurrencyId, ShardId, TransactionPlace};

use super::{super::Call, text, wallet};
use crate::ledger::overview::{Overview, Waiting};

impl Call<'_> {
    /// All of a member's wallets.
    pub(in crate::ledger) fn overview(
        self,
        shard: ShardId,
        currency: &CurrencyId,
        read: &Overview,
    ) -> wire::WalletOverview {
        let id = |position| self.ids.transaction(TransactionPlace { shard, position });
        let expiries = read.expiries.iter();
        let pending = read.pending.iter().map(|(waiting, points)| {
            let (time, event) = match waiting {
                Waiting::Until(at) => (Some(to_wire_time(*at)), String::new()),
                Waiting::For(event) => (None, text(event)),
            };
            wire::PendingPoints {
                points: *points,
                activation_time: time,
                activation_event: event,
            }
        });
        wire::WalletOverview {
            balance: Some(wallet(currency.as_str(), &read.wallet)),
            transaction: read.wallet.last_position.map(id).unwrap_or_default(),
            lifetime_earned: read.wallet.earned,
            lifetime_redeemed: read.wallet.redeemed,
            expiries: expiries
                .map(|(at, points)| wire::PointsExpiry {
                    points: *points,
                    expiry_time: Some(to_wire_time(*at)),
                })
                .collect(),
            expiring_later: read.expiring_later,
            expiring_with_inactivity: read.with_inactivity,
            never_expiring: read.never_expiring,
            pending: pending.collect(),
            pending_later: read.pending_later,
        }
    }
}
