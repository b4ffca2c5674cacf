//! A database that is restored to an earlier moment while services run: what was lost is not
//! served, and who followed the log is told, not left behind.

use fealty_proto::points::v1::{
    Consistency, PollTransactionsRequest, ledger_service_client::LedgerServiceClient,
};

use fealty_cli::demo::Fleet;
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::{
    harness::{
        START_S, accrual, accrue, ask, balance, club, from, polled, purchase, reason, set_time,
        until, verify,
    },
    tiers::{apply_to, gold_stays, tier_of},
};

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restore_nothing_that_was_lost_is_served_or_skipped() {
    let fleet = club().await;
    let clients = fleet.clients();
    for number in 0..10 {
        let request = accrual(&format!("kept-{number}"), &format!("member-{number}"), 10);
        accrue(clients, request).await.expect("points");
    }
    let poll = |cursor: String| {
        let request = PollTransactionsRequest {
            start: from(cursor),
            ..PollTransactionsRequest::default()
        };
        let client: LedgerServiceClient<_> = fleet.clients().ledger();
        async move { ask!(client, poll_transactions, request) }
    };
    let (_, kept) = polled(&fleet, String::new()).await;
    fleet
        .stack
        .write()
        .await
        .postgres
        .save_copy()
        .expect("a copy");
    // These are lost, though they were answered, cached, and read.
    for number in 0..10 {
        let request = accrual(
            &format!("lost-{number}"),
            &format!("member-{number}"),
            1_000,
        );
        accrue(clients, request).await.expect("points");
    }
    let asked = purchase(1, "member-0", 15_000);
    ask!(clients.earning(), record_purchase, asked).expect("recorded");
    let (_, lost) = polled(&fleet, kept.clone()).await;
    until("a balance is cached", || async {
        balance(clients, "member-1", Consistency::Cached).await.1
    })
    .await;

    fleet
        .stack
        .write()
        .await
        .postgres
        .restore_copy()
        .expect("the copy is restored");
    // More is written than was lost, at the same positions.
    for number in 0..10 {
        for times in 0..3 {
            let request_id = format!("new-{number}-{times}");
            let request = accrual(&request_id, &format!("member-{number}"), 1);
            accrue(clients, request).await.expect("points");
        }
    }
    for number in 0..10 {
        let member = format!("member-{number}");
        until("a balance is cached, and right", || async {
            let (read, cached) = balance(clients, &member, Consistency::Cached).await;
            cached && read.available == 13
        })
        .await;
    }
    let refused = poll(lost).await.expect_err("it is of what was lost");
    assert_eq!(reason(&refused), "CURSOR_OUT_OF_RANGE");
    assert!(refused.message().contains("restored"), "{refused}");
    let polled = poll(kept).await.expect("it is of what was kept");
    assert!(!polled.transactions.is_empty());
    verify(&fleet).await.expect("the ledger holds");
}

async fn connect(fleet: &Fleet, database: &str) -> PgConnection {
    let url = fleet.stack.read().await.postgres.url(database);
    PgConnection::connect(&url).await.expect("it answers")
}

/// Empties the tiers service's database, but for the programmes, which points has too.
async fn begin_tiers_anew(fleet: &Fleet) {
    fleet.signal("tiers", "TERM").await.expect("it is there");
    until("tiers has ended", || async {
        !fleet.is_running("tiers").await.expect("it is known")
    })
    .await;
    let (mut points, mut tiers) = (
        connect(fleet, "points").await,
        connect(fleet, "tiers").await,
    );
    let empty = "TRUNCATE purchases, spend_days, statuses, tier_changes, feed_cursors, programs;
        UPDATE log_head SET position = 0, written_at = to_timestamp(0)";
    tiers.execute(empty).await.expect("it runs");
    let programs = "SELECT to_jsonb(p) FROM programs p ORDER BY version";
    let programs: Vec<serde_json::Value> = sqlx::query_scalar(programs)
        .fetch_all(&mut points)
        .await
        .expect("they are read");
    assert_eq!(programs.len(), 2, "with their versions of before");
    for program in programs {
        let copy = "INSERT INTO programs SELECT (jsonb_populate_record(NULL::programs, $1)).*";
        let copied = sqlx::query(copy).bind(program).execute(&mut tiers).await;
        copied.expect("it is copied");
    }
    fleet.restart("tiers").await.expect("it serves");
}

/// What docs/restoring.md says of a tiers service that is ahead of what was restored: it
/// begins with an empty database and judges anew, and points reads its changes again.
#[tokio::test(flavor = "multi_thread")]
async fn tiers_can_begin_anew_and_points_goes_on_with_it() {
    let fleet = club().await;
    apply_to(&fleet, &gold_stays()).await;
    let buy = async |number: usize, member: &str| {
        let asked = purchase(number, member, 30_000);
        ask!(fleet.clients().earning(), record_purchase, asked).expect("recorded");
    };
    let stays = async |member: &str| {
        let read = balance(fleet.clients(), member, Consistency::Strong).await;
        read.0.inactivity_waived
    };
    buy(1, "anna").await;
    until("gold's points stay", || stays("anna")).await;

    // Another time, so that what is written anew is known from what was there.
    set_time(&fleet, START_S + 60).await;
    begin_tiers_anew(&fleet).await;
    until("she is judged anew", || async {
        tier_of(&fleet, "anna").await.as_deref() == Some("gold")
    })
    .await;
    until("points says that it cannot go on", || async {
        let log = fleet.log("points").await.expect("there is one");
        log.contains("nothing is taken from the feed")
    })
    .await;
    buy(2, "ben").await;
    until("he is judged", || async {
        tier_of(&fleet, "ben").await.as_deref() == Some("gold")
    })
    .await;
    assert!(!stays("ben").await, "points does not know of it");

    let mut points = connect(&fleet, "points").await;
    let forget = "DELETE FROM feed_cursors WHERE source = 'tiers'";
    points.execute(forget).await.expect("it runs");
    until("gold's points stay", || stays("ben")).await;
    assert!(stays("anna").await);
    verify(&fleet).await.expect("the ledger holds");
}
