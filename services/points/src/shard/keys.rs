//! Keys: 128 bits of SHA-256, short enough for an index. Two of 10^12 keys are
//! equal with a chance below 10^-14; a request's full id is compared all the
//! same.

use fealty_types::{BrandId, MemberId, OrderNumber, ProgramId, RequestId, ShardId};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::shards::Shards;

/// The key of a request id, which is unique for a programme and member.
#[must_use]
pub(crate) fn request_key(program: &ProgramId, member: &MemberId, request_id: &RequestId) -> Uuid {
    key([program.as_str(), member.as_str(), request_id.as_str()])
}

/// The key of an order number, which is unique for a programme and brand.
#[must_use]
pub(crate) fn order_key(program: &ProgramId, brand: &BrandId, order_number: &OrderNumber) -> Uuid {
    key([program.as_str(), brand.as_str(), order_number.as_str()])
}

/// The shard that an order's row lies in: the first two bytes of its key, over the
/// number of shards.
#[must_use]
pub(crate) fn order_shard(key: Uuid, shards: Shards) -> ShardId {
    let [first, second, ..] = *key.as_bytes();
    let number = u16::from_be_bytes([first, second]) % shards.count();
    ShardId::new(u8::try_from(number).unwrap_or_default())
}

fn key(parts: [&str; 3]) -> Uuid {
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
