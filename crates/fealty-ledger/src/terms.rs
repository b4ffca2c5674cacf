//! The terms of lots.

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_types::{BrandId, CurrencyId, EventName, LotId, Points, Timestamp};

/// The terms of a lot, as made.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LotTerms {
    /// The lot.
    pub lot: LotId,
    /// The currency.
    pub currency: CurrencyId,
    /// The issuing brand.
    pub brand: BrandId,
    /// The points it was made with.
    pub amount: Points,
    /// When they were earned.
    pub earned_at: Timestamp,
    /// When they become available: at once, if there is nothing; with
    /// [`LotTerms::ON_EVENT`], when a request says that something has happened.
    pub activates_at: Option<Timestamp>,
    /// What must happen for that, where they wait for something.
    pub activates_on: Option<EventName>,
    /// From when on they are gone: never, if there is nothing; with
    /// [`LotTerms::WITH_ACTIVITY`], or later in that year, when the wallet has been
    /// inactive for long enough; see [`LotTerms::with_activity_not_before`].
    pub expires_at: Option<Timestamp>,
    /// How they came to be.
    pub origin: LotOrigin,
    /// What a point was worth when it was earned, in millionths of one unit of
    /// the programme's money: 10,000 is 0.01 USD.
    pub unit_value_micros: Option<i64>,
    /// The version of the programme that gave the terms.
    pub program_version: u32,
}

impl LotTerms {
    /// The expiry of what does not expire: 9999-01-01T00:00Z, later than any
    /// calendar date that a programme can give.
    pub const NEVER: Timestamp = Timestamp::constant(253_370_764_800_000_000);
    /// The expiry of what goes when its wallet is inactive: 9998-01-01T00:00Z.
    /// So such lots are spent after those with a date, and before those without.
    pub const WITH_ACTIVITY: Timestamp = Timestamp::constant(253_339_228_800_000_000);
    /// The activation of what waits for a request: 9999-01-01T00:00Z.
    pub const ON_EVENT: Timestamp = Self::NEVER;

    /// The expiry of what goes when its wallet is inactive, but not before a moment: the
    /// year 9998 stands for it, with a microsecond for each second of that moment, rounded
    /// up. So it is spent after what may go sooner.
    #[must_use]
    pub fn with_activity_not_before(not_before: Timestamp) -> Timestamp {
        let seconds = not_before
            .micros()
            .saturating_add(999_999)
            .div_euclid(1_000_000);
        let year = Self::NEVER.micros() - Self::WITH_ACTIVITY.micros();
        let micros = Self::WITH_ACTIVITY.micros() + seconds.clamp(1, year - 1);
        Timestamp::from_micros(micros).unwrap_or(Self::WITH_ACTIVITY)
    }

    /// Whether an expiry says that points go when their wallet is inactive.
    #[must_use]
    pub fn is_with_activity(expires_at: Timestamp) -> bool {
        (Self::WITH_ACTIVITY..Self::NEVER).contains(&expires_at)
    }

    /// Whether its points go when their wallet is inactive.
    #[must_use]
    pub fn goes_with_inactivity(&self) -> bool {
        self.expires_at.is_some_and(Self::is_with_activity)
    }

    /// Before when its points do not go, however inactive their wallet is.
    #[must_use]
    pub fn not_before(&self) -> Option<Timestamp> {
        self.expires_at.and_then(Self::not_before_of)
    }

    /// Before when points with that expiry do not go, however inactive their wallet is.
    #[must_use]
    pub fn not_before_of(expires_at: Timestamp) -> Option<Timestamp> {
        let seconds = expires_at.micros() - Self::WITH_ACTIVITY.micros();
        let says = Self::is_with_activity(expires_at) && seconds > 0;
        Timestamp::from_micros(seconds.checked_mul(1_000_000)?).filter(|_| says)
    }
}

/// How the points of a lot came to be. Variants are only ever added at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum LotOrigin {
    /// Earned by a purchase.
    Purchase,
    /// Given outside a purchase, or on top of what another rule gave for one.
    Promotion,
    /// Given by an operator who put something right.
    Adjustment,
}
