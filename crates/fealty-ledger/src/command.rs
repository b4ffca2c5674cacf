//! What callers ask of the ledger.

use std::time::Duration;

use borsh::{BorshDeserialize, BorshSerialize, io};
use fealty_types::{
    ActivityId, ActivityType, Attributes, BrandId, CurrencyId, EventName, LotId, MemberId, Money,
    Points, Position, Reference, Timestamp,
};

use crate::{Purchase, ReturnedLine};

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
    /// Give points.
    Accrue {
        /// The issuing brand.
        brand: BrandId = "brand",
        /// The currency of points.
        currency: CurrencyId = "currency",
        /// How many.
        points: Points = "points",
        /// When they were earned, of points that were earned elsewhere before; when they
        /// are given, if nothing is said.
        earned_at: Option<Timestamp> = "earned_time",
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
        /// Whether what is left stays held; else it comes back at once.
        keeps_rest: bool = "keep_rest",
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
    /// Take a purchase back, or a part of it.
    Return {
        /// The transaction that recorded it.
        transaction: Position = "of",
        /// What comes back of which lines; nothing where it is said by amount, or all of
        /// the purchase comes back.
        lines: Vec<ReturnedLine> = "lines",
        /// How much money comes back, spread over all lines; nothing where it is said by
        /// line, or all of the purchase comes back.
        amount: Option<Money> = "amount",
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
    Gift {
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
    /// Let a hold last longer.
    ExtendHold {
        /// The hold: position of the transaction that made it.
        hold: Position = "hold",
        /// After how many microseconds from now its points come back by themselves.
        timeout_micros: u64 = "timeout",
    }
    /// Record an activity: something that a member did and that is no purchase.
    Activity {
        /// The brand where it was.
        brand: BrandId = "brand",
        /// Its type, which the programme declares.
        of_type: ActivityType = "activity",
        /// The caller's own id of it.
        id: ActivityId = "activity_id",
        /// When it was; when it is recorded, if nothing was said.
        occurred_at: Option<Timestamp> = "activity_time",
        /// Facts of it that the programme declares.
        attributes: Attributes = "attributes",
    }
    /// Make pending points available.
    Activate {
        /// The transaction that gave them.
        transaction: Position = "transaction",
        /// What has happened: only what waits for that; if nothing is said, all that is
        /// pending.
        event: Option<EventName> = "event",
        /// The caller's word for it.
        reference: Reference = "reference",
    }
}

impl ExtendHold {
    /// The time-out.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_micros(self.timeout_micros)
    }
}

/// When given points become available.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Activation {
    /// At once.
    AtOnce,
    /// At a moment.
    At(Timestamp),
    /// When something has happened, which a request says.
    OnEvent(EventName),
}

impl Hold {
    /// The time-out.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_micros(self.timeout_micros)
    }
}

/// What a command's canonical bytes begin with: its place here. Places are only ever added
/// at the end.
#[derive(Clone, Copy, BorshSerialize, BorshDeserialize)]
enum Tag {
    Purchase,
    Accrue,
    Redeem,
    Hold,
    Capture,
    Release,
    Reverse,
    Adjust,
    Gift,
    Extend,
    Reinstate,
    Activate,
    ExtendHold,
    /// A purchase whose attributes follow it; those without have the bytes that they had
    /// before there were any.
    PurchaseWithAttributes,
    Return,
    /// A purchase whose tier was said: its attributes and the tier follow it.
    PurchaseWithTier,
    Activity,
}

/// Declares the enum of all commands.
macro_rules! command_enum {
    ($($(#[doc = $doc:literal])+ $name:ident = $kind:literal,)+) => {
        /// The content of a request: all of it, so that the same request sent
        /// again can be told from another one under the same id.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Command {
            $($(#[doc = $doc])+ $name($name),)+
        }

        impl BorshSerialize for Command {
            fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
                match self {
                    Self::Purchase(purchase) if let Some(tier) = &purchase.tier => {
                        Tag::PurchaseWithTier.serialize(writer)?;
                        purchase.serialize(writer)?;
                        purchase.serialize_attributes(writer)?;
                        tier.serialize(writer)
                    }
                    Self::Purchase(purchase) if purchase.has_attributes() => {
                        Tag::PurchaseWithAttributes.serialize(writer)?;
                        purchase.serialize(writer)?;
                        purchase.serialize_attributes(writer)
                    }
                    $(Self::$name(inner) => {
                        Tag::$name.serialize(writer)?;
                        inner.serialize(writer)
                    })+
                }
            }
        }

        impl BorshDeserialize for Command {
            fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
                match Tag::deserialize_reader(reader)? {
                    Tag::PurchaseWithAttributes => {
                        let purchase = Purchase::deserialize_reader(reader)?;
                        purchase.with_attributes_of(reader).map(Self::Purchase)
                    }
                    Tag::PurchaseWithTier => {
                        let purchase = Purchase::deserialize_reader(reader)?;
                        purchase.with_tier_of(reader).map(Self::Purchase)
                    }
                    $(Tag::$name => $name::deserialize_reader(reader).map(Self::$name),)+
                }
            }
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
    /// Take a purchase back.
    Return = "return",
    /// Put a wallet right.
    Adjust = "adjust",
    /// Give points to another member.
    Gift = "gift_sent",
    /// Move the expiry of a lot.
    Extend = "extend",
    /// Bring expired points back.
    Reinstate = "reinstate",
    /// Record an activity with what the rules give for it.
    Activity = "activity",
    /// Make pending points available.
    Activate = "activate_on_event",
    /// Let a hold last longer.
    ExtendHold = "extend_hold",
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
            Self::Gift(gift) => (&gift.currency, gift.points),
            Self::Adjust(adjust) if !adjust.gives => (&adjust.currency, adjust.points),
            Self::Purchase(_)
            | Self::Accrue(_)
            | Self::Adjust(_)
            | Self::Capture(_)
            | Self::Release(_)
            | Self::ExtendHold(_)
            | Self::Reverse(_)
            | Self::Return(_)
            | Self::Extend(_)
            | Self::Reinstate(_)
            | Self::Activity(_)
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
            Self::ExtendHold(extend) => Some(Named::Hold(extend.hold)),
            Self::Reverse(reverse) => Some(Named::Transaction(reverse.transaction)),
            Self::Return(returned) => Some(Named::Transaction(returned.transaction)),
            Self::Activate(activate) => Some(Named::Transaction(activate.transaction)),
            Self::Extend(extend) => Some(Named::Lot(extend.lot)),
            Self::Reinstate(reinstate) => Some(Named::Lot(reinstate.lot)),
            Self::Purchase(_)
            | Self::Accrue(_)
            | Self::Redeem(_)
            | Self::Hold(_)
            | Self::Adjust(_)
            | Self::Activity(_)
            | Self::Gift(_) => None,
        }
    }

    /// The holds that it names.
    pub fn holds(&self) -> impl Iterator<Item = Position> {
        let named = match self.names() {
            Some(Named::Hold(hold)) => Some(hold),
            _ => None,
        };
        let tenders = match self {
            Self::Purchase(purchase) => &*purchase.tenders,
            _ => &[],
        };
        let paid_with = tenders.iter().filter_map(|tender| tender.hold);
        named.into_iter().chain(paid_with)
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
            Self::Activity(activity) => Some(&activity.brand),
            Self::Capture(_)
            | Self::Release(_)
            | Self::ExtendHold(_)
            | Self::Reverse(_)
            | Self::Return(_)
            | Self::Gift(_)
            | Self::Extend(_)
            | Self::Reinstate(_)
            | Self::Activate(_) => None,
        }
    }
}
