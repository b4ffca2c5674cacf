//! Random programmes and purchases, against a model that shares no code with the rules: it
//! goes through all that was bought before, and reckons with fractions of its own.

use std::{collections::BTreeMap, fmt::Write as _};

use fealty_program::Program;
use fealty_rules::{Event, GivenAttributes, Line, Numbers, Silent, Stored, evaluate};
use fealty_types::Timestamp;
use proptest::prelude::*;

const CATEGORIES: [&str; 3] = ["coffee", "jazz", "rock"];

/// A multiplier over the base: tenths of a factor, whether it is compound, which category.
#[derive(Clone, Copy, Debug)]
struct Multiplier {
    tenths: i64,
    compound: bool,
    category: Option<usize>,
}

/// A programme.
#[derive(Clone, Debug)]
struct Programme {
    /// Tenths of a point for each 1.00.
    rate: i64,
    /// What the base gives of at the most in a month.
    cap: Option<i64>,
    multipliers: Vec<Multiplier>,
    /// Coffees in a week at which a bonus is given, and whether at each so many.
    coffees: (i64, bool),
    /// How often in seven days a visit gives something.
    visits: i64,
    /// Jazz in ten days at which a bonus is given.
    jazz: i64,
    /// Days in a row at each so many of which a point is given.
    streak: i64,
}

/// A purchase: the day of 2026, and lines of category, cents and quantity.
#[derive(Clone, Debug)]
struct Bought {
    day: i64,
    lines: Vec<(usize, i64, i64)>,
}

fn programmes() -> impl Strategy<Value = Programme> {
    let multiplier = (10..35_i64, any::<bool>(), proptest::option::of(0..3_usize));
    let multiplier = multiplier.prop_map(|(tenths, compound, category)| Multiplier {
        tenths,
        compound,
        category,
    });
    let multipliers = proptest::collection::vec(multiplier, 0..4);
    let cap = proptest::option::of(1..60_i64);
    (
        1..40_i64,
        cap,
        multipliers,
        (1..8_i64, any::<bool>()),
        (1..4_i64, 2..9_i64, 1..5_i64),
    )
        .prop_map(
            |(rate, cap, multipliers, coffees, (visits, jazz, streak))| Programme {
                rate,
                cap,
                multipliers,
                coffees,
                visits,
                jazz,
                streak,
            },
        )
}

fn purchases() -> impl Strategy<Value = Vec<Bought>> {
    let line = (0..3_usize, 0..2_000_i64, 1..5_i64);
    let bought = (0..70_i64, proptest::collection::vec(line, 1..5));
    let bought = bought.prop_map(|(day, lines)| Bought { day, lines });
    proptest::collection::vec(bought, 1..25)
}

fn decimal(tenths: i64) -> String {
    format!("{}.{}", tenths / 10, tenths % 10)
}

impl Programme {
    fn source(&self) -> String {
        let mut text = format!(
            r#"
program: club
language: 1
calendar: {{ time_zone: UTC }}
money: {{ currency: GBP }}
currencies: {{ points: {{}} }}
brands: {{ shop: {{ issues: [points] }} }}
counters:
  coffees: {{ of: line, when: 'line.category == "coffee"', add: line.quantity, over: {{ every: week }} }}
  jazz: {{ of: line, when: 'line.category == "jazz"', add: line.quantity, over: {{ last: 10 days }} }}
  days: {{ of: purchase, over: {{ in_a_row: day }} }}
earning:
  - rule: base
    on: purchase
    earn: {{ currency: points, rate: {{ points: "{}", per: "1.00" }} }}
"#,
            decimal(self.rate)
        );
        if let Some(cap) = self.cap {
            writeln!(
                text,
                "    caps: [ {{ per: member, every: month, points: {cap} }} ]"
            )
            .expect("it is small and right");
        }
        for (at, multiplier) in self.multipliers.iter().enumerate() {
            let lines = multiplier.category.map_or(String::new(), |category| {
                format!("lines: 'line.category == \"{}\"', ", CATEGORIES[category])
            });
            let (by, compound) = (decimal(multiplier.tenths), multiplier.compound);
            writeln!(text, "  - {{ rule: m{at}, on: purchase, {lines}earn: {{ multiply: base, by: \"{by}\", compound: {compound} }} }}").expect("it is small and right");
        }
        let (at, each) = self.coffees;
        let edge = if each { "reaches_each" } else { "passes" };
        writeln!(text, "  - {{ rule: coffees, on: purchase, when: counters.coffees.{edge}({at}), earn: {{ currency: points, fixed: 7 }} }}").expect("it is small and right");
        writeln!(text, "  - {{ rule: visit, on: purchase, earn: {{ currency: points, fixed: 3 }}, caps: [ {{ per: member, last: 7 days, times: {} }} ] }}", self.visits).expect("it is small and right");
        writeln!(text, "  - {{ rule: jazz, on: purchase, when: counters.jazz.passes({}), earn: {{ currency: points, fixed: 5 }} }}", self.jazz).expect("to memory");
        writeln!(text, "  - {{ rule: streak, on: purchase, when: counters.days.reaches_each({}), earn: {{ currency: points, fixed: 1 }} }}", self.streak).expect("to memory");
        text
    }

