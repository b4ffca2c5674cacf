//! The ledger engine: state and a request in, transactions out, no I/O.
//!
//! The service, the verifier and the property tests run this code. It takes
//! time and state as arguments, so the same log gives the same state on every
//! machine, every time.
//!
//! - [`WalletBook`] is a wallet as far as it has been read: its buckets, and
//!   those of its lots and holds that the work at hand needs. Where a step
//!   needs lots that have not been read, it says [`Stop::LotsNeeded`] before
//!   it changes anything, and is called again with more of them.
//! - [`advance_step`] does the next thing that is due by a time: activations,
//!   hold time-outs, expiries. [`execute`] does all of them, and then what a
//!   request asks for. [`apply_end`] writes what the end of a period comes to, which
//!   somebody who knows the programme has worked out.
//! - Both write [`Transaction`]s to a [`Log`], which also takes [`Notice`]s: what
//!   belongs to no member. [`canonical`] is how such entries become bytes, and how
//!   the bytes are chained.
//!
//! Invariants, kept by every step: no bucket is below zero; the open lots of a
//! wallet sum to its pending and available points, its holds to the held ones;
//! pending, available and held together stay within 10^15, so no move between
//! buckets can overflow; each transfer debits one account and credits another.

#![deny(clippy::float_arithmetic)]

mod account;
mod advance;
mod backfill;
mod book;
pub mod canonical;
mod command;
mod counters;
mod engine;
mod entry;
mod execute;
mod facts;
mod leases;
mod limits;
mod log;
mod packing;
mod period;
mod period_end;
mod principal;
mod purchase;
mod refusal;
mod request;
mod returns;
mod terms;
mod tier;
mod totals;
mod transaction;
mod wallet;

pub use account::{Account, BucketName};
pub use advance::{advance, advance_step};
pub use backfill::{Backfill, Backfilled};
pub use book::{MemberBook, PendingKey, PendingThrough, ReadThrough, SpendKey, WalletBook};
pub use command::{
    Accrue, Activate, Activation, Activity, Adjust, Capture, Command, Extend, ExtendHold, Gift,
    Hold as HoldCommand, Named, Redeem, Reinstate, Release, Return, Reverse, Spend,
};
pub use counters::{Buckets as CounterBuckets, CounterMove, Counters, Forgotten};
pub use engine::Engine;
pub use entry::{Entry, LeaseMoved, LeaseReceived, Notice, Said};
pub use execute::{
    advance_to_end, apply, apply_backfill, apply_end, apply_received, apply_tier, change_tier,
    end_takes_effect, execute, given, receive, taken_back,
};
pub use facts::{
    BackfilledReturnFacts, BudgetedFacts, Draw, EarnedFacts, Facts, GivenLot, LinePart, OfPurchase,
    PurchaseFacts, ReturnFacts, ReturnedPart, ReturnedPoints, ReversalFacts, RuleResult, SlotMove,
    SlotRead,
};
pub use leases::{BudgetName, Held, Lease, Leases, Overdrawn, Pool};
pub use limits::{
    DEBTS_PER_WALLET_MAX, HOLD_TIMEOUT_MAX, HOLDS_PER_WALLET_MAX, LOTS_PER_SPEND_MAX,
    RELEASE_GRACE, TIER_WAIT_MAX, TIER_WAIT_STEP, TRANSFERS_PER_EXPIRY_MAX,
};
pub use log::{Log, Stamp};
pub use period::{Converted, ConvertedInto, EndOf, Ended};
pub use period_end::{PeriodEnd, Taken};
pub use principal::Principal;
pub use purchase::{
    LINES_PER_PURCHASE_MAX, Purchase, PurchaseLine, ReturnedLine, TENDERS_PER_PURCHASE_MAX, Tender,
};
pub use refusal::{Refusal, Stop};
pub use request::{Active, Grant, Request, Unmet};
pub use returns::{ReturnError, Returned};
pub use terms::{LotOrigin, LotTerms};
pub use tier::{Inactivity, Moment, TierChanged, TierEffect};
pub use totals::{AccountKey, AccountTotals, Sums};
pub use transaction::{Cause, Due, ExpiryChange, Received, Transaction, Transfer, WalletAfter};
pub use wallet::{Buckets, Debt, Hold, HoldLot, Lot, Reversal, Wallet};
