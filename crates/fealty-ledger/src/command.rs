//! What callers ask of the ledger.

use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_types::{
    BrandId, CurrencyId, LotId, MemberId, Money, OrderNumber, Points, Position, Reference,
    RequestId, RuleId, TierId, Timestamp,
};

use crate::{LotOrigin, LotTerms, Transaction};

/// Points that a command spends, or sets aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spend<'a> {
    /// The currency of the wallet.
    pub currency: &'a CurrencyId,
    /// How many.
    pub points: Points,
}

/// Declares a command's fields, and how two requests are told apart: by the
/// first field that differs, under its name in the contract.
macro_rules! commands {
    ($($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $field_doc:literal])+ $field:ident: $type:ty = $wire:literal,)+ })+) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
        pub struct $name {
            $($(#[doc = $field_doc])+ pub $field: $type,)+
        }

        impl $name {
            fn first_difference(&self, other: &Self) -> Option<&'static str> {
                $(if self.$field != other.$field {
                    return Some($wire);
                })+
                None
            }
        }
    )+};
}

commands! {
    /// Record a purchase.
    Purchase {
        /// The brand where it was made.
        brand: BrandId = "brand",
        /// The brand's order number.
        order_number: OrderNumber = "order_number",
        /// What was paid.
        amount: Money = "amount",
        /// When it was made; when it is recorded, if nothing was said.
        purchased_at: Option<Timestamp> = "purchase_time",
    }
    /// Give points.
    Accrue {
        /// The issuing brand.
        brand: BrandId = "brand",
        /// The currency of points.
        currency: CurrencyId = "currency",
        /// How many.
        points: Points = "points",
        /// When they become available, if not as the programme says.
        activation: Option<Activation> = "activation",
        /// From when on they are gone, if not as the programme says.
        expires_at: Option<Timestamp> = "expiry_time",
        /// The caller's word for it.
        reference: Reference = "reference",
    }
    /// Spend points.
    Redeem {
        /// The accepting brand.
        brand: BrandId = "brand",
        /// The currency of points.
        currency: CurrencyId = "currency",
        /// How many.
        points: Points = "points",
        /// The caller's word for it.
        reference: Reference = "reference",
    }
    /// Set points aside.
    Hold {
        /// The brand that is to accept the points.
        brand: BrandId = "brand",
        /// The currency of points.
        currency: CurrencyId = "currency",
        /// How many.
        points: Points = "points",
        /// After how many microseconds they come back by themselves.
        timeout_micros: u64 = "timeout",
        /// The caller's word for it.
        reference: Reference = "reference",
    }
    /// Spend held points.
    Capture {
        /// The hold: position of the transaction that made it.
        hold: Position = "hold",
        /// How many; all that are left, if nothing is said.
        points: Option<Points> = "points",
        /// Whether what is left then comes back at once.
        is_final: bool = "final",
    }
    /// Give held points back.
    Release {
        /// The hold: position of the transaction that made it.
        hold: Position = "hold",
    }
    /// Undo an earlier transaction, or a part of it.
    Reverse {
        /// The transaction.
        transaction: Position = "transaction",
        /// The currency of the part, where there are several.
        currency: Option<CurrencyId> = "currency",
        /// How many points; all that are not reversed yet, if nothing is said.
        points: Option<Points> = "points",
        /// The caller's word for it.
        reference: Reference = "reference",
    }
    /// Put a wallet right.
    Adjust {
        /// The brand that bears it.
        brand: BrandId = "brand",
        /// The currency of points.
        currency: CurrencyId = "currency",
        /// How many.
        points: Points = "points",
        /// Whether they are given; else they are taken.
        gives: bool = "points",
        /// Why: a code of the programme's own.
        reason: Reference = "reason",
        /// Who.
        actor: Reference = "actor",
        /// Who approved it, where a second person must.
        approver: Option<Reference> = "approver",
        /// Words for those who read it later.
        note: Reference = "note",
    }
    /// Give points to another member.
    TransferOut {
        /// To whom.
        to: MemberId = "recipient",
        /// The currency of points.
        currency: CurrencyId = "currency",
        /// How many.
        points: Points = "points",
        /// The caller's word for it.
        reference: Reference = "reference",
    }
    /// Move the expiry of a lot that is open.
    Extend {
        /// The lot.
        lot: LotId = "lot",
        /// Its new expiry.
        expires_at: Timestamp = "expiry_time",
        /// Why: a code of the programme's own.
        reason: Reference = "reason",
        /// Who.
        actor: Reference = "actor",
    }
    /// Bring points of a lot back that have expired.
    Reinstate {
        /// The lot.
        lot: LotId = "lot",
        /// How many; all that expired, if nothing is said.
        points: Option<Points> = "points",
        /// The lot's new expiry.
        expires_at: Timestamp = "expiry_time",
        /// Why: a code of the programme's own.
        reason: Reference = "reason",
        /// Who.
        actor: Reference = "actor",
    }
    /// Make pending points available.
    Activate {
        /// The transaction that gave them.
        transaction: Position = "transaction",
        /// The caller's word for it.
        reference: Reference = "reference",
    }
}

