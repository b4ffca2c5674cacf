//! What purchases and activities earn, case by case.

mod activities;
mod ends;
mod harness;
mod late;

use fealty_program::Program;
use fealty_rules::{Event, Numbers, Silent, evaluate};

use harness::{HEAD, bought, case, event};

#[test]
fn lines_are_picked_by_conditions() {
    case(
        r#"
earning:
  - rule: base
    on: purchase
    when: 'purchase.channel in ["web", "store"]'
    lines: 'line.category != "gift-card"'
    earn: { currency: points, rate: { points: 1, per: "1.00" } }
  - { rule: big, on: purchase, when: 'purchase.amount >= money("20.00")', earn: { currency: points, fixed: 5 } }
  - { rule: jazz, on: purchase, lines: 'line.category == "jazz"', earn: { currency: points, fixed: 2, times: lines.quantity } }
"#,
        r"
        2026-03-02 web jazz:4.75 gift-card:100.00   => base 4 big 5 jazz 2
        2026-03-02 store rock:9.99 jazz:1.01x3      => base 11 jazz 6
        2026-03-02 phone rock:9.99                  =>
        2026-03-02 web gift-card:19.00              =>
        ",
    );
}

#[test]
fn rates_and_factors_go_by_tier_and_round_together() {
    case(
        r#"
earning:
  - rule: base
    on: purchase
    earn: { currency: points, rate: { points: 1, per: "1.00", by_tier: { gold: "1.2", reserve: "1.7" } } }
  - { rule: double, on: purchase, when: 'event.weekday == "tuesday"', earn: { multiply: base, by: 2 } }
  - { rule: jazz, on: purchase, lines: 'line.category == "jazz"', earn: { multiply: base, by: "1.5" } }
  - { rule: compound, on: purchase, when: 'member.tier.at_least("gold")', earn: { multiply: base, by: "1.1", compound: true } }
"#,
        r"
        2026-03-02 web rock:4.75                    => base 4
        2026-03-02 web rock:4.75 @gold              => base 5 compound 1
        2026-03-02 web rock:4.75 @reserve           => base 8
        2026-03-03 web rock:4.75                    => base 4 double 5
        2026-03-03 web rock:4.00 jazz:0.75          => base 4 double 5
        2026-03-03 web rock:4.00 jazz:3.00 @gold    => base 8 double 8 jazz 2 compound 2
        ",
    );
}

#[test]
fn two_doubles_make_triple() {
    case(
        r#"
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
  - { rule: one, on: purchase, earn: { multiply: base, by: 2 } }
  - { rule: other, on: purchase, earn: { multiply: base, by: 2 } }
"#,
        "2026-03-02 web rock:10.50 => base 10 one 11 other 10",
    );
}

#[test]
fn of_a_group_one_rule_gives() {
    let groups = |pick: &str| {
        format!(
            r#"
groups: {{ cards: {pick} }}
earning:
  - {{ rule: all, on: purchase, group: cards, earn: {{ currency: points, rate: {{ points: 1, per: "1.00" }} }} }}
  - rule: food
    on: purchase
    group: cards
    lines: 'line.category == "food"'
    earn: {{ currency: points, rate: {{ points: 3, per: "1.00" }} }}
    caps: [ {{ per: purchase, points: 40 }} ]
"#
        )
    };
    let purchases = r"
        2026-03-02 web food:10.00 => food 30
        2026-03-02 web food:10.00 rock:21.00 => all 31
        2026-03-02 web food:10.00 rock:20.00 => all 30
        2026-03-02 web food:50.00 => all 50
        2026-03-02 web food:30.00 => food 40
    ";
    case(&groups("best"), purchases);
    case(&groups("first"), "2026-03-02 web food:10.00 => all 10");
}

/// What stands of a streak's edges is asked for over all of it, so it is kept for as long.
#[test]
fn edges_of_a_streak_are_kept_for_as_long_as_the_streak() {
    let sections = r"
counters: { months: { of: purchase, over: { in_a_row: month } } }
earning:
  - { rule: month, on: purchase, when: counters.months.reaches_each(1), earn: { currency: points, fixed: 1 } }
";
    let parsed = Program::parse(&format!("{HEAD}{sections}")).expect("right");
    let rules = &parsed.program.earning.rules;
    let (bought, issues) = (
        bought("2026-03-02 web rock:7.00"),
        ["points".parse().expect("an id")],
    );
    let event = event(&bought, &issues);
    let numbers = Numbers::default();
    let inputs = event.inputs(rules, &numbers);
    let outcome = evaluate(rules, &event, &inputs, &mut Silent).expect("in range");
    let keys = outcome
        .moves
        .iter()
        .filter_map(|moved| rules.key_of(moved.slot));
    let kept: Vec<_> = keys
        .map(|key| rules.forgets(key, &Numbers::default(), event.at))
        .collect();
    assert_eq!(kept.len(), 2, "the counter and the edge");
    assert!(kept[0].is_some() && kept[0] == kept[1], "{kept:?}");
}

