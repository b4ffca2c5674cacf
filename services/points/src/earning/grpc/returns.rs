//! A request into a return, with every broken rule named.

use fealty_ledger::{LINES_PER_PURCHASE_MAX, ReturnedLine};
use fealty_proto::points::v1 as wire;
use fealty_server::{Fields, Rejection};
use fealty_types::{Money, MoneyCurrency};

use crate::{
    earning::returns::Returning,
    ledger::{
        Change,
        grpc::{
            Call,
            changes::{Noted, read_change},
        },
    },
};

/// What is to come back.
pub(crate) fn returning(
    call: Call<'_>,
    request: &wire::ReturnPurchaseRequest,
) -> Result<Change<Returning>, Rejection> {
    use wire::return_purchase_request::Of;
    read_change!(call, request, |fields| {
        let of = match &request.of {
            Some(Of::Transaction(id)) => fields.which_by_id(id),
            Some(Of::Order(order)) => fields.which_by_order(order),
            None => fields.which_is_unset(),
        };
        let lines = lines(&mut fields.fields, &request.lines);
        let amount = amount(&mut fields.fields, request);
        let reference = fields.parse("reference", &request.reference);
        Some(Returning {
            of: of?,
            lines: lines?,
            amount: amount.ok()?,
            reference: reference?,
        })
    })
}

/// How much money is to come back, if it is said.
fn amount(
    fields: &mut Fields<'_>,
    request: &wire::ReturnPurchaseRequest,
) -> Result<Option<Money>, Noted> {
    let Some(amount) = &request.amount else {
        return Ok(None);
    };
    if !request.lines.is_empty() {
        fields.add("amount", "must be unset where `lines` are set");
        return Err(Noted);
    }
    if amount.minor_units <= 0 {
        fields.add("amount.minor_units", "must be above 0");
        return Err(Noted);
    }
    let currency: Option<MoneyCurrency> =
        fields.parse("amount.currency_code", &amount.currency_code);
    let money = Money::new(currency.ok_or(Noted)?, amount.minor_units);
    let money = fields.check("amount.minor_units", money);
    money.map(Some).ok_or(Noted)
}

fn lines(fields: &mut Fields<'_>, lines: &[wire::ReturnedLine]) -> Option<Vec<ReturnedLine>> {
    if lines.len() > LINES_PER_PURCHASE_MAX {
        fields.add("lines", "must have at most 500 entries");
        return None;
    }
    let each = lines.iter().enumerate();
    let read: Vec<Option<ReturnedLine>> = each
        .map(|(index, asked)| line(fields, index, asked))
        .collect();
    let read: Vec<ReturnedLine> = read.into_iter().collect::<Option<_>>()?;
    let mut named: Vec<u16> = read.iter().map(|line| line.line).collect();
    named.sort_unstable();
    if named.windows(2).any(|pair| pair[0] == pair[1]) {
        fields.add("lines", "must not name a line twice");
        return None;
    }
    Some(read)
}

fn line(fields: &mut Fields<'_>, index: usize, line: &wire::ReturnedLine) -> Option<ReturnedLine> {
    let field = |name: &str| format!("lines[{index}].{name}");
    let place = u16::try_from(line.line).ok();
    let place = place.and_then(|line| line.checked_sub(1));
    if place.is_none() {
        fields.add(&field("line"), "must be the line's place, from 1");
    }
    let quantity = line.quantity.map(u32::try_from).transpose();
    if quantity.is_err() {
        fields.add(&field("quantity"), "must be at least 0");
    }
    let amount = line.amount_minor_units;
    if amount.is_some_and(|amount| !(0..=Money::MINOR_UNITS_MAX).contains(&amount)) {
        fields.add(&field("amount_minor_units"), "must be 0 to 10^13");
        return None;
    }
    if line.quantity.unwrap_or(0) == 0 && amount.unwrap_or(0) == 0 {
        // With neither, all of the line comes back.
        if line.quantity.is_some() || amount.is_some() {
            fields.add(&field("quantity"), "must be above 0, or the amount");
            return None;
        }
    }
    Some(ReturnedLine {
        line: place?,
        quantity: quantity.ok()?,
        minor_units: amount,
    })
}
