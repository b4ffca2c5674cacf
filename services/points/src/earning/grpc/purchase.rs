//! A request into a purchase, with every broken rule named.

use std::collections::HashMap;

use fealty_auth::InReach;
use fealty_ledger::{
    Command, LINES_PER_PURCHASE_MAX, Purchase, PurchaseLine, TENDERS_PER_PURCHASE_MAX, Tender,
};
use fealty_proto::{points::v1 as wire, r#type::v1::Money as WireMoney};
use fealty_server::{Fields, Rejection};
use fealty_types::{Code, Money, MoneyCurrency, TenderKind};

use crate::{
    earning::preview::Asked,
    ledger::{
        Change,
        grpc::{
            Call,
            changes::{ChangeFields, Noted, read_change},
        },
    },
};

/// The most of one article in a line.
const QUANTITY_MAX: i32 = 1_000_000;
/// Texts of a purchase's lines, in bytes, all together: so they stay within
/// 64 KiB.
const LINE_TEXTS_MAX: usize = 40 * 1024;

/// A purchase asked for.
pub(crate) fn purchase(
    call: Call<'_>,
    request: &wire::RecordPurchaseRequest,
) -> Result<Change, Rejection> {
    read(call, request, None)
}

/// A purchase of the past, and the tier that counts for it; the one that is known, if the text
/// is empty.
pub(super) fn past_purchase(
    call: Call<'_>,
    request: &wire::RecordPurchaseRequest,
    tier: &str,
) -> Result<Change, Rejection> {
    read(call, request, Some(tier))
}

fn read(
    call: Call<'_>,
    request: &wire::RecordPurchaseRequest,
    past: Option<&str>,
) -> Result<Change, Rejection> {
    read_change!(call, request, |fields| {
        let order_number = fields.parse("order_number", &request.order_number);
        let purchased_at = match (past, request.purchase_time) {
            (Some(_), None) => {
                fields.add("purchase_time", "must be set");
                Err(Noted)
            }
            (_, time) => fields.optional_time("purchase_time", time),
        };
        let tier = fields.optional("tier", past.unwrap_or_default());
        let tenders = tenders(fields, &request.tenders);
        let content = Content {
            brand: &request.brand,
            amount: request.amount.as_ref(),
            codes: [&request.channel, &request.store, &request.terminal],
            lines: &request.lines,
            attributes: &request.attributes,
        };
        let purchase = content.read(&mut fields.fields, tenders);
        Some(Command::Purchase(Purchase {
            order_number: order_number?,
            purchased_at: purchased_at.ok()?,
            tier: tier.ok()?,
            ..purchase?
        }))
    })
}

/// A purchase that is asked about. It is no order, so it has a number that no order has.
pub(super) fn asked_about(
    call: Call<'_>,
    request: &wire::PreviewPurchaseRequest,
) -> Result<Asked, Rejection> {
    Fields::read(call.caller, |fields| {
        let program = fields.program("program", &request.program);
        let member = fields.member("member", program.as_ref(), &request.member);
        let purchased_at = match request.purchase_time {
            None => Ok(None),
            Some(time) => fields.time("purchase_time", time).map(Some).ok_or(Noted),
        };
        let tenders = paid_with(fields, &request.tenders);
        let content = Content {
            brand: &request.brand,
            amount: request.amount.as_ref(),
            codes: [&request.channel, &request.store, &request.terminal],
            lines: &request.lines,
            attributes: &request.attributes,
        };
        let purchase = content.read(fields, tenders);
        Some(Asked {
            program: program?,
            member: member?,
            purchase: Purchase {
                purchased_at: purchased_at.ok()?,
                ..purchase?
            },
        })
    })
}

/// What a purchase consists of, whether it is made or only asked about.
struct Content<'a> {
    brand: &'a str,
    amount: Option<&'a WireMoney>,
    /// Channel, store, terminal.
    codes: [&'a str; 3],
    lines: &'a [wire::PurchaseLine],
    attributes: &'a HashMap<String, wire::AttributeValue>,
}

impl Content<'_> {
    fn read(self, fields: &mut Fields<'_>, tenders: Option<Vec<Tender>>) -> Option<Purchase> {
        let brand = fields.brand("brand", self.brand).map(InReach::into_inner);
        let amount = money(fields, self.amount);
        let [channel, store, terminal] = self.codes;
        let channel = code(fields, "channel", channel);
        let store = code(fields, "store", store);
        let terminal = code(fields, "terminal", terminal);
        let lines = lines(fields, self.lines);
        let attributes = fields.attributes("attributes", self.attributes);
        let purchase = Purchase {
            brand: brand?,
            order_number: NO_ORDER.parse().ok()?,
            amount: amount?,
            purchased_at: None,
            channel: channel.ok()?,
            store: store.ok()?,
            terminal: terminal.ok()?,
            lines: lines?,
            tenders: tenders?,
            attributes: attributes?,
            tier: None,
        };
        sums_fit(fields, &purchase)?;
        Some(purchase)
    }
}

