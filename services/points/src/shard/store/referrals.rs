//! Members who were brought by others.

use fealty_postgres::{DatabaseError, PgConnection, PgTime, StoredRow, from_pg, to_pg};
use fealty_types::{MemberId, Position, ProgramId, ShardId, Timestamp};
use sqlx::PgExecutor;

use super::stored;

/// How far a referral is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub(crate) enum ReferralState {
    /// It waits for a purchase, or for that to stand long enough.
    Waiting = 1,
    /// Both sides are given.
    Given = 2,
    /// Nothing comes of it.
    Void = 3,
    /// It is decided that both sides are given, and not both are yet.
    Giving = 4,
}

impl ReferralState {
    fn of(number: i16) -> Option<Self> {
        let states = [Self::Waiting, Self::Given, Self::Void, Self::Giving];
        states.into_iter().find(|state| *state as i16 == number)
    }
}

/// A referral as it stands.
#[derive(Clone, Debug)]
pub(crate) struct StoredReferral {
    /// Who was brought.
    pub(crate) member: MemberId,
    pub(crate) program: ProgramId,
    /// Where the claim stands in the log.
    pub(crate) claim: Position,
    /// How far it is.
    pub(crate) state: ReferralState,
    /// When both sides are given, if the purchase stays.
    pub(crate) due_at: Option<Timestamp>,
    /// Up to where the log was read, and nothing in it counts.
    pub(crate) read_to: Position,
}

struct Row {
    member: String,
    program: String,
    claim: i64,
    state: i16,
    due_at: Option<PgTime>,
    read_to: i64,
}

impl Row {
    fn into_referral(self) -> Result<StoredReferral, DatabaseError> {
        let row = StoredRow::of("referrals", &self.member);
        Ok(StoredReferral {
            member: row.parse("member", &self.member)?,
            program: row.parse("program", &self.program)?,
            claim: Position::new(self.claim),
            state: row.check("state", ReferralState::of(self.state))?,
            due_at: self.due_at.map(from_pg),
            read_to: Position::new(self.read_to),
        })
    }
}

/// Notes a claim, in the commit that writes it.
pub(crate) async fn note(
    connection: &mut PgConnection,
    shard: ShardId,
    (program, member): (&ProgramId, &MemberId),
    (claim, look_at): (Position, Timestamp),
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "-- points.referrals.note
        INSERT INTO referrals (member, program, shard, claim, state, look_at, read_to)
        VALUES ($1, $2, $3, $4, 1, $5, $4)",
        member.as_str(),
        program.as_str(),
        stored(shard),
        claim.get(),
        to_pg(look_at),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What a member has claimed.
pub(crate) async fn of(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    (program, member): (&ProgramId, &MemberId),
) -> Result<Option<StoredReferral>, DatabaseError> {
    let row = sqlx::query_as!(
        Row,
        "-- points.referrals.of
        SELECT member, program, claim, state, due_at, read_to FROM referrals
        WHERE shard = $1 AND program = $2 AND member = $3",
        stored(shard),
        program.as_str(),
        member.as_str(),
    )
    .fetch_optional(executor)
    .await?;
    row.map(Row::into_referral).transpose()
}

/// All of a shard.
pub(crate) async fn of_shard(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
) -> Result<Vec<StoredReferral>, DatabaseError> {
    let rows = sqlx::query_as!(
        Row,
        "-- points.referrals.of_shard
        SELECT member, program, claim, state, due_at, read_to FROM referrals WHERE shard = $1",
        stored(shard),
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter().map(Row::into_referral).collect()
}

/// Some of a programme that are to be looked at by now, the longest due first.
pub(crate) async fn due(
    executor: impl PgExecutor<'_>,
    (shard, program): (ShardId, &ProgramId),
    now: Timestamp,
    limit: i64,
) -> Result<Vec<StoredReferral>, DatabaseError> {
    let rows = sqlx::query_as!(
        Row,
        "-- points.referrals.due
        SELECT member, program, claim, state, due_at, read_to FROM referrals
        WHERE shard = $1 AND program = $3 AND state IN (1, 4) AND look_at <= $2
        ORDER BY look_at LIMIT $4",
        stored(shard),
        to_pg(now),
        program.as_str(),
        limit,
    )
    .fetch_all(executor)
    .await?;
    rows.into_iter().map(Row::into_referral).collect()
}

/// Says how far one is that is not at its end, and when to look at it again.
pub(crate) async fn put(
    executor: impl PgExecutor<'_>,
    shard: ShardId,
    referral: &StoredReferral,
    look_at: Timestamp,
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "-- points.referrals.put
        UPDATE referrals SET state = $4, look_at = $5, due_at = $6, read_to = $7
        WHERE shard = $1 AND program = $2 AND member = $3 AND state IN (1, 4)",
        stored(shard),
        referral.program.as_str(),
        referral.member.as_str(),
        referral.state as i16,
        to_pg(look_at),
        referral.due_at.map(to_pg),
        referral.read_to.get(),
    )
    .execute(executor)
    .await?;
    Ok(())
}
