//! What comes back of a purchase, and from which lots points go for it.

use std::collections::BTreeMap;

use fealty_ledger::{
    Command, Facts, Grant, Log, LotOrigin, MemberBook, Purchase, PurchaseLine, Request, Return,
    ReturnError, ReturnFacts, Returned, ReturnedLine, ReturnedPart, ReversalFacts, RuleResult,
    Stamp, execute,
};
use fealty_types::{
    Attributes, LotId, Metadata, Money, Points, Position, RefundPolicy, RefundTerms, ShardId,
    Timestamp,
};
use proptest::prelude::*;

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("valid")
}

fn points(points: i64) -> Points {
    Points::new(points).expect("in range")
}

fn money(minor_units: i64) -> Money {
    Money::new(id("EUR"), minor_units).expect("in range")
}

/// A purchase of lines: quantity, money, tax.
fn purchase(lines: &[(u32, i64, i64)], amount: i64) -> Purchase {
    let lines = lines.iter().map(|line| PurchaseLine {
        sku: None,
        category: None,
        brand: None,
        quantity: line.0,
        minor_units: line.1,
        tax_minor_units: line.2,
        attributes: Attributes::new(),
    });
    Purchase {
        brand: id("shop"),
        order_number: id("order-1"),
        amount: money(amount),
        purchased_at: None,
        channel: None,
        store: None,
        terminal: None,
        lines: lines.collect(),
        tenders: Vec::new(),
        tier: None,
        attributes: Attributes::new(),
    }
}

fn asked(lines: &[(u16, Option<u32>, Option<i64>)], amount: Option<i64>) -> Return {
    let lines = lines.iter().map(|line| ReturnedLine {
        line: line.0,
        quantity: line.1,
        minor_units: line.2,
    });
    Return {
        transaction: Position::FIRST,
        lines: lines.collect(),
        amount: amount.map(money),
        reference: id(""),
    }
}

/// What comes back, by line: quantity and money.
fn by_line(part: &ReturnedPart) -> Vec<(u16, u32, i64)> {
    let lines = part.lines.iter();
    lines
        .map(|part| (part.line, part.quantity, part.minor_units))
        .collect()
}

#[test]
fn lines_come_back_by_quantity_by_amount_or_whole() {
    let purchase = purchase(&[(3, 1_000, 100), (1, 500, 0), (2, 0, 0)], 1_500);
    let none = Returned::nothing(&[]);
    let part = |asked: &Return| none.part(&purchase, asked);
    // One of three costs a third, rounded down; a fee is kept by saying so.
    let one = part(&asked(&[(0, Some(1), None)], None)).expect("it is there");
    assert_eq!((one.minor_units, by_line(&one)), (333, vec![(0, 1, 333)]));
    let less_a_fee = asked(&[(1, Some(1), Some(450)), (0, None, Some(10))], None);
    let less_a_fee = part(&less_a_fee).expect("it is there");
    assert_eq!(by_line(&less_a_fee), [(0, 0, 10), (1, 1, 450)]);
    let whole_line = part(&asked(&[(0, None, None)], None)).expect("it is there");
    assert_eq!(by_line(&whole_line), [(0, 3, 1_000)]);
    // What is left of the first line has its part of the tax; what was free is still there.
    let rest = none.with((&one, true), &[]).rest(&purchase);
    let lines: Vec<_> = rest
        .lines
        .iter()
        .map(|line| (line.quantity, line.minor_units, line.tax_minor_units))
        .collect();
    assert_eq!(lines, [(2, 667, 66), (1, 500, 0), (2, 0, 0)]);
    assert_eq!(rest.amount, money(1_167));
    let all = part(&asked(&[], None)).expect("it is there");
    assert_eq!(by_line(&all), [(0, 3, 1_000), (1, 1, 500), (2, 2, 0)]);
    assert!(none.with((&all, true), &[]).is_all(&purchase));
    assert_eq!(part(&asked(&[], Some(1_500))), Ok(all));
}

#[test]
fn no_more_comes_back_than_is_left() {
    let purchase = purchase(&[(3, 900, 0), (1, 100, 0)], 1_000);
    let none = Returned::nothing(&[]);
    let first = none.part(&purchase, &asked(&[(0, Some(2), None)], None));
    let left = none.with((&first.expect("it is there"), true), &[]);
    let refused = |asked: Return| left.part(&purchase, &asked).expect_err("it is not there");
    let line = |quantity, minor_units| ReturnError::LineExceeded {
        at: 0,
        quantity,
        minor_units,
    };
    assert_eq!(refused(asked(&[(0, Some(2), None)], None)), line(1, 300));
    assert_eq!(
        refused(asked(&[(0, Some(1), Some(301))], None)),
        line(1, 300)
    );
    let nowhere = ReturnError::NoSuchLine { at: 0, lines: 2 };
    assert_eq!(refused(asked(&[(2, None, None)], None)), nowhere);
    let exceeded = |minor_units| ReturnError::AmountExceeded { minor_units };
    assert_eq!(refused(asked(&[], Some(401))), exceeded(400));
    // Nothing is left: neither of the purchase, nor of a line of it.
    let all = left
        .part(&purchase, &asked(&[], None))
        .expect("some is left");
    let nothing = left.with((&all, true), &[]);
    let again = nothing.part(&purchase, &asked(&[], None));
    assert_eq!(again, Err(exceeded(0)));
    let again = nothing.part(&purchase, &asked(&[(1, None, None)], None));
    assert_eq!(again, Err(line(0, 0)));
}

