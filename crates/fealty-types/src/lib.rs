//! Values that every part of Fealty shares: ids, points, money, time.
//!
//! Each type checks its own limits when it is made, so a value that exists is
//! valid from the edge inwards. No type here does I/O, except that
//! [`SystemClock`] reads the machine's time.

mod attribute;
mod cursor;
mod id;
mod ids;
mod metadata;
mod money;
mod order;
mod personal;
mod points;
mod referral_code;
mod refund;
mod schema;
mod shard;
mod tender;
mod time;

pub use attribute::{AttributeValue, Attributes};
pub use cursor::{Cursor, InvalidCursor, Mark};
pub use id::{
    ActivityId, ActivityType, AttributeName, BrandId, BudgetId, Code, CounterId, CurrencyId,
    EventName, GroupId, MemberId, MetadataKey, MetadataValue, OrderNumber, ProgramId, Reference,
    RequestId, RewardId, RuleId, Subject, TierId,
};
pub use ids::Ids;
pub use metadata::Metadata;
pub use money::{Money, MoneyCurrency};
pub use order::{BusinessDate, OrderScope};
pub use points::Points;
pub use refund::{RefundPolicy, RefundTerms};
pub use shard::{LotId, LotPlace, Position, ShardId, TransactionPlace, shard_of};
pub use tender::TenderKind;
pub use time::{Clock, SystemClock, Timestamp};

/// A value outside its documented limits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}")]
pub struct InvalidValue {
    /// The limit that was broken, as a sentence for the caller: "must be …".
    pub rule: &'static str,
}

impl InvalidValue {
    /// A value that breaks `rule`.
    #[must_use]
    pub const fn new(rule: &'static str) -> Self {
        Self { rule }
    }
}
