//! Proposed adjustments and what became of them.

use fealty_postgres::{DatabaseError, PgConnection, PgTime, StoredRow, from_pg, to_pg};
use fealty_program::Personal;
use fealty_types::{BrandId, MemberId, Position, ProgramId, RequestId, ShardId};
use sqlx::PgExecutor;
use uuid::Uuid;

use super::proposal::{Decision, Proposal, Proposed, State, Wanted};
use crate::shard::store::stored;

/// A row of the table.
struct Row {
    id: Uuid,
    program: String,
    member: String,
    body: Vec<u8>,
    state: i16,
    proposed_by: String,
    carried_by: String,
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
            Self::Approved => 2,
            Self::Rejected => 3,
        }
    }

    fn of_code(code: i16) -> Option<Self> {
        let all = [Self::Proposed, Self::Approved, Self::Rejected];
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
            carrier: row.parse("carried_by", &self.carried_by)?,
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
        INSERT INTO adjustments (shard, id, program, member, brand, request_key, body, state,
                                 proposed_by, carried_by, proposed_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
        ON CONFLICT (request_key, shard) DO NOTHING",
        stored(shard),
        proposal.id,
        proposal.program.as_str(),
        proposal.member.as_str(),
        proposal.proposed.brand.as_str(),
        request_key,
        body,
        proposal.state.code(),
        proposal.proposer.as_str(),
        proposal.carrier.as_str(),
        to_pg(proposal.proposed_at),
    )
    .execute(&mut *connection)
    .await?;
    if inserted.rows_affected() == 1 {
        return Ok(None);
    }
    by_request(connection, shard, request_key).await
}

/// The proposal that a request made.
pub(super) async fn by_request(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    request_key: Uuid,
) -> Result<Option<Proposal>, DatabaseError> {
    let row = sqlx::query_as!(
        Row,
        "-- points.adjustments.by_request
        SELECT id, program, member, body, state, proposed_by, carried_by, proposed_at, decided_by,
               decided_at, decision_note, decision_request, position
        FROM adjustments WHERE shard = $1 AND request_key = $2",
        stored(shard),
        request_key,
    )
    .fetch_optional(executor)
    .await?;
    row.map(Row::into_proposal).transpose()
}

/// Reads a member's proposal, and keeps others from deciding about it until the
/// transaction ends.
pub(super) async fn lock(
    connection: &mut PgConnection,
    shard: ShardId,
    (program, member): (&ProgramId, &MemberId),
    id: Uuid,
) -> Result<Option<Proposal>, DatabaseError> {
    let row = sqlx::query_as!(
        Row,
        "-- points.adjustments.lock
        SELECT id, program, member, body, state, proposed_by, carried_by, proposed_at, decided_by,
               decided_at, decision_note, decision_request, position
        FROM adjustments WHERE shard = $1 AND id = $2 AND program = $3 AND member = $4
        FOR UPDATE",
        stored(shard),
        id,
        program.as_str(),
        member.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    row.map(Row::into_proposal).transpose()
}

/// Writes what was decided about a proposal that is locked.
pub(super) async fn decide(
    executor: impl PgExecutor<'_>,
    (shard, id): (ShardId, Uuid),
    to: State,
    decision: &Decision,
    position: Option<Position>,
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "-- points.adjustments.decide
        UPDATE adjustments SET state = $3, decided_by = $4, decided_at = $5,
            decision_note = $6, decision_request = $7, position = $8
        WHERE shard = $1 AND id = $2",
        stored(shard),
        id,
        to.code(),
        decision.by.as_str(),
        to_pg(decision.at),
        decision.note.as_str(),
        decision.request_id.as_ref().map(RequestId::as_str),
        position.map(Position::get),
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// Some of a programme's proposals, newest first: of some brands, if only these are
/// the reader's.
pub(super) async fn list(
    executor: impl PgExecutor<'_>,
    program: &ProgramId,
    wanted: &Wanted,
    brands: Option<&[BrandId]>,
    limit: usize,
) -> Result<Vec<Proposal>, DatabaseError> {
    let states: Vec<i16> = wanted.states.iter().map(|state| state.code()).collect();
    let brands: Option<Vec<String>> =
        brands.map(|brands| brands.iter().map(ToString::to_string).collect());
    let rows = sqlx::query_as!(
        Row,
        "-- points.adjustments.list
        SELECT id, program, member, body, state, proposed_by, carried_by, proposed_at, decided_by,
               decided_at, decision_note, decision_request, position
        FROM adjustments
        WHERE program = $1 AND ($2::text IS NULL OR member = $2)
          AND (cardinality($3::smallint[]) = 0 OR state = ANY($3))
          AND ($4::timestamptz IS NULL OR (proposed_at, id) < ($4, $5))
          AND ($6::text[] IS NULL OR brand = ANY($6))
        ORDER BY proposed_at DESC, id DESC LIMIT $7",
        program.as_str(),
        wanted.member.as_deref().map(MemberId::as_str),
        &states,
        wanted.before.map(|(at, _)| to_pg(at)),
        wanted.before.map(|(_, id)| id),
        brands.as_deref(),
        i64::try_from(limit).unwrap_or(i64::MAX),
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter().map(Row::into_proposal).collect()
}

/// Deletes what is declared personal of a member's proposals; answers how many values.
pub(crate) async fn erase(
    connection: &mut PgConnection,
    shard: ShardId,
    (program, member): (&ProgramId, &MemberId),
    declared: &Personal,
) -> Result<i64, DatabaseError> {
    let rows = sqlx::query!(
        "-- points.adjustments.of_member
        SELECT id, body, decision_note FROM adjustments
        WHERE shard = $1 AND program = $2 AND member = $3 FOR UPDATE",
        stored(shard),
        program.as_str(),
        member.as_str(),
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut erased = 0;
    for row in rows {
        let known = StoredRow::of("adjustments", row.id);
        let mut proposed: Proposed = known.check("body", borsh::from_slice(&row.body).ok())?;
        let mut decision_note = row.decision_note;
        let before = erased;
        if declared.notes && !proposed.note.as_str().is_empty() {
            proposed.note = known.parse("note", "")?;
            erased += 1;
        }
        if declared.notes && !decision_note.is_empty() {
            decision_note.clear();
            erased += 1;
        }
        proposed.metadata.retain(|key, _| {
            let goes = declared.metadata.contains(key);
            erased += i64::from(goes);
            !goes
        });
        if erased == before {
            continue;
        }
        let body = borsh::to_vec(&proposed).map_err(|_| DatabaseError::Broken("a body"))?;
        sqlx::query!(
            "-- points.adjustments.erase
            UPDATE adjustments SET body = $3, decision_note = $4 WHERE shard = $1 AND id = $2",
            stored(shard),
            row.id,
            body,
            decision_note,
        )
        .execute(&mut *connection)
        .await?;
    }
    Ok(erased)
}
