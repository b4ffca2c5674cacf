//! Redemptions: points for a reward, step by step, through any crash.
//!
//! `state` draws the state machine; `redeem` takes its steps, each stored before
//! the next; `recovery` goes on from where a process died.

pub(crate) mod grpc;
mod recovery;
mod redeem;
mod state;
mod store;
mod voucher;

pub(crate) use recovery::keep_recovering;
pub use redeem::{Begun, RedeemError, Redemptions};
pub use state::{Redemption, State};
pub(crate) use voucher::VoucherKey;
