//! What waits for a member's tier, to the second: histories go by the hour.

use std::time::Duration;

use fealty_ledger::{
    Buckets, Cause, Due, Inactivity, Log, Lot, LotOrigin, LotTerms, MemberBook, Moment,
    ReadThrough, Stamp, TierChanged, TierEffect, Transaction, Wallet, WalletBook, advance,
    advance_step, change_tier,
};
use fealty_types::{CurrencyId, LotId, Points, Position, ShardId, Timestamp};

/// When the wallet is inactive.
const T: Timestamp = Timestamp::constant(1_800_000_000_000_000);

fn after(seconds: u64) -> Timestamp {
    T.checked_add(Duration::from_secs(seconds))
        .expect("in range")
}

fn currency() -> CurrencyId {
    "points".parse().expect("an id")
}

/// A wallet of 100 points that go at [`T`], where tiers decide.
fn book() -> MemberBook {
    let points = Points::new(100).expect("in range");
    let mut wallet = WalletBook::of(Wallet {
        buckets: Buckets {
            available: points,
            ..Buckets::default()
        },
        sequence: 1,
        last_position: Some(Position::FIRST),
        last_at: Some(Timestamp::EPOCH),
        next_due: Some(T),
        inactive_at: Some(T),
        ..Wallet::default()
    });
    let lot = Lot {
        terms: LotTerms {
            lot: LotId::new(Position::FIRST, 0),
            currency: currency(),
            brand: "shop".parse().expect("an id"),
            amount: points,
            earned_at: Timestamp::EPOCH,
            activates_at: None,
            activates_on: None,
            expires_at: Some(LotTerms::WITH_ACTIVITY),
            origin: LotOrigin::Purchase,
            unit_value_micros: None,
            program_version: 1,
        },
        remaining: points,
        held: Points::ZERO,
        expired: Points::ZERO,
        pending: false,
    };
    wallet.add_read([lot], [], ReadThrough::All);
    wallet.set_tiers_decide(true);
    let ids = (
        "club".parse().expect("an id"),
        "anna".parse().expect("an id"),
    );
    let mut book = MemberBook::new(ids.0, ids.1);
    book.wallets.insert(currency(), wallet);
    book
}

fn log() -> Log {
    let stamp = Stamp {
        written_at: after(7_200),
        seed: [7; 32],
    };
    Log::new(ShardId::new(0), Position::new(2), stamp)
}

/// Gold since some seconds after [`T`].
fn rise(book: &mut MemberBook, seconds: u64, log: &mut Log) {
    let change = TierChanged {
        tier: "gold".parse().expect("an id"),
        since: after(seconds),
        program_version: 1,
    };
    let effects = [TierEffect {
        currency: currency(),
        inactivity: Inactivity::Waived,
        not_before: after(seconds),
    }];
    change_tier(book, &change, &effects, log).expect("all is known");
}

fn kinds(log: &Log) -> Vec<(&'static str, Timestamp)> {
    let written = log.transactions();
    written
        .map(|written| (written.kind(), written.effective_at))
        .collect()
}

#[test]
fn points_wait_until_the_tier_is_known_or_an_hour() {
    let at = |seconds, tiers_known| {
        let (mut book, mut log) = (book(), log());
        let moment = Moment::new(after(seconds), tiers_known);
        advance(&mut book, &currency(), moment, &mut log).expect("all is known");
        kinds(&log)
    };
    let nothing_known = Timestamp::EPOCH;
    assert_eq!(at(10, nothing_known), []);
    assert_eq!(at(3_599, nothing_known), []);
    assert_eq!(at(3_600, nothing_known), [("expire", T)]);
    assert_eq!(at(10, T), [("expire", T)]);
}

/// A version asks for tiers no more, while points wait for another look: they are gone
/// before whatever comes next.
#[test]
fn points_that_no_tier_decides_of_any_more_go_at_once() {
    let (mut book, mut log) = (book(), log());
    advance(&mut book, &currency(), after(10), &mut log).expect("all is known");
    assert_eq!(kinds(&log), []);
    let wallet = book.wallets.get_mut(&currency()).expect("there is one");
    assert!(wallet.wallet().next_due > Some(after(11)), "it waits");
    wallet.set_tiers_decide(false);
    advance(&mut book, &currency(), after(11), &mut log).expect("all is known");
    assert_eq!(kinds(&log), [("expire", T)]);
}

