//! Proposed adjustments and what became of them.

use fealty_postgres::{DatabaseError, PgConnection, PgTime, StoredRow, from_pg, to_pg};
use fealty_types::{MemberId, Position, ProgramId, RequestId, ShardId, Subject, Timestamp};
use sqlx::PgExecutor;
use uuid::Uuid;

use super::proposal::{Decision, Proposal, State};
use crate::shard::store::stored;

/// A row of the table.
struct Row {
    id: Uuid,
    program: String,
    member: String,
    body: Vec<u8>,
    state: i16,
    proposed_by: String,
    proposed_at: PgTime,
    decided_by: Option<String>,
    decided_at: Option<PgTime>,
    decision_note: String,
    decision_request: Option<String>,
    position: Option<i64>,
}

impl State {
    fn code(self) -> i16 {
        match self {
            Self::Proposed => 1,
            Self::Approving => 2,
            Self::Approved => 3,
            Self::Rejected => 4,
        }
    }

    fn of_code(code: i16) -> Option<Self> {
        let all = [
            Self::Proposed,
            Self::Approving,
            Self::Approved,
            Self::Rejected,
        ];
        all.into_iter().find(|state| state.code() == code)
    }
}

impl Row {
    fn into_proposal(self) -> Result<Proposal, DatabaseError> {
        let row = StoredRow::of("adjustments", self.id);
        let decision = match (&self.decided_by, self.decided_at) {
            (Some(by), Some(at)) => Some(Decision {
                by: row.parse("decided_by", by)?,
                at: from_pg(at),
                note: row.parse("decision_note", &self.decision_note)?,
                request_id: match &self.decision_request {
                    Some(request_id) => Some(row.parse("decision_request", request_id)?),
                    None => None,
                },
            }),
            _ => None,
        };
        Ok(Proposal {
            id: self.id,
            program: row.parse("program", &self.program)?,
            member: row.parse("member", &self.member)?,
            proposed: row.check("body", borsh::from_slice(&self.body).ok())?,
            state: row.check("state", State::of_code(self.state))?,
            proposer: row.parse("proposed_by", &self.proposed_by)?,
            proposed_at: from_pg(self.proposed_at),
            decision,
            position: self.position.map(Position::new),
        })
    }
}

/// Keeps a proposal; answers with the one that the request made before, if it did.
pub(super) async fn propose(
    connection: &mut PgConnection,
    shard: ShardId,
    request_key: Uuid,
    proposal: &Proposal,
) -> Result<Option<Proposal>, DatabaseError> {
    let body = borsh::to_vec(&proposal.proposed).map_err(|_| DatabaseError::Broken("a body"))?;
    let inserted = sqlx::query!(
        "-- points.adjustments.propose
        INSERT INTO adjustments (shard, id, program, member, request_key, body, state,
                                 proposed_by, proposed_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (request_key, shard) DO NOTHING",
        stored(shard),
        proposal.id,
        proposal.program.as_str(),
        proposal.member.as_str(),
        request_key,
        body,
        proposal.state.code(),
        proposal.proposer.as_str(),
        to_pg(proposal.proposed_at),
    )
    .execute(&mut *connection)
    .await?;
    if inserted.rows_affected() == 1 {
        return Ok(None);
    }
    let row = sqlx::query_as!(
        Row,
        "-- points.adjustments.by_request
        SELECT id, program, member, body, state, proposed_by, proposed_at, decided_by,
               decided_at, decision_note, decision_request, position
        FROM adjustments WHERE shard = $1 AND request_key = $2",
        stored(shard),
        request_key,
    )
    .fetch_one(connection)
    .await?;
    row.into_proposal().map(Some)
}

/// Reads a member's proposal.
pub(super) async fn read(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    (program, member): (&ProgramId, &MemberId),
    id: Uuid,
) -> Result<Option<Proposal>, DatabaseError> {
    let row = sqlx::query_as!(
        Row,
        "-- points.adjustments.read
        SELECT id, program, member, body, state, proposed_by, proposed_at, decided_by,
               decided_at, decision_note, decision_request, position
        FROM adjustments WHERE shard = $1 AND id = $2 AND program = $3 AND member = $4",
        stored(shard),
        id,
        program.as_str(),
        member.as_str(),
    )
    .fetch_optional(executor)
    .await?;
    row.map(Row::into_proposal).transpose()
}

/// Moves a proposal on from one of some states; `false` if it is in none of them.
pub(super) async fn decide(
    executor: impl PgExecutor<'_>,
    (shard, id): (ShardId, Uuid),
    from: &[State],
    to: State,
    decision: Option<&Decision>,
    position: Option<Position>,
) -> Result<bool, DatabaseError> {
    let from: Vec<i16> = from.iter().map(|state| state.code()).collect();
    let by: Option<&Subject> = decision.map(|decision| &decision.by);
    let at: Option<Timestamp> = decision.map(|decision| decision.at);
    let request: Option<&RequestId> = decision.and_then(|it| it.request_id.as_ref());
    let done = sqlx::query!(
        "-- points.adjustments.decide
        UPDATE adjustments SET state = $4, decided_by = $5, decided_at = $6,
            decision_note = $7, decision_request = $8, position = $9
        WHERE shard = $1 AND id = $2 AND state = ANY($3)",
        stored(shard),
        id,
        &from,
        to.code(),
        by.map(Subject::as_str),
        at.map(to_pg),
        decision.map_or("", |decision| decision.note.as_str()),
        request.map(RequestId::as_str),
        position.map(Position::get),
    )
    .execute(executor)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Some of a programme's proposals before a moment and an id, newest first.
pub(super) async fn list(
    executor: impl PgExecutor<'_>,
    program: &ProgramId,
    member: Option<&MemberId>,
    states: &[State],
    before: Option<(Timestamp, Uuid)>,
    limit: usize,
) -> Result<Vec<Proposal>, DatabaseError> {
    let states: Vec<i16> = states.iter().map(|state| state.code()).collect();
    let rows = sqlx::query_as!(
        Row,
        "-- points.adjustments.list
        SELECT id, program, member, body, state, proposed_by, proposed_at, decided_by,
               decided_at, decision_note, decision_request, position
        FROM adjustments
        WHERE program = $1 AND ($2::text IS NULL OR member = $2)
          AND (cardinality($3::smallint[]) = 0 OR state = ANY($3))
          AND ($4::timestamptz IS NULL OR (proposed_at, id) < ($4, $5))
        ORDER BY proposed_at DESC, id DESC LIMIT $6",
        program.as_str(),
        member.map(MemberId::as_str),
        &states,
        before.map(|(at, _)| to_pg(at)),
        before.map(|(_, id)| id),
        i64::try_from(limit).unwrap_or(i64::MAX),
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter().map(Row::into_proposal).collect()
}
