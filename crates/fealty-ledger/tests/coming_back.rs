//! What comes into a wallet: it repays debt first, whatever brings it, and what another
//! member gives lives a full term. Each by the engine that did not yet do so, too: its logs
//! stay as they are.

use std::time::{Duration, Instant};

use fealty_ledger::{
    Accrue, Active, Capture, Command, Engine, Gift, Grant, HoldCommand, Log, LotOrigin, LotTerms,
    MemberBook, Named, Redeem, Reinstate, Release, Request, Reverse, Stamp, advance, execute,
    given, receive,
};
use fealty_types::{
    CurrencyId, LotId, Metadata, Points, Position, RefundPolicy, RefundTerms, ShardId, Timestamp,
};

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("valid")
}

fn currency() -> CurrencyId {
    id("points")
}

fn points(points: i64) -> Points {
    Points::new(points).expect("in range")
}

fn member(member: &str) -> MemberBook {
    MemberBook::new(id("club"), id(member))
}

/// A log, and requests to it.
struct Books {
    log: Log,
    engine: Engine,
}

impl Books {
    fn by(engine: Engine) -> Self {
        let stamp = Stamp {
            written_at: Timestamp::EPOCH,
            seed: [7; 32],
        };
        let log = Log::new(ShardId::new(0), Position::FIRST, stamp).by(engine);
        Self { log, engine }
    }

    fn request(&self, command: Command, now: Timestamp) -> Request {
        let mut grants = Vec::new();
        let mut activity = Vec::new();
        if let Command::Accrue(accrue) = &command {
            grants.push(Grant {
                rule: None,
                currency: currency(),
                points: accrue.points,
                brand: accrue.brand.clone(),
                earned_at: now,
                activates_at: None,
                activates_on: None,
                expires_at: accrue.expires_at,
                origin: LotOrigin::Promotion,
                unit_value_micros: None,
                program_version: 1,
            });
            let with_activity = accrue.expires_at == Some(LotTerms::WITH_ACTIVITY);
            activity.extend(with_activity.then(|| Active {
                currency: currency(),
                inactive_at: now.checked_add(TERM).expect("in range"),
            }));
        }
        let original = match command.names() {
            Some(Named::Transaction(at)) => self.log.at(at).cloned().map(Box::new),
            _ => None,
        };
        Request {
            request_id: id(&format!("request-{}", self.log.next())),
            principal: None,
            command,
            metadata: Metadata::default(),
            asked_at: now,
            program_version: 1,
            facts: None,
            grants,
            counter_moves: Vec::new(),
            forgotten: Vec::new(),
            unmet: Vec::new(),
            activity,
            refunds: RefundTerms {
                policy: RefundPolicy::Debt,
                ..RefundTerms::default()
            },
            term_ends: now.checked_add(TERM),
            original,
        }
    }

    /// Does what a command asks; answers with where it stands.
    fn ask(&mut self, book: &mut MemberBook, command: Command, now: Timestamp) -> Position {
        let request = self.request(command, now);
        execute(book, &request, now, &mut self.log).expect("nothing is refused");
        Position::new(self.log.next().get() - 1)
    }

    fn reverse(
        &mut self,
        book: &mut MemberBook,
        transaction: Position,
        points: Option<Points>,
        now: Timestamp,
    ) {
        let reverse = Command::Reverse(Reverse {
            transaction,
            currency: None,
            points,
            reference: id(""),
        });
        self.ask(book, reverse, now);
    }

    /// A gift from one to the other.
    fn give(&mut self, from: &mut MemberBook, to: &mut MemberBook, amount: i64, now: Timestamp) {
        let gift = Command::Gift(Gift {
            to: to.member.clone(),
            currency: currency(),
            points: points(amount),
            reference: id(""),
        });
        let request = self.request(gift, now);
        execute(from, &request, now, &mut self.log).expect("there are so many");
        let written = self.log.transactions().last().expect("it was written");
        assert_eq!(written.engine, self.engine.number());
        let received = given(from, written, request.term_ends);
        receive(to, &received, now, &mut self.log).expect("there is room");
    }

    fn advance(&mut self, book: &mut MemberBook, now: Timestamp) {
        advance(book, &currency(), now, &mut self.log).expect("all is known");
    }
}

/// How long points live without activity.
const TERM: Duration = Duration::from_hours(24 * 100);

fn day(day: i64) -> Timestamp {
    Timestamp::from_micros(day * 86_400_000_000).expect("in range")
}

fn accrue(amount: i64, expires_at: Option<Timestamp>) -> Command {
    accrue_of("shop", amount, expires_at)
}