    /// Whether ten days that have this one among them come to so much jazz by it, and have
    /// not before.
    fn of_jazz(&self, bought: &Bought, before: &[(Bought, BTreeMap<String, i64>)]) -> i64 {
        let jazz = |bought: &Bought| -> i64 {
            let lines = bought.lines.iter().filter(|(category, ..)| *category == 1);
            lines.map(|(.., quantity)| quantity).sum()
        };
        let (mut had, mut fired) = (0, false);
        for end in bought.day..bought.day + 10 {
            let within = || {
                before
                    .iter()
                    .filter(|(other, _)| (end - 9..=end).contains(&other.day))
            };
            had = had.max(within().map(|(other, _)| jazz(other)).sum());
            fired |= within().any(|(_, gave)| gave.contains_key("jazz"));
        }
        let has = had + jazz(bought);
        i64::from(jazz(bought) > 0 && has >= self.jazz && had < self.jazz && !fired)
    }

    /// How many edges a streak of days comes to by this one that its parts had not.
    fn of_streak(&self, bought: &Bought, before: &[(Bought, BTreeMap<String, i64>)]) -> i64 {
        let bought_on = |day: i64| before.iter().any(|(other, _)| other.day == day);
        if bought_on(bought.day) {
            return 0;
        }
        let (mut left, mut right) = (0, 0);
        while bought_on(bought.day - left - 1) {
            left += 1;
        }
        while bought_on(bought.day + right + 1) {
            right += 1;
        }
        (left + 1 + right) / self.streak - left / self.streak - right / self.streak
    }

    /// What counters and caps of visits give.
    fn counted(
        &self,
        bought: &Bought,
        before: &[(Bought, BTreeMap<String, i64>)],
    ) -> BTreeMap<String, i64> {
        let mut gives = BTreeMap::new();
        // 1 January 2026 is a Thursday.
        let week = |day: i64| (day + 3) / 7;
        let coffees = |bought: &Bought| -> i64 {
            let lines = bought.lines.iter().filter(|(category, ..)| *category == 0);
            lines.map(|(.., quantity)| quantity).sum()
        };
        let had: i64 = before
            .iter()
            .filter(|(other, _)| week(other.day) == week(bought.day))
            .map(|(other, _)| coffees(other))
            .sum();
        let (at, each) = self.coffees;
        let reached = |count: i64| {
            if each {
                count / at
            } else {
                (count / at).min(1)
            }
        };
        let fires = reached(had + coffees(bought)) - reached(had);
        gives.insert("coffees".to_owned(), 7 * fires);
        // A limit holds for all seven days that have this one among them.
        let visited = |end: i64| {
            let within = before.iter().filter(|(other, gave)| {
                (end - 6..=end).contains(&other.day) && gave.contains_key("visit")
            });
            i64::try_from(within.count()).expect("it is small and right")
        };
        let visits = (bought.day..bought.day + 7).map(visited).max();
        if visits < Some(self.visits) {
            gives.insert("visit".to_owned(), 3);
        }
        gives.insert("jazz".to_owned(), 5 * self.of_jazz(bought, before));
        gives.insert("streak".to_owned(), self.of_streak(bought, before));
        gives
    }

