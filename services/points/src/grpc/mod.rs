//! The service on the wire. A handler parses, calls, renders; it decides
//! nothing.

mod audit;
mod earning;
mod explain;
mod ledger;
mod parse;
mod render;
mod settlement;

use fealty_proto::{
    points::v1::{
        audit_service_server::AuditServiceServer, earning_service_server::EarningServiceServer,
        ledger_service_server::LedgerServiceServer,
        settlement_service_server::SettlementServiceServer,
    },
    program::v1::program_service_server::ProgramServiceServer,
};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use crate::app::App;

/// The service's own gRPC services.
pub(crate) fn routes(app: App, shutdown: &CancellationToken) -> Routes {
    Routes::new(ProgramServiceServer::new(app.programs.clone()))
        .add_service(EarningServiceServer::new(earning::EarningApi(app.clone())))
        .add_service(AuditServiceServer::new(audit::AuditApi(app.clone())))
        .add_service(SettlementServiceServer::new(settlement::SettlementApi(
            app.clone(),
        )))
        .add_service(LedgerServiceServer::new(ledger::LedgerApi {
            app,
            shutdown: shutdown.clone(),
        }))
}
