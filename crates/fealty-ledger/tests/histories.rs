//! Random histories of one member: whatever is asked, in whatever order, with
//! jumps in time, the invariants of the ledger hold.
//!
//! Each history runs twice side by side: on a book that is entirely known, and
//! on one that is read anew for each command from what was stored, a few lots
//! at a time, as the service does. Both must write the same log.

use std::{collections::BTreeMap, time::Duration};

use fealty_ledger::{
    AccountTotals, Accrue, Capture, Command, Grant, Hold, HoldCommand, Log, Lot, LotOrigin,
    MemberBook, ReadThrough, Redeem, Refusal, Release, Request, SpendKey, Stop, Transaction,
    Wallet, WalletBook, advance, canonical, execute,
};
use fealty_types::{CurrencyId, LotId, Points, Position, ShardId, Timestamp};
use proptest::prelude::*;

/// Lots that the partial book reads at a time.
const SLICE: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    Accrue {
        points: i64,
        expires_h: Option<u64>,
        activates_h: Option<u64>,
    },
    Redeem {
        points: i64,
    },
    Hold {
        points: i64,
        timeout_h: u64,
    },
    /// Of the `hold`th hold made so far.
    Capture {
        hold: usize,
        points: Option<i64>,
        is_final: bool,
    },
    Release {
        hold: usize,
    },
    Wait {
        hours: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let points = 1_i64..300;
    prop_oneof![
        4 => (points.clone(), prop::option::of(24_u64..400), prop::option::weighted(0.2, 1_u64..20))
            .prop_map(|(points, expires_h, activates_h)| Step::Accrue { points, expires_h, activates_h }),
        3 => points.clone().prop_map(|points| Step::Redeem { points }),
        2 => (points.clone(), 1_u64..100).prop_map(|(points, timeout_h)| Step::Hold { points, timeout_h }),
        2 => (0_usize..8, prop::option::of(points), any::<bool>())
            .prop_map(|(hold, points, is_final)| Step::Capture { hold, points, is_final }),
        1 => (0_usize..8).prop_map(|hold| Step::Release { hold }),
        2 => (1_u64..120).prop_map(|hours| Step::Wait { hours }),
    ]
}

fn currency() -> CurrencyId {
    "points".parse().expect("an id")
}

fn points(value: i64) -> Points {
    Points::amount(value).expect("in range")
}

fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3_600)
}

fn request(number: usize, step: &Step, holds: &[Position], now: Timestamp) -> Option<Request> {
    let brand: fealty_types::BrandId = "shop".parse().expect("an id");
    let reference: fealty_types::Reference = "".parse().expect("a reference");
    let later = |h: u64| now.checked_add(hours(h)).expect("in range");
    let mut grants = Vec::new();
    let command = match step {
        Step::Wait { .. } => return None,
        Step::Accrue {
            points: amount,
            expires_h,
            activates_h,
        } => {
            grants.push(Grant {
                rule: None,
                currency: currency(),
                points: points(*amount),
                brand: brand.clone(),
                earned_at: now,
                activates_at: activates_h.map(later),
                expires_at: expires_h.map(later),
                origin: LotOrigin::Promotion,
                program_version: 1,
            });
            Command::Accrue(Accrue {
                brand,
                currency: currency(),
                points: points(*amount),
                reference,
            })
        }
        Step::Redeem { points: amount } => Command::Redeem(Redeem {
            brand,
            currency: currency(),
            points: points(*amount),
            reference,
        }),
        Step::Hold {
            points: amount,
            timeout_h,
        } => Command::Hold(HoldCommand {
            brand,
            currency: currency(),
            points: points(*amount),
            timeout_micros: u64::try_from(hours(*timeout_h).as_micros()).expect("in range"),
            reference,
        }),
        Step::Capture {
            hold,
            points: amount,
            is_final,
        } => Command::Capture(Capture {
            hold: *holds.get(*hold)?,
            points: amount.map(points),
            is_final: *is_final,
        }),
        Step::Release { hold } => Command::Release(Release {
            hold: *holds.get(*hold)?,
        }),
    };
    Some(Request {
        request_id: format!("request-{number}").parse().expect("an id"),
        command,
        facts: None,
        grants,
    })
}

/// What a database would hold of the member's wallet.
#[derive(Default)]
struct Stored {
    wallet: Option<Wallet>,
    lots: BTreeMap<LotId, Lot>,
    holds: BTreeMap<Position, Hold>,
}

impl Stored {
    fn book(&self) -> MemberBook {
        let mut book = MemberBook::new(
            "club".parse().expect("an id"),
            "anna".parse().expect("an id"),
        );
        if let Some(wallet) = self.wallet {
            book.wallets.insert(currency(), WalletBook::of(wallet));
        }
        book
    }

    /// Reads on: the next few lots, and the first time all else.
    fn read_on(&self, book: &mut MemberBook) {
        let Some(wallet) = book.wallets.get_mut(&currency()) else {
            return;
        };
        let key = |lot: &Lot| SpendKey {
            expires_at: lot.terms.expires_at.unwrap_or_else(SpendKey::never),
            earned_at: lot.terms.earned_at,
            lot: lot.terms.lot,
        };
        let first = wallet.read_through() == ReadThrough::Nothing;
        let open = self
            .lots
            .values()
            .filter(|lot| !lot.remaining.is_zero() && !lot.pending);
        let mut open: Vec<&Lot> = open
            .filter(|lot| match wallet.read_through() {
                ReadThrough::Nothing => true,
                ReadThrough::Key(read) => key(lot) > read,
                ReadThrough::All => false,
            })
            .collect();
        open.sort_by_key(|lot| key(lot));
        let through = match open.get(SLICE - 1) {
            Some(last) => ReadThrough::Key(key(last)),
            None => ReadThrough::All,
        };
        let mut lots: Vec<Lot> = open.into_iter().take(SLICE).cloned().collect();
        let mut holds = Vec::new();
        if first {
            let other =
                |lot: &&Lot| (lot.pending && !lot.remaining.is_zero()) || !lot.held.is_zero();
            lots.extend(self.lots.values().filter(other).cloned());
            holds.extend(
                self.holds
                    .values()
                    .filter(|hold| !hold.lots.is_empty())
                    .cloned(),
            );
        }
        wallet.add_read(lots, holds, through);
    }