/// When given points become available.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Activation {
    /// At once.
    AtOnce,
    /// At a moment.
    At(Timestamp),
    /// When a request says so.
    OnEvent,
}

impl Hold {
    /// The time-out.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_micros(self.timeout_micros)
    }
}

/// Declares the enum of all commands. Its order is part of the canonical bytes.
macro_rules! command_enum {
    ($($(#[doc = $doc:literal])+ $name:ident = $kind:literal,)+) => {
        /// The content of a request: all of it, so that the same request sent
        /// again can be told from another one under the same id. Variants are
        /// only ever added at the end: their order is part of the canonical bytes.
        #[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
        pub enum Command {
            $($(#[doc = $doc])+ $name($name),)+
        }

        impl Command {
            /// The kind of transaction it makes, as shown and counted.
            #[must_use]
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => $kind,)+
                }
            }

            /// The first field in which two requests differ, by its name in
            /// the contract; `None` for equal ones.
            #[must_use]
            pub fn first_difference(&self, other: &Self) -> Option<&'static str> {
                match (self, other) {
                    $((Self::$name(a), Self::$name(b)) => a.first_difference(b),)+
                    _ => Some("method"),
                }
            }
        }
    };
}

command_enum! {
    /// Record a purchase with what the rules give for it.
    Purchase = "purchase",
    /// Give points.
    Accrue = "accrue",
    /// Spend points.
    Redeem = "redeem",
    /// Set points aside.
    Hold = "hold",
    /// Spend held points.
    Capture = "capture",
    /// Give held points back.
    Release = "release",
    /// Undo an earlier transaction.
    Reverse = "reverse",
    /// Put a wallet right.
    Adjust = "adjust",
    /// Give points to another member.
    TransferOut = "transfer_out",
    /// Move the expiry of a lot.
    Extend = "extend",
    /// Bring expired points back.
    Reinstate = "reinstate",
    /// Make pending points available.
    Activate = "activate_on_event",
}

/// What a command names that was there before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// A hold.
    Hold(Position),
    /// A transaction: with it, its lots and what was reversed of it.
    Transaction(Position),
    /// A lot.
    Lot(LotId),
}

impl Command {
    /// What it spends, or sets aside; `None` where it names a hold or spends
    /// nothing.
    #[must_use]
    pub fn spends(&self) -> Option<Spend<'_>> {
        let (currency, points) = match self {
            Self::Redeem(redeem) => (&redeem.currency, redeem.points),
            Self::Hold(hold) => (&hold.currency, hold.points),
            Self::TransferOut(transfer) => (&transfer.currency, transfer.points),
            Self::Adjust(adjust) if !adjust.gives => (&adjust.currency, adjust.points),
            Self::Purchase(_)
            | Self::Accrue(_)
            | Self::Adjust(_)
            | Self::Capture(_)
            | Self::Release(_)
            | Self::Reverse(_)
            | Self::Extend(_)
            | Self::Reinstate(_)
            | Self::Activate(_) => return None,
        };
        Some(Spend { currency, points })
    }

    /// What it names that was there before it.
    #[must_use]
    pub fn names(&self) -> Option<Named> {
        match self {
            Self::Capture(capture) => Some(Named::Hold(capture.hold)),
            Self::Release(release) => Some(Named::Hold(release.hold)),
            Self::Reverse(reverse) => Some(Named::Transaction(reverse.transaction)),
            Self::Activate(activate) => Some(Named::Transaction(activate.transaction)),
            Self::Extend(extend) => Some(Named::Lot(extend.lot)),
            Self::Reinstate(reinstate) => Some(Named::Lot(reinstate.lot)),
            Self::Purchase(_)
            | Self::Accrue(_)
            | Self::Redeem(_)
            | Self::Hold(_)
            | Self::Adjust(_)
            | Self::TransferOut(_) => None,
        }
    }

    /// The brand it names.
    #[must_use]
    pub fn brand(&self) -> Option<&BrandId> {
        match self {
            Self::Purchase(purchase) => Some(&purchase.brand),
            Self::Accrue(accrue) => Some(&accrue.brand),
            Self::Redeem(redeem) => Some(&redeem.brand),
            Self::Hold(hold) => Some(&hold.brand),
            Self::Adjust(adjust) => Some(&adjust.brand),
            Self::Capture(_)
            | Self::Release(_)
            | Self::Reverse(_)
            | Self::TransferOut(_)
            | Self::Extend(_)
            | Self::Reinstate(_)
            | Self::Activate(_) => None,
        }
    }
}

