//! The catalogue.

use fealty_proto::rewards::v1::{self as wire, catalog_service_server::CatalogService};
use fealty_server::{Fields, caller};
use fealty_types::Points;
use tonic::{Request, Response, Status, async_trait};

use super::offers::{Availability, Catalog, Offer, OfferKey};

pub(crate) struct CatalogApi(pub(crate) Catalog);

fn render(offer: &Offer) -> wire::RewardOffer {
    let availability = match offer.availability {
        Availability::Available => wire::Availability::Available,
        Availability::InsufficientPoints => wire::Availability::InsufficientPoints,
        Availability::SoldOut => wire::Availability::SoldOut,
    };
    wire::RewardOffer {
        id: offer.id.to_string(),
        display_name: offer.reward.name.clone(),
        points: offer.reward.points.get(),
        currency: offer.reward.currency.to_string(),
        availability: availability.into(),
        missing_points: offer.missing.get(),
        stock_left: offer.stock_left,
    }
}

/// The price and the id, which are no secret.
fn render_token(key: &OfferKey) -> String {
    format!("{}.{}", key.points, key.reward)
}

fn parse_token(token: &str) -> Option<OfferKey> {
    let (points, reward) = token.split_once('.')?;
    Some(OfferKey {
        points: Points::new(points.parse().ok()?).ok()?,
        reward: reward.parse().ok()?,
    })
}

#[async_trait]
impl CatalogService for CatalogApi {
    async fn list_rewards(
        &self,
        request: Request<wire::ListRewardsRequest>,
    ) -> Result<Response<wire::ListRewardsResponse>, Status> {
        let mut fields = Fields::of(caller(&request)?);
        let request = request.get_ref();
        let program = fields.program("program", &request.program);
        let member = fields.member("member", program.as_ref(), &request.member);
        let size = fields.page_size("page_size", request.page_size);
        let after = fields.page_token(&request.page_token, parse_token);
        let asked = program.zip(member).zip(size.zip(after));
        let ((program, member), (size, after)) = fields.finish(asked)?;
        let (offers, next) = self
            .0
            .offers(&program, &member, after.as_ref(), size)
            .await?;
        let next_page_token = next.map(|next| render_token(&next)).unwrap_or_default();
        let rewards = offers.iter().map(render).collect();
        Ok(Response::new(wire::ListRewardsResponse {
            rewards,
            next_page_token,
        }))
    }
}
