//! Adjustments on the wire.

use fealty_proto::points::v1::{self as wire, adjustment_service_server::AdjustmentService};
use fealty_server::{Fields, Rejection, to_wire_time};
use fealty_types::{Points, Timestamp, TransactionPlace};
use tonic::{Request, Response, Status, async_trait};
use uuid::Uuid;

use super::{
    proposal::{Proposal, Proposed, State, Wanted},
    service::{Adjustments, Deciding},
};
use crate::ledger::{
    Change,
    grpc::{Call, changes::change as read_change_of, changes::read_change},
};

pub(crate) struct AdjustmentApi(pub(crate) Adjustments);

fn state(state: State) -> wire::AdjustmentState {
    match state {
        State::Proposed => wire::AdjustmentState::Proposed,
        State::Approved => wire::AdjustmentState::Approved,
        State::Rejected => wire::AdjustmentState::Rejected,
    }
}

fn render(by: &Adjustments, call: Call<'_>, proposal: &Proposal) -> wire::Adjustment {
    let proposed = &proposal.proposed;
    let points = proposed.points.get();
    let decision = proposal.decision.as_ref();
    let shard = by.ledger.shards.of(&proposal.program, &proposal.member);
    let metadata = proposed.metadata.iter();
    wire::Adjustment {
        id: proposal.id.to_string(),
        program: proposal.program.to_string(),
        member: proposal.member.to_string(),
        brand: proposed.brand.to_string(),
        currency: proposed.currency.to_string(),
        points: if proposed.gives { points } else { -points },
        reason: proposed.reason.to_string(),
        note: proposed.note.to_string(),
        state: state(proposal.state).into(),
        proposer: proposal.proposer.to_string(),
        propose_time: Some(to_wire_time(proposal.proposed_at)),
        decider: decision
            .map(|decision| decision.by.to_string())
            .unwrap_or_default(),
        decide_time: decision.map(|decision| to_wire_time(decision.at)),
        decision_note: decision
            .map(|decision| decision.note.to_string())
            .unwrap_or_default(),
        transaction: proposal
            .position
            .map(|position| call.ids.transaction(TransactionPlace { shard, position }))
            .unwrap_or_default(),
        metadata: metadata
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect(),
    }
}

fn propose(
    call: Call<'_>,
    request: &wire::ProposeAdjustmentRequest,
) -> Result<Change<Proposed>, Rejection> {
    let read = read_change!(call, request, |fields| {
        let brand = fields.brand(&request.brand);
        let currency = fields.parse("currency", &request.currency);
        let points: Option<Points> = fields.either_way(request.points);
        let reason = fields.said("reason", &request.reason);
        let note = fields.parse("note", &request.note);
        Some((brand?, currency?, points?, reason?, note?))
    })?;
    let metadata = read.metadata.clone();
    Ok(
        read.map(|(brand, currency, points, reason, note)| Proposed {
            brand,
            currency,
            points,
            gives: request.points > 0,
            reason,
            note,
            metadata,
        }),
    )
}

fn decide(
    call: Call<'_>,
    [request_id, program, member, adjustment, note]: [&str; 5],
) -> Result<Change<Deciding>, Rejection> {
    let every = [request_id, program, member];
    read_change_of(call, every, &std::collections::HashMap::new(), |fields| {
        let note = fields.parse("note", note);
        let id = Uuid::try_parse(adjustment).ok();
        if id.is_none() {
            fields
                .fields
                .add("adjustment", "must be the id of an adjustment, a UUID");
        }
        Some(Deciding {
            adjustment: id?,
            note: note?,
        })
    })
}

