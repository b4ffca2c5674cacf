//! A purchase as a file has it, and the request that it makes.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use fealty_program::Program;
use fealty_proto::{
    points::v1::{
        AttributeValue, PurchaseLine, RecordPurchaseRequest, Tender, TenderKind,
        attribute_value::Value,
    },
    r#type::v1::Money,
};
use fealty_rules::calendar::local_moment;
use fealty_server::{REQUEST_LEN_MAX, from_wire_time, to_wire_time};

use fealty_types::Timestamp;
use prost::Message as _;
use serde::{Deserialize, Deserializer, de::Visitor};
use uuid::Uuid;

use super::{Fault, NAMESPACE};

/// The longest purchase, in bytes: with the rest of its message, the service takes it.
const BYTES_MAX: usize = REQUEST_LEN_MAX - 1_024;

/// A purchase in the words of a file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PurchaseText {
    pub(super) member: String,
    pub(super) order: String,
    pub(super) occurred_at: String,
    pub(super) brand: String,
    #[serde(default)]
    pub(super) channel: String,
    #[serde(default)]
    pub(super) store: String,
    #[serde(default)]
    pub(super) terminal: String,
    /// The tier that counts; empty where the file does not say.
    #[serde(default)]
    pub(super) tier: String,
    /// What was paid; unset where the lines say it.
    #[serde(default)]
    pub(super) amount: Option<Amount>,
    #[serde(default)]
    pub(super) lines: Vec<LineText>,
    #[serde(default)]
    pub(super) tenders: Vec<TenderText>,
    #[serde(default)]
    pub(super) attributes: BTreeMap<String, AttributeText>,
    #[serde(default)]
    pub(super) metadata: HashMap<String, String>,
}

/// A line of it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LineText {
    #[serde(default)]
    pub(super) sku: String,
    #[serde(default)]
    pub(super) category: String,
    #[serde(default)]
    pub(super) brand: String,
    #[serde(default)]
    pub(super) quantity: Option<i32>,
    pub(super) amount: Amount,
    #[serde(default)]
    pub(super) tax: Option<Amount>,
    #[serde(default)]
    pub(super) attributes: BTreeMap<String, AttributeText>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TenderText {
    kind: KindText,
    amount: Amount,
}

/// What is paid with. Points that were spent elsewhere are no points here: they are written as
/// vouchers, which earn nothing either.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KindText {
    Cash,
    Card,
    Voucher,
    GiftCard,
    Other,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum AttributeText {
    Boolean(bool),
    Number(i64),
    Text(String),
}

/// An amount of money as it is written, so that it is exact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Amount(pub(super) String);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = Amount;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an amount in quotes, such as \"12.50\", or a whole number")
            }

            fn visit_str<E>(self, text: &str) -> Result<Amount, E> {
                Ok(Amount(text.to_owned()))
            }

            fn visit_u64<E>(self, whole: u64) -> Result<Amount, E> {
                Ok(Amount(whole.to_string()))
            }
        }
        deserializer.deserialize_any(Written)
    }
}

/// A purchase to be recorded, and the tier that counts for it.
#[derive(Clone, Debug)]
pub(super) struct Past {
    pub(super) request: RecordPurchaseRequest,
    /// Empty for the one that the service knows.
    pub(super) tier: String,
}

/// How a file is read.
#[derive(Clone)]
pub(super) struct Reading {
    /// The programme that it is for.
    pub(super) program: Arc<Program>,
    /// Whether each line of a purchase is a row of its own, whose columns have the fields' names.
    pub(super) in_rows: bool,
    /// The tier that counts where the file does not say.
    pub(super) tier: TierOption,
}

/// The tier that counts for purchases of which the file does not say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TierOption {
    /// It must be said.
    Unset,
    /// The one that the service knows when it records a purchase.
    Known,
    /// This one.
    Is(String),
}

impl Reading {
    /// The request that a purchase makes, without its id; or all that is wrong with it. Its own
    /// row is the first of `rows`; its lines are all of them, or in that one row.
    pub(super) fn request(&self, purchase: PurchaseText, rows: &[u64]) -> Result<Past, Vec<Fault>> {
        let mut faults = Faults {
            rows,
            found: Vec::new(),
        };
        let occurred_at = self.moment(&purchase.occurred_at);
        let occurred_at = faults.or_none(0, "occurred_at", occurred_at);
        let paid = purchase.amount.as_ref();
        let paid = paid.and_then(|amount| self.money(amount, 0, "amount", &mut faults));
        let lines = purchase.lines.into_iter().enumerate();
        let lines: Vec<PurchaseLine> = lines
            .filter_map(|(index, line)| self.line(index, line, &mut faults))
            .collect();
        let tenders = purchase.tenders.into_iter().enumerate();
        let tenders: Vec<Tender> = tenders
            .filter_map(|(index, tender)| {
                let field = format!("tenders[{index}].amount");
                Some(Tender {
                    kind: kind(tender.kind).into(),
                    amount_minor_units: self.money(&tender.amount, 0, &field, &mut faults)?,
                    hold: String::new(),
                })
            })
            .collect();
        let tier = faults.or_none(0, "tier", self.tier(purchase.tier));
        if !faults.found.is_empty() {
            return Err(faults.found);
        }
        let of_lines = || {
            let amounts = lines.iter().map(|line| line.amount_minor_units);
            amounts.fold(0, i64::saturating_add)
        };
        let request = RecordPurchaseRequest {
            request_id: String::new(),
            program: self.program.id.to_string(),
            member: purchase.member,
            brand: purchase.brand,
            order_number: purchase.order,
            amount: Some(Money {
                currency_code: self.program.money.currency.to_string(),
                minor_units: paid.unwrap_or_else(of_lines),
            }),
            purchase_time: occurred_at.map(to_wire_time),
            metadata: purchase.metadata,
            channel: purchase.channel,
            store: purchase.store,
            terminal: purchase.terminal,
            lines,
            tenders,
            attributes: attributes(purchase.attributes),
        };
        if request.encoded_len() > BYTES_MAX {
            faults.add(0, format!("the purchase is longer than {BYTES_MAX} bytes"));
            return Err(faults.found);
        }
        let tier = tier.unwrap_or_default();
        Ok(Past { request, tier })
    }

