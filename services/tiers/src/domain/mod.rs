//! What the tiers service decides: no tonic, no sqlx, no redis.

mod status;

pub use status::{Change, Reason, Spend, Status, advance, credit, spent};