#[test]
fn budgets_are_for_all_and_give_what_is_left() {
    let rules = |partial: bool| {
        format!(
            r#"
budgets: {{ november: {{ currency: points, points: 10, partial: {partial}, until: 2026-12-01 }} }}
earning:
  - {{ rule: base, on: purchase, earn: {{ currency: points, rate: {{ points: 1, per: "1.00" }} }} }}
  - {{ rule: jazz, on: purchase, lines: 'line.category == "jazz"', earn: {{ multiply: base, by: 2 }}, budget: november }}
  - rule: visit
    on: purchase
    earn: {{ currency: points, fixed: 2 }}
    caps: [ {{ per: member, times: 2 }} ]
    budget: november
"#
        )
    };
    case(
        &rules(true),
        r"
        2026-11-02 web jazz:5.00 => base 5 jazz 5 visit 2
        2026-11-02 web jazz:9.00 => base 9 jazz 3
        2026-11-03 web rock:1.00 => base 1
        2026-12-01 web jazz:1.00 => base 1
        ",
    );
    // Nothing that is not there as a whole; what is left is there for who wants less.
    case(
        &rules(false),
        r"
        2026-11-02 web jazz:5.00 => base 5 jazz 5 visit 2
        2026-11-02 web jazz:9.00 => base 9 visit 2
        2026-11-02 web jazz:1.00 => base 1 jazz 1
        ",
    );
}

#[test]
fn caps_are_exact_over_their_windows() {
    case(
        r#"
earning:
  - rule: base
    on: purchase
    earn: { currency: points, rate: { points: 1, per: "1.00" } }
    caps: [ { per: member, every: month, points: 25 }, { per: purchase, points: 20 } ]
  - rule: visit
    on: purchase
    earn: { currency: points, fixed: 7 }
    caps: [ { per: member, every: week, times: 2 } ]
  - { rule: welcome, on: purchase, earn: { currency: points, fixed: 100 }, caps: [ { per: member, times: 1 } ] }
"#,
        r"
        2026-03-02 web rock:30.00 => base 20 visit 7 welcome 100
        2026-03-03 web rock:3.00  => base 3 visit 7
        2026-03-08 web rock:30.00 => base 2
        2026-03-09 web rock:30.00 => visit 7
        2026-04-01 web rock:3.00  => base 3 visit 7
        ",
    );
}

#[test]
fn edges_of_counters_are_reached_once() {
    case(
        r#"
counters:
  coffees: { of: line, when: 'line.category == "coffee"', add: line.quantity, over: { every: week } }
  card: { of: line, when: 'line.category == "coffee"', add: line.quantity, over: ever }
  days: { of: purchase, add: 1, once_per: day, over: { every: week } }
  weeks: { of: purchase, over: { in_a_row: week } }
earning:
  - { rule: fifth, on: purchase, when: counters.coffees.passes(5), earn: { currency: points, fixed: 50 } }
  - { rule: tenth, on: purchase, when: counters.card.reaches_each(10), earn: { currency: points, fixed: 10 } }
  - { rule: three-days, on: purchase, when: counters.days.passes(3), earn: { currency: points, fixed: 40 } }
  - { rule: streak, on: purchase, when: counters.weeks.passes(3), earn: { currency: points, fixed: 3 } }
"#,
        r"
        2026-03-02 web coffee:2.00x4   =>
        2026-03-02 web tea:2.00        =>
        2026-03-03 web coffee:2.00x1   => fifth 50
        2026-03-04 web coffee:2.00x4   => three-days 40
        2026-03-05 web coffee:2.00x30  => tenth 30
        2026-03-09 web coffee:2.00x4   => tenth 10
        2026-03-16 web coffee:2.00x4   => streak 3
        2026-03-17 web coffee:2.00x3   => fifth 50 tenth 10
        2026-03-23 web tea:2.00        =>
        2026-04-06 web tea:2.00        =>
        2026-04-13 web tea:2.00        =>
        2026-04-20 web tea:2.00        => streak 3
        ",
    );
}

#[test]
fn the_first_in_twelve_months_is_first_again_after_twelve() {
    case(
        r#"
counters:
  nappies: { of: line, when: 'line.category == "nappies"', over: { last: 12 months } }
earning:
  - { rule: first, on: purchase, when: counters.nappies.passes(1), earn: { currency: points, fixed: 5 } }
"#,
        r"
        2026-03-02 web nappies:9.00 => first 5
        2026-06-02 web nappies:9.00 =>
        2027-03-02 web nappies:9.00 =>
        2028-03-01 web nappies:9.00 =>
        2029-03-02 web nappies:9.00 => first 5
        ",
    );
}

