//! The Rust client: credentials, balancing over all addresses of a service,
//! deadlines, and retries with the same request id.
//!
//! Every change in Fealty carries a request id and takes effect once, so a
//! call whose answer was lost is simply sent again. [`call`] does that within
//! a deadline; the generated clients of `fealty-proto` do the rest.

mod balanced;
mod channel;
mod credentials;
mod error;
mod feed;
mod retry;

pub use balanced::Balanced;
pub use channel::{Channel, Outgoing, acting_for, connect};
pub use credentials::Credentials;
pub use error::ConnectError;
pub use feed::{FEED_MESSAGE_BYTES_MAX, FeedConsumer, consume};
pub use retry::{Deadline, call, may_help, reason, retry_after, violations};
