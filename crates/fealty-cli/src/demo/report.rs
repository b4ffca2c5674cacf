//! What the demo found.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::figures::{grouped, signed};

/// The demo's figures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Purchases recorded.
    pub purchases: u64,
    /// Members who bought.
    pub members: u64,
    /// Points by the base rule.
    pub points_base: i64,
    /// Points by tier, on top.
    pub points_bonus: i64,
    /// Points spent.
    pub points_redeemed: i64,
    /// Points expired.
    pub points_expired: i64,
    /// Points that members have at the end.
    pub points_outstanding: i64,
    /// Members by tier at the end.
    pub tiers: BTreeMap<String, i64>,
    /// Redemptions by reward.
    pub redemptions: BTreeMap<String, u64>,
    /// Requests that were sent a second time.
    pub replays_sent: u64,
    /// Of those, the ones answered as the first time.
    pub replays_answered: u64,
    /// Purchases a second, over the time in which purchases were recorded.
    pub purchases_per_second: u64,
    /// Whether the whole ledger was verified.
    pub ledger_verified: bool,
    /// Whether the accounts' debits equal their credits.
    pub debits_equal_credits: bool,
}

impl Report {
    /// Whether everything ties out.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.ledger_verified
            && self.debits_equal_credits
            && self.replays_sent == self.replays_answered
            && self.points_base + self.points_bonus - self.points_redeemed - self.points_expired
                == self.points_outstanding
    }

    /// Prints it for people.
    pub fn print(&self) {
        let row = |name: &str, value: String| println!("  {name:<22} {value:>14}");
        println!("\nrecord-club, 1997-01-01 to 1998-06-30");
        row("purchases", grouped(self.purchases));
        row("members", grouped(self.members));
        println!("points");
        row("base", signed(self.points_base));
        row("bonus", signed(self.points_bonus));
        row("redeemed", signed(-self.points_redeemed));
        row("expired", signed(-self.points_expired));
        row("outstanding", signed(self.points_outstanding));
        println!("members by tier");
        let mut tiers: Vec<(&String, &i64)> = self.tiers.iter().collect();
        tiers.sort_by_key(|(_, members)| std::cmp::Reverse(**members));
        for (tier, members) in tiers {
            row(tier, signed(*members));
        }
        println!("redemptions");
        for (reward, count) in &self.redemptions {
            row(reward, grouped(*count));
        }
        println!("proof");
        row("requests sent twice", grouped(self.replays_sent));
        row("answered as before", grouped(self.replays_answered));
        row("ledger verified", self.ledger_verified.to_string());
        row(
            "debits equal credits",
            self.debits_equal_credits.to_string(),
        );
        row("purchases a second", grouped(self.purchases_per_second));
    }
}
