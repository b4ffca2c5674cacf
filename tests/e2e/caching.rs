//! What the cache of balances takes, and what it does not.

use fealty_cache::{Cache, Entry, Progress};

use crate::harness::stack;

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
        async move { cache.put_read(0, head, &old).await.expect("it answers") }
    };
    assert!(!put(10).await, "it does not know how far it is");
    cache.reset(&[reaches(10)]).await.expect("it answers");
    assert!(put(10).await, "it knows as much");
    assert_eq!(read(&cache, "anna").await.as_deref(), Some("old"));
    // After a restore the log is another one, and shorter; what it lost is lost.
    cache.reset(&[reaches(7)]).await.expect("it answers");
    assert_eq!(read(&cache, "anna").await, None);
    // Others write on.
    let (before, after) = (reaches(7), reaches(12));
    assert!(
        cache
            .put(0, &before, &after, &[])
            .await
            .expect("it answers")
    );
    assert!(!put(10).await, "it knows more");
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
        cache.put_read(0, 10, &entries).await.expect("it answers");
        assert_eq!(read(&cache, "anna").await.as_deref(), Some(expected));
    }
}
