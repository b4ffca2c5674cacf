//! A redemption, a state machine that is kept in Postgres.
//!
//! ```text
//! requested -> held -> issued
//!      \          \
//!       refused    released
//! ```
//!
//! `requested`: stock is reserved. `held`: points are held, and the voucher is
//! made but shown to nobody. `issued`: the points are captured, the voucher is
//! the member's. So points are never taken without a reward, nor a reward
//! given without points. Each call to the points service has a request id made
//! of the redemption's id and attempt: whoever goes on from a state repeats
//! what was done, and it happens once.
//!
//! Whoever works on a redemption has a lease of it, with a token. A step is
//! taken by the lease's owner alone: who was slow, and lost it, changes nothing
//! more, and releases a hold that nobody else will use.

use fealty_types::{
    BrandId, CurrencyId, MemberId, Points, ProgramId, RequestId, RewardId, Subject, Timestamp,
};
use uuid::Uuid;

/// How far a redemption has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Stock is reserved.
    Requested,
    /// Points are held, the voucher is made.
    Held,
    /// Points are spent, the voucher is the member's.
    Issued,
    /// Refused before points were held; stock is back.
    Refused,
    /// The hold ended before it was captured; points and stock are back.
    Released,
}

impl State {
    /// As stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Held => "held",
            Self::Issued => "issued",
            Self::Refused => "refused",
            Self::Released => "released",
        }
    }

    /// From what is stored.
    #[must_use]
    pub fn from_stored(stored: &str) -> Option<Self> {
        [
            Self::Requested,
            Self::Held,
            Self::Issued,
            Self::Refused,
            Self::Released,
        ]
        .into_iter()
        .find(|state| state.as_str() == stored)
    }
}

/// A member's redemption of a reward.
#[derive(Clone, Debug)]
pub struct Redemption {
    /// Its id.
    pub id: Uuid,
    /// The programme.
    pub program: ProgramId,
    /// The member.
    pub member: MemberId,
    /// The request that asked for it.
    pub request_id: RequestId,
    /// The reward.
    pub reward: RewardId,
    /// The currency of points it costs.
    pub currency: CurrencyId,
    /// How many.
    pub points: Points,
    /// The brand that accepts them.
    pub brand: BrandId,
    /// How far it has come.
    pub state: State,
    /// The hold of its points, once there is one.
    pub hold: Option<String>,
    /// Why it was refused or released.
    pub reason: Option<String>,
    /// The voucher's code, encrypted, once there is one.
    pub voucher_sealed: Option<Vec<u8>>,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// When it was issued.
    pub issued_at: Option<Timestamp>,
    /// How often it was begun: again after it was refused or released.
    pub attempt: i32,
    /// Who asked for it; unknown of old ones.
    pub asked_by: Option<Subject>,
    /// Whose it is to work on: the token of the lease it was last taken with.
    pub leased_by: Option<Uuid>,
}

impl Redemption {
    /// The request id of its hold.
    #[must_use]
    pub fn hold_request(&self) -> String {
        format!("redemption-{}-{}-hold", self.id, self.attempt)
    }

    /// The request id of its capture.
    #[must_use]
    pub fn capture_request(&self) -> String {
        format!("redemption-{}-{}-capture", self.id, self.attempt)
    }

    /// The request id of its hold's release.
    #[must_use]
    pub fn release_request(&self) -> String {
        format!("redemption-{}-{}-release", self.id, self.attempt)
    }
}
