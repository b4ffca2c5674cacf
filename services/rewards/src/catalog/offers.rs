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
    /// The rewards for a member: those that can be had first, then the rest,
    /// each cheapest first.
    pub(crate) async fn offers(
        &self,
        program: &InReach<ProgramId>,
        member: &InReach<MemberId>,
    ) -> Result<Vec<Offer>, Error> {
        let applied = self.programs.newest(program)?;
        let rewards = &applied.program.rewards;
        let mut available: HashMap<&CurrencyId, Points> = HashMap::new();
        for reward in rewards.values() {
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
        let mut offers: Vec<Offer> = rewards
            .iter()
            .map(|(id, reward)| {
                let taken = taken.get(id.as_str()).copied().unwrap_or_default();
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
                    id: id.clone(),
                    reward: reward.clone(),
                    availability,
                    missing,
                    stock_left,
                }
            })
            .collect();
        offers.sort_by(|a, b| {
            let order = |offer: &Offer| (offer.availability, offer.reward.points);
            order(a).cmp(&order(b)).then_with(|| a.id.cmp(&b.id))
        });
        Ok(offers)
    }
}
