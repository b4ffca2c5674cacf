//! Random activities, purchases and returns, late ones among them, under rules that count since
//! an activity: against a model that shares no code with the rules and never forgets, while
//! what no window reaches any more is forgotten here.

use std::collections::{BTreeMap, BTreeSet};

use fealty_program::Program;
use fealty_rules::{
    Event, GivenAttributes, Move, Numbers, Outcome, Rules, Silent, Subject, evaluate,
};
use fealty_types::Timestamp;
use proptest::prelude::*;

/// The days that an event may be late.
const LATE: i64 = 20;

/// What happens, so many days after the thing before, and so many days late.
#[derive(Clone, Debug)]
enum What {
    Moved,
    Bought,
    /// A purchase of before comes back as a whole.
    Returned(usize),
}

type Step = (i64, i64, What);

#[derive(Clone, Copy, Debug)]
struct Programme {
    /// How often the capped rule gives something since a move.
    times: i64,
    /// Purchases since a move at which a bonus is given, and at each so many of which another.
    passes: i64,
    each: i64,
    /// Days since a move with purchases at which one is given.
    days: i64,
}

fn programmes() -> impl Strategy<Value = Programme> {
    (1..4_i64, 1..5_i64, 1..4_i64, 1..4_i64).prop_map(|(times, passes, each, days)| Programme {
        times,
        passes,
        each,
        days,
    })
}

fn histories() -> impl Strategy<Value = Vec<Step>> {
    let what = prop_oneof![
        2 => Just(What::Moved),
        6 => Just(What::Bought),
        2 => (0..40_usize).prop_map(What::Returned),
    ];
    proptest::collection::vec((0..4_i64, 0..=LATE, what), 1..40)
}

impl Programme {
    fn source(&self) -> String {
        let Self {
            times,
            passes,
            each,
            days,
        } = self;
        format!(
            "
program: club
language: 1
calendar: {{ time_zone: UTC, late_until: {LATE} days }}
money: {{ currency: GBP }}
currencies: {{ points: {{}} }}
brands: {{ shop: {{ issues: [points] }} }}
activities: {{ moved: {{}} }}
counters:
  orders: {{ of: purchase, over: {{ since: activity.moved }} }}
  days: {{ of: purchase, once_per: day, over: {{ since: activity.moved }} }}
earning:
  - {{ rule: capped, on: purchase, earn: {{ currency: points, fixed: 1 }}, caps: [ {{ per: member, since: activity.moved, times: {times} }} ] }}
  - {{ rule: passes, on: purchase, when: counters.orders.passes({passes}), earn: {{ currency: points, fixed: 1 }} }}
  - {{ rule: each, on: purchase, when: counters.orders.reaches_each({each}), earn: {{ currency: points, fixed: 1 }} }}
  - {{ rule: days, on: purchase, when: counters.days.reaches_each({days}), earn: {{ currency: points, fixed: 1 }} }}
  - {{ rule: welcome, on: activity.moved, earn: {{ currency: points, fixed: 1 }}, caps: [ {{ per: member, since: activity.moved, times: 1 }} ] }}
"
        )
    }
}

/// What was recorded: a purchase, or a move.
#[derive(Clone, Debug)]
struct Known {
    day: i64,
    is_purchase: bool,
    gave: BTreeSet<&'static str>,
    is_back: bool,
}

/// What the model knows.
#[derive(Default)]
struct Model {
    moves: BTreeSet<i64>,
    known: Vec<Known>,
}

impl Model {
    /// What stands of the days since a move that a day is among.
    fn since(&self, first: i64, day: i64) -> impl Iterator<Item = &Known> {
        let next = self.moves.range(day + 1..).next().copied();
        let within = first..next.unwrap_or(i64::MAX);
        let standing = self.known.iter().filter(|known| !known.is_back);
        standing.filter(move |known| within.contains(&known.day))
    }

    fn fired(&self, first: i64, day: i64, rule: &str) -> i64 {
        count(
            self.since(first, day)
                .filter(|known| known.gave.contains(rule)),
        )
    }

