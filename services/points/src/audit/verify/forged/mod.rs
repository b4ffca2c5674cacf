//! Logs that hang together, byte by byte, and in which time does what it cannot; in `ends`, those
//! in which the ends of periods are not what they must be, and in `backfills` those in which counters
//! are not that count what was before they began.

mod backfills;
mod ends;

use std::collections::VecDeque;

use fealty_ledger::{
    Accrue, Command, Entry, Log, MemberBook, Redeem, Said, Stamp, advance, apply, canonical,
    canonical::CHAIN_START,
};
use fealty_program::{Program, ProgramVersion};
use fealty_types::{CurrencyId, MemberId, Metadata, Points, Position, ShardId, Timestamp};

use super::{
    Programs,
    shard::{Chunk, Shard, Stopped},
};
use crate::{
    plan::{OfMember, plan},
    shard::{currencies_of, key_of, store::log::Row},
};

const HOUR: i64 = 3_600_000_000;
/// When the points of the first accrual expire.
const EXPIRY: i64 = 24 * HOUR;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).expect("in range")
}

fn currency() -> CurrencyId {
    "points".parse().expect("an id")
}

fn points(points: i64) -> Points {
    Points::amount(points).expect("in range")
}

fn accrue(expires_at: Option<i64>) -> Command {
    Command::Accrue(Accrue {
        brand: "record-shop".parse().expect("an id"),
        currency: currency(),
        points: points(100),
        activation: None,
        expires_at: expires_at.map(at),
        earned_at: None,
        reference: "".parse().expect("a reference"),
    })
}

fn redeem() -> Command {
    Command::Redeem(Redeem {
        brand: "record-shop".parse().expect("an id"),
        currency: currency(),
        points: points(30),
        reference: "".parse().expect("a reference"),
    })
}

/// A log of one member, and what writes to it whatever it is told.
struct Forger {
    applied: ProgramVersion,
    /// Those that were in force before it.
    earlier: Vec<ProgramVersion>,
    book: MemberBook,
    /// What was written by logs of before.
    before: Vec<Entry>,
    log: Log,
}

impl Forger {
    fn new() -> Self {
        Self::by(include_str!(
            "../../../../../../examples/programs/record-club.yaml"
        ))
    }

    /// One of a member of another programme.
    fn by(source: &str) -> Self {
        let applied = Program::parse(source).expect("valid").numbered(1);
        let program = applied.program.id.clone();
        let member: MemberId = "anna".parse().expect("an id");
        let stamp = Stamp {
            written_at: at(100 * HOUR),
            seed: [7; 32],
        };
        let mut log = Log::new(ShardId::new(0), Position::FIRST, stamp);
        let (version, digest) = (1, applied.text_digest);
        log.announce(&program, Said::VersionBegins { version, digest });
        Self {
            book: MemberBook::new(program, member),
            before: Vec::new(),
            earlier: Vec::new(),
            applied,
            log,
        }
    }

    /// Has another version begin.
    fn begin(&mut self, source: &str) {
        let number = self.applied.version + 1;
        let applied = Program::parse(source).expect("valid").numbered(number);
        let earlier = std::mem::replace(&mut self.applied, applied);
        self.earlier.push(earlier);
        let digest = self.applied.text_digest;
        let version = crate::shard::number(&self.applied);
        let program = self.applied.program.id.clone();
        self.log
            .announce(&program, Said::VersionBegins { version, digest });
    }

    /// Has what comes be written at another time.
    fn written_at(&mut self, micros: i64) {
        let stamp = Stamp {
            written_at: at(micros),
            seed: [8; 32],
        };
        self.before.extend(self.log.written().iter().cloned());
        self.log = Log::new(ShardId::new(0), self.log.next(), stamp);
    }

    /// Does what a command asks, whether something is due or not.
    fn write(&mut self, command: &Command, now: i64) {
        let request_id = format!("request-{}", self.log.next());
        let request_id = request_id.parse().expect("an id");
        let asked = (&request_id, &Metadata::default());
        let of_member = OfMember {
            counters: Some(&self.book.counters),
            ..OfMember::default()
        };
        let request = plan(&self.applied, asked, command, of_member, at(now)).expect("it fits");
        apply(&mut self.book, &request, at(now), &mut self.log).expect("there are points");
    }