/// The number of what is no order.
const NO_ORDER: &str = "none";

fn money(fields: &mut Fields<'_>, money: Option<&WireMoney>) -> Option<Money> {
    let Some(money) = money else {
        fields.add("amount", "must be set");
        return None;
    };
    let currency: Option<MoneyCurrency> =
        fields.parse("amount.currency_code", &money.currency_code);
    fields.check(
        "amount.minor_units",
        Money::new(currency?, money.minor_units),
    )
}

/// A code that may be left out.
fn code(fields: &mut Fields<'_>, field: &str, text: &str) -> Result<Option<Code>, Noted> {
    if text.is_empty() {
        return Ok(None);
    }
    fields.parse(field, text).map(Some).ok_or(Noted)
}

/// How much room attributes take, in bytes.
fn attributes_len(given: &HashMap<String, wire::AttributeValue>) -> usize {
    use wire::attribute_value::Value;
    let lens = given.iter().map(|(name, given)| {
        let value = match &given.value {
            Some(Value::Text(text)) => text.len(),
            _ => 8,
        };
        name.len() + value
    });
    lens.sum()
}

/// An amount of money in a part of the purchase.
fn minor_units(fields: &mut Fields<'_>, field: &str, minor_units: i64) -> Option<i64> {
    if (0..=Money::MINOR_UNITS_MAX).contains(&minor_units) {
        return Some(minor_units);
    }
    fields.add(field, "must be 0 to 10^13");
    None
}

fn lines(fields: &mut Fields<'_>, lines: &[wire::PurchaseLine]) -> Option<Vec<PurchaseLine>> {
    let texts = |line: &wire::PurchaseLine| {
        line.sku.len() + line.category.len() + line.brand.len() + attributes_len(&line.attributes)
    };
    if lines.len() > LINES_PER_PURCHASE_MAX {
        fields.add("lines", "must have at most 500 entries");
        return None;
    }
    if lines.iter().map(texts).sum::<usize>() > LINE_TEXTS_MAX {
        fields.add("lines", "must have at most 40 KiB of texts");
        return None;
    }
    let each = lines.iter().enumerate();
    let read: Vec<_> = each
        .map(|(index, asked)| line(fields, index, asked))
        .collect();
    read.into_iter().collect()
}

fn line(fields: &mut Fields<'_>, index: usize, line: &wire::PurchaseLine) -> Option<PurchaseLine> {
    let field = |name: &str| format!("lines[{index}].{name}");
    let sku = code(fields, &field("sku"), &line.sku);
    let category = code(fields, &field("category"), &line.category);
    let brand = code(fields, &field("brand"), &line.brand);
    let quantity = line.quantity.unwrap_or(1);
    let quantity = (1..=QUANTITY_MAX).contains(&quantity).then_some(quantity);
    if quantity.is_none() {
        fields.add(&field("quantity"), "must be 1 to 1,000,000");
    }
    let amount = field("amount_minor_units");
    let amount = minor_units(fields, &amount, line.amount_minor_units);
    let tax = field("tax_minor_units");
    let tax = minor_units(fields, &tax, line.tax_minor_units);
    if tax > amount && amount.is_some() {
        fields.add(&field("tax_minor_units"), "must be at most the amount");
    }
    let attributes = fields.attributes(&field("attributes"), &line.attributes);
    Some(PurchaseLine {
        sku: sku.ok()?,
        category: category.ok()?,
        brand: brand.ok()?,
        quantity: u32::try_from(quantity?).ok()?,
        minor_units: amount?,
        tax_minor_units: tax?,
        attributes: attributes?,
    })
}

