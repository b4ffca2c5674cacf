//! Random programmes, purchases and returns, against a model that shares no code with the
//! rules: it goes through all that was bought before, and reckons with fractions of its own.

use std::{collections::BTreeMap, fmt::Write as _};

use fealty_program::Program;
use fealty_rules::{
    Event, GivenAttributes, Inputs, Line, Move, Numbers, Outcome, Recorded, Rules, Silent,
    SlotValue, Subject, evaluate,
};
use fealty_types::{CurrencyId, Timestamp};
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
    /// How often in a month a purchase of less than 10.00 gives something.
    small: i64,
}

/// A purchase: the day of 2026, and lines of category, cents and quantity; none where all of
/// it has come back.
#[derive(Clone, Debug)]
struct Bought {
    day: i64,
    lines: Vec<(usize, i64, i64)>,
}

/// A return: of which purchase, and how many quarters of each of its lines are left.
#[derive(Clone, Debug)]
struct Returned {
    of: usize,
    quarters: [i64; 4],
}

/// What is bought one after the other, each with what comes back then.
type History = Vec<(Bought, Vec<Returned>)>;

/// A purchase with what each rule gave for it, and of that is left.
type Known = (Bought, BTreeMap<String, i64>);

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
        (1..4_i64, 2..9_i64, 1..5_i64, 1..4_i64),
    )
        .prop_map(
            |(rate, cap, multipliers, coffees, (visits, jazz, streak, small))| Programme {
                rate,
                cap,
                multipliers,
                coffees,
                visits,
                jazz,
                streak,
                small,
            },
        )
}

