//! What a forger could do to a stored log, and that `fealty verify` finds it,
//! with shard and position.

use std::process::{Command, Output};

use fealty_cli::demo::Fleet;
use sqlx::{Connection as _, Executor as _, PgConnection};

use fealty_proto::points::v1::Consistency;

use crate::{
    harness::{
        CLUB, POINTS, SHOP, START_S, accrual, accrue, ask, balance, club, fealty, purchase,
        set_time, until, verify,
    },
    tiers::{apply_to, gold_stays},
};

/// A fleet with 40 transactions of members in several shards.
async fn ledger() -> Fleet {
    let fleet = club().await;
    for number in 0..40 {
        let member = format!("member-{}", number % 10);
        let request = accrual(&format!("gift-{number}"), &member, 100 + number);
        accrue(fleet.clients(), request).await.expect("points");
    }
    assert_eq!(verify(&fleet).await, Ok(40));
    fleet
}

/// Runs a statement as a superuser, whom no privilege keeps from anything.
async fn forge(fleet: &Fleet, statement: &'static str) -> u64 {
    let mut connection = PgConnection::connect(fleet.points_database_url())
        .await
        .expect("the database answers");
    connection
        .execute(statement)
        .await
        .expect("the statement runs")
        .rows_affected()
}

/// The busiest shard's head.
async fn busiest(fleet: &Fleet) -> (i16, i64) {
    let mut connection = PgConnection::connect(fleet.points_database_url())
        .await
        .expect("the database answers");
    sqlx::query_as("SELECT shard, position FROM shards ORDER BY position DESC, shard LIMIT 1")
        .fetch_one(&mut connection)
        .await
        .expect("there are shards")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_changed_byte_is_found() {
    let fleet = ledger().await;
    let (shard, _) = busiest(&fleet).await;
    let changed = forge(
        &fleet,
        "UPDATE transactions SET body = set_byte(body, 40, get_byte(body, 40) # 1)
         WHERE position = 3
           AND shard = (SELECT shard FROM shards ORDER BY position DESC, shard LIMIT 1)",
    );
    assert_eq!(changed.await, 1);
    let found = verify(&fleet).await.expect_err("it is found");
    assert!(
        found.starts_with(&format!("shard {shard}, position 3:")),
        "{found}"
    );
    // The command says it, and exits with 1.
    let output = Command::new(fealty())
        .args(["verify", "--database-url", fleet.points_database_url()])
        .output()
        .expect("the command runs");
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains(&format!("shard {shard}, position 3:")),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_transaction_is_found() {
    let fleet = ledger().await;
    let (shard, _) = busiest(&fleet).await;
    let deleted = forge(
        &fleet,
        "DELETE FROM transactions WHERE position = 2
           AND shard = (SELECT shard FROM shards ORDER BY position DESC, shard LIMIT 1)",
    );
    assert_eq!(deleted.await, 1);
    let found = verify(&fleet).await.expect_err("it is found");
    assert!(
        found.starts_with(&format!("shard {shard}, position 2:")),
        "{found}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_off_end_is_found() {
    let fleet = ledger().await;
    let (shard, last) = busiest(&fleet).await;
    let cut = forge(
        &fleet,
        "DELETE FROM transactions t USING shards s
         WHERE t.shard = s.shard AND t.position = s.position
           AND s.shard = (SELECT shard FROM shards ORDER BY position DESC, shard LIMIT 1)",
    );
    assert_eq!(cut.await, 1);
    let found = verify(&fleet).await.expect_err("it is found");
    assert!(
        found.starts_with(&format!("shard {shard}, position {last}:")),
        "{found}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_books_are_found() {
    for statement in [
        "UPDATE wallets SET available = available + 1 WHERE member_no = 1 AND shard = $1",
        "UPDATE lots SET remaining = remaining - 1 WHERE shard = $1
           AND lot = (SELECT min(lot) FROM lots WHERE shard = $1)",
        "UPDATE accounts SET credits = credits + 1 WHERE kind = 'available' AND shard = $1",
        "UPDATE transactions SET member_no = member_no + 1 WHERE position = 2 AND shard = $1",
        // A past balance would not find it.
        "UPDATE transactions SET currencies = 0 WHERE position = 2 AND shard = $1",
        // The notice that begins the log belongs to nobody.
        "UPDATE transactions SET member_no = 1 WHERE position = 1 AND shard = $1",
        "UPDATE begun_versions SET version = version + 1 WHERE shard = $1",
        // Another text in the place of the one that began means the same.
        "UPDATE programs SET source = source || chr(10) WHERE $1 >= 0",
    ] {
        let fleet = ledger().await;
        let (shard, _) = busiest(&fleet).await;
        let mut connection = PgConnection::connect(fleet.points_database_url())
            .await
            .expect("the database answers");
        let forged = sqlx::query(statement).bind(shard);
        let forged = forged.execute(&mut connection).await;
        assert_eq!(forged.expect("it runs").rows_affected(), 1, "{statement}");
        verify(&fleet).await.expect_err(statement);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_itself_refuses_to_change_the_log() {
    let fleet = ledger().await;
    // Neither has the privilege; the owner could give it back to itself.
    for url in [fleet.owner_database_url(), fleet.service_database_url()] {
        let mut connection = PgConnection::connect(url)
            .await
            .expect("the database answers");
        for statement in [
            "UPDATE transactions SET member_no = 1",
            "DELETE FROM transactions",
            "TRUNCATE transactions",
            "UPDATE account_marks SET debits = 0",
            "DELETE FROM marks",
        ] {
            let refused = connection.execute(statement).await.expect_err(statement);
            assert!(
                refused.to_string().contains("permission denied"),
                "{refused}"
            );
        }
    }
    let mut service = PgConnection::connect(fleet.service_database_url())
        .await
        .expect("the database answers");
    for statement in [
        "ALTER TABLE transactions OWNER TO fealty_service",
        "DROP TABLE transactions",
        "SET session_replication_role = replica",
        "UPDATE _sqlx_migrations SET success = false",
    ] {
        service.execute(statement).await.expect_err(statement);
    }
    assert_eq!(verify(&fleet).await, Ok(40));
}

/// A fleet with purchases by a silver member, and a hold that has ended.
async fn shop() -> Fleet {
    use fealty_proto::points::v1::{HoldRequest, ReleaseRequest};
    let fleet = club().await;
    for number in 0..5 {
        let asked = purchase(number, "anna", 9_000);
        ask!(fleet.clients().earning(), record_purchase, asked).expect("recorded");
        let told = format!("anna is silver for purchase {number}");
        if number == 1 {
            until(&told, || async {
                let mut reader = reader(&fleet).await;
                let silver = "SELECT count(*) FROM member_tiers WHERE tier = 'silver'";
                sqlx::query_scalar::<_, i64>(silver)
                    .fetch_one(&mut reader)
                    .await
                    .expect("it runs")
                    == 1
            })
            .await;
            // The tier that counts is that of the day's beginning.
            set_time(&fleet, START_S + 86_400).await;
        }
    }
    let hold = HoldRequest {
        request_id: "hold-1".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points: 10,
        ..HoldRequest::default()
    };
    let held = ask!(fleet.clients().ledger(), hold, hold).expect("held");
    let release = ReleaseRequest {
        request_id: "release-1".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        hold: held.hold,
        ..ReleaseRequest::default()
    };
    ask!(fleet.clients().ledger(), release, release).expect("released");
    verify(&fleet).await.expect("the ledger holds");
    fleet
}

async fn reader(fleet: &Fleet) -> PgConnection {
    let connected = PgConnection::connect(fleet.points_database_url()).await;
    connected.expect("the database answers")
}

/// What was done to a shop's database, and what verify says.
async fn found_after(statement: &'static str) -> String {
    let fleet = shop().await;
    assert!(forge(&fleet, statement).await > 0, "{statement}");
    verify(&fleet).await.expect_err("it is found")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_order_is_found() {
    let found = found_after("DELETE FROM orders WHERE ctid = (SELECT min(ctid) FROM orders)").await;
    assert!(found.contains("its order is not recorded"), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_nothing_was_bought_for_is_found() {
    let found = found_after(
        "INSERT INTO orders SELECT (o).* FROM (
             SELECT jsonb_populate_record(o, '{\"order_key\": \"00000000-0000-0000-0000-000000000001\",
                 \"request_key\": \"00000000-0000-0000-0000-000000000002\"}') AS o
             FROM orders o LIMIT 1
         ) made",
    )
    .await;
    assert!(found.contains("no purchase is of it"), "{found}");
}

/// An order that is only claimed keeps nothing from earning: its instance was killed, or is
/// about to write.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_claimed_is_no_difference() {
    let fleet = shop().await;
    let claimed = forge(
        &fleet,
        "INSERT INTO orders SELECT (o).* FROM (
             SELECT jsonb_populate_record(o, '{\"order_key\": \"00000000-0000-0000-0000-000000000001\",
                 \"request_key\": \"00000000-0000-0000-0000-000000000002\",
                 \"claim\": \"00000000-0000-0000-0000-000000000003\"}') AS o
             FROM orders o LIMIT 1
         ) made",
    );
    assert_eq!(claimed.await, 1);
    verify(&fleet).await.expect("nothing is wrong");
}

/// An order that is recorded for a request that was no purchase of it.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_recorded_for_another_transaction_is_found() {
    let found = found_after(
        "INSERT INTO orders SELECT (o).* FROM (
             SELECT jsonb_populate_record(o, jsonb_build_object(
                 'order_key', '00000000-0000-0000-0000-000000000001', 'request_key', t.request_key))
                 AS o
             FROM orders o JOIN transactions t ON t.shard = o.member_shard
             WHERE t.request_key IS NOT NULL AND t.request_key <> o.request_key
             ORDER BY t.position DESC LIMIT 1
         ) made",
    )
    .await;
    assert!(found.contains("no purchase is of it"), "{found}");
}

/// The order is taken away, the receipt brought again, and only then is all as it should be.
#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_that_earned_twice_is_found() {
    let fleet = shop().await;
    assert!(forge(&fleet, "DELETE FROM orders").await > 0);
    for number in 0..5 {
        let mut again = purchase(number, "anna", 9_000);
        again.request_id = format!("again-{number}");
        ask!(fleet.clients().earning(), record_purchase, again).expect("recorded");
    }
    let found = verify(&fleet).await.expect_err("it is found");
    assert!(
        found.contains("its receipt or activity had earned before"),
        "{found}"
    );
}

/// Points that stay for a tier that nobody told of.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_tier_that_was_not_told_is_found() {
    let fleet = club().await;
    apply_to(&fleet, &gold_stays()).await;
    let asked = purchase(1, "anna", 30_000);
    ask!(fleet.clients().earning(), record_purchase, asked).expect("recorded");
    until("gold's points stay", || async {
        let read = balance(fleet.clients(), "anna", Consistency::Strong);
        read.await.0.inactivity_waived
    })
    .await;
    verify(&fleet).await.expect("the ledger holds");
    assert_eq!(forge(&fleet, "DELETE FROM member_tiers").await, 1);
    let found = verify(&fleet).await.expect_err("it is found");
    assert!(found.contains("a tier counted for it"), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_hold_that_had_ended_is_found() {
    let found = found_after("DELETE FROM holds WHERE NOT open").await;
    assert!(
        found.contains("there are holds that are not stored"),
        "{found}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tier_that_counted_and_is_no_more_is_found() {
    let found = found_after("DELETE FROM member_tiers").await;
    assert!(found.contains("a tier counted for it"), "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_that_are_marked_between_marks_are_found() {
    let fleet = ledger().await;
    let (shard, _) = busiest(&fleet).await;
    let marked = forge(
        &fleet,
        "INSERT INTO account_marks SELECT (m).* FROM (
             SELECT jsonb_populate_record(NULL::account_marks,
                 to_jsonb(a) || '{\"position\": 2, \"debits\": 1000000}') AS m
             FROM accounts a
             WHERE shard = (SELECT shard FROM shards ORDER BY position DESC, shard LIMIT 1)
             LIMIT 1
         ) made",
    );
    assert_eq!(marked.await, 1);
    let found = verify(&fleet).await.expect_err("it is found");
    let expected = format!("shard {shard}, position 2: accounts are marked where no mark is");
    assert_eq!(found, expected);
}

/// A row before the first entry would count at every position before the first mark.
#[tokio::test(flavor = "multi_thread")]
async fn accounts_that_are_marked_before_the_first_entry_are_found() {
    let fleet = ledger().await;
    let marked = forge(
        &fleet,
        "INSERT INTO account_marks SELECT (m).* FROM (
             SELECT jsonb_populate_record(NULL::account_marks,
                 to_jsonb(a) || '{\"position\": 0, \"debits\": 1000000}') AS m
             FROM accounts a LIMIT 1
         ) made",
    );
    assert_eq!(marked.await, 1);
    let found = verify(&fleet).await.expect_err("it is found");
    assert!(
        found.ends_with("position 0: accounts are marked where no mark is"),
        "{found}"
    );
}

/// A folder in which a run has kept what it verified, and a run that goes on from there.
fn verified_before(fleet: &Fleet) -> (tempfile::TempDir, impl Fn() -> Output) {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, database) = (
        folder.path().to_owned(),
        fleet.points_database_url().to_owned(),
    );
    let run = move || {
        Command::new(fealty())
            .args(["verify", "--database-url", &database])
            .args(["--state".as_ref(), path.as_os_str()])
            .output()
            .expect("the command runs")
    };
    for _ in 0..2 {
        // The second time, from where it came to.
        assert!(run().status.success());
    }
    (folder, run)
}

/// What an earlier run has verified is hashed again.
#[tokio::test(flavor = "multi_thread")]
async fn a_byte_changed_below_what_was_verified_before_is_found() {
    let fleet = ledger().await;
    let (_folder, run) = verified_before(&fleet);
    let (shard, _) = busiest(&fleet).await;
    let changed = forge(
        &fleet,
        "UPDATE transactions SET body = set_byte(body, 40, get_byte(body, 40) # 1)
         WHERE position = 2
           AND shard = (SELECT shard FROM shards ORDER BY position DESC, shard LIMIT 1)",
    );
    assert_eq!(changed.await, 1);
    let output = run();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(
        told.contains(&format!("shard {shard}, position 2:")),
        "{told}"
    );
}

/// So are the columns beside the bodies, and the text of the programme in force.
#[tokio::test(flavor = "multi_thread")]
async fn what_stands_beside_what_was_verified_before_is_looked_at() {
    let fleet = ledger().await;
    let (_folder, run) = verified_before(&fleet);
    let told = || String::from_utf8_lossy(&run().stderr).into_owned();
    let text = "UPDATE programs SET source = source || chr(10)";
    assert!(forge(&fleet, text).await > 0);
    assert!(
        told().contains("the stored text of the programme is not the one that began"),
        "{}",
        told()
    );
    forge(
        &fleet,
        "UPDATE programs SET source = left(source, length(source) - 1)",
    )
    .await;
    assert!(run().status.success(), "{}", told());
    // Who sent that request again would have it done again.
    let column = forge(
        &fleet,
        "UPDATE transactions SET request_key = '00000000-0000-0000-0000-000000000001'
         WHERE position = 3
           AND shard = (SELECT shard FROM shards ORDER BY position DESC, shard LIMIT 1)",
    );
    assert_eq!(column.await, 1);
    assert!(told().contains("a column differs"), "{}", told());
}

/// So are the accounts' marks: rows that would count beside them are found, and rows of them
/// that say something else.
#[tokio::test(flavor = "multi_thread")]
async fn accounts_marked_otherwise_below_what_was_verified_before_are_found() {
    let fleet = ledger().await;
    let (shard, _) = busiest(&fleet).await;
    // A thousand transactions would bring one about.
    forge(
        &fleet,
        "INSERT INTO marks SELECT shard, position FROM shards
         ORDER BY position DESC, shard LIMIT 1",
    )
    .await;
    forge(
        &fleet,
        "INSERT INTO account_marks SELECT (m).* FROM (
             SELECT jsonb_populate_record(NULL::account_marks,
                 to_jsonb(a) || jsonb_build_object('position', marks.position)) AS m
             FROM accounts a JOIN marks USING (shard)
         ) made",
    )
    .await;
    let (_folder, run) = verified_before(&fleet);
    let told = || String::from_utf8_lossy(&run().stderr).into_owned();
    let added = forge(
        &fleet,
        "INSERT INTO account_marks SELECT (m).* FROM (
             SELECT jsonb_populate_record(NULL::account_marks,
                 to_jsonb(a) || '{\"position\": 2, \"debits\": 1000000}') AS m
             FROM accounts a
             WHERE shard = (SELECT shard FROM shards ORDER BY position DESC, shard LIMIT 1)
             LIMIT 1
         ) made",
    );
    assert_eq!(added.await, 1);
    let expected = format!("shard {shard}, position 2: accounts are marked where no mark is");
    assert!(told().contains(&expected), "{}", told());
    forge(&fleet, "DELETE FROM account_marks WHERE position = 2").await;
    assert!(run().status.success(), "{}", told());
    let changed = forge(
        &fleet,
        "UPDATE account_marks SET debits = debits + 1 WHERE (shard, position) = (
             SELECT shard, position FROM account_marks ORDER BY shard, position LIMIT 1)",
    );
    assert!(changed.await > 0);
    assert!(told().contains("the accounts' mark differs"), "{}", told());
}
