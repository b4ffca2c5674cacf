//! The service on the wire. A handler parses, calls, renders; it decides
//! nothing.

mod tier;

use fealty_proto::{
    program::v1::program_service_server::ProgramServiceServer,
    tiers::v1::tier_service_server::TierServiceServer,
};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::app::App;

/// The service's own gRPC services.
pub(crate) fn routes(app: App, shutdown: &CancellationToken) -> Routes {
    let shutdown = shutdown.clone();
    Routes::new(ProgramServiceServer::new(app.programs.clone()))
        .add_service(TierServiceServer::new(tier::TierApi { app, shutdown }))
}