#[test]
fn what_cost_nothing_comes_back_once() {
    let purchase = purchase(&[], 0);
    let stands = [fealty_ledger::SlotMove {
        slot: 0,
        bucket: 7,
        by: 1,
    }];
    let none = Returned::nothing(&stands);
    assert!(
        none.is_all(&purchase),
        "there is nothing to keep points for"
    );
    let all = none
        .part(&purchase, &asked(&[], None))
        .expect("it was bought");
    let again = none
        .with((&all, true), &[])
        .part(&purchase, &asked(&[], None));
    let nothing = ReturnError::AmountExceeded { minor_units: 0 };
    assert_eq!(again, Err(nothing));
}

/// What was stored before the parts were kept is read, and taken for what the log makes.
#[test]
fn what_was_stored_without_its_parts_is_read() {
    let purchase = purchase(&[(2, 1_000, 0)], 1_000);
    let none = Returned::nothing(&[]);
    let one = none.part(&purchase, &asked(&[(0, Some(1), None)], None));
    let one = one.expect("it is there");
    let made = none.with((&one, false), &[]);
    let bytes = borsh::to_vec(&made).expect("to memory");
    assert_eq!(Returned::stored(&bytes), Some(made.clone()));
    // The parts stand at the end.
    let parts = borsh::to_vec(&vec![(one.clone(), false)]).expect("to memory");
    let without = bytes.strip_suffix(&*parts).expect("at the end");
    let stored = Returned::stored(without).expect("it was stored");
    assert!(!stored.has_parts() && made.has_parts());
    assert!(made.is_stored_as(&stored));
    assert_eq!(stored.with_parts([(&one, false)].into_iter()), made);
    assert_eq!(Returned::stored(&without[1..]), None);
}

proptest! {
    /// Whatever comes back and how: all parts together are the purchase, and what is left of it
    /// sums to what is left of its money.
    #[test]
    fn parts_sum_to_the_purchase(
        lines in proptest::collection::vec((1_u32..6, 0_i64..3_000), 1..8),
        returns in proptest::collection::vec((0_u8..3, 0_usize..8, 1_u32..6, 1_i64..2_000), 0..12),
    ) {
        let lines: Vec<(u32, i64, i64)> = lines
            .iter()
            .map(|(quantity, minor_units)| (*quantity, *minor_units, minor_units / 6))
            .collect();
        let amount = lines.iter().map(|line| line.1).sum();
        let purchase = purchase(&lines, amount);
        let mut returned = Returned::nothing(&[]);
        let mut parts = Vec::new();
        let wholly = asked(&[], None);
        let some = returns.into_iter().map(|(kind, line, quantity, minor_units)| {
            let line = u16::try_from(line % lines.len()).expect("small");
            match kind {
                0 => asked(&[(line, Some(quantity), None)], None),
                1 => asked(&[(line, None, Some(minor_units))], None),
                _ => asked(&[], Some(minor_units)),
            }
        });
        for asked in some.chain([wholly]) {
            let before = returned.rest(&purchase);
            let Ok(part) = returned.part(&purchase, &asked) else { continue };
            let of_lines: i64 = part.lines.iter().map(|part| part.minor_units).sum();
            prop_assert_eq!(of_lines, part.minor_units);
            if let Some(amount) = asked.amount {
                prop_assert_eq!(part.minor_units, amount.minor_units());
            }
            returned = returned.with((&part, true), &[]);
            let rest = returned.rest(&purchase);
            let left: i64 = rest.lines.iter().map(|line| line.minor_units).sum();
            prop_assert_eq!(left, rest.amount.minor_units());
            prop_assert_eq!(left + part.minor_units, before.amount.minor_units());
            prop_assert!(rest.lines.iter().all(|line| line.tax_minor_units <= line.minor_units));
            parts.push(part);
        }
        let mut sums: BTreeMap<u16, (u32, i64)> = BTreeMap::new();
        for (line, quantity, minor_units) in parts.iter().flat_map(by_line) {
            let sum = sums.entry(line).or_default();
            *sum = (sum.0 + quantity, sum.1 + minor_units);
        }
        let whole: Vec<(u32, i64)> = lines.iter().map(|line| (line.0, line.1)).collect();
        prop_assert!(returned.is_all(&purchase));
        prop_assert_eq!(sums.into_values().collect::<Vec<_>>(), whole);
    }
}

