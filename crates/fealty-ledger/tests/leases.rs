//! What shards have of budgets, folded from their logs: never more than there is.

use std::collections::BTreeMap;

use fealty_ledger::{Entry, LeaseMoved, LeaseReceived, Leases, Notice, Said};
use fealty_types::{BudgetId, Position, ProgramId, ShardId, Timestamp, TransactionPlace};
use proptest::prelude::*;

fn id<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().expect("valid")
}

fn notice(shard: ShardId, says: Said) -> Entry {
    Entry::Notice(Notice {
        engine: 1,
        shard,
        position: Position::FIRST,
        program: id("club"),
        written_at: Timestamp::EPOCH,
        nonce: [0; 16],
        says,
    })
}

/// So many points move into the lease of a shard, by a budget of a size.
fn lease(shard: u8, points: i64, limit: i64, version: u32, confirms: bool) -> LeaseMoved {
    LeaseMoved {
        budget: id("spring"),
        shard: ShardId::new(shard),
        points,
        limit,
        version,
        confirms,
    }
}

fn moved(shard: u8, points: i64, limit: i64, version: u32) -> Said {
    Said::LeaseMoved(lease(shard, points, limit, version, true))
}

fn received(points: i64, version: u32) -> Said {
    Said::LeaseReceived(LeaseReceived {
        budget: id("spring"),
        points,
        version,
        home: TransactionPlace {
            shard: ShardId::new(0),
            position: Position::FIRST,
        },
    })
}

fn names() -> (ProgramId, BudgetId) {
    (id("club"), id("spring"))
}

#[test]
fn a_pool_leases_no_more_than_there_is_and_by_no_earlier_version() {
    let home = ShardId::new(0);
    let mut leases = Leases::default();
    let mut say = |says| leases.fold(&notice(home, says));
    assert_eq!(say(moved(1, 60, 100, 2)), Ok(()));
    assert!(say(moved(2, 41, 100, 2)).is_err(), "beyond its size");
    let mut leases = Leases::default();
    let mut say = |says| leases.fold(&notice(home, says));
    assert_eq!(say(moved(1, 60, 100, 2)), Ok(()));
    assert!(say(moved(1, -61, 100, 2)).is_err(), "more than was leased");
    let mut leases = Leases::default();
    let mut say = |says| leases.fold(&notice(home, says));
    assert_eq!(say(moved(1, 60, 100, 2)), Ok(()));
    assert!(say(moved(1, 1, 100, 1)).is_err(), "by an earlier version");
}

#[test]
fn a_lease_is_drawn_on_by_the_version_that_confirmed_it() {
    let (program, budget) = names();
    let mut leases = Leases::default();
    let shard = ShardId::new(1);
    let say = |leases: &mut Leases, says| leases.fold(&notice(shard, says));
    say(&mut leases, received(60, 1)).expect("there is some");
    assert_eq!(leases.usable(&program, &budget, 1), 60);
    assert_eq!(leases.usable(&program, &budget, 2), 0);
    say(&mut leases, received(0, 2)).expect("confirmed");
    assert_eq!(leases.usable(&program, &budget, 2), 60);
    assert!(say(&mut leases, received(-61, 2)).is_err());
    assert_eq!(leases.changed().count(), 1);
    leases.settle();
    assert_eq!(leases.changed().count(), 0);
}

/// More is leased by a larger size than there is of the smaller one: nothing is confirmed
/// before enough has come back.
#[test]
fn nothing_is_confirmed_while_more_is_leased_than_there_is() {
    let home = ShardId::new(0);
    let mut leases = Leases::default();
    let mut say = |moved| leases.fold(&notice(home, Said::LeaseMoved(moved)));
    assert_eq!(say(lease(1, 60, 100, 1, true)), Ok(()));
    let mut closed = leases.clone();
    let mut say = |moved| closed.fold(&notice(home, Said::LeaseMoved(moved)));
    assert!(say(lease(0, 0, 50, 2, true)).is_err());
    let mut say = |moved| leases.fold(&notice(home, Said::LeaseMoved(moved)));
    assert_eq!(say(lease(1, -10, 50, 2, false)), Ok(()));
    assert_eq!(say(lease(0, 0, 50, 2, true)), Ok(()));
}

proptest! {
    /// Whatever moves between a home and other shards: what lies in leases is what the pool has
    /// leased, and never more than the budget's size.
    #[test]
    fn all_that_lies_somewhere_was_leased(
        moves in proptest::collection::vec((0_u8..4, -40_i64..60), 0..60),
        size in 1_i64..200,
    ) {
        let (program, budget) = names();
        let mut shards: BTreeMap<u8, Leases> = (0..4).map(|shard| (shard, Leases::default())).collect();
        for (shard, points) in moves {
            // What cannot be is refused by one of both sides, and then neither is written.
            let mut tried = shards.clone();
            let home = tried.get_mut(&0).expect("it is there");
            let mut done = home.fold(&notice(ShardId::new(0), moved(shard, points, size, 1)));
            if shard != 0 && done.is_ok() {
                let other = tried.get_mut(&shard).expect("it is there");
                done = other.fold(&notice(ShardId::new(shard), received(points, 1)));
            }
            if done.is_ok() {
                shards = tried;
            }
            let held = |shard: &u8| shards[shard].of(&program, &budget);
            let lying: i64 = (0..4).map(|shard| held(&shard).lease.lying).sum();
            prop_assert_eq!(lying, held(&0).pool.leased);
            prop_assert!((0..=size).contains(&lying));
        }
    }
}
