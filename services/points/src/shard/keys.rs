//! Keys: 128 bits of SHA-256, short enough for an index. Two of 10^12 keys are
//! equal with a chance below 10^-14; a request's full id is compared all the
//! same.

use fealty_ledger::{Activity, Cause, Command, EndOf, Facts, Purchase, Transaction};
use fealty_program::Program;
use fealty_types::{
    ActivityId, ActivityType, BrandId, BudgetId, MemberId, OrderNumber, OrderScope, ProgramId,
    RequestId, ShardId, Timestamp, TransactionPlace,
};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::shards::Shards;

/// The key of a request id, which is unique for a programme and member.
#[must_use]
pub(crate) fn request_key(program: &ProgramId, member: &MemberId, request_id: &RequestId) -> Uuid {
    key([program.as_str(), member.as_str(), request_id.as_str()])
}

/// The key of what a member received by a gift. No request has it: no id of a programme
/// has such letters in it.
#[must_use]
pub(crate) fn received_key(program: &ProgramId, member: &MemberId, gift: TransactionPlace) -> Uuid {
    let (shard, position) = (gift.shard.to_string(), gift.position.to_string());
    let (program, member) = (program.as_str(), member.as_str());
    key(["received\0", program, member, &shard, &position])
}

/// The key of what was written of a period's end for a member: the first time, or another one.
/// No request has it, as none has that of what was received.
#[must_use]
pub(crate) fn ended_key(
    program: &ProgramId,
    member: &MemberId,
    (of, ends_at, number): (EndOf, Timestamp, u16),
) -> Uuid {
    let (ends_at, number) = (ends_at.micros().to_string(), number.to_string());
    let (program, member) = (program.as_str(), member.as_str());
    key(["ended\0", program, member, of.name(), &ends_at, &number])
}

/// The key of what a version's counters came to for a member by the log.
#[must_use]
pub(crate) fn backfilled_key(program: &ProgramId, member: &MemberId, version: u32) -> Uuid {
    let (program, member) = (program.as_str(), member.as_str());
    key(["backfilled\0", program, member, &version.to_string()])
}

/// The key of a transaction: that of its request, of what was received, of a period's end, or
/// of a version's counters.
#[must_use]
pub(crate) fn key_of(transaction: &Transaction) -> Option<Uuid> {
    let (program, member) = (&transaction.program, &transaction.member);
    match &transaction.cause {
        Cause::Request { request_id, .. } => Some(request_key(program, member, request_id)),
        Cause::Received(received) => Some(received_key(program, member, received.gift)),
        Cause::Ended(ended) => {
            let name = (ended.of, ended.ends_at, ended.number);
            Some(ended_key(program, member, name))
        }
        Cause::Backfilled(backfilled) => {
            let version = backfilled.program_version;
            Some(backfilled_key(program, member, version))
        }
        Cause::Due(_) | Cause::TierChanged(_) => None,
    }
}

/// What names an order in a programme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OrderName {
    /// The brand where it was made.
    pub(crate) brand: BrandId,
    /// The brand's number of it.
    pub(crate) order_number: OrderNumber,
    /// Within what that is unique.
    pub(crate) scope: OrderScope,
}

/// The key of an order number, which is unique for a programme, a brand, and what the
/// programme says besides.
#[must_use]
pub(crate) fn order_key(program: &ProgramId, order: &OrderName) -> Uuid {
    let (store, date) = (&order.scope.store, order.scope.business_date);
    let date = date.map(|date| date.to_string());
    let named = [
        program.as_str(),
        order.brand.as_str(),
        order.order_number.as_str(),
    ];
    // No code and no number has such letters in it.
    let store = store.as_ref().map(|store| ["store\0", store.as_str()]);
    let date = date.as_ref().map(|date| ["date\0", date.as_str()]);
    key(named
        .into_iter()
        .chain(store.into_iter().chain(date).flatten()))
}

/// The order that a purchase is of, if it says all that names it.
#[must_use]
pub(crate) fn order_name(program: &Program, purchase: &Purchase) -> Option<OrderName> {
    let scope = program.order_scope(purchase.store.as_ref(), purchase.purchased_at);
    Some(OrderName {
        brand: purchase.brand.clone(),
        order_number: purchase.order_number.clone(),
        scope: scope.ok()?,
    })
}

/// What names an activity in a programme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ActivityName {
    /// The brand where it was.
    pub(crate) brand: BrandId,
    /// Its type.
    pub(crate) of_type: ActivityType,
    /// The caller's own id of it.
    pub(crate) id: ActivityId,
}

impl From<&Activity> for ActivityName {
    fn from(activity: &Activity) -> Self {
        Self {
            brand: activity.brand.clone(),
            of_type: activity.of_type.clone(),
            id: activity.id.clone(),
        }
    }
}

/// The key of an activity, which is unique for a programme, a brand and a type. It stands
/// among those of orders; no id of a programme has such letters in it.
#[must_use]
pub(crate) fn activity_key(program: &ProgramId, activity: &ActivityName) -> Uuid {
    let ActivityName { brand, of_type, id } = activity;
    let named = [
        program.as_str(),
        brand.as_str(),
        of_type.as_str(),
        id.as_str(),
    ];
    key(["activity\0"].into_iter().chain(named))
}

/// The id of the activity by which a member claims to be brought: there is one for ever.
#[must_use]
pub(crate) fn referral_id(program: &ProgramId, member: &MemberId) -> ActivityId {
    let key = key(["referral\0", program.as_str(), member.as_str()]);
    let id = format!("referral-{}", key.as_simple());
    id.parse().expect("a word and hexadecimal digits")
}

/// The key of what a transaction records that may be recorded once only: an order, or an
/// activity.
#[must_use]
pub(crate) fn recorded_key(
    program: &ProgramId,
    command: &Command,
    facts: Option<&Facts>,
) -> Option<Uuid> {
    match command {
        Command::Purchase(purchase) => {
            let order = OrderName {
                brand: purchase.brand.clone(),
                order_number: purchase.order_number.clone(),
                scope: facts?.of_purchase()?.order_scope.clone(),
            };
            Some(order_key(program, &order))
        }
        Command::Activity(activity) => Some(activity_key(program, &activity.into())),
        _ => None,
    }
}

/// The shard that an order's row lies in: the first two bytes of its key, over the
/// number of shards.
#[must_use]
pub(crate) fn order_shard(key: Uuid, shards: Shards) -> ShardId {
    key_shard(key, shards.count())
}

/// The shard that a key leads to, of so many.
fn key_shard(key: Uuid, shards: u16) -> ShardId {
    let [first, second, ..] = *key.as_bytes();
    let number = u16::from_be_bytes([first, second]) % shards;
    ShardId::new(u8::try_from(number).unwrap_or_default())
}

/// The home of a budget: the shard in which its pool is.
pub(crate) fn budget_home(program: &ProgramId, budget: &BudgetId, shards: u16) -> ShardId {
    let key = key(["budget", program.as_str(), budget.as_str()]);
    key_shard(key, shards)
}

fn key<'a>(parts: impl IntoIterator<Item = &'a str>) -> Uuid {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    Uuid::from_bytes(key)
}
