//! The service on the wire. A handler parses, calls, renders; it decides
//! nothing.

mod catalog;
mod redemption;

use fealty_proto::{
    program::v1::program_service_server::ProgramServiceServer,
    rewards::v1::{
        catalog_service_server::CatalogServiceServer,
        redemption_service_server::RedemptionServiceServer,
    },
};
use tonic::service::Routes;

use crate::app::App;

/// The service's own gRPC services.
pub(crate) fn routes(app: App) -> Routes {
    Routes::new(ProgramServiceServer::new(app.programs.clone()))
        .add_service(CatalogServiceServer::new(catalog::CatalogApi(app.clone())))
        .add_service(RedemptionServiceServer::new(redemption::RedemptionApi(app)))
}
