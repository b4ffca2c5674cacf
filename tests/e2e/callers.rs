//! Who may call what: every RPC with every role, with tokens that are none, and
//! for what is another's; and how keys, tokens and streams come and go.

mod audit;
mod keys;
mod reach;
mod tokens;
mod walk;
mod wire;

pub(crate) use keys::{Authority, Lone, status};
pub(crate) use wire::Server;

/// Tokens of every kind that must not be taken; `None` is no token.
pub(crate) fn bad_tokens(
    keys: &fealty_cli::token::Keys,
    good: &fealty_auth::Grant,
) -> Vec<Option<String>> {
    let bad = tokens::bad(keys, good).into_iter();
    bad.map(|(_, token)| token).collect()
}
