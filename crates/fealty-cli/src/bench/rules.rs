//! Purchases under rules that read lines, counters, caps and budgets.

use std::fmt::Write as _;

use fealty_proto::points::v1::PurchaseLine;

use super::{
    Scale,
    fill::Ledger,
    measures::{Whose, measure_of},
    report::Report,
    service::Service,
};
use crate::load::{calls::Call, calls::Subject};

/// How often each is measured, turn by turn.
const TURNS: usize = 3;
/// Rules that a purchase of lines may meet.
const CANDIDATES: usize = 200;

/// A programme whose rules go by the way of sale: the same one without a budget, with one,
/// and with one of which nobody can use what is left; and, for purchases of lines, two counters,
/// a cap, a budget, and so many rules that each purchase may meet.
pub(super) fn program() -> String {
    let mut program = r#"
program: rules
language: 1
calendar: { time_zone: UTC }
money: { currency: EUR }
currencies: { points: { expires: { after: 12 months, round_to: end_of_month } } }
brands: { shop: { issues: [points], accepts: [points] } }
counters:
  coffees: { of: line, when: 'line.category == "coffee"', add: line.quantity, over: { every: week } }
  spent: { of: purchase, add: purchase.amount, over: { every: month } }
budgets:
  wet: { currency: points, points: 1000000000000000 }
  dry: { currency: points, points: 30, partial: false }
  lines: { currency: points, points: 1000000000000000 }
earning:
  - { rule: plain, on: purchase, when: 'purchase.channel == "plain"', earn: { currency: points, rate: { points: 1, per: "1.00" } } }
  - { rule: wet, on: purchase, when: 'purchase.channel == "wet"', earn: { currency: points, rate: { points: 1, per: "1.00" } }, budget: wet }
  - { rule: dry, on: purchase, when: 'purchase.channel == "dry"', earn: { currency: points, rate: { points: 1, per: "1.00" } }, budget: dry }
  - { rule: base, on: purchase, when: 'purchase.channel == "lines"', earn: { currency: points, rate: { points: 1, per: "1.00" } }, budget: lines }
  - { rule: jazz, on: purchase, lines: 'line.category == "jazz"', earn: { multiply: base, by: 2 }, caps: [ { per: member, every: month, points: 2000 } ] }
  - { rule: fifth-coffee, on: purchase, when: counters.coffees.passes(5), earn: { currency: points, fixed: 50 } }
  - { rule: spender, on: purchase, when: 'counters.spent.after >= money("500.00")', earn: { multiply: base, by: "1.25" } }
"#
    .to_owned();
    for number in 0..CANDIDATES - 7 {
        let _ = writeln!(
            program,
            "  - {{ rule: more-{number}, on: purchase, when: 'purchase.amount > money(\"{}.00\")', \
             earn: {{ currency: points, fixed: 1 }} }}",
            100 + number
        );
    }
    program
}

/// Who buys what under it.
fn subject(channel: &str) -> Subject {
    let line = |category: &str, amount_minor_units| PurchaseLine {
        sku: format!("{category}-1"),
        category: category.to_owned(),
        amount_minor_units,
        ..PurchaseLine::default()
    };
    let lines = || {
        vec![
            line("coffee", 295),
            line("jazz", 1_700),
            line("rock", 1_500),
            line("food", 1_000),
            line("books", 500),
        ]
    };
    let [program, brand, currency, money] = ["rules", "shop", "points", "EUR"].map(str::to_owned);
    Subject {
        program,
        brand,
        currency,
        money,
        channel: channel.to_owned(),
        lines: if channel == "lines" {
            lines()
        } else {
            Vec::new()
        },
    }
}

/// Measures purchases under budgets against the same without, and purchases of lines.
pub(super) async fn measure(
    service: &Service,
    ledger: &Ledger,
    scale: Scale,
    report: &mut Report,
) -> anyhow::Result<()> {
    let all = Whose::AllOf(ledger.members / 5);
    let run = |name, channel| {
        let subject = subject(channel);
        measure_of(service, (name, 512), (Call::Purchase, subject), scale, all)
    };
    // Members are new to the programme at first.
    run("rules_begin", "plain").await;
    for _ in 0..TURNS {
        for (name, channel) in [
            ("purchase_rule_512", "plain"),
            ("purchase_budget_512", "wet"),
            ("purchase_dry_512", "dry"),
        ] {
            report.settle().await?;
            report.add(run(name, channel).await);
        }
    }
    report.settle().await?;
    let before = report.disk("small")?;
    report.add(run("purchase_lines_512", "lines").await);
    report.disk_used("purchase", before, report.disk("small")?);
    Ok(())
}
