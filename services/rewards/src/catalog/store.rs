//! Stock of rewards that have a limit.

use fealty_postgres::{DatabaseError, PgConnection};
use fealty_types::{ProgramId, RewardId};
use sqlx::PgExecutor;

/// What is taken of a reward.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Taken {
    /// Reserved by redemptions under way.
    pub(crate) reserved: i64,
    /// Issued.
    pub(crate) issued: i64,
}

/// Sees to it that a reward has a row to count in.
pub(crate) async fn open(
    connection: &mut PgConnection,
    program: &ProgramId,
    reward: &RewardId,
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "-- rewards.stock.open
        INSERT INTO reward_stock (program, reward) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        program.as_str(),
        reward.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Reserves one of `limit`; `false` if none is free.
pub(crate) async fn reserve(
    connection: &mut PgConnection,
    program: &ProgramId,
    reward: &RewardId,
    limit: i64,
) -> Result<bool, DatabaseError> {
    let reserved = sqlx::query!(
        "-- rewards.stock.reserve
        UPDATE reward_stock SET reserved = reserved + 1
        WHERE program = $1 AND reward = $2 AND reserved + issued < $3",
        program.as_str(),
        reward.as_str(),
        limit,
    )
    .execute(connection)
    .await?;
    Ok(reserved.rows_affected() == 1)
}

/// Ends a reservation: the one reserved is issued, or free again.
pub(crate) async fn settle(
    connection: &mut PgConnection,
    program: &ProgramId,
    reward: &RewardId,
    issued: bool,
) -> Result<(), DatabaseError> {
    sqlx::query!(
        "-- rewards.stock.settle
        UPDATE reward_stock SET reserved = reserved - 1, issued = issued + $3
        WHERE program = $1 AND reward = $2",
        program.as_str(),
        reward.as_str(),
        i64::from(issued),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What is taken of a programme's rewards.
pub(crate) async fn taken(
    executor: impl PgExecutor<'_>,
    program: &ProgramId,
) -> Result<Vec<(String, Taken)>, DatabaseError> {
    let rows = sqlx::query!(
        "-- rewards.stock.taken
        SELECT reward, reserved, issued FROM reward_stock WHERE program = $1",
        program.as_str(),
    )
    .fetch_all(executor)
    .await?;
    let taken = rows.into_iter().map(|row| {
        (
            row.reward,
            Taken {
                reserved: row.reserved,
                issued: row.issued,
            },
        )
    });
    Ok(taken.collect())
}
