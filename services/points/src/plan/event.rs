//! Purchases and activities as earning rules see them.

use std::collections::BTreeMap;

use fealty_ledger::{Activity, Counters, Leases, Purchase, PurchaseLine, WalletBook};
use fealty_program::{AttributeType, Program};
use fealty_rules::{Book, Buckets, Budget, Event, GivenAttributes, Line, Subject, WalletPart};
use fealty_types::{
    AttributeName, AttributeValue, Attributes, BudgetId, Code, CurrencyId, Money, Points,
    ProgramId, TenderKind, TierId, Timestamp,
};

use super::PlanError;

/// What is left of budgets, for whoever asks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum LeftOf<'a> {
    /// Nothing is known: nothing is given.
    #[default]
    Nothing,
    /// What a shard has leased, for purchases that a version plans.
    Leases(&'a Leases, &'a ProgramId, u32),
    /// All that is left, whoever has it.
    All(&'a BTreeMap<BudgetId, i64>),
}

/// A member's numbers as rules read them, and what is left of budgets.
pub(crate) struct LedgerNumbers<'a> {
    pub(crate) counters: Option<&'a Counters>,
    pub(crate) left: LeftOf<'a>,
    /// The member's wallets, for the ends of periods.
    pub(crate) wallets: Option<&'a BTreeMap<CurrencyId, WalletBook>>,
}

impl Book for LedgerNumbers<'_> {
    fn buckets(&self, key: u64) -> Option<&Buckets> {
        self.counters?.buckets(key)
    }

    fn left_of(&self, budget: &Budget) -> Option<i64> {
        Some(match self.left {
            LeftOf::Nothing => 0,
            LeftOf::Leases(leases, program, version) => leases.usable(program, &budget.id, version),
            LeftOf::All(left) => left.get(&budget.id).copied().unwrap_or(budget.points),
        })
    }

    fn wallet(&self, currency: &CurrencyId, part: WalletPart) -> i64 {
        let wallet = self.wallets.and_then(|wallets| wallets.get(currency));
        let buckets = wallet.map(|wallet| wallet.wallet().buckets);
        let points = buckets.map(|buckets| match part {
            WalletPart::Available => buckets.available,
            WalletPart::Pending => buckets.pending,
            WalletPart::Held => buckets.held,
            WalletPart::Debt => buckets.debt,
        });
        points.map_or(0, Points::get)
    }
}

/// A purchase as rules see it, or what is left of one that cost `whole_amount`.
pub(super) fn event<'a>(
    program: &Program,
    issues: &'a [CurrencyId],
    (purchase, whole_amount): (&'a Purchase, Money),
    (tier, purchased_at): (Option<&'a TierId>, Timestamp),
    counts: bool,
) -> Event<'a> {
    let mut paid = [0; TenderKind::ALL.len()];
    for tender in &purchase.tenders {
        paid[tender.kind as usize] += tender.minor_units;
    }
    Event {
        subject: Subject::Purchase,
        at: purchased_at,
        brand: purchase.brand.as_str(),
        channel: text(purchase.channel.as_ref()),
        store: text(purchase.store.as_ref()),
        terminal: text(purchase.terminal.as_ref()),
        amount: purchase.amount.minor_units(),
        whole_amount: whole_amount.minor_units(),
        paid,
        lines: purchase.lines.iter().map(line).collect(),
        attributes: attributes(&purchase.attributes),
        issues,
        tier_rank: rank(program, tier),
        tier: tier.map(TierId::as_str).unwrap_or_default(),
        counts,
        again: false,
    }
}

/// An activity as rules see it; `None` where they do not.
pub(super) fn activity_event<'a>(
    program: &Program,
    issues: &'a [CurrencyId],
    activity: &'a Activity,
    (tier, occurred_at): (Option<&'a TierId>, Timestamp),
    counts: bool,
) -> Option<Event<'a>> {
    Some(Event {
        subject: program.earning.rules.activity(&activity.of_type)?,
        at: occurred_at,
        brand: activity.brand.as_str(),
        channel: "",
        store: "",
        terminal: "",
        amount: 0,
        whole_amount: 0,
        paid: [0; TenderKind::ALL.len()],
        lines: Vec::new(),
        attributes: attributes(&activity.attributes),
        issues,
        tier_rank: rank(program, tier),
        tier: tier.map(TierId::as_str).unwrap_or_default(),
        counts,
        again: false,
    })
}

/// The rank of a tier, if the programme has it.
pub(super) fn rank(program: &Program, tier: Option<&TierId>) -> Option<u16> {
    let rank = program.tiers.as_ref()?.rank(tier?)?;
    u16::try_from(rank).ok()
}

fn text(code: Option<&Code>) -> &str {
    code.map(Code::as_str).unwrap_or_default()
}

fn line(line: &PurchaseLine) -> Line<'_> {
    Line {
        sku: text(line.sku.as_ref()),
        category: text(line.category.as_ref()),
        brand: text(line.brand.as_ref()),
        quantity: line.quantity.into(),
        amount: line.minor_units,
        tax: line.tax_minor_units,
        attributes: attributes(&line.attributes),
    }
}

fn attributes(given: &Attributes) -> GivenAttributes<'_> {
    let value = |value| match value {
        &AttributeValue::Bool(value) => fealty_rules::AttributeValue::Bool(value),
        &AttributeValue::Number(value) => fealty_rules::AttributeValue::Number(value),
        AttributeValue::Text(text) => fealty_rules::AttributeValue::Text(text.as_str()),
    };
    given
        .iter()
        .map(|(name, given)| (name, value(given)))
        .collect()
}

/// Personal attributes of a purchase's lines, all together: the log has a hash of each, and a
/// transaction stays within 64 KiB.
const PERSONAL_IN_LINES_MAX: usize = 200;

/// Checks that a purchase has no attributes but those that the programme declares.
pub(super) fn check_attributes(program: &Program, purchase: &Purchase) -> Result<(), PlanError> {
    let declared = &program.attributes;
    check_declared("attributes", &declared.purchase, &purchase.attributes)?;
    let mut personal = 0;
    for (at, line) in purchase.lines.iter().enumerate() {
        if !line.attributes.is_empty() {
            let field = format!("lines[{at}].attributes");
            check_declared(&field, &declared.line, &line.attributes)?;
            let names = line.attributes.keys();
            let is_personal =
                |name: &&AttributeName| declared.line.get(*name) == Some(&AttributeType::Personal);
            personal += names.filter(is_personal).count();
        }
    }
    if personal > PERSONAL_IN_LINES_MAX {
        return Err(PlanError::Field {
            field: "lines".to_owned(),
            what: "must have at most 200 attributes that are personal",
        });
    }
    Ok(())
}

pub(super) fn check_declared(
    field: &str,
    declared: &BTreeMap<AttributeName, AttributeType>,
    given: &Attributes,
) -> Result<(), PlanError> {
    fealty_program::check_attributes(declared, given).map_err(|(name, what)| PlanError::Field {
        field: format!("{field}[{name}]"),
        what,
    })
}
