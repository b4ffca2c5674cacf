//! The Rust client: deadlines, and retries with the same request id.
//!
//! Every change in Fealty carries a request id and takes effect once, so a
//! call whose answer was lost is simply sent again. [`call`] does that within
//! a deadline; the generated clients of `fealty-proto` do the rest.

mod channel;
mod feed;
mod retry;

pub use channel::{Channel, connect};
pub use feed::{FeedConsumer, consume};
pub use retry::{Deadline, call, reason, retry_after};
