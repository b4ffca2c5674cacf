//! The service on the wire: its gRPC services, and how its errors read there.
//! A handler parses, calls, renders; it decides nothing.

use std::time::Duration;

use fealty_proto::{
    program::v1::program_service_server,
    rewards::v1::{
        catalog_service_server::{self, CatalogServiceServer},
        redemption_service_server::{self, RedemptionServiceServer},
    },
    r#type::v1::ErrorReason,
};
use fealty_server::{REQUEST_LEN_MAX, Rejection};
use tonic::{Status, service::Routes};

use crate::{app::App, catalog::grpc::CatalogApi, error::Error, redemption::grpc::RedemptionApi};

/// How soon a redemption that met another one may try again.
const RETRY_AFTER: Duration = Duration::from_millis(25);

/// Their full names.
pub(crate) const SERVICES: [&str; 3] = [
    program_service_server::SERVICE_NAME,
    catalog_service_server::SERVICE_NAME,
    redemption_service_server::SERVICE_NAME,
];

/// The service's own gRPC services.
pub(crate) fn routes(app: &App) -> Routes {
    let redemptions = RedemptionApi(app.redemptions.clone());
    Routes::new(app.programs.server())
        .add_service(
            CatalogServiceServer::new(CatalogApi(app.catalog.clone()))
                .max_decoding_message_size(REQUEST_LEN_MAX),
        )
        .add_service(
            RedemptionServiceServer::new(redemptions).max_decoding_message_size(REQUEST_LEN_MAX),
        )
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Rejection::from(error).into()
    }
}

impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let told = |reason| Self::new(reason, message);
        match error {
            Error::ProgramNotFound(error) => error.into(),
            Error::RequestIdReused => told(ErrorReason::RequestIdReused).with("field", "reward"),
            Error::RewardNotFound(reward) => {
                told(ErrorReason::RewardNotFound).with("reward", reward)
            }
            Error::AnothersReward(_) => told(ErrorReason::PermissionDenied).with("field", "reward"),
            Error::SoldOut(reward) => told(ErrorReason::SoldOut).with("reward", reward),
            Error::StockContended(reward) => told(ErrorReason::StockContended)
                .with("reward", reward)
                .retry_after(RETRY_AFTER),
            Error::InProgress => told(ErrorReason::RedemptionInProgress).retry_after(RETRY_AFTER),
            Error::RedemptionNotFound(id) => {
                told(ErrorReason::RedemptionNotFound).with("redemption", id)
            }
            Error::PointsUnavailable => told(ErrorReason::Unavailable).retry_after(RETRY_AFTER),
            Error::Points(rejection) => rejection,
            Error::Database(error) => error.into(),
        }
    }
}
