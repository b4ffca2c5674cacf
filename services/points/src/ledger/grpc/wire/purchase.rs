//! Purchases and activities as they were recorded.

use std::collections::BTreeMap;

use fealty_ledger::{
    Account, Activity, Cause, Facts, LotOrigin, OfPurchase, Purchase, ReturnFacts, RuleResult,
    Transaction,
};
use fealty_proto::{points::v1 as wire, r#type::v1::Money};
use fealty_server::{to_wire_attributes, to_wire_time};
use fealty_types::{Code, Position, TenderKind, TierId};

pub(super) fn purchase_of(
    purchase: &Purchase,
    facts: OfPurchase<'_>,
    (transaction, of_hold): (&Transaction, &dyn Fn(Position) -> String),
) -> wire::Purchase {
    let code = |code: &Option<Code>| code.as_ref().map(Code::to_string).unwrap_or_default();
    let (lines, tenders) = (purchase.lines.iter(), purchase.tenders.iter());
    let date = facts.order_scope.business_date;
    wire::Purchase {
        brand: purchase.brand.to_string(),
        order_number: purchase.order_number.to_string(),
        amount: Some(Money {
            currency_code: purchase.amount.currency().to_string(),
            minor_units: purchase.amount.minor_units(),
        }),
        purchase_time: Some(to_wire_time(facts.purchased_at)),
        tier: facts.tier.map(TierId::to_string).unwrap_or_default(),
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
                attributes: to_wire_attributes(&line.attributes),
            })
            .collect(),
        tenders: tenders
            .map(|tender| wire::Tender {
                kind: tender_kind(tender.kind).into(),
                amount_minor_units: tender.minor_units,
                hold: tender.hold.map(of_hold).unwrap_or_default(),
            })
            .collect(),
        attributes: to_wire_attributes(&purchase.attributes),
        program_version: version_of(transaction),
        tier_said: purchase.tier.is_some(),
        earned_points: earned_points(transaction),
    }
}

pub(super) fn activity_of(
    activity: &Activity,
    facts: OfPurchase<'_>,
    transaction: &Transaction,
) -> wire::Activity {
    wire::Activity {
        brand: activity.brand.to_string(),
        activity: activity.of_type.to_string(),
        activity_id: activity.id.to_string(),
        activity_time: Some(to_wire_time(facts.purchased_at)),
        tier: facts.tier.map(TierId::to_string).unwrap_or_default(),
        program_version: version_of(transaction),
        earned_points: earned_points(transaction),
        attributes: to_wire_attributes(&activity.attributes),
    }
}

/// The version of the programme that was applied.
fn version_of(transaction: &Transaction) -> i64 {
    transaction.program_version().map_or(0, i64::from)
}

/// What came back of a purchase, and what that came to.
pub(super) fn purchase_return(of: String, facts: &ReturnFacts) -> wire::PurchaseReturn {
    let money = |minor_units| Money {
        currency_code: facts.left.currency().to_string(),
        minor_units,
    };
    let lines = facts.part.lines.iter().map(|part| wire::ReturnedLine {
        line: i32::from(part.line) + 1,
        quantity: i32::try_from(part.quantity).ok(),
        amount_minor_units: Some(part.minor_units),
    });
    let points = facts.points.iter().map(|points| wire::ReturnedPoints {
        currency: points.currency.to_string(),
        taken: points.taken.get(),
        restored: points.restored.get(),
    });
    wire::PurchaseReturn {
        transaction: of,
        purchase_time: Some(to_wire_time(facts.purchased_at)),
        amount: Some(money(facts.part.minor_units)),
        lines: lines.collect(),
        left: Some(money(facts.left.minor_units())),
        left_earns: facts.earns.iter().map(rule_result).collect(),
        counted: facts.counts,
        points: points.collect(),
        expired: facts.reversal.expired.get(),
        borne: facts.reversal.borne.get(),
    }
}

fn rule_result(earned: &RuleResult) -> wire::EarnedPoints {
    wire::EarnedPoints {
        rule: earned.rule.to_string(),
        currency: earned.currency.to_string(),
        points: earned.points.get(),
        bonus: earned.bonus,
    }
}

/// What each rule gave: by what decided it, or by the transfers.
pub(crate) fn earned_points(transaction: &Transaction) -> Vec<wire::EarnedPoints> {
    if let Cause::Request {
        facts: Some(Facts::Purchase(facts)),
        ..
    } = &transaction.cause
    {
        return facts.earned.iter().map(rule_result).collect();
    }
    let made: BTreeMap<_, _> = transaction.lots.iter().map(|lot| (lot.lot, lot)).collect();
    let mut told: Vec<wire::EarnedPoints> = Vec::new();
    for transfer in &transaction.transfers {
        let (Some(rule), Some(lot)) = (&transfer.rule, made.get(&transfer.lot)) else {
            continue;
        };
        // What repaid another brand was given as well; that brand's side of it was not.
        if transfer.debit != Account::Issued(lot.brand.clone()) {
            continue;
        }
        let of_rule = |told: &&mut wire::EarnedPoints| told.rule == rule.as_str();
        if let Some(known) = told.iter_mut().find(of_rule) {
            known.points += transfer.amount.get();
            continue;
        }
        told.push(wire::EarnedPoints {
            rule: rule.to_string(),
            currency: transfer.currency.to_string(),
            points: transfer.amount.get(),
            bonus: lot.origin == LotOrigin::Promotion,
        });
    }
    told
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
