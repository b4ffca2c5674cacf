//! Requests into commands and questions, with every broken rule named.

mod changes;
mod reads;
#[cfg(test)]
mod tests;

pub(super) use changes::{
    Target, accrue, activate, adjust, capture, extend, hold, purchase, redeem, reinstate, release,
    reverse, transfer,
};
pub(super) use reads::{
    balance, balances, explain, feed_filter, get, list, lots, lots_token, page_token,
};
