//! The catalogue.

use fealty_proto::rewards::v1::{self as wire, catalog_service_server::CatalogService};
use fealty_server::{Fields, caller};
use tonic::{Request, Response, Status, async_trait};

use super::offers::{Availability, Catalog, Offer};

const PAGE_SIZE_DEFAULT: usize = 50;
const PAGE_SIZE_MAX: usize = 1_000;

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
        let size = match usize::try_from(request.page_size) {
            Ok(0) => PAGE_SIZE_DEFAULT,
            Ok(size) if size <= PAGE_SIZE_MAX => size,
            _ => {
                fields.add("page_size", "must be 0 to 1,000");
                0
            }
        };
        let start = if request.page_token.is_empty() {
            Ok(0)
        } else {
            request.page_token.parse()
        };
        let start: usize = start.unwrap_or_else(|_| {
            fields.add("page_token", "must be a token as the service gave it");
            0
        });
        let (program, member) = fields.finish(program.zip(member))?;
        let offers = self.0.offers(&program, &member).await?;
        let end = start.saturating_add(size);
        let next_page_token = if end < offers.len() {
            end.to_string()
        } else {
            String::new()
        };
        let rewards = offers.iter().skip(start).take(size).map(render).collect();
        Ok(Response::new(wire::ListRewardsResponse {
            rewards,
            next_page_token,
        }))
    }
}
