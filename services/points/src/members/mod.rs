//! What points keeps of the tiers service's feed: who had which tier, and when.
//! A purchase looks up the tier of its moment, so it does not matter when the
//! feed arrived; with tiers down, the last one known counts.

mod follow;
mod renewal;
mod store;

pub(crate) use follow::{SOURCE, follow};
pub(crate) use renewal::Renewal;