#[test]
fn bands_are_marginal_over_what_the_event_adds() {
    case(
        r#"
counters:
  restaurants: { of: line, when: 'line.category == "restaurant"', add: line.amount, over: { every: year } }
earning:
  - rule: dining
    on: purchase
    earn: { currency: points, bands: { by: restaurants, per: "1.00", points: { "0.00": 5, "100.00": 1 } } }
  - { rule: half-more, on: purchase, when: 'counters.restaurants.after > money("120.00")', earn: { multiply: dining, by: "1.5" } }
"#,
        r"
        2026-03-02 web restaurant:90.00 rock:50.00 => dining 450
        2026-03-03 web restaurant:20.50            => dining 60
        2026-03-04 web restaurant:20.00            => dining 20 half-more 10
        2027-01-01 web restaurant:1.00             => dining 5
        ",
    );
}

#[test]
fn counters_of_points_and_values_before() {
    case(
        r#"
counters:
  earned: { of: points, rules: [base], over: { every: month } }
  spent: { of: purchase, add: purchase.amount, over: { last: 30 days } }
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
  - { rule: more, on: purchase, when: 'counters.earned >= 100 && counters.spent < money("300.00")', earn: { currency: points, fixed: 1 } }
"#,
        r"
        2026-03-02 web rock:99.00  => base 99
        2026-03-03 web rock:99.00  => base 99
        2026-03-04 web rock:102.00 => base 102 more 1
        2026-03-05 web rock:10.00  => base 10
        2026-04-02 web rock:10.00  => base 10
        ",
    );
}

#[test]
fn rules_begin_and_end_with_their_days() {
    case(
        r#"
earning:
  - rule: base
    on: purchase
    from: 2026-03-29
    until: 2026-03-30
    earn: { currency: points, rate: { points: 1, per: "1.00" } }
  - { rule: named, on: purchase, when: 'event.date in [date("2026-04-01"), date("2026-04-03")]', earn: { currency: points, fixed: 1 } }
"#,
        r"
        2026-03-28 web rock:1.00 =>
        2026-03-29 web rock:1.00 => base 1
        2026-03-30 web rock:1.00 =>
        2026-04-01 web rock:1.00 => named 1
        2026-04-02 web rock:1.00 =>
        2026-04-03 web rock:1.00 => named 1
        ",
    );
}

/// A tier that the version does not have: what is for any other.
#[test]
fn a_tier_that_is_not_there_has_what_any_other_has() {
    let sections = r#"
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 2, per: "1.00", by_tier: { green: 1 } } } }
  - { rule: more, on: purchase, earn: { multiply: base, by_tier: { green: 2 } } }
  - { rule: all, on: purchase, when: 'member.tier.at_least("green")', earn: { currency: points, fixed: 9 } }
"#;
    let parsed = Program::parse(&format!("{HEAD}{sections}")).expect("right");
    let rules = &parsed.program.earning.rules;
    let (bought, issues) = (
        bought("2026-03-02 web rock:7.00"),
        ["points".parse().expect("an id")],
    );
    let event = Event {
        tier_rank: None,
        tier: "platinum",
        ..event(&bought, &issues)
    };
    let numbers = Numbers::default();
    let inputs = event.inputs(rules, &numbers);
    let outcome = evaluate(rules, &event, &inputs, &mut Silent).expect("in range");
    let given: Vec<_> = outcome
        .given
        .iter()
        .map(|given| (given.rule, given.points.get()))
        .collect();
    assert_eq!(given, [(0, 14)]);
}

#[test]
fn a_goal_is_what_would_be_given_next() {
    let sections = r"
counters: { coffees: { of: line, add: line.quantity, over: { last: 30 days } } }
earning:
  - { rule: fifth, on: purchase, when: counters.coffees.passes(5), earn: { currency: points, fixed: 50 } }
  - { rule: each, on: purchase, when: counters.coffees.reaches_each(4), earn: { currency: points, fixed: 1 } }
";
    let parsed = Program::parse(&format!("{HEAD}{sections}")).expect("right");
    let rules = &parsed.program.earning.rules;
    let issues = ["points".parse().expect("an id")];
    let mut numbers = Numbers::default();
    let mut goals = Vec::new();
    for asked in [
        "2026-03-02 web coffee:1.00x3",
        "2026-03-03 web coffee:1.00x2",
        // The first three are out of the window: the fifth stands, and is not given again.
        "2026-04-01 web coffee:1.00x1",
    ] {
        let bought = bought(asked);
        let event = event(&bought, &issues);
        let inputs = event.inputs(rules, &numbers);
        let outcome = evaluate(rules, &event, &inputs, &mut Silent).expect("in range");
        numbers.apply(rules, &outcome.moves);
        let standing = rules.standing(&numbers, event.at).remove(0);
        let of_counter = standing
            .goals
            .iter()
            .map(|goal| (goal.rule.to_string(), goal.at));
        goals.push((standing.value, of_counter.collect::<Vec<_>>()));
    }
    let goal = |rule: &str, at| (rule.to_owned(), at);
    let expected = [
        (3, vec![goal("fifth", 5), goal("each", 4)]),
        (5, vec![goal("each", 8)]),
        (3, vec![goal("each", 8)]),
    ];
    assert_eq!(goals, expected);
}