/// What would be paid with; points need no hold for that.
fn paid_with(fields: &mut Fields<'_>, tenders: &[wire::Tender]) -> Option<Vec<Tender>> {
    if tenders.len() > TENDERS_PER_PURCHASE_MAX {
        fields.add("tenders", "must have at most 20 entries");
        return None;
    }
    let each = tenders.iter().enumerate();
    let read: Vec<_> = each
        .map(|(index, asked)| {
            let (kind, minor_units) = kind_and_amount(fields, index, asked);
            Some(Tender {
                kind: kind?,
                minor_units: minor_units?,
                hold: None,
            })
        })
        .collect();
    read.into_iter().collect()
}

fn kind_and_amount(
    fields: &mut Fields<'_>,
    index: usize,
    tender: &wire::Tender,
) -> (Option<TenderKind>, Option<i64>) {
    let kind = kind_of(tender.kind());
    if kind.is_none() {
        fields.add(&format!("tenders[{index}].kind"), "must be set");
    }
    let amount = format!("tenders[{index}].amount_minor_units");
    (
        kind,
        minor_units(fields, &amount, tender.amount_minor_units),
    )
}

fn tenders(fields: &mut ChangeFields<'_>, tenders: &[wire::Tender]) -> Option<Vec<Tender>> {
    if tenders.len() > TENDERS_PER_PURCHASE_MAX {
        fields.add("tenders", "must have at most 20 entries");
        return None;
    }
    let each = tenders.iter().enumerate();
    let read: Vec<_> = each
        .map(|(index, asked)| tender(fields, index, asked))
        .collect();
    let read: Vec<Tender> = read.into_iter().collect::<Option<_>>()?;
    let holds: Vec<_> = read.iter().filter_map(|tender| tender.hold).collect();
    if (1..holds.len()).any(|index| holds[..index].contains(&holds[index])) {
        fields.add("tenders", "must not name a hold twice");
        return None;
    }
    Some(read)
}

fn tender(fields: &mut ChangeFields<'_>, index: usize, tender: &wire::Tender) -> Option<Tender> {
    let field = |name: &str| format!("tenders[{index}].{name}");
    let (kind, amount) = kind_and_amount(&mut fields.fields, index, tender);
    let hold = match (kind, &*tender.hold) {
        (Some(TenderKind::Points), "") => {
            fields.add(&field("hold"), "must name the hold of the points");
            None
        }
        (Some(TenderKind::Points), id) => fields.hold_in(&field("hold"), id).map(Some),
        (_, "") => Some(None),
        (_, _) => {
            fields.add(
                &field("hold"),
                "must be empty for what is not paid in points",
            );
            None
        }
    };
    Some(Tender {
        kind: kind?,
        minor_units: amount?,
        hold: hold?,
    })
}

/// What was bought, and what was paid with, come to what was paid.
fn sums_fit(fields: &mut Fields<'_>, purchase: &Purchase) -> Option<()> {
    let paid = purchase.amount.minor_units();
    let lines: i64 = purchase.lines.iter().map(|line| line.minor_units).sum();
    let tenders: i64 = purchase.tenders.iter().map(|part| part.minor_units).sum();
    let lines_fit = purchase.lines.is_empty() || lines == paid;
    let tenders_fit = purchase.tenders.is_empty() || tenders == paid;
    if !lines_fit {
        fields.add("lines", "must sum to the amount");
    }
    if !tenders_fit {
        fields.add("tenders", "must sum to the amount");
    }
    (lines_fit && tenders_fit).then_some(())
}

fn kind_of(kind: wire::TenderKind) -> Option<TenderKind> {
    match kind {
        wire::TenderKind::Unspecified => None,
        wire::TenderKind::Cash => Some(TenderKind::Cash),
        wire::TenderKind::Card => Some(TenderKind::Card),
        wire::TenderKind::Points => Some(TenderKind::Points),
        wire::TenderKind::Voucher => Some(TenderKind::Voucher),
        wire::TenderKind::GiftCard => Some(TenderKind::GiftCard),
        wire::TenderKind::Other => Some(TenderKind::Other),
    }
}