fn accrue_of(brand: &str, amount: i64, expires_at: Option<Timestamp>) -> Command {
    Command::Accrue(Accrue {
        brand: id(brand),
        currency: currency(),
        points: points(amount),
        earned_at: None,
        activation: None,
        expires_at,
        reference: id(""),
    })
}

fn redeem(amount: i64) -> Command {
    Command::Redeem(Redeem {
        brand: id("cafe"),
        currency: currency(),
        points: points(amount),
        reference: id(""),
    })
}

fn buckets(book: &MemberBook) -> (i64, i64, i64) {
    let buckets = book.wallets[&currency()].wallet().buckets;
    let of = [buckets.available, buckets.held, buckets.debt].map(Points::get);
    (of[0], of[1], of[2])
}

/// Earned 100, spent them, and the purchase was taken back: 100 owed. Then what was spent
/// comes back.
fn restored_beside_debt(engine: Engine) -> (i64, i64, i64) {
    let mut books = Books::by(engine);
    let mut book = member("anna");
    let earned = books.ask(&mut book, accrue(100, None), day(1));
    let spent = books.ask(&mut book, redeem(100), day(2));
    books.reverse(&mut book, earned, None, day(3));
    assert_eq!(buckets(&book), (0, 0, 100));
    books.reverse(&mut book, spent, None, day(4));
    buckets(&book)
}

#[test]
fn restored_points_repay_debt() {
    assert_eq!(restored_beside_debt(Engine::FIRST), (100, 0, 100));
    assert_eq!(restored_beside_debt(Engine::NEWEST), (0, 0, 0));
}

/// The same, but that the points were held when the purchase was taken back.
fn released_beside_debt(engine: Engine) -> (i64, i64, i64) {
    let mut books = Books::by(engine);
    let mut book = member("anna");
    let earned = books.ask(&mut book, accrue(100, None), day(1));
    let hold = Command::Hold(HoldCommand {
        brand: id("cafe"),
        currency: currency(),
        points: points(100),
        timeout_micros: 86_400_000_000 * 30,
        reference: id(""),
    });
    let held = books.ask(&mut book, hold, day(2));
    books.reverse(&mut book, earned, None, day(3));
    assert_eq!(buckets(&book), (0, 100, 100));
    let release = Command::Release(Release { hold: held });
    books.ask(&mut book, release, day(4));
    buckets(&book)
}

#[test]
fn released_points_repay_debt() {
    assert_eq!(released_beside_debt(Engine::FIRST), (100, 0, 100));
    assert_eq!(released_beside_debt(Engine::NEWEST), (0, 0, 0));
}

/// Of a hold of 100 points 40 are captured, and the other 60 repay what another brand is
/// owed: only the 40 were spent, so no more comes back.
#[test]
fn what_a_capture_gives_back_is_not_reversed_as_spent() {
    let mut books = Books::by(Engine::NEWEST);
    let mut book = member("anna");
    books.ask(&mut book, accrue(100, None), day(1));
    let other = books.ask(&mut book, accrue_of("cafe", 100, None), day(1));
    let hold = Command::Hold(HoldCommand {
        brand: id("cafe"),
        currency: currency(),
        points: points(100),
        timeout_micros: 86_400_000_000 * 30,
        reference: id(""),
    });
    let held = books.ask(&mut book, hold, day(2));
    books.ask(&mut book, redeem(100), day(2));
    books.reverse(&mut book, other, None, day(3));
    assert_eq!(buckets(&book), (0, 100, 100));
    let capture = Command::Capture(Capture {
        hold: held,
        points: Some(points(40)),
        keeps_rest: false,
    });
    let captured = books.ask(&mut book, capture, day(4));
    assert_eq!(buckets(&book), (0, 0, 40));
    books.reverse(&mut book, captured, None, day(5));
    assert_eq!(buckets(&book), (0, 0, 0));
}

/// Expired points that an operator brings back, beside debt.
fn reinstated_beside_debt(engine: Engine) -> (i64, i64, i64) {
    let mut books = Books::by(engine);
    let mut book = member("anna");
    books.ask(&mut book, accrue(40, Some(day(5))), day(1));
    books.advance(&mut book, day(5));
    let earned = books.ask(&mut book, accrue(100, None), day(6));
    books.ask(&mut book, redeem(100), day(7));
    books.reverse(&mut book, earned, None, day(8));
    assert_eq!(buckets(&book), (0, 0, 100));
    let reinstate = Command::Reinstate(Reinstate {
        lot: LotId::new(Position::FIRST, 0),
        points: None,
        expires_at: day(300),
        reason: id("goodwill"),
        actor: id("ines"),
    });
    books.ask(&mut book, reinstate, day(9));
    buckets(&book)
}

