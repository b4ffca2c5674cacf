//! Bounds of the engine.

use std::time::Duration;

/// How much longer than now a lot lives when it comes back from a hold.
pub const RELEASE_GRACE: Duration = Duration::from_hours(24);

/// The longest time-out of a hold.
pub const HOLD_TIMEOUT_MAX: Duration = Duration::from_hours(366 * 24);

/// Holds that a wallet may have open at once.
pub const HOLDS_PER_WALLET_MAX: usize = 100;

/// Debts that a wallet tells apart. Beyond that, more that it owes a brand joins what it
/// owed that brand before, and only a brand that it owed nothing makes another.
pub const DEBTS_PER_WALLET_MAX: usize = 100;

/// How long inactivity waits for members' tiers to be known.
pub const TIER_WAIT_MAX: Duration = Duration::from_hours(1);

/// After how long a wallet is looked at again that waits for that.
pub const TIER_WAIT_STEP: Duration = Duration::from_mins(1);

/// Lots that one transaction expires or activates. More that fall due at the
/// same instant make further transactions: 500 transfers of about 60 bytes are
/// 30 KiB.
pub const TRANSFERS_PER_EXPIRY_MAX: usize = 500;

/// Lots that one transaction may take from: 10,000 transfers of about 60 bytes
/// are 600 KiB. Beyond that, points are spent in parts.
pub const LOTS_PER_SPEND_MAX: usize = 10_000;
