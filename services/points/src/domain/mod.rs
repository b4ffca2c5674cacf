//! What the points service decides around the ledger engine: no tonic, no
//! sqlx, no redis.

mod keys;
mod plan;

pub use keys::{order_key, request_key};
pub use plan::{plan, tier_moment};
