//! What the cache of balances takes, and what it does not.

use fealty_cache::{Cache, Entry, Progress, Put};

use fealty_proto::points::v1::Consistency;
use sqlx::{Connection as _, PgConnection};

use crate::harness::{CLUB, POINTS, accrual, accrue, balance, club, stack, until};

fn reaches(position: i64) -> Progress {
    Progress {
        position,
        mark: "a1".to_owned(),
    }
}

fn entry(key: &str, version: (i64, i64), value: &str) -> Entry {
    Entry {
        key: key.to_owned(),
        version,
        value: value.into(),
    }
}

async fn read(cache: &Cache, key: &str) -> Option<String> {
    let read = cache.get(key).await.expect("it answers");
    read.map(|value| String::from_utf8(value).expect("a text"))
}

/// Who read a balance, and was slow to write it, does not write it into a cache that knows
/// more by now, or begins again.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_before_a_reset_is_not_written_after_it() {
    let stack = stack().await;
    let cache = Cache::open(&stack.redis.url(), None, "caching").expect("a URL");
    let old = [entry("anna", (3, 100), "old")];
    let put = |head| {
        let (cache, old) = (cache.clone(), old.clone());
        async move {
            let head = reaches(head);
            cache.put_read(0, &head, &old).await.expect("it answers")
        }
    };
    assert_eq!(
        put(10).await,
        Put::LeftOut,
        "it does not know how far it is"
    );
    cache.reset(&[reaches(10)]).await.expect("it answers");
    assert_eq!(put(10).await, Put::There, "it knows as much");
    assert_eq!(read(&cache, "anna").await.as_deref(), Some("old"));
    // After a restore the log is another one, and shorter; what it lost is lost.
    cache.reset(&[reaches(7)]).await.expect("it answers");
    assert_eq!(read(&cache, "anna").await, None);
    // Others write on.
    let (before, after) = (reaches(7), reaches(12));
    let others = cache.put(0, &before, &after, &[]).await;
    assert_eq!(others.expect("it answers"), Put::Through);
    assert_eq!(put(10).await, Put::LeftOut, "it knows more");
    assert_eq!(read(&cache, "anna").await, None);
}

/// Between two transactions only that may become known when a wallet is to be looked at.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_which_only_the_due_date_changed_is_written() {
    let stack = stack().await;
    let cache = Cache::open(&stack.redis.url(), None, "caching").expect("a URL");
    cache.reset(&[reaches(10)]).await.expect("it answers");
    for (version, value, expected) in [
        ((3, 100), "due at 100", "due at 100"),
        ((3, 200), "due at 200", "due at 200"),
        ((3, 100), "due at 100", "due at 200"),
        ((4, 100), "another transaction", "another transaction"),
        ((3, 300), "due at 300", "another transaction"),
    ] {
        let entries = [entry("anna", version, value)];
        cache
            .put_read(0, &reaches(10), &entries)
            .await
            .expect("it answers");
        assert_eq!(read(&cache, "anna").await.as_deref(), Some(expected));
    }
}

