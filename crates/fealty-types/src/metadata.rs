//! What callers want to be kept with a change.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::{InvalidValue, MetadataKey, MetadataValue};

/// Small facts that a caller wants to be kept with a change: the till, the cashier, the
/// campaign. At most 16; they stand in the log for ever.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Metadata(BTreeMap<MetadataKey, MetadataValue>);

impl Metadata {
    /// The most that a change can have.
    pub const LEN_MAX: usize = 16;

    /// Metadata of those facts.
    pub fn new(facts: BTreeMap<MetadataKey, MetadataValue>) -> Result<Self, InvalidValue> {
        if facts.len() > Self::LEN_MAX {
            return Err(InvalidValue::new("must have at most 16 entries"));
        }
        Ok(Self(facts))
    }

    /// Changes their values.
    pub fn change(&mut self, mut change: impl FnMut(&MetadataKey, &mut MetadataValue)) {
        for (key, value) in &mut self.0 {
            change(key, value);
        }
    }

    /// Keeps some of them.
    pub fn retain(&mut self, mut keeps: impl FnMut(&MetadataKey, &MetadataValue) -> bool) {
        self.0.retain(|key, value| keeps(key, value));
    }

    /// Them, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&MetadataKey, &MetadataValue)> {
        self.0.iter()
    }
}
