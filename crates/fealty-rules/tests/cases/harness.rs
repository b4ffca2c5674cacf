//! What purchases earn: a programme, purchases one after the other, and what each gives.
//!
//! A purchase is a line of `DATE CHANNEL ITEM…`, an item `CATEGORY:AMOUNT` with an optional
//! `xQUANTITY`; `@TIER` names the member's tier. What it gives stands behind `=>`, as
//! `RULE POINTS`, in the order of the file. `!TYPE` in the
//! channel's place is an activity, with `NAME=NUMBER` for its attributes.

use std::fmt::Write as _;

use fealty_program::{Program, Ratio};
use fealty_rules::{
    AttributeValue, Event, Line, Numbers, Rules, Silent, Subject, Verdicts, evaluate,
};
use fealty_types::{AttributeName, CurrencyId, Timestamp};

pub(crate) const HEAD: &str = r#"
program: club
language: 1
calendar: { time_zone: Europe/London, week_starts: monday }
money: { currency: GBP }
currencies: { points: {} }
brands: { shop: { issues: [points], accepts: [points] } }
tiers:
  qualify_by: money_spent
  window: 365 days
  upgrade: at_once
  validity: 12 months
  then: judge_again
  levels:
    - { tier: green, from: "0.00" }
    - { tier: gold, from: "100.00" }
    - { tier: reserve, from: "500.00" }
"#;

/// A purchase of a line of a case.
pub(crate) struct Bought {
    date: String,
    channel: String,
    activity: Option<String>,
    tier: String,
    items: Vec<(String, i64, i64)>,
    attributes: Vec<(AttributeName, i64)>,
}

fn minor_units(text: &str) -> i64 {
    Ratio::parse(text)
        .and_then(|ratio| ratio.in_units(2))
        .expect("an amount")
}

pub(crate) fn bought(text: &str) -> Bought {
    let mut words = text.split_whitespace();
    let date = words.next().expect("a date").to_owned();
    let channel = words.next().expect("a channel").to_owned();
    let (mut tier, mut items) = ("green".to_owned(), Vec::new());
    let mut attributes = Vec::new();
    for word in words {
        if let Some((name, value)) = word.split_once('=') {
            let value = value.parse().expect("a number");
            attributes.push((name.parse().expect("a name"), value));
            continue;
        }
        if let Some(named) = word.strip_prefix('@') {
            named.clone_into(&mut tier);
            continue;
        }
        let (category, amount) = word.split_once(':').expect("an item");
        let (amount, quantity) = amount.split_once('x').unwrap_or((amount, "1"));
        let quantity = quantity.parse().expect("a quantity");
        items.push((category.to_owned(), minor_units(amount), quantity));
    }
    Bought {
        activity: channel.strip_prefix('!').map(ToOwned::to_owned),
        date,
        channel,
        tier,
        items,
        attributes,
    }
}

pub(crate) fn subject(rules: &Rules, bought: &Bought) -> Subject {
    let of_type = bought.activity.as_ref();
    let of_type = of_type.map(|of_type| of_type.parse().expect("an id"));
    of_type.map_or(Subject::Purchase, |of_type| {
        rules.activity(&of_type).expect("it is declared")
    })
}

pub(crate) fn event<'a>(bought: &'a Bought, issues: &'a [CurrencyId]) -> Event<'a> {
    let tiers = ["green", "gold", "reserve"];
    let rank = tiers
        .iter()
        .position(|tier| *tier == bought.tier)
        .expect("a tier");
    let amount = bought.items.iter().map(|(_, amount, _)| amount).sum();
    let at = format!("{}T12:00:00Z", bought.date);
    Event {
        subject: Subject::Purchase,
        at: Timestamp::new(at.parse().expect("a date")),
        brand: "shop",
        channel: &bought.channel,
        store: "",
        terminal: "",
        amount,
        whole_amount: amount,
        paid: [0; 6],
        lines: bought
            .items
            .iter()
            .map(|(category, amount, quantity)| Line {
                category,
                amount: *amount,
                quantity: *quantity,
                ..Line::default()
            })
            .collect(),
        attributes: bought
            .attributes
            .iter()
            .map(|(name, value)| (name, AttributeValue::Number(*value)))
            .collect(),
        issues,
        tier_rank: Some(u16::try_from(rank).expect("small")),
        tier: &bought.tier,
        counts: true,
        again: false,
    }
}

/// Plays the purchases of a case, and compares what each gives.
#[track_caller]
pub(crate) fn case(sections: &str, purchases: &str) {
    let source = format!("{HEAD}{sections}");
    let program = Program::parse(&source)
        .unwrap_or_else(|errors| panic!("{errors}"))
        .program;
    let rules = &program.earning.rules;
    let issues = ["points".parse().expect("an id")];
    let mut numbers = Numbers::default();
    for purchase in purchases
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        let (asked, expected) = purchase.split_once("=>").expect("what it gives");
        let bought = bought(asked);
        let event = Event {
            subject: subject(rules, &bought),
            ..event(&bought, &issues)
        };
        let inputs = event.inputs(rules, &numbers);
        let outcome = evaluate(rules, &event, &inputs, &mut Silent).expect("in range");
        // Whoever asks why is told the same.
        let mut verdicts = Verdicts::default();
        let told = evaluate(rules, &event, &inputs, &mut verdicts).expect("in range");
        assert_eq!(
            (&told.given, &told.moves),
            (&outcome.given, &outcome.moves),
            "{asked}"
        );
        let mut heard: Vec<u16> = verdicts.0.iter().map(|(rule, _)| *rule).collect();
        heard.sort_unstable();
        let asked_of = (0..).zip(rules.rules());
        let asked_of = asked_of.filter(|(_, rule)| rule.on == event.subject);
        let all: Vec<u16> = asked_of.map(|(number, _)| number).collect();
        assert_eq!(heard, all, "each rule has one verdict: {:?}", verdicts.0);
        let mut gave = String::new();
        for given in &outcome.given {
            let rule = rules.rule(given.rule).expect("it is there");
            write!(gave, "{} {} ", rule.id, given.points).expect("to memory");
        }
        assert_eq!(gave.trim(), expected.trim(), "{asked}");
        numbers.apply(rules, &outcome.moves);
    }
}
