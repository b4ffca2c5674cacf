//! What the contracts promise beside the figures: ids that tell nothing, what is kept
//! with a change, holds that can be read, two persons, versions, and refusals that
//! machines can read.

mod activation;
mod adjustments;
mod attributes;
mod balances;
mod holds;
mod ids;
mod kept;
mod orders;
mod personal;
mod programs;
mod purchases;
mod refusals;
mod sensitive;

#[expect(clippy::unnecessary_wraps, reason = "as the messages have it")]
fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}