    fn write(&mut self, book: &MemberBook) {
        if let Some(wallet) = book.wallets.get(&currency()) {
            self.wallet = Some(*wallet.wallet());
            self.lots.extend(
                wallet
                    .changed_lots()
                    .map(|lot| (lot.terms.lot, lot.clone())),
            );
            self.holds.extend(
                wallet
                    .changed_holds()
                    .map(|hold| (hold.position, hold.clone())),
            );
        }
    }
}

fn check_invariants(book: &MemberBook, log: &[Transaction]) -> Result<(), TestCaseError> {
    let mut totals = AccountTotals::default();
    for transaction in log {
        totals.add(transaction);
        let bytes = canonical::encode(transaction);
        prop_assert_eq!(
            &canonical::decode(&bytes).expect("our own bytes"),
            transaction
        );
    }
    let (debits, credits) = totals
        .rows()
        .fold((0, 0), |(debits, credits), (_, _, _, debit, credit)| {
            (debits + debit, credits + credit)
        });
    prop_assert_eq!(debits, credits);
    let Some(wallet) = book.wallets.get(&currency()) else {
        return Ok(());
    };
    let buckets = wallet.wallet().buckets;
    let sum = |of: &dyn Fn(&Lot) -> Points| wallet.lots().map(|lot| of(lot).get()).sum::<i64>();
    let when = |pending: bool| {
        move |lot: &Lot| {
            if lot.pending == pending {
                lot.remaining
            } else {
                Points::ZERO
            }
        }
    };
    prop_assert_eq!(sum(&when(true)), buckets.pending.get());
    prop_assert_eq!(sum(&when(false)), buckets.available.get());
    prop_assert_eq!(sum(&|lot| lot.held), buckets.held.get());
    let held: i64 = wallet.holds().map(|hold| hold.remaining().get()).sum();
    prop_assert_eq!(held, buckets.held.get());
    // What the books say of all wallets is what this one says.
    for (_, _, account, debit, credit) in totals.rows() {
        let bucket = match account.kind() {
            "pending" => buckets.pending,
            "available" => buckets.available,
            "held" => buckets.held,
            _ => continue,
        };
        prop_assert_eq!(credit - debit, i128::from(bucket.get()));
    }
    Ok(())
}

fn play(steps: &[Step]) -> Result<(), TestCaseError> {
    let shard = ShardId::new(0);
    let mut now = Timestamp::EPOCH;
    let mut known = Stored::default().book();
    let mut log = Log::new(shard, Position::FIRST);
    let mut stored = Stored::default();
    let mut holds = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        if let Step::Wait { hours: waited } = step {
            now = now.checked_add(hours(*waited)).expect("in range");
        }
        let Some(request) = request(number, step, &holds, now) else {
            continue;
        };
        let start = log.written().len();
        let answer = execute(&mut known, &request, now, &mut log);
        prop_assert!(
            !matches!(answer, Err(Stop::LotsNeeded { .. })),
            "all is known"
        );

        let mut partial = stored.book();
        if let Some(hold) = request.command.hold() {
            stored.read_on(&mut partial);
            if let (Some(wallet), Some(named)) = (
                partial.wallets.get_mut(&currency()),
                stored.holds.get(&hold),
            ) {
                let through = wallet.read_through();
                wallet.add_read([], [named.clone()], through);
            }
        }
        let mut partial_log = Log::new(
            shard,
            Position::new(i64::try_from(start).expect("small") + 1),
        );
        let partial_answer = loop {
            match execute(&mut partial, &request, now, &mut partial_log) {
                Err(Stop::LotsNeeded { .. }) => stored.read_on(&mut partial),
                answer => break answer,
            }
        };
        prop_assert_eq!(&partial_answer, &answer);
        prop_assert_eq!(partial_log.written(), &log.written()[start..]);
        stored.write(&partial);

        if answer.is_ok() && matches!(step, Step::Hold { .. }) {
            holds.push(log.written().last().expect("it was written").position);
        }
        if let Err(Stop::Refused(Refusal::InsufficientPoints {
            available,
            required,
        })) = answer
        {
            prop_assert!(available < required);
        }
        check_invariants(&known, log.written())?;
    }
    advancing_in_steps_is_advancing_at_once(&known, &log, now)
}

/// To t1 and then to t2 is to t2, whichever t1.
fn advancing_in_steps_is_advancing_at_once(
    book: &MemberBook,
    log: &Log,
    now: Timestamp,
) -> Result<(), TestCaseError> {
    let end = now.checked_add(hours(1_000)).expect("in range");
    let (mut once, mut once_log) = (book.clone(), log.clone());
    advance(&mut once, &currency(), end, &mut once_log).expect("all is known");
    let (mut often, mut often_log) = (book.clone(), log.clone());
    for step in 1..=10 {
        let at = now.checked_add(hours(100 * step)).expect("in range");
        advance(&mut often, &currency(), at, &mut often_log).expect("all is known");
    }
    prop_assert_eq!(once_log.written(), often_log.written());
    check_invariants(&once, once_log.written())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_asked_the_books_hold(steps in prop::collection::vec(step(), 1..60)) {
        play(&steps)?;
    }
}
