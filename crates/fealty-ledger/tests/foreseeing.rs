//! How much of a huge wallet is kept by one who only wants to know what it comes to.

use fealty_ledger::{
    Log, Lot, LotOrigin, LotTerms, MemberBook, ReadThrough, SpendKey, Stamp, Stop, Wallet,
    WalletBook, advance,
};
use fealty_types::{CurrencyId, LotId, Points, Position, ShardId, Timestamp};

const LOTS: usize = 100_000;
/// How many are read, or fall due, before what is over is forgotten.
const SLICE: usize = 2_048;

fn lot(number: usize, currency: &CurrencyId) -> Lot {
    let day = i64::try_from(number / 3 + 1).expect("in range");
    let one = Points::new(1).expect("in range");
    let terms = LotTerms {
        lot: LotId::from_stored(i64::try_from(number + 1).expect("in range")),
        currency: currency.clone(),
        brand: "shop".parse().expect("an id"),
        amount: one,
        earned_at: Timestamp::EPOCH,
        activates_at: None,
        activates_on: None,
        expires_at: Some(Timestamp::from_micros(day * 86_400_000_000).expect("in range")),
        origin: LotOrigin::Promotion,
        unit_value_micros: None,
        program_version: 1,
    };
    Lot {
        terms,
        remaining: one,
        held: Points::ZERO,
        expired: Points::ZERO,
        pending: false,
    }
}

#[test]
fn a_slice_of_a_huge_wallet_is_kept_at_a_time() {
    let currency: CurrencyId = "points".parse().expect("an id");
    let mut wallet = Wallet {
        next_due: Some(Timestamp::EPOCH),
        ..Wallet::default()
    };
    let all = Points::new(i64::try_from(LOTS).expect("in range"));
    wallet.buckets.available = all.expect("in range");
    let mut book = MemberBook::new(
        "club".parse().expect("an id"),
        "anna".parse().expect("an id"),
    );
    book.wallets
        .insert(currency.clone(), WalletBook::of(wallet));
    let stamp = Stamp {
        written_at: Timestamp::EPOCH,
        seed: [7; 32],
    };
    let mut log = Log::new(ShardId::new(0), Position::FIRST, stamp);
    let (mut read, mut most) = (0, 0);
    loop {
        log.allow_due(SLICE);
        let advanced = advance(&mut book, &currency, LotTerms::NEVER, &mut log);
        let wallet = book.wallets.get_mut(&currency).expect("it is there");
        most = most.max(wallet.lots().count() + log.written().len());
        match advanced {
            Ok(()) => break,
            Err(Stop::MoreIsDue) => {
                log.forget_written();
                wallet.forget_closed();
            }
            Err(Stop::LotsNeeded { .. }) => {
                let slice: Vec<Lot> = (read..LOTS.min(read + SLICE))
                    .map(|number| lot(number, &currency))
                    .collect();
                read += slice.len();
                let last = slice.last().map(|lot| SpendKey {
                    expires_at: lot.terms.expires_at.expect("it has one"),
                    lot: lot.terms.lot,
                });
                let through = last.filter(|_| slice.len() == SLICE);
                let through = through.map_or(ReadThrough::All, ReadThrough::Key);
                wallet.add_read(slice, [], through);
            }
            Err(Stop::Refused(refusal)) => panic!("{refusal:?}"),
        }
    }
    let wallet = book.wallets[&currency].wallet();
    assert_eq!(wallet.buckets.available, Points::ZERO);
    assert_eq!(wallet.next_due, None);
    assert!(most < 4 * SLICE, "{most} lots and transactions at once");
}
