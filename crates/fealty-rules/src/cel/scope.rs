//! What an expression may name.

use std::collections::BTreeMap;

use fealty_types::{AttributeName, CounterId, TierId};

/// The type of a declared attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeType {
    /// Yes or no; no where it is not given.
    Bool,
    /// A whole number; 0 where it is not given.
    Number,
    /// A text; empty where it is not given.
    Text,
    /// A text that is personal: the log has its hash, and no condition reads it.
    Personal,
}

/// Declared attributes, with the place of each in its list.
#[derive(Clone, Debug, Default)]
pub struct Attributes(BTreeMap<AttributeName, (u16, AttributeType)>);

impl Attributes {
    /// Attributes in the order of their names.
    #[must_use]
    pub fn new(declared: &BTreeMap<AttributeName, AttributeType>) -> Self {
        let numbered = (0_u16..).zip(declared);
        Self(
            numbered
                .map(|(at, (name, of_type))| (name.clone(), (at, *of_type)))
                .collect(),
        )
    }

    /// The type of an attribute.
    #[must_use]
    pub fn type_of(&self, name: &AttributeName) -> Option<AttributeType> {
        self.0.get(name).map(|(_, of_type)| *of_type)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn find(&self, name: &str) -> Option<(u16, AttributeType)> {
        self.0.get(&name.parse().ok()?).copied()
    }

    pub(crate) fn place(&self, name: &AttributeName) -> Option<u16> {
        self.0.get(name).map(|(at, _)| *at)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(AttributeName::as_str)
    }
}

/// A counter that may be named.
#[derive(Clone, Copy, Debug)]
pub struct CounterName {
    /// Its number.
    pub number: u16,
    /// Whether it adds money.
    pub is_money: bool,
    /// Whether it adds points that rules give.
    pub of_points: bool,
}

/// A part of a member's wallet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalletPart {
    /// Points that can be spent.
    Available,
    /// Points that are not available yet.
    Pending,
    /// Points that are set aside.
    Held,
    /// Points that are owed.
    Debt,
}

impl WalletPart {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Available, Self::Pending, Self::Held, Self::Debt];

    /// Its name in expressions.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Pending => "pending",
            Self::Held => "held",
            Self::Debt => "debt",
        }
    }
}

/// What an expression may name.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Attributes of the activity, where it is asked of activities, and not of purchases.
    pub activity: Option<&'a Attributes>,
    /// Whether it is asked of the ends of periods.
    pub of_ends: bool,
    /// The slots that read the member's wallet, in the order of [`WalletPart::ALL`]; `None`
    /// where it may not be named.
    pub wallet: Option<[u16; 4]>,
    /// Attributes of the purchase.
    pub purchase: &'a Attributes,
    /// Attributes of its lines.
    pub line: &'a Attributes,
    /// Whether it is asked of each line.
    pub of_lines: bool,
    /// Whether the rule's own lines may be named, for it picks some.
    pub picked: bool,
    /// The tiers, from the lowest up.
    pub tiers: &'a [TierId],
    /// The counters, with their numbers; empty where none may be named.
    pub counters: &'a BTreeMap<CounterId, CounterName>,
    /// Digits of money's minor unit after the point.
    pub decimals: u8,
}