#[test]
fn reinstated_points_repay_debt() {
    assert_eq!(reinstated_beside_debt(Engine::FIRST), (40, 0, 100));
    assert_eq!(reinstated_beside_debt(Engine::NEWEST), (0, 0, 60));
}

/// A gift to a member who was last active on day 1, on day 300; what is left of it on the
/// days after.
fn gift_to_the_inactive(engine: Engine) -> Vec<i64> {
    let mut books = Books::by(engine);
    let (mut giver, mut taker) = (member("anna"), member("ben"));
    books.ask(
        &mut taker,
        accrue(10, Some(LotTerms::WITH_ACTIVITY)),
        day(1),
    );
    books.advance(&mut taker, day(101));
    assert_eq!(buckets(&taker).0, 0, "inactive for a term");
    books.ask(
        &mut giver,
        accrue(500, Some(LotTerms::WITH_ACTIVITY)),
        day(299),
    );
    books.give(&mut giver, &mut taker, 500, day(300));
    let left_on = |at: i64| {
        let (mut books, mut taker) = (Books::by(engine), taker.clone());
        books.advance(&mut taker, day(at));
        buckets(&taker).0
    };
    [300, 399, 400].map(left_on).to_vec()
}

#[test]
fn a_gift_to_an_inactive_member_lives_a_full_term() {
    assert_eq!(gift_to_the_inactive(Engine::FIRST), [0, 0, 0]);
    assert_eq!(gift_to_the_inactive(Engine::NEWEST), [500, 500, 0]);
}

/// Receiving is no activity: what was there goes when it would have gone.
#[test]
fn what_is_received_keeps_nothing_else_alive() {
    let mut books = Books::by(Engine::NEWEST);
    let (mut giver, mut taker) = (member("anna"), member("ben"));
    let with_activity = Some(LotTerms::WITH_ACTIVITY);
    books.ask(&mut taker, accrue(10, with_activity), day(1));
    books.ask(&mut giver, accrue(30, with_activity), day(50));
    books.give(&mut giver, &mut taker, 30, day(51));
    // What may go sooner is spent first.
    books.ask(&mut taker, redeem(4), day(60));
    books.advance(&mut taker, day(100));
    assert_eq!(buckets(&taker).0, 36);
    books.advance(&mut taker, day(101));
    assert_eq!(buckets(&taker).0, 30, "what was there is gone");
    books.advance(&mut taker, day(150));
    assert_eq!(buckets(&taker).0, 30);
    // Activity keeps it as it keeps all others.
    let mut active = taker.clone();
    books.ask(&mut active, accrue(1, with_activity), day(150));
    books.advance(&mut active, day(249));
    assert_eq!(buckets(&active).0, 31);
    books.advance(&mut taker, day(151));
    assert_eq!(buckets(&taker).0, 0, "a term after it was received");
}

/// Nor does a later gift keep an earlier one, however the wallet's own date has passed.
#[test]
fn a_later_gift_keeps_no_earlier_one() {
    let mut books = Books::by(Engine::NEWEST);
    let (mut giver, mut taker) = (member("anna"), member("ben"));
    let with_activity = Some(LotTerms::WITH_ACTIVITY);
    for given_on in [1, 50, 120] {
        books.ask(&mut giver, accrue(10, with_activity), day(given_on));
        books.give(&mut giver, &mut taker, 10, day(given_on));
    }
    assert_eq!(buckets(&taker).0, 20, "the first is gone");
    books.advance(&mut taker, day(149));
    assert_eq!(buckets(&taker).0, 20);
    books.advance(&mut taker, day(150));
    assert_eq!(buckets(&taker).0, 10, "the second as well");
    books.advance(&mut taker, day(220));
    assert_eq!(buckets(&taker).0, 0);
}

/// How long it takes to give one point back of a spend of so many lots, at the best of some
/// tries.
fn partial_reversal(lots: i64) -> Duration {
    let mut books = Books::by(Engine::NEWEST);
    let mut book = member("anna");
    for _ in 0..lots {
        books.ask(&mut book, accrue(2, Some(day(4_000))), day(1));
    }
    let spent = books.ask(&mut book, redeem(2 * lots), day(2));
    // Something of each lot is reversed already.
    books.reverse(&mut book, spent, Some(points(2 * lots - 10)), day(3));
    let tries = (0..5).map(|_| {
        let begun = Instant::now();
        books.reverse(&mut book, spent, Some(points(1)), day(4));
        begun.elapsed()
    });
    tries.min().expect("some tries")
}

/// Ten times the lots take ten times as long, not a hundred times.
#[test]
fn a_partial_reversal_takes_as_long_as_there_are_lots() {
    let (few, many) = (partial_reversal(1_000), partial_reversal(10_000));
    assert!(many < few * 40, "{few:?} of 1,000 lots, {many:?} of 10,000");
}
