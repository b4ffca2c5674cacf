//! Counters that count what was before they began, and are not what the log has.

use fealty_ledger::{Backfill, Counters, Said, apply_backfill};

use super::{Forger, HOUR, at};
use crate::plan::FromLog;

const PROGRAM: &str = r#"
program: record-club
language: 1
calendar: { time_zone: UTC }
money: { currency: USD }
currencies: { points: {} }
brands: { record-shop: { issues: [points], accepts: [points] } }
counters:
  visits: { of: purchase, over: { every: month } }
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
"#;

/// The same with what was spent, from the log.
fn later() -> String {
    let spent = "  spent: { of: purchase, add: purchase.amount, over: ever, backfill: true }";
    PROGRAM.replace("earning:", &format!("{spent}\nearning:"))
}

impl Forger {
    /// Somebody who bought for 30.00 before the version began.
    fn with_spent() -> Self {
        let mut forger = Self::by(PROGRAM);
        forger.buy(1_000, 10 * HOUR, None);
        forger.buy(2_000, 20 * HOUR, None);
        forger.begin(&later());
        forger
    }

    /// What the version's counters come to by the log.
    fn spent(&self) -> Backfill {
        let counters = self.applied.program.earning.rules.backfilled();
        let of = (&self.applied, &counters);
        let mut from_log = FromLog::default();
        for bought in self.log.transactions() {
            from_log.add(of, (bought, None));
        }
        let known = (&Counters::default(), at(30 * HOUR));
        from_log.backfill(of, known).expect("30.00")
    }

    fn backfill(&mut self, backfill: &Backfill) {
        apply_backfill(&mut self.book, backfill, at(30 * HOUR), &mut self.log).expect("written");
    }

    fn say_backfilled(&mut self, version: u32) {
        let program = self.applied.program.id.clone();
        self.log
            .announce(&program, Said::CountersBackfilled { version });
    }
}

fn found(forger: Forger, position: i64, what: &str) {
    let found = format!("shard 0, position {position}: {what}");
    assert_eq!(forger.verified(), Err(found));
}

const LEFT_OUT: &str = "counters that count what was before are not worked out";

#[test]
fn counters_from_the_log_are_accepted() {
    let mut forger = Forger::with_spent();
    let spent = forger.spent();
    assert_eq!(spent.backfilled.moves[0].by, 3_000);
    forger.backfill(&spent);
    forger.say_backfilled(2);
    forger.buy(500, 40 * HOUR, None);
    assert_eq!(forger.verified(), Ok(()));
}

#[test]
fn counters_that_are_left_out_are_found() {
    let mut forger = Forger::with_spent();
    forger.buy(500, 40 * HOUR, None);
    found(forger, 5, LEFT_OUT);
    let mut forger = Forger::with_spent();
    forger.say_backfilled(2);
    found(forger, 5, &format!("{LEFT_OUT}: anna"));
}

/// Ends of periods that are said to be written before, and read them.
#[test]
fn counters_that_come_after_the_ends_that_read_them_are_found() {
    let mut forger = Forger::by(PROGRAM);
    forger.buy(1_000, 10 * HOUR, None);
    forger.begin(&format!(
        "{}  - {{ rule: regular, on: end_of.month, when: counters.days >= 1, earn: {{ currency: points, fixed: 100 }}, funded_by: record-shop }}\n",
        PROGRAM.replace("earning:", "  days: { of: purchase, once_per: day, over: { every: month }, backfill: true }\nearning:")
    ));
    forger.written_at(32 * 24 * HOUR);
    let program = forger.applied.program.id.clone();
    let through = at(31 * 24 * HOUR);
    forger.log.announce(&program, Said::EndsWritten { through });
    found(forger, 4, &format!("{LEFT_OUT}: anna"));
}

#[test]
fn counters_that_come_to_something_else_are_found() {
    let mut forger = Forger::with_spent();
    let mut spent = forger.spent();
    spent.backfilled.moves[0].by += 1;
    forger.backfill(&spent);
    found(
        forger,
        5,
        "the engine makes another counters_backfilled of it",
    );
}

#[test]
fn counters_that_are_worked_out_twice_or_for_nothing_are_found() {
    let mut forger = Forger::with_spent();
    let spent = forger.spent();
    forger.backfill(&spent);
    forger.backfill(&spent);
    found(forger, 6, "no counters of the member were to be worked out");
    let mut forger = Forger::with_spent();
    let spent = forger.spent();
    forger.backfill(&spent);
    forger.say_backfilled(2);
    forger.backfill(&spent);
    found(forger, 7, "no counters were to be worked out");
    let mut forger = Forger::by(&later());
    forger.say_backfilled(1);
    found(forger, 2, "no counters were to be worked out");
}
