//! The service on the wire: its gRPC services, and how its errors read there.
//! A handler parses, calls, renders; it decides nothing.

use fealty_proto::{
    program::v1::program_service_server,
    tiers::v1::{
        activity_service_server::{self, ActivityServiceServer},
        tier_service_server::{self, TierServiceServer},
    },
    r#type::v1::ErrorReason,
};
use fealty_server::{REQUEST_LEN_MAX, Rejection, Violations};
use tokio_util::sync::CancellationToken;
use tonic::{Status, service::Routes};

use crate::{
    activities::{Activities, grpc::ActivityApi},
    error::Error,
    status::{Statuses, grpc::TierApi},
};

/// Their full names.
pub(crate) const SERVICES: [&str; 3] = [
    activity_service_server::SERVICE_NAME,
    program_service_server::SERVICE_NAME,
    tier_service_server::SERVICE_NAME,
];

/// The service's own gRPC services.
pub(crate) fn routes(statuses: &Statuses, shutdown: &CancellationToken) -> Routes {
    let tiers = TierApi {
        statuses: statuses.clone(),
        shutdown: shutdown.clone(),
    };
    let activities = ActivityApi(Activities {
        programs: statuses.programs.clone(),
        database: statuses.database.clone(),
        clock: statuses.clock.clone(),
    });
    Routes::new(statuses.programs.server())
        .add_service(
            ActivityServiceServer::new(activities).max_decoding_message_size(REQUEST_LEN_MAX),
        )
        .add_service(TierServiceServer::new(tiers).max_decoding_message_size(REQUEST_LEN_MAX))
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Rejection::from(error).into()
    }
}

impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::ProgramNotFound(error) => error.into(),
            Error::NoTiers(program) => {
                Self::new(ErrorReason::ProgramNotFound, message).with("program", program)
            }
            Error::Field { field, rule } => {
                let mut violations = Violations::new();
                violations.add(&field, rule);
                violations.into()
            }
            Error::ActivityAlreadyRecorded(id) => {
                Self::new(ErrorReason::ActivityAlreadyRecorded, message).with("activity_id", id)
            }
            Error::CursorOutOfRange | Error::AnotherLog => {
                Self::new(ErrorReason::CursorOutOfRange, message)
            }
            Error::Ending => Self::new(ErrorReason::Unavailable, message),
            Error::Database(error) => error.into(),
        }
    }
}
