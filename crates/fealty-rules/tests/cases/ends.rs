//! The ends of periods: what they come to, once and once more.

use std::collections::BTreeMap;

use fealty_program::Program;
use fealty_rules::{
    Book, Buckets, End, EndOutcome, Event, Every, Move, Numbers, Rules, Silent, Subject, Verdict,
    Verdicts, WalletPart, evaluate, evaluate_end,
};
use fealty_types::{CurrencyId, Timestamp};

use super::harness::{HEAD, bought, event};

const TRUE_UP: &str = r#"
counters:
  spent:  { of: purchase, add: purchase.amount, over: { every: month } }
  earned: { of: points, rules: [base], over: { every: month } }
  days:   { of: purchase, once_per: day, over: { every: week } }
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
  - rule: true-up
    on: end_of.month
    earn: { currency: points, of: counters.earned, steps: { by: counters.spent, factors: { "500.00": "0.5", "1000.00": "1" } } }
    caps: [ { per: member, every: month, points: 1200 } ]
  - { rule: three-days, on: end_of.week, when: counters.days >= 3, earn: { currency: points, fixed: 40 } }
"#;

fn moment(text: &str) -> Timestamp {
    Timestamp::new(text.parse().expect("a moment"))
}

/// A member's numbers and what of points can be spent.
struct Member {
    numbers: Numbers,
    available: i64,
}

impl Member {
    fn new(available: i64) -> Self {
        Self {
            numbers: Numbers::default(),
            available,
        }
    }

    fn buys(&mut self, rules: &Rules, text: &str) {
        let moves = self.moves(rules, text);
        self.numbers.apply(rules, &moves);
    }

    /// All of a purchase comes back.
    fn brings_back(&mut self, rules: &Rules, text: &str) {
        let moves = self.moves(rules, text);
        let back = moves.iter().map(|moved| Move {
            by: -moved.by,
            ..*moved
        });
        self.numbers.apply(rules, &back.collect::<Vec<_>>());
    }

    fn moves(&self, rules: &Rules, text: &str) -> Vec<Move> {
        let bought = bought(text);
        let issues = ["points".parse().expect("an id")];
        let event = event(&bought, &issues);
        let inputs = event.inputs(rules, &self.numbers);
        let outcome = evaluate(rules, &event, &inputs, &mut Silent);
        outcome.expect("in range").moves
    }

    /// What an end comes to by now, for a tier.
    fn end(&self, rules: &Rules, end: End, (tier, again): (u16, bool)) -> EndOutcome {
        let tiers = ["green", "gold", "reserve"];
        let event = Event {
            subject: Subject::End(end.every),
            at: end.last_instant(),
            brand: "",
            channel: "",
            store: "",
            terminal: "",
            amount: 0,
            whole_amount: 0,
            paid: [0; 6],
            lines: Vec::new(),
            attributes: Vec::new(),
            issues: &[],
            tier_rank: Some(tier),
            tier: tiers[usize::from(tier)],
            counts: true,
            again,
        };
        let outcome = evaluate_end(rules, &event, &event.inputs(rules, self), &mut Silent);
        let outcome = outcome.expect("in range");
        let mut verdicts = Verdicts::default();
        let told = evaluate_end(rules, &event, &event.inputs(rules, self), &mut verdicts);
        assert_eq!(
            told.expect("in range"),
            outcome,
            "whoever asks is told the same"
        );
        outcome
    }

    /// The same, taken in; by rule what it gives now beyond what it gave.
    fn ended(&mut self, rules: &Rules, end: End, of: (u16, bool)) -> BTreeMap<String, i64> {
        let mut outcome = self.end(rules, end, of);
        if !outcome.results.is_empty() {
            outcome.moves.extend(rules.end_written(end));
        }
        self.numbers.apply(rules, &outcome.moves);
        let results = outcome.results.iter().map(|result| {
            let rule = rules.rule(result.rule).expect("it is there");
            (rule.id.to_string(), result.points - result.before)
        });
        results.collect()
    }
}

impl Book for Member {
    fn buckets(&self, key: u64) -> Option<&Buckets> {
        self.numbers.buckets(key)
    }

    fn wallet(&self, _: &CurrencyId, part: WalletPart) -> i64 {
        match part {
            WalletPart::Available => self.available,
            _ => 0,
        }
    }
}

fn rules_of(sections: &str) -> Rules {
    let source = format!("{HEAD}{sections}");
    let parsed = Program::parse(&source).unwrap_or_else(|errors| panic!("{errors}"));
    parsed.program.earning.rules.clone()
}