    /// Writes what is due.
    fn advance(&mut self, now: i64) {
        advance(&mut self.book, &currency(), at(now), &mut self.log).expect("all is known");
    }

    /// What a verifier says to it.
    fn verified(self) -> Result<(), String> {
        let mut chain = CHAIN_START;
        let row = |entry: &Entry| {
            let body = canonical::encode(entry);
            chain = canonical::chain(&chain, &body);
            Row {
                position: entry.position().get(),
                member_no: entry.transaction().map(|_| 1),
                request_key: entry.transaction().and_then(key_of),
                body,
                chain: chain.to_vec(),
                currencies: currencies_of(entry),
            }
        };
        let chunk = Chunk {
            rows: self
                .before
                .iter()
                .chain(self.log.written())
                .map(row)
                .collect(),
            marks: VecDeque::new(),
        };
        let versions = self.earlier.into_iter().chain([self.applied]);
        let named = versions.map(|applied| {
            let name = (applied.program.id.clone(), crate::shard::number(&applied));
            (name, applied)
        });
        let programs: Programs = named.collect();
        let mut shard = Shard::new(ShardId::new(0), 1);
        assert!(shard.looks_for_backfills(&programs), "it is empty");
        match shard.check(chunk, &programs).1 {
            Stopped::Done => Ok(()),
            Stopped::Different(error) => Err(error.to_string()),
            Stopped::OriginalNeeded(..) => panic!("nothing is reversed, or taken back"),
        }
    }
}

#[test]
fn what_was_due_and_is_written_is_accepted() {
    let mut forger = Forger::new();
    forger.write(&accrue(Some(EXPIRY)), 0);
    forger.write(&redeem(), HOUR);
    forger.advance(EXPIRY + HOUR);
    forger.write(&accrue(None), EXPIRY + HOUR);
    assert_eq!(forger.verified(), Ok(()));
}

#[test]
fn a_spend_of_expired_points_is_found() {
    let mut forger = Forger::new();
    forger.write(&accrue(Some(EXPIRY)), 0);
    forger.write(&redeem(), EXPIRY);
    let found = "shard 0, position 3: something was due before it, and is left out";
    assert_eq!(forger.verified(), Err(found.to_owned()));
}

#[test]
fn an_expiry_that_is_left_out_is_found() {
    let mut forger = Forger::new();
    forger.write(&accrue(Some(EXPIRY)), 0);
    forger.write(&accrue(None), EXPIRY + HOUR);
    forger.advance(EXPIRY + HOUR);
    let found = "shard 0, position 3: something was due before it, and is left out";
    assert_eq!(forger.verified(), Err(found.to_owned()));
}

#[test]
fn time_that_runs_backwards_is_found() {
    let mut forger = Forger::new();
    forger.write(&accrue(None), 2 * HOUR);
    forger.write(&redeem(), HOUR);
    let found = "shard 0, position 3: it took effect before the one before it in its wallet";
    assert_eq!(forger.verified(), Err(found.to_owned()));
}

#[test]
fn what_takes_effect_before_its_time_is_found() {
    let mut forger = Forger::new();
    forger.write(&accrue(None), 200 * HOUR);
    let found = "shard 0, position 2: it took effect after it was written";
    assert_eq!(forger.verified(), Err(found.to_owned()));
}

/// Points that have expired by now are spent as if it were yesterday.
#[test]
fn a_request_that_is_dated_back_is_found() {
    let mut forger = Forger::new();
    forger.write(&accrue(Some(150 * HOUR)), 100 * HOUR);
    forger.written_at(200 * HOUR);
    forger.write(&redeem(), 140 * HOUR);
    let found = "shard 0, position 3: it was written at another time than it was asked for";
    assert_eq!(forger.verified(), Err(found.to_owned()));
}

#[test]
fn a_request_that_is_written_when_it_is_asked_for_is_accepted() {
    let mut forger = Forger::new();
    forger.write(&accrue(Some(250 * HOUR)), 100 * HOUR);
    forger.written_at(200 * HOUR);
    forger.write(&redeem(), 200 * HOUR);
    // By a clock that is behind the one that wrote before.
    forger.written_at(200 * HOUR);
    forger.write(&redeem(), 200 * HOUR);
    assert_eq!(forger.verified(), Ok(()));
}