/// A request with what was decided about it outside the engine.
#[derive(Clone, Debug)]
pub struct Request {
    /// The caller's name for it.
    pub request_id: RequestId,
    /// What is asked.
    pub command: Command,
    /// When it is asked.
    pub asked_at: Timestamp,
    /// The version of the programme that is applied.
    pub program_version: u32,
    /// What was looked up to decide it.
    pub facts: Option<Facts>,
    /// The points to give, with their terms; a currency that earned nothing
    /// has a grant of zero, so that the answer tells its balance.
    pub grants: Vec<Grant>,
    /// The wallets in which it counts as activity, and when they are inactive
    /// after it.
    pub activity: Vec<(CurrencyId, Timestamp)>,
    /// How points that were given are taken back.
    pub refunds: RefundTerms,
    /// The transaction that the command names, if there is one.
    pub original: Option<Box<Transaction>>,
}

/// How points are taken back and restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefundTerms {
    /// What happens to points that their lot no longer has.
    pub policy: RefundPolicy,
    /// How long a lot lives that expired while its points were spent, and are
    /// restored; `None`, and they stay expired.
    pub restore_grace: Option<Duration>,
}

impl Default for RefundTerms {
    fn default() -> Self {
        Self {
            policy: RefundPolicy::Balance,
            restore_grace: Some(Duration::from_hours(30 * 24)),
        }
    }
}

/// What happens to points that are to be taken back and that their lot no
/// longer has, for they were spent or are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum RefundPolicy {
    /// Nothing: the brand bears them.
    LotOnly,
    /// They are taken from other lots, soonest-expiring first, as far as those
    /// reach.
    Balance,
    /// As balance, and what is missing then is owed.
    Debt,
}

/// What was looked up to decide a request, or decided once for all. Variants
/// are only ever added at the end.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Facts {
    /// Of a purchase.
    Purchase(PurchaseFacts),
    /// The tier that counted for the terms of given points.
    Tier(TierId),
    /// What a reversal came to.
    Reversal(ReversalFacts),
}

/// The facts that decided a purchase's points.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct PurchaseFacts {
    /// When it was made.
    pub purchased_at: Timestamp,
    /// The tier that counted.
    pub tier: Option<TierId>,
    /// What each rule gave.
    pub earned: Vec<RuleResult>,
}

/// What a rule gave.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RuleResult {
    /// The rule.
    pub rule: RuleId,
    /// The currency it gives.
    pub currency: CurrencyId,
    /// The points; may be none.
    pub points: Points,
    /// Whether it added to another rule's points.
    pub bonus: bool,
}

/// What a reversal came to.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ReversalFacts {
    /// How many points of each lot it reverses, in order.
    pub parts: Vec<crate::HoldLot>,
    /// Points that had expired, and were not taken from elsewhere.
    pub expired: Points,
    /// Points that could not be taken, and that the brand bears.
    pub borne: Points,
}

/// Points to give, with their terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The rule that gives them, if one does.
    pub rule: Option<RuleId>,
    /// The currency.
    pub currency: CurrencyId,
    /// How many; may be none.
    pub points: Points,
    /// The issuing brand.
    pub brand: BrandId,
    /// When they were earned.
    pub earned_at: Timestamp,
    /// When they become available; see [`LotTerms::activates_at`].
    pub activates_at: Option<Timestamp>,
    /// From when on they are gone; see [`LotTerms::expires_at`].
    pub expires_at: Option<Timestamp>,
    /// How they came to be.
    pub origin: LotOrigin,
    /// What a point is worth; see [`LotTerms::unit_value_micros`].
    pub unit_value_micros: Option<i64>,
    /// The version of the programme that gave the terms.
    pub program_version: u32,
}

impl Grant {
    /// Whether its points can be in that lot.
    pub(crate) fn has_terms_of(&self, lot: &LotTerms) -> bool {
        self.currency == lot.currency
            && self.brand == lot.brand
            && self.earned_at == lot.earned_at
            && self.activates_at == lot.activates_at
            && self.expires_at == lot.expires_at
            && self.origin == lot.origin
            && self.unit_value_micros == lot.unit_value_micros
            && self.program_version == lot.program_version
    }
}

/// Points that one member gives another: they keep the terms of their lot.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct GivenLot {
    /// How many.
    pub points: Points,
    /// The issuing brand.
    pub brand: BrandId,
    /// When they were earned.
    pub earned_at: Timestamp,
    /// From when on they are gone; see [`LotTerms::expires_at`].
    pub expires_at: Option<Timestamp>,
    /// How they came to be.
    pub origin: LotOrigin,
    /// What a point is worth; see [`LotTerms::unit_value_micros`].
    pub unit_value_micros: Option<i64>,
    /// The version of the programme that gave the terms.
    pub program_version: u32,
}