    /// What a purchase gives, by rule, after those that were recorded before it.
    fn gives(
        &self,
        bought: &Bought,
        before: &[(Bought, BTreeMap<String, i64>)],
    ) -> BTreeMap<String, i64> {
        let mut gives = BTreeMap::new();
        // Fractions of a point by line, with one denominator for all.
        let mut denominator: i128 = 1_000;
        let mut sums: Vec<i128> = vec![10; bought.lines.len()];
        let mut products: Vec<i128> = vec![1; bought.lines.len()];
        let exact: Vec<i128> = bought
            .lines
            .iter()
            .map(|(_, cents, _)| i128::from(cents * self.rate))
            .collect();
        let so_far = |sums: &[i128], products: &[i128], denominator: i128| {
            let all = exact.iter().zip(sums).zip(products);
            let all: i128 = all
                .map(|((exact, sum), product)| exact * sum * product)
                .sum();
            i64::try_from(all / (denominator * 10)).expect("it is small and right")
        };
        let base = so_far(&sums, &products, denominator);
        let month = |day: i64| if day < 31 { 0 } else { 1 + (day - 31) / 28 };
        let used: i64 = before
            .iter()
            .filter(|(other, _)| month(other.day) == month(bought.day))
            .filter_map(|(_, gave)| gave.get("base"))
            .sum();
        gives.insert(
            "base".to_owned(),
            base.min(self.cap.map_or(base, |cap| (cap - used).max(0))),
        );
        let mut given = base;
        for (at, multiplier) in self.multipliers.iter().enumerate() {
            let picks: Vec<bool> = bought
                .lines
                .iter()
                .map(|(category, ..)| multiplier.category.is_none_or(|picked| picked == *category))
                .collect();
            if !picks.contains(&true) {
                continue;
            }
            for (line, picked) in picks.iter().enumerate() {
                match (multiplier.compound, picked) {
                    (true, true) => products[line] *= i128::from(multiplier.tenths),
                    (true, false) => products[line] *= 10,
                    (false, true) => sums[line] += i128::from(multiplier.tenths - 10),
                    (false, false) => {}
                }
            }
            if multiplier.compound {
                denominator *= 10;
            }
            let all = so_far(&sums, &products, denominator);
            gives.insert(format!("m{at}"), all - given);
            given = all;
        }
        gives.extend(self.counted(bought, before));
        gives.retain(|_, points| *points > 0);
        gives
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_rules_give_what_a_model_gives(programme in programmes(), purchases in purchases()) {
        let source = programme.source();
        let parsed = Program::parse(&source).unwrap_or_else(|errors| panic!("{errors}\n{source}"));
        let rules = &parsed.program.earning.rules;
        let issues = ["points".parse().expect("it is small and right")];
        let mut numbers = Numbers::default();
        let mut before: Vec<(Bought, BTreeMap<String, i64>)> = Vec::new();
        for bought in purchases {
            let start = 1_767_225_600 + bought.day * 86_400 + 43_200;
            let amount = bought.lines.iter().map(|(_, cents, _)| cents).sum();
            let lines = bought.lines.iter().map(|(category, cents, quantity)| Line {
                category: CATEGORIES[*category],
                amount: *cents,
                quantity: *quantity,
                ..Line::default()
            });
            let event = Event {
                at: Timestamp::from_micros(start * 1_000_000).expect("it is small and right"),
                brand: "shop",
                channel: "",
                store: "",
                terminal: "",
                amount,
                paid: [0; 6],
                lines: lines.collect(),
                attributes: GivenAttributes::new(),
                issues: &issues,
                tier_rank: None,
                tier: "",
                counts: true,
            };
            let inputs = Stored { rules, book: &numbers, at: event.at };
            let outcome = evaluate(rules, &event, &inputs, &mut Silent).expect("it is small and right");
            let gave: BTreeMap<String, i64> = outcome
                .given
                .iter()
                .map(|given| {
                    let rule = rules.rule(given.rule).expect("it is small and right");
                    (rule.id.to_string(), given.points.get())
                })
                .collect();
            prop_assert_eq!(&gave, &programme.gives(&bought, &before), "{:?}\n{}", bought, source);
            numbers.apply(rules, &outcome);
            before.push((bought, gave));
        }
    }
}