fn gives(rows: &[(&str, i64)]) -> BTreeMap<String, i64> {
    rows.iter()
        .map(|(rule, points)| ((*rule).to_owned(), *points))
        .collect()
}

/// London, where summer time begins on 29 March.
const MARCH_ENDS: &str = "2026-03-31T23:00:00Z";
const FIRST: (u16, bool) = (0, false);
const AGAIN: (u16, bool) = (0, true);

#[test]
fn a_month_is_trued_up_once_and_again_for_what_comes_late() {
    let rules = rules_of(TRUE_UP);
    let mut member = Member::new(0);
    let end = End::after(
        rules.calendar(),
        Every::Month,
        moment("2026-03-10T12:00:00Z"),
    );
    assert_eq!(end.at, moment(MARCH_ENDS));
    assert!(!rules.may_end(end, &member));
    assert_eq!(
        member.ended(&rules, end, FIRST),
        gives(&[]),
        "nothing was bought"
    );
    member.buys(&rules, "2026-03-02 web rock:499.99");
    assert!(rules.may_end(end, &member));
    assert_eq!(
        member.end(&rules, end, FIRST).results,
        [],
        "less than the first step"
    );
    member.buys(&rules, "2026-03-31 web rock:0.02");
    // April's is another month's.
    member.buys(&rules, "2026-04-01 web rock:5000.00");
    // Half of 499, rounded down.
    assert_eq!(member.ended(&rules, end, FIRST), gives(&[("true-up", 249)]));
    assert_eq!(member.ended(&rules, end, AGAIN), gives(&[]), "once");
    member.buys(&rules, "2026-03-15 web rock:501.00");
    // All of 1,000, less what was given.
    assert_eq!(member.ended(&rules, end, AGAIN), gives(&[("true-up", 751)]));
    member.buys(&rules, "2026-03-16 web rock:900.00");
    assert_eq!(
        member.ended(&rules, end, AGAIN),
        gives(&[("true-up", 200)]),
        "its cap"
    );
    assert_eq!(member.end(&rules, end, AGAIN).written_before, 3);
    member.brings_back(&rules, "2026-03-16 web rock:900.00");
    assert_eq!(
        member.ended(&rules, end, AGAIN),
        gives(&[("true-up", -200)])
    );
    member.brings_back(&rules, "2026-03-15 web rock:501.00");
    member.brings_back(&rules, "2026-03-02 web rock:499.99");
    assert_eq!(
        member.ended(&rules, end, AGAIN),
        gives(&[("true-up", -1000)])
    );
    assert_eq!(member.ended(&rules, end, AGAIN), gives(&[]));
}

#[test]
fn a_rule_without_what_it_reads_gives_nothing_and_says_so() {
    let rules = rules_of(TRUE_UP);
    let mut member = Member::new(0);
    let at = moment("2026-03-04T12:00:00Z");
    let week = End::after(rules.calendar(), Every::Week, at);
    assert_eq!(week.at, moment("2026-03-09T00:00:00Z"));
    for day in ["2026-03-02", "2026-03-02", "2026-03-08"] {
        member.buys(&rules, &format!("{day} web rock:1.00"));
    }
    assert_eq!(member.ended(&rules, week, FIRST), gives(&[]));
    member.buys(&rules, "2026-03-05 web rock:1.00");
    assert_eq!(
        member.ended(&rules, week, FIRST),
        gives(&[("three-days", 40)])
    );
    assert_eq!(member.ended(&rules, week, FIRST), gives(&[]));
    let all = rules.ends_between(moment("2026-03-01T00:00:00Z"), moment(MARCH_ENDS), 64);
    let weeks = all.iter().filter(|end| end.every == Every::Week).count();
    assert_eq!((weeks, all.len()), (5, 6));
    assert!(all.is_sorted());
    assert_eq!(rules.ends_between(at, moment(MARCH_ENDS), 2).len(), 2);
    assert_eq!(rules.next_end(at), Some(week.at));
}

#[test]
fn points_become_vouchers_and_the_rest_stays() {
    let rules = rules_of(
        r#"
earning:
  - { rule: vouchers, on: end_of.quarter, when: wallet.available >= 150, convert: { currency: points, each: 50, into: voucher, value: "0.50" } }
"#,
    );
    let end = End::after(
        rules.calendar(),
        Every::Quarter,
        moment("2026-02-01T12:00:00Z"),
    );
    for (available, converted, value) in [
        (0, 0, 0),
        (149, 0, 0),
        (150, 150, 150),
        (199, 150, 150),
        (10_020, 10_000, 10_000),
    ] {
        let outcome = Member::new(available).end(&rules, end, FIRST);
        let result = outcome.results.first();
        let result = result.map_or((0, 0), |result| {
            (result.points, result.converts.unwrap_or(0))
        });
        assert_eq!(result, (converted, value), "{available}");
    }
    let outcome = Member::new(500).end(&rules, end, AGAIN);
    assert_eq!(outcome.results, [], "the wallet has moved on");
    assert!(rules.wallets_of_end(Every::Quarter).next().is_some());
    assert!(rules.wallets_of_end(Every::Month).next().is_none());
}

