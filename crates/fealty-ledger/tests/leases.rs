//! What shards have of budgets, folded from their logs: never more than there is.

use std::collections::BTreeMap;

use fealty_ledger::{Entry, LeaseMoved, Leases, Notice, Said};
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

fn moved(shard: u8, points: i64, limit: i64, version: u32) -> Said {
    Said::LeaseMoved(LeaseMoved {
        budget: id("spring"),
        shard: ShardId::new(shard),
        points,
        limit,
        version,
    })
}

fn received(points: i64, limit: i64) -> Said {
    Said::LeaseReceived {
        budget: id("spring"),
        points,
        limit,
        home: TransactionPlace {
            shard: ShardId::new(0),
            position: Position::FIRST,
        },
    }
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
fn a_lease_of_a_larger_size_waits_until_it_is_confirmed() {
    let (program, budget) = names();
    let mut leases = Leases::default();
    let shard = ShardId::new(1);
    leases
        .fold(&notice(shard, received(60, 100)))
        .expect("there is some");
    assert_eq!(leases.usable(&program, &budget, 100), 60);
    assert_eq!(leases.usable(&program, &budget, 200), 60);
    assert_eq!(leases.usable(&program, &budget, 99), 0);
    leases
        .fold(&notice(shard, received(0, 99)))
        .expect("confirmed");
    assert_eq!(leases.usable(&program, &budget, 99), 60);
    assert!(leases.fold(&notice(shard, received(-61, 99))).is_err());
    assert_eq!(leases.changed().count(), 1);
    leases.settle();
    assert_eq!(leases.changed().count(), 0);
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
                done = other.fold(&notice(ShardId::new(shard), received(points, size)));
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