/// Two instances write to a shard, and the second is first. When the database then loses
/// what it wrote, the cache can be seen to have it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_beyond_progress_is_known() {
    let stack = stack().await;
    let cache = Cache::open(&stack.redis.url(), None, "caching").expect("a URL");
    let put = |after: i64, through: i64, key: &'static str, version| {
        let cache = cache.clone();
        let entries = [entry(key, (version, 0), &format!("{key} {version}"))];
        async move {
            let (after, through) = (reaches(after), reaches(through));
            let put = cache.put(0, &after, &through, &entries).await;
            put.expect("it answers")
        }
    };
    let reach = || {
        let cache = cache.clone();
        async move {
            let mut reach = cache.reach(1).await.expect("it answers").remove(0)?;
            reach.beyond.sort_by_key(|place| place.position);
            Some((reach.progress.position, reach.beyond))
        }
    };
    // It has lost its memory: what it takes now, nobody would know of.
    assert_eq!(put(0, 10, "anna", 1).await, Put::LeftOut);
    assert_eq!((reach().await, read(&cache, "anna").await), (None, None));

    cache.reset(&[reaches(0)]).await.expect("it answers");
    assert_eq!(put(10, 20, "bert", 1).await, Put::There);
    assert_eq!(put(20, 25, "carl", 1).await, Put::There);
    assert_eq!(read(&cache, "bert").await.as_deref(), Some("bert 1"));
    let beyond = vec![reaches(20), reaches(25)];
    assert_eq!(reach().await, Some((0, beyond.clone())));
    assert_eq!(put(0, 10, "anna", 1).await, Put::Through);
    assert_eq!(reach().await, Some((10, beyond.clone())));
    // Who read was ahead of what was written.
    let read_at = [entry("dora", (1, 0), "dora")];
    let put_read = cache.put_read(0, &reaches(30), &read_at).await;
    assert_eq!(put_read.expect("it answers"), Put::There);

    // The gap is mended, and it has come to what is beyond.
    assert_eq!(put(10, 25, "bert", 2).await, Put::Through);
    assert_eq!(read(&cache, "bert").await.as_deref(), Some("bert 2"));
    cache.come_to(0, &beyond).await.expect("it answers");
    assert_eq!(reach().await, Some((25, vec![reaches(30)])));
    // What progress is beyond of has been written.
    assert_eq!(put(12, 20, "carl", 9).await, Put::There);
    assert_eq!(read(&cache, "carl").await.as_deref(), Some("carl 1"));
    cache.reset(&[reaches(7)]).await.expect("it answers");
    assert_eq!(reach().await, Some((7, Vec::new())));

    // Beyond a gap that nobody mends, not everything is taken, and the writer is told.
    let mut places = 100..2_000;
    let refused = loop {
        let at = places.next().expect("it takes not that many");
        if put(at, at + 1, "emil", at).await == Put::LeftOut {
            break at;
        }
    };
    let (_, beyond) = reach().await.expect("it knows how far it is");
    assert_eq!(i64::try_from(beyond.len()), Ok(refused - 100));
    let last = format!("emil {}", refused - 1);
    assert_eq!(read(&cache, "emil").await, Some(last));
}

/// An instance was ahead of another with what the database then lost, less than the cache
/// knew of by its progress: nothing of it is served, and what is written anew is taken.
#[tokio::test(flavor = "multi_thread")]
async fn entries_of_a_log_that_was_lost_are_found_beyond_progress() {
    let fleet = club().await;
    let clients = fleet.clients();
    let anna = accrual("gift-1", "anna", 10);
    accrue(clients, anna).await.expect("points");
    let cached = || async {
        let (read, cached) = balance(clients, "anna", Consistency::Cached).await;
        cached && read.available == 10
    };
    until("a balance is cached", cached).await;
    let url = fleet.points_database_url();
    let mut connection = PgConnection::connect(url).await.expect("it answers");
    let shard = "SELECT shard FROM members WHERE member = 'anna'";
    let shard: i16 = sqlx::query_scalar(shard)
        .fetch_one(&mut connection)
        .await
        .expect("she is a member");
    let shard = u8::try_from(shard).expect("a shard");

    let url = fleet.stack.read().await.redis.url();
    let cache = Cache::open(&url, None, "fealty").expect("a URL");
    let lost = [entry(
        &format!("{CLUB}/{POINTS}/anna"),
        (1_000, 0),
        "what was lost",
    )];
    let (after, through) = (reaches(1_000), reaches(1_001));
    let put = cache.put(shard, &after, &through, &lost).await;
    assert_eq!(
        put.expect("it answers"),
        Put::There,
        "it is beyond progress"
    );
    until("a balance is cached again, and right", cached).await;
}