#[test]
fn each_rule_has_a_verdict() {
    let rules = rules_of(
        r#"
counters: { coffees: { of: line, add: line.quantity, over: { every: month } } }
earning:
  - { rule: over, on: end_of.month, until: 2026-03-01, when: counters.coffees >= 1, earn: { currency: points, fixed: 1 } }
  - { rule: gold, on: end_of.month, when: 'member.tier == "gold" && counters.coffees >= 1', earn: { currency: points, fixed: 2 } }
  - { rule: each, on: end_of.month, earn: { currency: points, fixed: 3, times: counters.coffees / 2 } }
  - { rule: part, on: end_of.month, earn: { currency: points, of: counters.coffees, by: "0.5" } }
"#,
    );
    assert!(rules.end_reads_tier(Every::Month));
    let end = End::after(
        rules.calendar(),
        Every::Month,
        moment("2026-03-10T12:00:00Z"),
    );
    let mut member = Member::new(0);
    member.buys(&rules, "2026-03-02 web coffee:3.00x5");
    assert_eq!(
        member.ended(&rules, end, (1, false)),
        gives(&[("gold", 2), ("each", 6), ("part", 2)])
    );
    let mut other = Member::new(0);
    other.buys(&rules, "2026-03-02 web coffee:3.00x1");
    let numbers = &other;
    let verdicts = verdicts(&rules, end, numbers);
    assert_eq!(
        verdicts,
        [
            Verdict::Over,
            Verdict::ConditionNotMet,
            Verdict::RoundedAway,
            Verdict::RoundedAway
        ]
    );
    let all = self::verdicts(&rules, end, &Member::new(0));
    assert_eq!(all[1..], [Verdict::NothingCounted; 3]);
}

fn verdicts(rules: &Rules, end: End, member: &Member) -> Vec<Verdict> {
    let bought = bought("2026-03-31 web");
    let event = Event {
        subject: Subject::End(end.every),
        at: end.last_instant(),
        ..event(&bought, &[])
    };
    let mut heard = Verdicts::default();
    evaluate_end(rules, &event, &event.inputs(rules, member), &mut heard).expect("in range");
    heard.0.iter().map(|(_, verdict)| *verdict).collect()
}

