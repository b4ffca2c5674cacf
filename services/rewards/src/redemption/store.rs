//! Redemptions. Each step names the state it goes out from and the lease it is
//! taken with, so a step that somebody else has done is not done twice.

use fealty_postgres::{DatabaseError, PgConnection, PgTime, StoredRow, from_pg, to_pg};
use fealty_types::{MemberId, Points, ProgramId, RequestId, Subject, Timestamp};
use sqlx::PgExecutor;
use uuid::Uuid;

use super::state::{Redemption, State};

struct Row {
    id: Uuid,
    program: String,
    member: String,
    request_id: String,
    reward: String,
    currency: String,
    points: i64,
    brand: String,
    state: String,
    hold: Option<String>,
    reason: Option<String>,
    voucher_sealed: Option<Vec<u8>>,
    requested_at: PgTime,
    issued_at: Option<PgTime>,
    attempt: i32,
    asked_by: Option<String>,
    leased_by: Option<Uuid>,
}

impl TryFrom<Row> for Redemption {
    type Error = DatabaseError;

    fn try_from(row: Row) -> Result<Self, DatabaseError> {
        let stored = StoredRow::of("redemptions", row.id);
        let points = Points::amount(row.points).ok();
        let asked_by = row.asked_by.map(|text| stored.parse("asked_by", &text));
        Ok(Self {
            id: row.id,
            program: stored.parse("program", &row.program)?,
            member: stored.parse("member", &row.member)?,
            request_id: stored.parse("request_id", &row.request_id)?,
            reward: stored.parse("reward", &row.reward)?,
            currency: stored.parse("currency", &row.currency)?,
            points: stored.check("points", points)?,
            brand: stored.parse("brand", &row.brand)?,
            state: stored.check("state", State::from_stored(&row.state))?,
            hold: row.hold,
            reason: row.reason,
            voucher_sealed: row.voucher_sealed,
            requested_at: from_pg(row.requested_at),
            issued_at: row.issued_at.map(from_pg),
            attempt: row.attempt,
            asked_by: asked_by.transpose()?,
            leased_by: row.leased_by,
        })
    }
}

/// Inserts a redemption with a lease for whoever inserts it; `false` if the
/// request id is taken.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    redemption: &Redemption,
    lease_s: f64,
) -> Result<bool, DatabaseError> {
    let inserted = sqlx::query!(
        "-- rewards.redemptions.insert
        INSERT INTO redemptions (id, program, member, request_id, reward, currency, points, brand,
                                 state, requested_at, leased_until, asked_by, leased_by)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'requested', $9,
                clock_timestamp() + make_interval(secs => $10), $11, $12)
        ON CONFLICT (program, member, request_id) DO NOTHING",
        redemption.id,
        redemption.program.as_str(),
        redemption.member.as_str(),
        redemption.request_id.as_str(),
        redemption.reward.as_str(),
        redemption.currency.as_str(),
        redemption.points.get(),
        redemption.brand.as_str(),
        to_pg(redemption.requested_at),
        lease_s,
        redemption.asked_by.as_ref().map(Subject::as_str),
        redemption.leased_by,
    )
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Begins a refused or released redemption again, at today's price; `false`
/// if somebody was faster.
pub(crate) async fn begin_again(
    connection: &mut PgConnection,
    redemption: &Redemption,
    lease_s: f64,
) -> Result<bool, DatabaseError> {
    let begun = sqlx::query!(
        "-- rewards.redemptions.begin_again
        UPDATE redemptions SET state = 'requested', attempt = attempt + 1, reason = NULL,
            hold = NULL, currency = $3, points = $4, brand = $5, requested_at = $6,
            leased_until = clock_timestamp() + make_interval(secs => $7), asked_by = $8,
            leased_by = $9
        WHERE id = $1 AND attempt = $2 AND state IN ('refused', 'released')",
        redemption.id,
        redemption.attempt,
        redemption.currency.as_str(),
        redemption.points.get(),
        redemption.brand.as_str(),
        to_pg(redemption.requested_at),
        lease_s,
        redemption.asked_by.as_ref().map(Subject::as_str),
        redemption.leased_by,
    )
    .execute(connection)
    .await?;
    Ok(begun.rows_affected() == 1)
}

/// Finds a redemption by its request.
pub(crate) async fn by_request(
    executor: impl PgExecutor<'_>,
    program: &ProgramId,
    member: &MemberId,
    request_id: &RequestId,
) -> Result<Option<Redemption>, DatabaseError> {
    let row = sqlx::query_as!(
        Row,
        "-- rewards.redemptions.by_request
        SELECT id, program, member, request_id, reward, currency, points, brand, state, hold,
               reason, voucher_sealed, requested_at, issued_at, attempt, asked_by,
               leased_by
        FROM redemptions WHERE program = $1 AND member = $2 AND request_id = $3",
        program.as_str(),
        member.as_str(),
        request_id.as_str(),
    )
    .fetch_optional(executor)
    .await?;
    row.map(Redemption::try_from).transpose()
}

