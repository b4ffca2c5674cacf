//! A request into an activity, with every broken rule named.

use fealty_ledger::{Activity, Command};
use fealty_proto::points::v1 as wire;
use fealty_server::Rejection;

use crate::ledger::{
    Change,
    grpc::{Call, changes::read_change},
};

/// An activity asked for.
pub(crate) fn activity(
    call: Call<'_>,
    request: &wire::RecordActivityRequest,
) -> Result<Change, Rejection> {
    read_change!(call, request, |fields| {
        let brand = fields.brand(&request.brand);
        let of_type = fields.parse("activity", &request.activity);
        let id = fields.parse("activity_id", &request.activity_id);
        let occurred_at = fields.optional_time("activity_time", request.activity_time);
        let attributes = fields.fields.attributes("attributes", &request.attributes);
        Some(Command::Activity(Activity {
            brand: brand?,
            of_type: of_type?,
            id: id?,
            occurred_at: occurred_at.ok()?,
            attributes: attributes?,
        }))
    })
}