/// The paths at which a programme is wrong, with what is said.
fn wrong(sections: &str) -> Vec<String> {
    let source = format!("{HEAD}{sections}");
    let Err(errors) = Program::parse(&source) else {
        panic!("it is right: {sections}");
    };
    errors.iter().map(|error| error.path.clone()).collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a line a case")]
fn what_would_come_to_something_else_when_asked_again_is_refused() {
    let counters = r#"
counters:
  ever:   { of: purchase, over: ever }
  row:    { of: purchase, over: { in_a_row: month } }
  week:   { of: purchase, over: { every: week } }
  year:   { of: purchase, over: { every: year } }
  month:  { of: purchase, over: { every: month } }
  days:   { of: purchase, over: { last: 30 days } }
  months: { of: purchase, over: { last: 24 months } }
  money:  { of: purchase, add: purchase.amount, over: { every: month } }
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
"#;
    let fixed = "earn: { currency: points, fixed: 1 }";
    let cases = [
        (
            "on: end_of.month, when: counters.ever >= 1, {fixed}",
            "when",
        ),
        ("on: end_of.month, when: counters.row >= 1, {fixed}", "when"),
        (
            "on: end_of.month, when: counters.week >= 1, {fixed}",
            "when",
        ),
        (
            "on: end_of.month, when: counters.year >= 1, {fixed}",
            "when",
        ),
        (
            "on: end_of.day, when: counters.months >= 1, {fixed}",
            "when",
        ),
        ("on: end_of.month, {fixed}", "when"),
        (
            "on: end_of.month, when: 'member.tier == \"gold\"', {fixed}",
            "when",
        ),
        (
            "on: end_of.month, when: counters.month.passes(1), {fixed}",
            "when",
        ),
        (
            "on: end_of.month, when: counters.month.after >= 1, {fixed}",
            "when",
        ),
        (
            "on: end_of.month, when: purchase.amount > money(\"1.00\"), {fixed}",
            "when",
        ),
        ("on: end_of.month, when: wallet.spent >= 1, {fixed}", "when"),
        ("on: purchase, when: wallet.available >= 1, {fixed}", "when"),
        (
            "on: end_of.month, when: counters.month >= 1, lines: line.quantity > 1, {fixed}",
            "lines",
        ),
        (
            "on: end_of.month, when: counters.month >= 1, group: g, {fixed}",
            "group",
        ),
        (
            "on: end_of.month, when: counters.month >= 1, earn: { currency: points, rate: { points: 1, per: 1 } }",
            "earn",
        ),
        (
            "on: end_of.month, when: counters.month >= 1, earn: { multiply: base, by: 2 }",
            "earn",
        ),
        (
            "on: end_of.month, earn: { currency: points, of: counters.money }",
            "earn.of",
        ),
        (
            "on: end_of.month, earn: { currency: points, of: counters.moth }",
            "earn.of",
        ),
        (
            "on: end_of.month, earn: { currency: points, of: counters.month, steps: { by: counters.money, factors: { \"1.005\": 1 } } }",
            "earn.steps.factors",
        ),
        (
            "on: end_of.month, earn: { currency: points, of: counters.month, by: 1, steps: { by: counters.money, factors: { 1: 1 } } }",
            "earn",
        ),
        (
            "on: purchase, earn: { currency: points, of: counters.month }",
            "earn",
        ),
        (
            "on: purchase, convert: { currency: points, each: 50, into: voucher, value: 1 }",
            "convert",
        ),
        (
            "on: end_of.month, convert: { currency: points, each: 0, into: voucher, value: 1 }",
            "convert.each",
        ),
        (
            "on: end_of.month, convert: { currency: points, each: 1, into: voucher, value: 0 }",
            "convert.value",
        ),
        (
            "on: end_of.month, convert: { currency: points, each: 1, into: voucher, value: 1, accepted_by: other }",
            "convert.accepted_by",
        ),
        (
            "on: end_of.month, convert: { currency: points, each: 1, into: voucher, value: 1 }, caps: [ { per: member, points: 1 } ]",
            "caps",
        ),
        (
            "on: end_of.month, when: counters.month >= 1, {fixed}, caps: [ { per: purchase, points: 1 } ]",
            "caps.0",
        ),
        ("on: end_of.month, when: counters.month >= 1", ""),
    ];
    for (rule, path) in cases {
        let rule = rule.replace("{fixed}", fixed);
        let found = wrong(&format!("{counters}  - {{ rule: x, {rule} }}\n"));
        let path = if path.is_empty() {
            "earning.x".to_owned()
        } else {
            format!("earning.x.{path}")
        };
        assert!(found.contains(&path), "{rule}: {found:?}");
    }
    for fits in [
        "on: end_of.month, when: counters.month >= 1, {fixed}",
        "on: end_of.year, when: counters.month >= 1, {fixed}",
        "on: end_of.quarter, when: counters.month >= 1, {fixed}",
        "on: end_of.year, when: wallet.debt == 0 && wallet.available > 0, {fixed}",
    ] {
        let rule = fits.replace("{fixed}", fixed);
        rules_of(&format!("{counters}  - {{ rule: x, {rule} }}\n"));
    }
}

#[test]
fn points_that_count_themselves_are_refused() {
    let found = wrong(
        r#"
counters: { earned: { of: points, rules: [base, more], over: { every: month } } }
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
  - { rule: more, on: end_of.month, earn: { currency: points, of: counters.earned } }
"#,
    );
    assert_eq!(found, ["counters.earned.rules"]);
}

#[test]
fn what_expires_by_tier_and_what_reads_the_wallet_do_not_end_together() {
    let found = wrong(
        r#"
counters: { coffees: { of: purchase, over: { every: month } } }
earning:
  - { rule: gold, on: end_of.month, when: 'member.tier == "gold" && counters.coffees >= 1', earn: { currency: points, fixed: 2 } }
  - { rule: vouchers, on: end_of.month, convert: { currency: points, each: 50, into: voucher, value: "0.50" } }
"#,
    );
    assert_eq!(found, ["earning.vouchers.convert"]);
    let twice = wrong(
        r#"
earning:
  - { rule: one, on: end_of.month, convert: { currency: points, each: 50, into: voucher, value: "0.50" } }
  - { rule: two, on: end_of.month, convert: { currency: points, each: 10, into: voucher, value: "0.05" } }
"#,
    );
    assert_eq!(twice, ["earning.two.convert"]);
}