/// Finds a member's redemption by its id.
pub(crate) async fn by_id(
    executor: impl PgExecutor<'_>,
    program: &ProgramId,
    member: &MemberId,
    id: Uuid,
) -> Result<Option<Redemption>, DatabaseError> {
    let row = sqlx::query_as!(
        Row,
        "-- rewards.redemptions.by_id
        SELECT id, program, member, request_id, reward, currency, points, brand, state, hold,
               reason, voucher_sealed, requested_at, issued_at, attempt, asked_by,
               leased_by
        FROM redemptions WHERE id = $1 AND program = $2 AND member = $3",
        id,
        program.as_str(),
        member.as_str(),
    )
    .fetch_optional(executor)
    .await?;
    row.map(Redemption::try_from).transpose()
}

/// Takes over unfinished redemptions that nobody works on, with a token for the
/// lease: the one that is named, or any.
pub(crate) async fn take_over(
    executor: impl PgExecutor<'_>,
    id: Option<Uuid>,
    lease: Uuid,
    lease_s: f64,
    limit: i64,
) -> Result<Vec<Redemption>, DatabaseError> {
    let rows = sqlx::query_as!(
        Row,
        "-- rewards.redemptions.take_over
        UPDATE redemptions
        SET leased_until = clock_timestamp() + make_interval(secs => $2), leased_by = $4
        WHERE id IN (
            SELECT id FROM redemptions
            WHERE state IN ('requested', 'held') AND leased_until <= clock_timestamp()
              AND ($1::uuid IS NULL OR id = $1)
            ORDER BY leased_until LIMIT $3
            FOR UPDATE SKIP LOCKED
        )
        RETURNING id, program, member, request_id, reward, currency, points, brand, state, hold,
                  reason, voucher_sealed, requested_at, issued_at, attempt, asked_by,
                  leased_by",
        id,
        lease_s,
        limit,
        lease,
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter().map(Redemption::try_from).collect()
}

/// Gives its owner's lease back, so that the next who asks can go on at once. One
/// that somebody else has taken since stays.
pub(crate) async fn give_up_lease(
    executor: impl PgExecutor<'_>,
    id: Uuid,
    lease: Option<Uuid>,
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "-- rewards.redemptions.give_up_lease
        UPDATE redemptions SET leased_until = clock_timestamp()
        WHERE id = $1 AND leased_by = $2",
        id,
        lease,
    )
    .execute(executor)
    .await?;
    Ok(())
}

/// `requested` -> `held`.
pub(crate) async fn hold(
    executor: impl PgExecutor<'_>,
    redemption: &Redemption,
    hold: &str,
    voucher_hash: &[u8],
    voucher_sealed: &[u8],
) -> Result<bool, DatabaseError> {
    let held = sqlx::query!(
        "-- rewards.redemptions.hold
        UPDATE redemptions SET state = 'held', hold = $3, voucher_hash = $4, voucher_sealed = $5
        WHERE id = $1 AND attempt = $2 AND state = 'requested' AND leased_by = $6",
        redemption.id,
        redemption.attempt,
        hold,
        voucher_hash,
        voucher_sealed,
        redemption.leased_by,
    )
    .execute(executor)
    .await?;
    Ok(held.rows_affected() == 1)
}

/// `held` -> `issued`.
pub(crate) async fn issue(
    connection: &mut PgConnection,
    redemption: &Redemption,
    issued_at: Timestamp,
) -> Result<bool, DatabaseError> {
    let issued = sqlx::query!(
        "-- rewards.redemptions.issue
        UPDATE redemptions SET state = 'issued', issued_at = $3
        WHERE id = $1 AND attempt = $2 AND state = 'held' AND leased_by = $4",
        redemption.id,
        redemption.attempt,
        to_pg(issued_at),
        redemption.leased_by,
    )
    .execute(connection)
    .await?;
    Ok(issued.rows_affected() == 1)
}

/// `requested` -> `refused`, or `held` -> `released`. Its voucher is gone.
pub(crate) async fn undo(
    connection: &mut PgConnection,
    redemption: &Redemption,
    to: State,
    reason: &str,
) -> Result<bool, DatabaseError> {
    let undone = sqlx::query!(
        "-- rewards.redemptions.undo
        UPDATE redemptions SET state = $4, reason = $5, voucher_hash = NULL, voucher_sealed = NULL
        WHERE id = $1 AND attempt = $2 AND state = $3 AND leased_by = $6",
        redemption.id,
        redemption.attempt,
        redemption.state.as_str(),
        to.as_str(),
        reason,
        redemption.leased_by,
    )
    .execute(connection)
    .await?;
    Ok(undone.rows_affected() == 1)
}
