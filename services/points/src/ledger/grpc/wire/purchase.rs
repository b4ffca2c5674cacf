//! Purchases as they were recorded.

use fealty_ledger::{Purchase, PurchaseFacts, TenderKind};
use fealty_proto::{points::v1 as wire, r#type::v1::Money};
use fealty_server::to_wire_time;
use fealty_types::{Code, Position, TierId};

pub(super) fn purchase_of(
    purchase: &Purchase,
    facts: &PurchaseFacts,
    of_hold: impl Fn(Position) -> String,
) -> wire::Purchase {
    let code = |code: &Option<Code>| code.as_ref().map(Code::to_string).unwrap_or_default();
    let (lines, tenders) = (purchase.lines.iter(), purchase.tenders.iter());
    let earned = facts.earned.iter();
    let date = facts.order_scope.business_date;
    wire::Purchase {
        brand: purchase.brand.to_string(),
        order_number: purchase.order_number.to_string(),
        amount: Some(Money {
            currency_code: purchase.amount.currency().to_string(),
            minor_units: purchase.amount.minor_units(),
        }),
        purchase_time: Some(to_wire_time(facts.purchased_at)),
        tier: facts
            .tier
            .as_ref()
            .map(TierId::to_string)
            .unwrap_or_default(),
        earned_points: earned
            .map(|earned| wire::EarnedPoints {
                rule: earned.rule.to_string(),
                currency: earned.currency.to_string(),
                points: earned.points.get(),
                bonus: earned.bonus,
            })
            .collect(),
        channel: code(&purchase.channel),
        store: code(&purchase.store),
        terminal: code(&purchase.terminal),
        business_date: date.map(|date| date.to_string()).unwrap_or_default(),
        lines: lines
            .map(|line| wire::PurchaseLine {
                sku: code(&line.sku),
                category: code(&line.category),
                brand: code(&line.brand),
                quantity: i32::try_from(line.quantity).ok(),
                amount_minor_units: line.minor_units,
                tax_minor_units: line.tax_minor_units,
                ..wire::PurchaseLine::default()
            })
            .collect(),
        tenders: tenders
            .map(|tender| wire::Tender {
                kind: tender_kind(tender.kind).into(),
                amount_minor_units: tender.minor_units,
                hold: tender.hold.map(&of_hold).unwrap_or_default(),
            })
            .collect(),
        ..wire::Purchase::default()
    }
}

fn tender_kind(kind: TenderKind) -> wire::TenderKind {
    match kind {
        TenderKind::Cash => wire::TenderKind::Cash,
        TenderKind::Card => wire::TenderKind::Card,
        TenderKind::Points => wire::TenderKind::Points,
        TenderKind::Voucher => wire::TenderKind::Voucher,
        TenderKind::GiftCard => wire::TenderKind::GiftCard,
        TenderKind::Other => wire::TenderKind::Other,
    }
}
