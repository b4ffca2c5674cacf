//! One shard: what is read of its books, the engine over that, and the rows
//! that come of it. Everything here works on a connection that it is given,
//! and names one shard in every statement.

mod begun;
mod budgets;
mod currencies;
mod heads;
mod keys;
mod logged;
mod memory;
mod orders;
mod personal;
mod placement;
mod read;
mod received;
mod shards;
pub(crate) mod store;
mod work;
mod write;

pub(crate) use budgets::{Total, left_of, totals};
pub(crate) use currencies::currencies_of;
pub(crate) use heads::{look_at_all_ends, look_at_all_heads, look_at_heads, of_node};
pub(crate) use keys::{
    ActivityName, OrderName, activity_key, budget_home, ended_key, key_of, order_key, order_name,
    order_shard, recorded_key, referral_id, request_key,
};
pub(crate) use logged::Logged;
pub(crate) use memory::Memory;
pub(crate) use orders::Orders;
pub(crate) use personal::{
    PersonalKey, PersonalValues, has_plain, is_personal, seal, sealed_by, unseal, unsealed,
};
pub(crate) use placement::Placement;
pub(crate) use received::received;
pub(crate) use shards::Shards;
pub(crate) use work::{Asked, DUE_WITH_A_CHANGE, Driven, Interrupted, ReadOn, ShardWork, number};
pub(crate) use write::{Answer, KnownWallet, MARK_DISTANCE, Written};
