//! Who may call what: every RPC with every role, with tokens that are none, and
//! for what is another's; and how keys, tokens and streams come and go.

mod audit;
mod keys;
mod reach;
mod tokens;
mod walk;
mod wire;

pub(crate) use keys::{Authority, Lone, status};
