//! Facts that programmes declare.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::{AttributeName, MetadataValue};

/// The value of a fact that a programme declares. Variants are only ever added at the end:
/// their order is part of the ledger's canonical bytes.
#[derive(
    Clone,
    Debug,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    serde::Deserialize,
    serde::Serialize,
)]
#[serde(untagged)]
pub enum AttributeValue {
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Number(i64),
    /// A text.
    Text(MetadataValue),
}

/// Facts that a programme declares, by name.
pub type Attributes = BTreeMap<AttributeName, AttributeValue>;