fn wanted(
    call: Call<'_>,
    request: &wire::ListAdjustmentsRequest,
) -> Result<(fealty_auth::InReach<fealty_types::ProgramId>, Wanted), Rejection> {
    Fields::read(call.caller, |fields| {
        let program = fields.program("program", &request.program);
        let member = match request.member.as_str() {
            "" => Some(None),
            member => fields.member("member", program.as_ref(), member).map(Some),
        };
        let mut states = Vec::new();
        for (index, asked) in request.states.iter().enumerate() {
            match wire::AdjustmentState::try_from(*asked) {
                Ok(wire::AdjustmentState::Proposed) => states.push(State::Proposed),
                Ok(wire::AdjustmentState::Approved) => states.push(State::Approved),
                Ok(wire::AdjustmentState::Rejected) => states.push(State::Rejected),
                _ => {
                    let rule = "must be one of the enum's values";
                    fields.add(&format!("states[{index}]"), rule);
                }
            }
        }
        let limit = fields.page_size("page_size", request.page_size);
        let before = fields.page_token(&request.page_token, parse_token);
        let wanted = Wanted {
            member: member?,
            states,
            before: before?,
            limit: limit?,
        };
        Some((program?, wanted))
    })
}

/// The moment and the id of the last of a page, which its reader has seen.
fn token((proposed_at, id): (Timestamp, Uuid)) -> String {
    format!("{:x}.{}", proposed_at.micros(), id.simple())
}

fn parse_token(token: &str) -> Option<(Timestamp, Uuid)> {
    let (micros, id) = token.split_once('.')?;
    let micros = i64::from_str_radix(micros, 16).ok()?;
    Some((Timestamp::from_micros(micros)?, Uuid::try_parse(id).ok()?))
}

impl AdjustmentApi {
    fn call<'a, T>(&self, request: &'a Request<T>) -> Result<Call<'a>, Rejection> {
        Call::of(request, self.0.ledger.shards.ids())
    }
}

#[async_trait]
impl AdjustmentService for AdjustmentApi {
    async fn propose_adjustment(
        &self,
        request: Request<wire::ProposeAdjustmentRequest>,
    ) -> Result<Response<wire::ProposeAdjustmentResponse>, Status> {
        let call = self.call(&request)?;
        let (proposal, replayed) = self.0.propose(propose(call, request.get_ref())?).await?;
        Ok(Response::new(wire::ProposeAdjustmentResponse {
            adjustment: Some(render(&self.0, call, &proposal)),
            replayed,
        }))
    }

    async fn approve_adjustment(
        &self,
        request: Request<wire::ApproveAdjustmentRequest>,
    ) -> Result<Response<wire::ApproveAdjustmentResponse>, Status> {
        let call = self.call(&request)?;
        let asked = request.get_ref();
        let change = decide(
            call,
            [
                &asked.request_id,
                &asked.program,
                &asked.member,
                &asked.adjustment,
                "",
            ],
        )?;
        let approved = self.0.approve(change).await?;
        Ok(Response::new(wire::ApproveAdjustmentResponse {
            adjustment: Some(render(&self.0, call, &approved.proposal)),
            transaction: Some(call.transaction(&approved.made)),
            replayed: approved.replayed,
        }))
    }

    async fn reject_adjustment(
        &self,
        request: Request<wire::RejectAdjustmentRequest>,
    ) -> Result<Response<wire::RejectAdjustmentResponse>, Status> {
        let call = self.call(&request)?;
        let asked = request.get_ref();
        let change = decide(
            call,
            [
                &asked.request_id,
                &asked.program,
                &asked.member,
                &asked.adjustment,
                &asked.note,
            ],
        )?;
        let (proposal, replayed) = self.0.reject(change).await?;
        Ok(Response::new(wire::RejectAdjustmentResponse {
            adjustment: Some(render(&self.0, call, &proposal)),
            replayed,
        }))
    }

    async fn list_adjustments(
        &self,
        request: Request<wire::ListAdjustmentsRequest>,
    ) -> Result<Response<wire::ListAdjustmentsResponse>, Status> {
        let call = self.call(&request)?;
        let (program, wanted) = wanted(call, request.get_ref())?;
        let (listed, next) = self.0.list(call.caller, &program, &wanted).await?;
        let adjustments = listed
            .iter()
            .map(|proposal| render(&self.0, call, proposal));
        Ok(Response::new(wire::ListAdjustmentsResponse {
            adjustments: adjustments.collect(),
            next_page_token: next.map(token).unwrap_or_default(),
        }))
    }
}
