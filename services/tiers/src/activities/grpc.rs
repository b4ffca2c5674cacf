//! Sensitive activities on the wire.

use fealty_auth::InReach;
use fealty_proto::tiers::v1::{self as wire, activity_service_server::ActivityService};
use fealty_server::{Fields, caller, to_wire_attributes, to_wire_time};
use fealty_types::{MemberId, ProgramId};
use tonic::{Request, Response, Status, async_trait};
use uuid::Uuid;

use super::{
    activity::{Activity, Asked, Which},
    service::Activities,
};

pub(crate) struct ActivityApi(pub(crate) Activities);

fn render(activity: &Activity) -> wire::SensitiveActivity {
    wire::SensitiveActivity {
        activity: activity.of_type.to_string(),
        activity_id: activity.id.to_string(),
        activity_time: Some(to_wire_time(activity.occurred_at)),
        recorded_time: Some(to_wire_time(activity.recorded_at)),
        attributes: to_wire_attributes(&activity.attributes),
    }
}

/// Whose activities are meant.
fn whose(
    fields: &mut Fields<'_>,
    (program, member): (&str, &str),
) -> Option<(InReach<ProgramId>, InReach<MemberId>)> {
    let program = fields.program("program", program);
    let member = fields.member("member", program.as_ref(), member);
    program.zip(member)
}

/// Which of them are to be deleted: a type without an id, or the other way round, is none.
fn which(fields: &mut Fields<'_>, asked: &wire::EraseActivitiesRequest) -> Option<Which> {
    if asked.activity.is_empty() && asked.activity_id.is_empty() {
        return Some(Which::All);
    }
    let of_type = fields.parse("activity", &asked.activity);
    let id = fields.parse("activity_id", &asked.activity_id);
    Some(Which::One(of_type?, id?))
}

#[async_trait]
impl ActivityService for ActivityApi {
    async fn record_activity(
        &self,
        request: Request<wire::RecordActivityRequest>,
    ) -> Result<Response<wire::RecordActivityResponse>, Status> {
        let caller = caller(&request)?;
        let asked = request.get_ref();
        let ((program, member), activity) = Fields::read(caller, |fields| {
            let whose = whose(fields, (&asked.program, &asked.member));
            let of_type = fields.parse("activity", &asked.activity);
            let id = fields.parse("activity_id", &asked.activity_id);
            let occurred_at = match asked.activity_time {
                None => Some(None),
                Some(time) => fields.time("activity_time", time).map(Some),
            };
            let attributes = fields.attributes("attributes", &asked.attributes);
            let activity = Asked {
                of_type: of_type?,
                id: id?,
                occurred_at: occurred_at?,
                attributes: attributes?,
            };
            Some((whose?, activity))
        })?;
        let recorded = self.0.record(caller, (&program, &member), activity).await;
        let (activity, replayed) = recorded?;
        Ok(Response::new(wire::RecordActivityResponse {
            activity: Some(render(&activity)),
            replayed,
        }))
    }

    async fn list_activities(
        &self,
        request: Request<wire::ListActivitiesRequest>,
    ) -> Result<Response<wire::ListActivitiesResponse>, Status> {
        let caller = caller(&request)?;
        let asked = request.get_ref();
        let ((program, member), page) = Fields::read(caller, |fields| {
            let whose = whose(fields, (&asked.program, &asked.member));
            let limit = fields.page_size("page_size", asked.page_size);
            let before = fields.page_token(&asked.page_token, |token| Uuid::parse_str(token).ok());
            Some((whose?, (before?, limit?)))
        })?;
        let (listed, next) = self.0.list(caller, (&program, &member), page).await?;
        Ok(Response::new(wire::ListActivitiesResponse {
            activities: listed.iter().map(render).collect(),
            next_page_token: next.map(|next| next.to_string()).unwrap_or_default(),
        }))
    }

    async fn erase_activities(
        &self,
        request: Request<wire::EraseActivitiesRequest>,
    ) -> Result<Response<wire::EraseActivitiesResponse>, Status> {
        let caller = caller(&request)?;
        let asked = request.get_ref();
        let ((program, member), which) = Fields::read(caller, |fields| {
            let whose = whose(fields, (&asked.program, &asked.member));
            let which = which(fields, asked);
            whose.zip(which)
        })?;
        let activities = self.0.erase(caller, (&program, &member), &which).await?;
        Ok(Response::new(wire::EraseActivitiesResponse { activities }))
    }
}
