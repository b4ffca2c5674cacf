//! `orders`: within what a brand's order numbers are unique.

use fealty_rules::calendar;
use fealty_types::{BusinessDate, Code, OrderScope, Timestamp};
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::faults::Check;

#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrdersText {
    /// What makes a number another one.
    unique_by: Vec<UniqueBy>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
enum UniqueBy {
    /// The store: numbers come again in each.
    Store,
    /// The day: numbers come again on each.
    Day,
}

/// Within what a brand's order numbers are unique: all of the brand, if nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orders {
    /// They come again in each store.
    pub by_store: bool,
    /// They come again on each day, in the programme's time zone.
    pub by_day: bool,
}

/// A purchase does not say what its order number is unique within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderScopeMissing {
    /// The store.
    Store,
    /// When it was made.
    PurchaseTime,
}

impl Orders {
    /// What the order number of a purchase is unique within. What the programme does not
    /// ask for is left out.
    pub fn scope(
        self,
        store: Option<&Code>,
        purchased_at: Option<Timestamp>,
        zone: &TimeZone,
    ) -> Result<OrderScope, OrderScopeMissing> {
        let mut scope = OrderScope::default();
        if self.by_store {
            scope.store = Some(store.cloned().ok_or(OrderScopeMissing::Store)?);
        }
        if self.by_day {
            let at = purchased_at.ok_or(OrderScopeMissing::PurchaseTime)?;
            let date = calendar::date_of(at, zone);
            scope.business_date = Some(BusinessDate::new(date));
        }
        Ok(scope)
    }
}

pub(crate) fn check(text: Option<&OrdersText>, check: &mut Check) -> Option<Orders> {
    let Some(text) = text else {
        return Some(Orders::default());
    };
    let named = |by| text.unique_by.iter().filter(|named| **named == by).count();
    let (stores, days) = (named(UniqueBy::Store), named(UniqueBy::Day));
    if stores > 1 || days > 1 || stores + days == 0 {
        check.wrong("orders.unique_by", "must be `store`, `day`, or both");
        return None;
    }
    Some(Orders {
        by_store: stores == 1,
        by_day: days == 1,
    })
}

#[cfg(test)]
mod tests {
    use fealty_types::Timestamp;

    use super::*;
    use crate::check::tests::{refused_at, with_section};

    #[test]
    fn an_order_number_is_unique_within_what_the_file_says() {
        let store: Code = "s-1".parse().expect("a code");
        let at = Timestamp::new("2026-03-06T01:30:00Z".parse().expect("a moment"));
        let scope = |section: &str| with_section(section).order_scope(Some(&store), Some(at));
        assert_eq!(scope(""), Ok(OrderScope::default()));
        let by_store = OrderScope {
            store: Some(store.clone()),
            business_date: None,
        };
        assert_eq!(scope("orders: { unique_by: [store] }"), Ok(by_store));
        let both = OrderScope {
            store: Some(store.clone()),
            business_date: Some("2026-03-06".parse().expect("a day")),
        };
        assert_eq!(scope("orders: { unique_by: [store, day] }"), Ok(both));
        let program = with_section("orders: { unique_by: [store, day] }");
        let (missing, time) = (OrderScopeMissing::Store, OrderScopeMissing::PurchaseTime);
        assert_eq!(program.order_scope(None, Some(at)), Err(missing));
        assert_eq!(program.order_scope(Some(&store), None), Err(time));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for wrong in ["[]", "[store, store]"] {
            let section = format!("orders: {{ unique_by: {wrong} }}");
            assert_eq!(refused_at(&section), ["orders.unique_by"], "{wrong}");
        }
    }
}