fn histories() -> impl Strategy<Value = History> {
    let line = (0..3_usize, 0..2_000_i64, 1..5_i64);
    let bought = (0..70_i64, proptest::collection::vec(line, 1..5));
    let bought = bought.prop_map(|(day, lines)| Bought { day, lines });
    let returned = (0..25_usize, proptest::array::uniform4(0..5_i64));
    let returned = returned.prop_map(|(of, quarters)| Returned { of, quarters });
    let step = (bought, proptest::collection::vec(returned, 0..3));
    proptest::collection::vec(step, 1..25)
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
        writeln!(text, "  - {{ rule: small, on: purchase, when: 'purchase.amount < money(\"10.00\")', earn: {{ currency: points, fixed: 2 }}, caps: [ {{ per: member, every: month, times: {} }} ] }}", self.small).expect("to memory");
        text
    }

    /// Whether ten days that have this one among them come to so much jazz by it, and have
    /// not before.
    fn of_jazz(&self, bought: &Bought, before: &[Known]) -> i64 {
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
    fn of_streak(&self, bought: &Bought, before: &[Known]) -> i64 {
        let of_day = |day: i64| before.iter().filter(move |(other, _)| other.day == day);
        let bought_on = |day: i64| of_day(day).any(|(other, _)| !other.lines.is_empty());
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
        let had = left / self.streak + right / self.streak;
        // What came back and is bought again has had its edges.
        let along = bought.day - left..=bought.day + right;
        let stands = along
            .flat_map(of_day)
            .filter_map(|(_, gave)| gave.get("streak"));
        let stood = had.max(stands.sum());
        ((left + 1 + right) / self.streak - stood).max(0)
    }

    /// What counters and caps of visits give.
    fn counted(&self, bought: &Bought, before: &[Known]) -> BTreeMap<String, i64> {
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
        let stands: i64 = before
            .iter()
            .filter(|(other, _)| week(other.day) == week(bought.day))
            .filter_map(|(_, gave)| gave.get("coffees"))
            .sum();
        let fires = match coffees(bought) {
            0 => 0,
            some => reached(had + some) - reached(had).max(stands / 7),
        };
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
        if self.is_small(bought, before) {
            gives.insert("small".to_owned(), 2);
        }
        gives.insert("jazz".to_owned(), 5 * self.of_jazz(bought, before));
        gives.insert("streak".to_owned(), self.of_streak(bought, before));
        gives
    }

    /// Whether a purchase is a small one, and so few were in its month.
    fn is_small(&self, bought: &Bought, before: &[Known]) -> bool {
        let had = before.iter().filter(|(other, gave)| {
            month(other.day) == month(bought.day) && gave.contains_key("small")
        });
        let had = i64::try_from(had.count()).expect("it is small and right");
        paid(bought) < 1_000 && had < self.small
    }

    /// What a purchase gives, by rule, after those that were recorded before it.
    fn gives(&self, bought: &Bought, before: &[Known]) -> BTreeMap<String, i64> {
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

/// The month of a day.
fn month(day: i64) -> i64 {
    if day < 31 { 0 } else { 1 + (day - 31) / 28 }
}

/// A purchase as rules see it.
fn event<'a>(bought: &Bought, whole_amount: i64, issues: &'a [CurrencyId]) -> Event<'a> {
    let start = 1_767_225_600 + bought.day * 86_400 + 43_200;
    let lines = bought.lines.iter().map(|(category, cents, quantity)| Line {
        category: CATEGORIES[*category],
        amount: *cents,
        quantity: *quantity,
        ..Line::default()
    });
    Event {
        subject: Subject::Purchase,
        at: Timestamp::from_micros(start * 1_000_000).expect("it is small and right"),
        brand: "shop",
        channel: "",
        store: "",
        terminal: "",
        amount: paid(bought),
        whole_amount,
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

fn paid(bought: &Bought) -> i64 {
    bought.lines.iter().map(|(_, cents, _)| cents).sum()
}

/// What a purchase earns, by rule.
fn earned(
    rules: &Rules,
    event: &Event<'_>,
    inputs: &dyn Inputs,
) -> (Outcome, BTreeMap<String, i64>) {
    let outcome = evaluate(rules, event, inputs, &mut Silent).expect("it is small and right");
    let gave = outcome.given.iter().map(|given| {
        let rule = rules.rule(given.rule).expect("it is small and right");
        (rule.id.to_string(), given.points.get())
    });
    let gave = gave.collect();
    (outcome, gave)
}

/// What the log has of a purchase, and what the model remembers of the moment.
struct Record {
    whole_amount: i64,
    read: Vec<(u16, SlotValue)>,
    stand: Vec<Move>,
    before: Vec<Known>,
}

/// What is left of a purchase after a return.
fn left(bought: &Bought, returned: &Returned) -> Bought {
    let lines = bought.lines.iter().zip(returned.quarters);
    let left = lines.map(|((category, cents, quantity), quarters)| {
        (*category, cents * quarters / 4, quantity * quarters / 4)
    });
    Bought {
        day: bought.day,
        lines: left
            .filter(|(_, cents, quantity)| cents + quantity > 0)
            .collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_rules_give_what_a_model_gives(programme in programmes(), history in histories()) {
        let source = programme.source();
        let parsed = Program::parse(&source).unwrap_or_else(|errors| panic!("{errors}\n{source}"));
        let rules = &parsed.program.earning.rules;
        let issues = ["points".parse().expect("it is small and right")];
        let mut numbers = Numbers::default();
        let mut known: Vec<Known> = Vec::new();
        let mut records: Vec<Record> = Vec::new();
        for (bought, returns) in history {
            let event = event(&bought, paid(&bought), &issues);
            let inputs = event.inputs(rules, &numbers);
            let (outcome, gave) = earned(rules, &event, &inputs);
            prop_assert_eq!(&gave, &programme.gives(&bought, &known), "{:?}\n{}", bought, source);
            numbers.apply(rules, &outcome.moves);
            records.push(Record {
                whole_amount: paid(&bought),
                read: outcome.read,
                stand: outcome.moves,
                before: known.clone(),
            });
            known.push((bought, gave));
            for returned in returns {
                let at = returned.of % known.len();
                give_back(rules, &programme, (&mut numbers, &mut known[at], &mut records[at]), &returned)?;
            }
        }
    }
}

/// Takes a part of a purchase back: what is left earns what the model says that it would have
/// earned then, and what it moved goes back to that.
fn give_back(
    rules: &Rules,
    programme: &Programme,
    (numbers, known, record): (&mut Numbers, &mut Known, &mut Record),
    returned: &Returned,
) -> Result<(), TestCaseError> {
    let issues = ["points".parse().expect("it is small and right")];
    known.0 = left(&known.0, returned);
    let (moves, gives) = if known.0.lines.is_empty() {
        (Vec::new(), BTreeMap::new())
    } else {
        let event = event(&known.0, record.whole_amount, &issues);
        let (outcome, gives) = earned(rules, &event, &Recorded(&record.read));
        let expected = programme.gives(&known.0, &record.before);
        prop_assert_eq!(&gives, &expected, "{:?}\n{}", known.0, programme.source());
        (outcome.moves, gives)
    };
    let back = Move::back(&record.stand, &moves);
    for moved in &back {
        let same = |stands: &&mut Move| (stands.slot, stands.bucket) == (moved.slot, moved.bucket);
        let stands = record.stand.iter_mut().find(same);
        stands.expect("only what stands goes back").by += moved.by;
    }
    numbers.apply(rules, &back);
    // What is given is never more than it was.
    known.1.retain(|rule, points| {
        *points = gives.get(rule).map_or(0, |gives| (*points).min(*gives));
        *points > 0
    });
    Ok(())
}
