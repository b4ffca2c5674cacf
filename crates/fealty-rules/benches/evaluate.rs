//! How long an evaluation takes: `cargo bench -p fealty-rules`.
//!
//! A purchase of 20 lines, under 1,000 rules of which 12 apply, and under 200 that all do.

use std::fmt::Write as _;

use divan::{Bencher, black_box};
use fealty_program::Program;
use fealty_rules::{
    Event, GivenAttributes, Line, Numbers, Outcome, Rules, Silent, Subject, evaluate,
};
use fealty_types::{CurrencyId, Timestamp};

fn main() {
    divan::main();
}

const HEAD: &str = r#"
program: club
language: 1
calendar: { time_zone: Europe/London }
money: { currency: GBP }
currencies: { points: {} }
brands: { shop: { issues: [points] } }
counters:
  coffees: { of: line, when: 'line.category == "c1"', add: line.quantity, over: { every: week } }
  spent: { of: purchase, add: purchase.amount, over: { every: month } }
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
"#;

/// The rules that a text adds to the base.
fn rules(text: &str) -> Program {
    let source = format!("{HEAD}{text}");
    let parsed = Program::parse(&source).unwrap_or_else(|errors| panic!("{errors}"));
    (*parsed.program).clone()
}

/// 1,000 rules: each of a category, a shop, a way of buying or a time; 12 apply.
fn a_thousand() -> String {
    let mut text = String::new();
    for number in 0..999 {
        let condition = match number % 4 {
            0 | 1 => format!("lines: 'line.category == \"c{}\"'", 10 + number / 2),
            2 => format!("lines: 'line.sku == \"s{}\"'", 9 + number),
            _ => format!(
                "when: 'purchase.store == \"{number}\" && purchase.amount > money(\"5.00\")'"
            ),
        };
        writeln!(
            text,
            "  - {{ rule: r{number}, on: purchase, {condition}, earn: {{ currency: points, fixed: 5 }}, \
             caps: [ {{ per: member, every: month, points: 500 }} ] }}"
        )
        .expect("to memory");
    }
    text
}

/// 200 rules that all apply.
fn two_hundred() -> Program {
    let mut text = String::new();
    for number in 0..199 {
        let rule = match number % 3 {
            0 => format!("lines: 'line.quantity < {}', earn: {{ currency: points, fixed: 5 }}", 100 + number),
            1 => "when: 'counters.spent.after > money(\"1.00\")', earn: { multiply: base, by: \"1.1\" }".to_owned(),
            _ => format!("lines: 'line.category != \"x{number}\"', earn: {{ currency: points, rate: {{ points: 1, per: \"3.00\" }} }}"),
        };
        writeln!(text, "  - {{ rule: r{number}, on: purchase, {rule} }}").expect("to memory");
    }
    rules(&text)
}

const CATEGORIES: [&str; 20] = [
    "c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "c10", "c11", "c12", "c13", "c14",
    "c15", "c16", "c17", "c18", "c19",
];
const SKUS: [&str; 20] = [
    "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s12", "s14", "s16", "s18", "s20",
    "t1", "t2", "t3", "t4", "s11",
];

fn purchase(issues: &[CurrencyId]) -> Event<'_> {
    let lines = CATEGORIES
        .into_iter()
        .zip(SKUS)
        .map(|(category, sku)| Line {
            sku,
            category,
            quantity: 2,
            amount: 1_234,
            tax: 200,
            ..Line::default()
        });
    Event {
        subject: Subject::Purchase,
        at: Timestamp::new("2026-03-02T12:00:00Z".parse().expect("a moment")),
        brand: "shop",
        channel: "store",
        store: "17",
        terminal: "17-2",
        amount: 20 * 1_234,
        whole_amount: 20 * 1_234,
        paid: [0; 6],
        lines: lines.collect(),
        attributes: GivenAttributes::new(),
        issues,
        tier_rank: None,
        tier: "",
        counts: true,
        again: false,
    }
}

fn evaluated(rules: &Rules, event: &Event<'_>) -> Outcome {
    let numbers = Numbers::default();
    let inputs = event.inputs(rules, &numbers);
    evaluate(rules, event, &inputs, &mut Silent).expect("in range")
}

fn bench(bencher: Bencher<'_, '_>, program: &Program, gives: std::ops::RangeInclusive<usize>) {
    let issues = ["points".parse().expect("an id")];
    let event = purchase(&issues);
    let rules = &program.earning.rules;
    let given = evaluated(rules, &event).given.len();
    assert!(gives.contains(&given), "{given} rules give");
    bencher.bench_local(|| evaluated(black_box(rules), black_box(&event)));
}

#[divan::bench]
fn twelve_of_a_thousand_rules_apply(bencher: Bencher<'_, '_>) {
    bench(bencher, &rules(&a_thousand()), 12..=12);
}

#[divan::bench]
fn two_hundred_rules_all_apply(bencher: Bencher<'_, '_>) {
    bench(bencher, &two_hundred(), 150..=200);
}

#[divan::bench(sample_count = 10)]
fn a_thousand_rules_are_read_and_compiled(bencher: Bencher<'_, '_>) {
    let text = a_thousand();
    bencher.bench_local(|| rules(black_box(&text)));
}