    /// The tier that counts; empty for the one that the service knows.
    fn tier(&self, said: String) -> Result<String, String> {
        let said = match &self.tier {
            TierOption::Is(tier) if said.is_empty() => tier.clone(),
            _ => said,
        };
        if !said.is_empty() {
            let tiers = self.program.tiers.as_ref();
            let tier = said.parse().ok();
            let rank = tier.and_then(|tier| tiers?.rank(&tier));
            let rule = "must be a tier of the programme";
            return rank.map(|_| said).ok_or_else(|| rule.to_owned());
        }
        match &self.tier {
            _ if self.program.tiers.is_none() => Ok(said),
            TierOption::Is(_) | TierOption::Known => Ok(said),
            TierOption::Unset => {
                let rule = "must be said, for the programme has tiers: in the file, or by \
                            --tier or --known-tier";
                Err(rule.to_owned())
            }
        }
    }

    fn line(&self, index: usize, line: LineText, faults: &mut Faults<'_>) -> Option<PurchaseLine> {
        let field = |name: &str| {
            if self.in_rows {
                name.to_owned()
            } else {
                format!("lines[{index}].{name}")
            }
        };
        let (amount, tax) = (field("amount"), field("tax"));
        let amount = self.money(&line.amount, index, &amount, faults);
        let tax = match &line.tax {
            None => Some(0),
            Some(written) => self.money(written, index, &tax, faults),
        };
        Some(PurchaseLine {
            sku: line.sku,
            category: line.category,
            brand: line.brand,
            quantity: line.quantity,
            amount_minor_units: amount?,
            tax_minor_units: tax?,
            attributes: attributes(line.attributes),
        })
    }

    fn money(
        &self,
        written: &Amount,
        index: usize,
        field: &str,
        faults: &mut Faults<'_>,
    ) -> Option<i64> {
        let Amount(text) = written;
        let money = self.program.money.parse(text);
        let money = faults.or_none(index, field, money)?;
        Some(money.minor_units())
    }

    /// A time with its offset, or a local one in the programme's zone.
    fn moment(&self, text: &str) -> Result<Timestamp, String> {
        if let Ok(moment) = text.parse::<jiff::Timestamp>() {
            return Ok(Timestamp::new(moment));
        }
        let local = local_moment(text, &self.program.calendar.zone);
        local.map_err(|rule| format!("`{text}` {rule}, or a time such as 2026-11-30T18:00:00Z"))
    }

    /// By what an order is known: its brand and number, and what the programme wants besides.
    pub(super) fn key(&self, purchase: &RecordPurchaseRequest) -> Uuid {
        let at = purchase.purchase_time.map(from_wire_time);
        let store = purchase.store.parse().ok();
        let scope = self
            .program
            .order_scope(store.as_ref(), at.and_then(Result::ok));
        // Without what it is unique within, the service refuses it.
        let scope = scope.unwrap_or_default();
        let store = scope.store.map(|store| store.to_string());
        let date = scope.business_date.map(|date| date.to_string());
        let name = [
            &self.program.id.to_string(),
            &purchase.brand,
            &purchase.order_number,
            &store.unwrap_or_default(),
            &date.unwrap_or_default(),
        ]
        .map(|part| format!("{} {part}", part.len()));
        Uuid::new_v5(&NAMESPACE, name.concat().as_bytes())
    }
}

/// What is wrong with a purchase.
struct Faults<'a> {
    rows: &'a [u64],
    found: Vec<Fault>,
}

impl Faults<'_> {
    fn add(&mut self, index: usize, message: String) {
        let line = self.rows.get(index).or(self.rows.first());
        let line = line.copied().unwrap_or_default();
        self.found.push(Fault { line, message });
    }

    fn or_none<T>(&mut self, index: usize, field: &str, read: Result<T, String>) -> Option<T> {
        read.map_err(|wrong| self.add(index, format!("`{field}`: {wrong}")))
            .ok()
    }
}

fn kind(kind: KindText) -> TenderKind {
    match kind {
        KindText::Cash => TenderKind::Cash,
        KindText::Card => TenderKind::Card,
        KindText::Voucher => TenderKind::Voucher,
        KindText::GiftCard => TenderKind::GiftCard,
        KindText::Other => TenderKind::Other,
    }
}

fn attributes(given: BTreeMap<String, AttributeText>) -> HashMap<String, AttributeValue> {
    let value = |given| match given {
        AttributeText::Boolean(value) => Value::Boolean(value),
        AttributeText::Number(value) => Value::Number(value),
        AttributeText::Text(text) => Value::Text(text),
    };
    let told = given.into_iter().map(|(name, given)| {
        let value = Some(value(given));
        (name, AttributeValue { value })
    });
    told.collect()
}
