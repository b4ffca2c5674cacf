//! Facts that programmes declare, on the wire.

use std::collections::{BTreeMap, HashMap};

use fealty_proto::points::v1::{self as wire, attribute_value::Value};
use fealty_types::{AttributeValue, Attributes};

use crate::Fields;

/// Attributes of one thing at the most.
const ATTRIBUTES_MAX: usize = 50;

impl Fields<'_> {
    /// Facts that a programme declares; whether it does is for who knows the programme.
    pub fn attributes(
        &mut self,
        field: &str,
        given: &HashMap<String, wire::AttributeValue>,
    ) -> Option<Attributes> {
        if given.len() > ATTRIBUTES_MAX {
            let rule = format!("must have at most {ATTRIBUTES_MAX} entries");
            self.violations.add(field, rule);
            return None;
        }
        // In order, so that the first wrong one is the same each time.
        let given: BTreeMap<&String, &wire::AttributeValue> = given.iter().collect();
        let read = given.into_iter().map(|(name, given)| {
            let path = format!("{field}[{name}]");
            let value = match &given.value {
                None => {
                    self.violations.add(&path, "must be set");
                    None
                }
                Some(Value::Boolean(value)) => Some(AttributeValue::Bool(*value)),
                Some(Value::Number(value)) => Some(AttributeValue::Number(*value)),
                Some(Value::Text(text)) => self.parse(&path, text).map(AttributeValue::Text),
            };
            Some((self.parse(&path, name)?, value?))
        });
        let read: Vec<_> = read.collect();
        read.into_iter().collect()
    }
}

/// Facts as they are told.
#[must_use]
pub fn to_wire_attributes(given: &Attributes) -> HashMap<String, wire::AttributeValue> {
    let value = |value: &AttributeValue| match value {
        AttributeValue::Bool(value) => Value::Boolean(*value),
        AttributeValue::Number(value) => Value::Number(*value),
        AttributeValue::Text(text) => Value::Text(text.to_string()),
    };
    let told = given.iter().map(|(name, given)| {
        let value = Some(value(given));
        (name.to_string(), wire::AttributeValue { value })
    });
    told.collect()
}