/// What was due before the tier began goes before it, whether or not the wallet was looked
/// at meanwhile and waits.
#[test]
fn a_tier_that_begins_while_points_wait_ends_their_waiting() {
    for looked_at in [None, Some(10), Some(50)] {
        let (mut book, mut log) = (book(), log());
        if let Some(seconds) = looked_at {
            advance(&mut book, &currency(), after(seconds), &mut log).expect("all is known");
            assert_eq!(kinds(&log), []);
        }
        rise(&mut book, 20, &mut log);
        let expected = [("expire", T), ("tier_changed", after(20))];
        assert_eq!(kinds(&log), expected, "looked at after {looked_at:?}");
    }
    // A tier that begins with the moment, or before it, keeps them.
    let (mut book, mut log) = (book(), log());
    advance(&mut book, &currency(), after(10), &mut log).expect("all is known");
    rise(&mut book, 0, &mut log);
    assert_eq!(kinds(&log), [("tier_changed", T)]);
}

/// Points that are due by their own date at the moment at which others go with inactivity.
/// While those wait for a tier, the dated ones are written, and else after them. Made again
/// entry by entry, as a verifier does that knows only what the log says, either comes out.
#[test]
fn whatever_was_known_what_is_due_at_one_moment_is_made_again() {
    let tied = || {
        let mut book = book();
        let wallet = book.wallets.get(&currency()).expect("there is one");
        let mut goes = wallet.lots().next().expect("there is one").clone();
        let mut waits = goes.clone();
        waits.terms.lot = LotId::new(Position::FIRST, 1);
        waits.terms.expires_at = Some(T);
        waits.terms.activates_at = Some(LotTerms::ON_EVENT);
        waits.terms.activates_on = Some("shipped".parse().expect("a name"));
        waits.pending = true;
        goes.terms.expires_at = Some(LotTerms::WITH_ACTIVITY);
        let mut known = wallet.wallet().clone();
        known.buckets.pending = waits.remaining;
        let mut wallet = WalletBook::of(known);
        wallet.add_read([goes, waits], [], ReadThrough::All);
        wallet.set_tiers_decide(true);
        book.wallets.insert(currency(), wallet);
        book
    };
    let tiers_known_at = |known: &[(u64, Timestamp)]| {
        let (mut book, mut log) = (tied(), log());
        for (seconds, tiers_known) in known {
            let moment = Moment::new(after(*seconds), *tiers_known);
            advance(&mut book, &currency(), moment, &mut log).expect("all is known");
        }
        let written: Vec<Transaction> = log.transactions().cloned().collect();
        written
    };
    let inactive_first = tiers_known_at(&[(10, T)]);
    let dated_first = tiers_known_at(&[(10, Timestamp::EPOCH), (3_600, T)]);
    let causes = |log: &[Transaction]| {
        let causes = log.iter().map(|made| made.cause.clone());
        causes.collect::<Vec<Cause>>()
    };
    let (dated, inactive) = (Cause::Due(Due::Expire), Cause::Due(Due::ExpireInactive));
    assert_eq!(causes(&inactive_first), [inactive.clone(), dated.clone()]);
    assert_eq!(causes(&dated_first), [dated, inactive.clone()]);
    for expected in [inactive_first, dated_first] {
        let (mut book, mut log) = (tied(), log());
        for made in &expected {
            let tiers_known = if made.cause == inactive {
                made.effective_at
            } else {
                Timestamp::EPOCH
            };
            let moment = Moment::new(made.effective_at, tiers_known);
            let step = advance_step(&mut book, &currency(), moment, &mut log);
            assert_eq!(step, Ok(true));
        }
        let again: Vec<Transaction> = log.transactions().cloned().collect();
        assert_eq!(again, expected);
    }
}
