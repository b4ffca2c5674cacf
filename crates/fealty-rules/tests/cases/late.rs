//! What comes late: limits and edges hold whatever the order.

use fealty_program::Program;
use fealty_rules::{Event, Numbers, Verdict, Verdicts, evaluate};

use super::harness::{HEAD, bought, case, event};

/// Receipts that come in newest first: no thirty days have more than the cap.
#[test]
fn a_rolling_cap_holds_whatever_comes_late() {
    case(
        r#"
earning:
  - rule: base
    on: purchase
    earn: { currency: points, rate: { points: 1, per: "1.00" } }
    caps: [ { per: member, last: 30 days, points: 100 } ]
"#,
        r"
        2026-11-30 web rock:70.00  => base 70
        2026-11-20 web rock:70.00  => base 30
        2026-11-01 web rock:70.00  =>
        2026-10-31 web rock:170.00 => base 70
        2026-12-29 web rock:10.00  => base 10
        2026-12-30 web rock:10.00  => base 10
        ",
    );
}

/// A late purchase that takes what came after it over the edge reaches it, once.
#[test]
fn a_rolling_edge_is_reached_once_whatever_comes_late() {
    let rules = r"
counters:
  coffees: { of: line, add: line.quantity, over: { last: 30 days } }
earning:
  - { rule: fifth, on: purchase, when: counters.coffees.passes(5), earn: { currency: points, fixed: 50 } }
";
    case(
        rules,
        r"
        2026-11-01 web coffee:1.00x4 =>
        2026-11-10 web coffee:1.00x1 => fifth 50
        2026-11-05 web coffee:1.00x1 =>
        ",
    );
    case(
        rules,
        r"
        2026-11-01 web coffee:1.00x3 =>
        2026-11-10 web coffee:1.00x1 =>
        2026-11-05 web coffee:1.00x1 => fifth 50
        2026-11-12 web coffee:1.00x1 =>
        ",
    );
}

#[test]
fn a_streak_that_a_late_purchase_joins_pays_each_edge_once() {
    let rules = |edge: &str| {
        format!(
            r"
counters: {{ weeks: {{ of: purchase, over: {{ in_a_row: week }} }} }}
earning:
  - {{ rule: streak, on: purchase, when: counters.weeks.{edge}, earn: {{ currency: points, fixed: 1 }} }}
"
        )
    };
    // Mondays.
    case(
        &rules("passes(3)"),
        r"
        2026-11-02 web rock:1.00 =>
        2026-11-09 web rock:1.00 =>
        2026-11-23 web rock:1.00 =>
        2026-11-30 web rock:1.00 =>
        2026-12-07 web rock:1.00 => streak 1
        2026-11-16 web rock:1.00 =>
        2026-12-14 web rock:1.00 =>
        ",
    );
    case(
        &rules("reaches_each(4)"),
        r"
        2026-11-02 web rock:1.00 =>
        2026-11-09 web rock:1.00 =>
        2026-11-23 web rock:1.00 =>
        2026-11-30 web rock:1.00 =>
        2026-11-16 web rock:1.00 => streak 1
        2026-11-16 web rock:1.00 =>
        2026-12-07 web rock:1.00 =>
        2026-12-14 web rock:1.00 =>
        2026-12-21 web rock:1.00 => streak 1
        ",
    );
    case(
        &rules("reaches_each(2)"),
        r"
        2026-11-02 web rock:1.00 =>
        2026-11-09 web rock:1.00 => streak 1
        2026-11-23 web rock:1.00 =>
        2026-11-30 web rock:1.00 => streak 1
        2026-11-16 web rock:1.00 =>
        2026-12-07 web rock:1.00 => streak 1
        ",
    );
}

/// Too late for its counters: nothing from what needs them, and that is said.
#[test]
fn what_is_too_late_earns_by_what_needs_no_counter() {
    let sections = r#"
counters: { spent: { of: purchase, add: purchase.amount, over: { every: year } } }
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
  - { rule: bands, on: purchase, earn: { currency: points, bands: { by: spent, per: "1.00", points: { "0.00": 5 } } } }
  - { rule: capped, on: purchase, earn: { currency: points, fixed: 9 }, caps: [ { per: member, times: 1 } ] }
"#;
    let parsed = Program::parse(&format!("{HEAD}{sections}")).expect("right");
    let rules = &parsed.program.earning.rules;
    let (bought, issues) = (
        bought("2026-03-02 web rock:7.00"),
        ["points".parse().expect("an id")],
    );
    let event = Event {
        counts: false,
        ..event(&bought, &issues)
    };
    let numbers = Numbers::default();
    let inputs = event.inputs(rules, &numbers);
    let mut verdicts = Verdicts::default();
    let outcome = evaluate(rules, &event, &inputs, &mut verdicts).expect("in range");
    assert_eq!((outcome.given.len(), outcome.moves.len()), (1, 0));
    let gave = Verdict::Gave {
        points: 7,
        uncapped: 7,
    };
    verdicts.0.sort_unstable_by_key(|(rule, _)| *rule);
    let expected = [(0, gave), (1, Verdict::TooLate), (2, Verdict::TooLate)];
    assert_eq!(verdicts.0, expected);
}
