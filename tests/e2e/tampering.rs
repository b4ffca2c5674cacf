//! What a forger could do to a stored log, and that `fealty verify` finds it,
//! with shard and position.

use std::process::Command;

use fealty_cli::demo::Fleet;
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::harness::{accrual, accrue, club, fealty, verify};

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
