//! Activities: what is no purchase, and what counts since one.

use fealty_program::Program;
use fealty_rules::{Event, Numbers, Silent, evaluate};

use super::harness::{HEAD, bought, case, event, subject};

#[test]
fn an_activity_gives_what_its_own_rules_say() {
    let sections = r#"
activities: { review: { attributes: { stars: int, words: int } }, moved: {} }
counters: { reviews: { of: activity.review, when: activity.attributes.words >= 10, over: ever } }
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
  - { rule: review, on: activity.review, earn: { currency: points, fixed: 50 }, caps: [ { per: member, every: week, times: 1 } ] }
  - { rule: stars, on: activity.review, when: 'member.tier == "gold"', earn: { currency: points, fixed: 2, times: activity.attributes.stars } }
  - { rule: third, on: activity.review, when: counters.reviews.passes(3), earn: { currency: points, fixed: 7 } }
  - { rule: known, on: purchase, when: counters.reviews >= 2, earn: { currency: points, fixed: 1 } }
"#;
    let events = "
        2026-03-02 !review stars=5 words=20 => review 50
        2026-03-03 !review stars=4 words=20 @gold => stars 8
        2026-03-04 web rock:3.00 => base 3 known 1
        2026-03-09 !review words=9 => review 50
        2026-03-10 !moved =>
        2026-03-16 !review words=10 => review 50 third 7
    ";
    case(sections, events);
}

/// Moved house: five points more for furniture for 90 days from the move, at most 100 points
/// of it for one move.
#[test]
fn a_cap_since_an_activity_begins_anew_with_each() {
    let sections = r#"
activities: { moved: {} }
counters:
  moves: { of: activity.moved, over: { last: 90 days } }
  tables: { of: line, when: 'line.category == "table"', over: { since: activity.moved } }
earning:
  - rule: furniture
    on: purchase
    when: counters.moves >= 1
    lines: 'line.category in ["table", "chair"]'
    earn: { currency: points, rate: { points: 5, per: "1.00" } }
    caps: [ { per: member, since: activity.moved, points: 100 } ]
  - { rule: second-table, on: purchase, when: counters.tables.passes(2), earn: { currency: points, fixed: 9 } }
  - { rule: no-move, on: purchase, earn: { currency: points, fixed: 1 }, caps: [ { per: member, since: activity.moved, times: 2 } ] }
"#;
    let events = "
        2026-03-01 web table:30.00 =>
        2026-03-02 !moved =>
        2026-03-02 web table:10.00 rock:5.00 => furniture 50 no-move 1
        2026-03-05 web table:30.00 => furniture 50 second-table 9 no-move 1
        2026-03-06 web table:30.00 =>
        2026-04-01 !moved =>
        2026-04-01 web chair:30.00 => furniture 100 no-move 1
        2026-04-02 web table:1.00 table:1.00 => second-table 9 no-move 1
        2026-08-01 web table:30.00 =>
        2026-08-02 web chair:1.00 =>
    ";
    case(sections, events);
}

/// What is told late takes the days between it and the next with it; an activity that has a cap
/// since its own kind is in its own time.
#[test]
fn what_is_told_late_counts_from_its_own_day() {
    let sections = r"
activities: { moved: {}, visit: {} }
counters: { visits: { of: activity.visit, once_per: day, over: { since: activity.moved } } }
earning:
  - { rule: welcome, on: activity.moved, earn: { currency: points, fixed: 10 }, caps: [ { per: member, since: activity.moved, times: 1 } ] }
  - { rule: visit, on: activity.visit, when: counters.visits.reaches_each(2), earn: { currency: points, fixed: 3 } }
";
    let events = "
        2026-03-10 !visit =>
        2026-03-12 !visit =>
        2026-03-20 !moved => welcome 10
        2026-03-20 !moved =>
        2026-03-21 !visit =>
        2026-03-21 !visit =>
        2026-03-11 !moved => welcome 10
        2026-03-13 !visit => visit 3
        2026-03-22 !visit => visit 3
        2026-03-23 !visit =>
    ";
    case(sections, events);
}

/// Before there is one, nothing counts since it, and nothing is given for that: no edge is
/// reached, no band begins, no cap has room, whatever one purchase brings.
#[test]
fn nothing_counts_since_an_activity_before_the_first() {
    let sections = r#"
activities: { joined: {}, moved: {} }
counters:
  orders: { of: purchase, over: { since: activity.joined } }
  days: { of: purchase, once_per: day, over: { since: activity.joined } }
  spent: { of: purchase, add: purchase.amount, over: { since: activity.joined } }
earning:
  - { rule: bands, on: purchase, earn: { currency: points, bands: { by: spent, per: "1.00", points: { "0.00": 2, "10.00": 1 } } } }
  - { rule: first, on: purchase, when: counters.orders.passes(1), earn: { currency: points, fixed: 500 } }
  - { rule: each-day, on: purchase, when: counters.days.reaches_each(1), earn: { currency: points, fixed: 3 } }
  - { rule: fifty, on: purchase, when: 'counters.spent.passes(money("5.00"))', earn: { currency: points, fixed: 5 } }
  - { rule: after, on: purchase, when: counters.orders.after >= 1, earn: { currency: points, fixed: 1 } }
  - { rule: capped, on: purchase, earn: { currency: points, fixed: 7 }, caps: [ { per: member, since: activity.joined, times: 1 } ] }
"#;
    let events = "
        2026-03-01 web rock:8.00 =>
        2026-03-02 web rock:8.00 =>
        2026-03-03 !moved =>
        2026-03-04 !joined =>
        2026-03-04 web rock:8.00 => bands 16 first 500 each-day 3 fifty 5 after 1 capped 7
        2026-03-05 web rock:8.00 => bands 10 each-day 3 after 1
        2026-03-03 web rock:8.00 =>
    ";
    case(sections, events);
}

/// The days of activities are kept before something counts since them, and while nothing does.
#[test]
fn a_later_version_knows_when_it_was() {
    let version = |rules: &str| {
        let sections = format!("activities: {{ moved: {{}} }}\n{rules}");
        let parsed = Program::parse(&format!("{HEAD}{sections}")).expect("right");
        parsed.program
    };
    let capped = r"
earning:
  - { rule: capped, on: purchase, earn: { currency: points, fixed: 7 }, caps: [ { per: member, since: activity.moved, times: 1 } ] }
";
    let (with, without) = (version(capped), version(""));
    let steps = [
        (&without, "2026-03-01 !moved", 0),
        (&with, "2026-03-02 web rock:1.00", 7),
        (&with, "2026-03-03 web rock:1.00", 0),
        (&without, "2026-03-04 !moved", 0),
        (&with, "2026-03-05 web rock:1.00", 7),
        (&with, "2026-03-06 web rock:1.00", 0),
    ];
    let mut numbers = Numbers::default();
    for (program, step, expected) in steps {
        let rules = &program.earning.rules;
        let (bought, issues) = (bought(step), ["points".parse().expect("an id")]);
        let event = Event {
            subject: subject(rules, &bought),
            ..event(&bought, &issues)
        };
        let inputs = event.inputs(rules, &numbers);
        let outcome = evaluate(rules, &event, &inputs, &mut Silent).expect("in range");
        let given: i64 = outcome.given.iter().map(|given| given.points.get()).sum();
        assert_eq!(given, expected, "{step}");
        numbers.apply(rules, &outcome.moves);
    }
}