/// A book in which a purchase gave 100 by a base and 50 as a promotion, each in a lot.
struct Books {
    log: Log,
    book: MemberBook,
}

impl Books {
    fn new() -> Self {
        let stamp = Stamp {
            written_at: Timestamp::EPOCH,
            seed: [7; 32],
        };
        let mut books = Self {
            log: Log::new(ShardId::new(0), Position::FIRST, stamp),
            book: MemberBook::new(id("club"), id("anna")),
        };
        let grant = |rule: &str, amount, origin| Grant {
            rule: Some(id(rule)),
            currency: id("points"),
            points: points(amount),
            brand: id("shop"),
            earned_at: Timestamp::EPOCH,
            activates_at: None,
            activates_on: None,
            expires_at: None,
            origin,
            unit_value_micros: None,
            program_version: 1,
        };
        let grants = vec![
            grant("base", 100, LotOrigin::Purchase),
            grant("bonus", 50, LotOrigin::Promotion),
        ];
        let bought = Command::Purchase(purchase(&[], 1_000));
        books.ask(bought, None, grants);
        books
    }

    fn ask(&mut self, command: Command, facts: Option<Facts>, grants: Vec<Grant>) {
        let original = match &command {
            Command::Return(asked) => self.log.at(asked.transaction).cloned(),
            _ => None,
        };
        let request = Request {
            request_id: id(&format!("request-{}", self.log.next())),
            principal: None,
            command,
            metadata: Metadata::default(),
            asked_at: Timestamp::EPOCH,
            program_version: 1,
            facts,
            grants,
            counter_moves: Vec::new(),
            forgotten: Vec::new(),
            unmet: Vec::new(),
            activity: Vec::new(),
            refunds: RefundTerms {
                policy: RefundPolicy::LotOnly,
                ..RefundTerms::default()
            },
            term_ends: None,
            original: original.map(Box::new),
        };
        execute(&mut self.book, &request, Timestamp::EPOCH, &mut self.log).expect("not refused");
    }

    /// Some money comes back, and what is left earns this.
    fn give_back(&mut self, minor_units: i64, earns: &[(&str, i64)]) -> ReturnFacts {
        let asked = asked(&[], Some(minor_units));
        let bought = purchase(&[], 1_000);
        let known = self.book.returned(Position::FIRST).cloned();
        let known = known.unwrap_or_else(|| Returned::nothing(&[]));
        let part = known.part(&bought, &asked).expect("it is there");
        let earns = earns.iter().map(|(rule, amount)| RuleResult {
            rule: id(rule),
            currency: id("points"),
            points: points(*amount),
            bonus: false,
        });
        let decided = Facts::Return(ReturnFacts {
            brand: id("shop"),
            purchased_at: Timestamp::EPOCH,
            left: known.with((&part, true), &[]).rest(&bought).amount,
            part,
            earns: earns.collect(),
            moves: Vec::new(),
            counts: true,
            draws: Vec::new(),
            reversal: ReversalFacts::default(),
            points: Vec::new(),
        });
        self.ask(Command::Return(asked), Some(decided), Vec::new());
        let written = self.log.transactions().last().expect("it was written");
        match &written.cause {
            fealty_ledger::Cause::Request {
                facts: Some(Facts::Return(facts)),
                ..
            } => facts.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// What is left of each lot.
    fn lots(&self) -> Vec<i64> {
        let wallet = &self.book.wallets[&id("points")];
        wallet.lots().map(|lot| lot.remaining.get()).collect()
    }
}

#[test]
fn points_go_from_the_lots_of_the_rules_that_give_less() {
    let mut books = Books::new();
    let lots: Vec<LotId> = books.book.wallets[&id("points")]
        .lots()
        .map(|lot| lot.terms.lot)
        .collect();
    assert_eq!(books.lots(), [100, 50]);
    // The bonus is not earned any more; the base is.
    let facts = books.give_back(10, &[("base", 100)]);
    assert_eq!(books.lots(), [100, 0]);
    assert_eq!(facts.reversal.parts.len(), 1);
    assert_eq!(facts.reversal.parts[0].lot, lots[1]);
    // It is earned again by less: what is gone is gone, and the base keeps what it earns.
    let facts = books.give_back(10, &[("base", 60), ("bonus", 50)]);
    assert_eq!(
        books.lots(),
        [100, 0],
        "the purchase keeps what all its rules earn"
    );
    assert_eq!(facts.points, []);
    let facts = books.give_back(10, &[("base", 60), ("bonus", 10)]);
    assert_eq!(books.lots(), [70, 0]);
    assert_eq!(facts.points[0].taken, points(30));
    // Another rule earns, of which there is no lot.
    books.give_back(10, &[("other", 20)]);
    assert_eq!(books.lots(), [20, 0]);
    // Less never gives.
    books.give_back(10, &[("base", 500)]);
    assert_eq!(books.lots(), [20, 0]);
    books.give_back(950, &[]);
    assert_eq!(books.lots(), [0, 0]);
}