    fn bought(&self, programme: Programme, day: i64) -> BTreeSet<&'static str> {
        let Some(first) = self.moves.range(..=day).next_back().copied() else {
            return BTreeSet::new();
        };
        let mut gives = BTreeSet::new();
        if self.fired(first, day, "capped") < programme.times {
            gives.insert("capped");
        }
        let orders = count(self.since(first, day).filter(|known| known.is_purchase));
        let passed = |orders: i64| i64::from(orders >= programme.passes);
        let stood = passed(orders).max(self.fired(first, day, "passes"));
        if passed(orders + 1) > stood {
            gives.insert("passes");
        }
        let stood = (orders / programme.each).max(self.fired(first, day, "each"));
        if (orders + 1) / programme.each > stood {
            gives.insert("each");
        }
        let bought = self.since(first, day).filter(|known| known.is_purchase);
        let mut days: BTreeSet<i64> = bought.map(|known| known.day).collect();
        let had = i64::try_from(days.len()).expect("few") / programme.days;
        days.insert(day);
        let has = i64::try_from(days.len()).expect("few") / programme.days;
        if has > had.max(self.fired(first, day, "days")) {
            gives.insert("days");
        }
        gives
    }

    fn moved(&self, day: i64) -> BTreeSet<&'static str> {
        let had = self.fired(day, day, "welcome");
        (had == 0).then_some("welcome").into_iter().collect()
    }
}

fn count<'a>(known: impl Iterator<Item = &'a Known>) -> i64 {
    i64::try_from(known.count()).expect("few")
}

fn at(day: i64) -> Timestamp {
    let start = 1_767_225_600 + day * 86_400 + 43_200;
    Timestamp::from_micros(start * 1_000_000).expect("in range")
}

fn asked(rules: &Rules, numbers: &Numbers, (day, subject): (i64, Subject)) -> Outcome {
    let issues = ["points".parse().expect("an id")];
    let event = Event {
        subject,
        at: at(day),
        brand: "shop",
        channel: "",
        store: "",
        terminal: "",
        amount: 0,
        whole_amount: 0,
        paid: [0; 6],
        lines: Vec::new(),
        attributes: GivenAttributes::new(),
        issues: &issues,
        tier_rank: None,
        tier: "",
        counts: true,
        again: false,
    };
    let inputs = event.inputs(rules, numbers);
    evaluate(rules, &event, &inputs, &mut Silent).expect("in range")
}

fn gave(rules: &Rules, outcome: &Outcome) -> BTreeMap<String, i64> {
    let given = outcome.given.iter().map(|given| {
        let rule = rules.rule(given.rule).expect("it is there");
        (rule.id.to_string(), given.points.get())
    });
    given.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_counts_since_an_activity_is_what_a_model_counts(programme in programmes(), history in histories()) {
        let source = programme.source();
        let parsed = Program::parse(&source).unwrap_or_else(|errors| panic!("{errors}\n{source}"));
        let rules = &parsed.program.earning.rules;
        let moved = rules.activity(&"moved".parse().expect("an id")).expect("it is declared");
        let (mut numbers, mut model) = (Numbers::default(), Model::default());
        let mut moves: Vec<Vec<Move>> = Vec::new();
        let mut now = LATE;
        for (later, late, what) in history {
            now += later;
            let day = now - late;
            let (subject, expected) = match what {
                What::Moved => (moved, model.moved(day)),
                What::Bought => (Subject::Purchase, model.bought(programme, day)),
                What::Returned(of) => {
                    let in_time = |known: &Known| known.is_purchase && !known.is_back && now - known.day <= LATE;
                    let some: Vec<usize> = (0..model.known.len()).filter(|at| in_time(&model.known[*at])).collect();
                    if let Some(of) = some.get(of % some.len().max(1)) {
                        model.known[*of].is_back = true;
                        numbers.apply(rules, &Move::back(&moves[*of], &[]));
                    }
                    continue;
                }
            };
            let outcome = asked(rules, &numbers, (day, subject));
            let expected_points = expected.iter().map(|rule| ((*rule).to_owned(), 1)).collect();
            prop_assert_eq!(gave(rules, &outcome), expected_points, "{:?} on {}\n{}", what, day, source);
            numbers.apply(rules, &outcome.moves);
            moves.push(outcome.moves);
            let is_purchase = subject == Subject::Purchase;
            if !is_purchase {
                model.moves.insert(day);
            }
            model.known.push(Known { day, is_purchase, gave: expected, is_back: false });
            numbers.forget(rules, at(now));
        }
    }
}
