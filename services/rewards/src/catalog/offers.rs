//! The catalogue, as it stands for a member.

use std::collections::HashMap;

use fealty_auth::InReach;
use fealty_postgres::Database;
use fealty_program::Reward;
use fealty_server::Programs;
use fealty_types::{CurrencyId, MemberId, Points, ProgramId, RewardId};

use super::store::{self, Taken};
use crate::{error::Error, points_client::PointsClient};

/// A reward as it stands for a member.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    /// The reward.
    pub(crate) id: RewardId,
    /// Its terms.
    pub(crate) reward: Reward,
    /// Whether it can be had.
    pub(crate) availability: Availability,
    /// Points missing to it.
    pub(crate) missing: Points,
    /// How many are left, where there is a limit.
    pub(crate) stock_left: Option<i64>,
}

/// Where a reward stands in the catalogue's order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct OfferKey {
    /// What it costs.
    pub(crate) points: Points,
    /// Its id.
    pub(crate) reward: RewardId,
}

/// Whether a reward can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Availability {
    /// Now.
    Available,
    /// Not with these points.
    InsufficientPoints,
    /// None is left.
    SoldOut,
}

/// Shows members what their points buy.
#[derive(Clone)]
pub(crate) struct Catalog {
    pub(crate) programs: Programs,
    pub(crate) database: Database,
    pub(crate) points: PointsClient,
}

impl Catalog {
    /// Some rewards for a member, cheapest first and then by id, after one of them.
    /// Answers also with the one that the next page comes after.
    pub(crate) async fn offers(
        &self,
        program: &InReach<ProgramId>,
        member: &InReach<MemberId>,
        after: Option<&OfferKey>,
        limit: usize,
    ) -> Result<(Vec<Offer>, Option<OfferKey>), Error> {
        let applied = self.programs.newest(program)?;
        let rewards = applied.program.rewards.iter();
        let keyed = rewards.map(|(id, reward)| {
            let key = OfferKey {
                points: reward.points,
                reward: id.clone(),
            };
            (key, reward)
        });
        let mut rewards: Vec<(OfferKey, &Reward)> = keyed
            .filter(|(key, _)| after.is_none_or(|after| key > after))
            .collect();
        rewards.sort_by(|(a, _), (b, _)| a.cmp(b));
        let more = rewards.len() > limit;
        rewards.truncate(limit);
        let last = rewards.last().map(|(key, _)| key.clone());
        let mut available: HashMap<&CurrencyId, Points> = HashMap::new();
        for (_, reward) in &rewards {
            if !available.contains_key(&reward.currency) {
                let points = self
                    .points
                    .available(program, member, &reward.currency)
                    .await?;
                available.insert(&reward.currency, points);
            }
        }
        let taken = store::taken(self.database.pool(), program).await?;
        let taken: HashMap<String, Taken> = taken.into_iter().collect();
        let offers = rewards.iter().map(|(key, reward)| {
            let taken = taken.get(key.reward.as_str()).copied().unwrap_or_default();
            let stock_left = reward
                .stock
                .map(|stock| (stock - taken.issued - taken.reserved).max(0));
            let missing = reward
                .points
                .checked_sub(available[&reward.currency])
                .unwrap_or_default();
            let availability = if stock_left == Some(0) {
                Availability::SoldOut
            } else if missing.is_zero() {
                Availability::Available
            } else {
                Availability::InsufficientPoints
            };
            Offer {
                id: key.reward.clone(),
                reward: (*reward).clone(),
                availability,
                missing,
                stock_left,
            }
        });
        Ok((offers.collect(), last.filter(|_| more)))
    }
}
