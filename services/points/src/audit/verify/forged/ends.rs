//! Logs in which the ends of periods are not what they must be.

use fealty_ledger::{Command, PeriodEnd, Purchase, Said, apply_end};
use fealty_rules::{End, Every};
use fealty_types::{Attributes, Money, Points};

use super::{Forger, HOUR, at};
use crate::plan::{AskedEnd, plan_end};

const DAY: i64 = 24 * HOUR;
/// The end of January 1970.
const JANUARY: i64 = 31 * DAY;

const PROGRAM: &str = r#"
program: record-club
language: 1
calendar: { time_zone: UTC }
money: { currency: USD }
currencies: { points: {} }
brands: { record-shop: { issues: [points], accepts: [points] } }
counters:
  spent:  { of: purchase, add: purchase.amount, over: { every: month } }
  earned: { of: points, rules: [base], over: { every: month } }
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
  - rule: true-up
    on: end_of.month
    earn: { currency: points, of: counters.earned, steps: { by: counters.spent, factors: { "500.00": "0.5" } } }
"#;

impl Forger {
    /// A member who bought for 600.00 in January, and whose month is written in February.
    fn in_february() -> Self {
        let mut forger = Self::by(PROGRAM);
        forger.buy(60_000, 100 * HOUR, None);
        forger.written_at(JANUARY + DAY);
        forger
    }

    pub(super) fn buy(&mut self, cents: i64, now: i64, on: Option<i64>) {
        let purchase = Purchase {
            brand: "record-shop".parse().expect("an id"),
            order_number: format!("order-{now}").parse().expect("a number"),
            amount: Money::new("USD".parse().expect("a currency"), cents).expect("money"),
            purchased_at: on.map(at),
            channel: None,
            store: None,
            terminal: None,
            lines: Vec::new(),
            tenders: Vec::new(),
            attributes: Attributes::default(),
            tier: None,
        };
        self.write(&Command::Purchase(purchase), now);
    }

    /// What the end of January comes to at a moment.
    fn january(&self, now: i64, is_over: bool) -> Option<PeriodEnd> {
        let asked = AskedEnd {
            end: End {
                at: at(JANUARY),
                every: Every::Month,
            },
            is_over,
            at: at(now),
        };
        plan_end(&self.applied, asked, (&self.book, None)).expect("it fits")
    }

    fn end(&mut self, end: &PeriodEnd, now: i64) {
        apply_end(&mut self.book, end, at(now), &mut self.log).expect("it fits");
    }

    fn say(&mut self, through: i64) {
        let program = self.applied.program.id.clone();
        let through = at(through);
        self.log.announce(&program, Said::EndsWritten { through });
    }
}

fn found(forger: Forger, position: i64, what: &str) {
    let found = format!("shard 0, position {position}: {what}");
    assert_eq!(forger.verified(), Err(found));
}

#[test]
fn an_end_that_is_written_is_accepted_and_so_is_what_corrects_it() {
    let mut forger = Forger::in_february();
    let end = forger.january(JANUARY, false).expect("300");
    forger.end(&end, JANUARY);
    assert!(forger.january(JANUARY, false).is_none(), "it is written");
    forger.say(JANUARY);
    let now = JANUARY + DAY;
    forger.buy(10_000, now, Some(200 * HOUR));
    let end = forger.january(now, true).expect("50 more");
    forger.end(&end, now);
    forger.written_at(now + 1);
    forger.buy(10_000, now + 1, None);
    assert_eq!(forger.verified(), Ok(()));
}

#[test]
fn an_end_that_is_left_out_is_found() {
    let mut forger = Forger::in_february();
    forger.say(JANUARY);
    found(forger, 3, "the end of a month is not written for anna");
}

#[test]
fn an_end_that_gives_more_is_found() {
    let mut forger = Forger::in_february();
    let mut end = forger.january(JANUARY, false).expect("300");
    end.grants[0].points = Points::amount(301).expect("in range");
    forger.end(&end, JANUARY);
    found(forger, 3, "the engine makes another period_ended of it");
}

#[test]
fn an_end_that_is_written_twice_is_found() {
    let mut forger = Forger::in_february();
    let end = forger.january(JANUARY, false).expect("300");
    forger.end(&end, JANUARY);
    forger.end(&end, JANUARY);
    found(forger, 4, "nothing comes of the end of the period");
}

#[test]
fn an_end_that_is_not_corrected_is_found() {
    let mut forger = Forger::in_february();
    let end = forger.january(JANUARY, false).expect("300");
    forger.end(&end, JANUARY);
    forger.say(JANUARY);
    let now = JANUARY + DAY;
    forger.buy(10_000, now, Some(200 * HOUR));
    forger.buy(10_000, now + 1, None);
    let what = "what came late changes the end of a period, and that is not written";
    found(forger, 6, what);
}

#[test]
fn what_is_said_of_ends_is_compared_with_the_calendar() {
    let mut forger = Forger::in_february();
    forger.say(JANUARY - DAY);
    found(forger, 3, "no period ended then");
    let mut forger = Forger::by(PROGRAM);
    forger.say(JANUARY);
    found(forger, 2, "the period has not ended yet");
    let mut forger = Forger::in_february();
    let end = forger.january(JANUARY, false).expect("300");
    forger.end(&end, JANUARY);
    forger.say(JANUARY);
    forger.say(JANUARY);
    found(forger, 5, "it was said before");
}

/// After it was said that all ends are written none is written as if for the first time.
#[test]
fn an_end_after_the_notice_is_found() {
    let mut forger = Forger::by(PROGRAM);
    forger.buy(10_000, 100 * HOUR, None);
    forger.written_at(JANUARY + DAY);
    forger.say(JANUARY);
    forger.buy(50_000, JANUARY + DAY, Some(200 * HOUR));
    let end = forger.january(JANUARY + DAY, false).expect("300");
    forger.end(&end, JANUARY + DAY);
    let what = "the ends of the period were said to be written for all before";
    found(forger, 5, what);
}
