//! What is done otherwise where the shards lie on several nodes: orders are claimed
//! before a batch is written. These tests work that way on whatever Postgres there
//! is; the one of the plans needs a Citus cluster (`FEALTY_TEST_DATABASE_URL`).

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use fealty_cli::demo::Fleet;
use fealty_proto::points::v1::{
    PollTransactionsRequest, RecordPurchaseRequest, WatchTransactionsRequest,
    earning_service_client::EarningServiceClient,
};
use fealty_server::HEARTBEAT;
use futures::future::join_all;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection, Row as _};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};
use tonic::Status;

use crate::{
    harness::{
        CLUB, SHOP, accrual, accrue, ask, club_with, from, polled, purchase, reason, until, verify,
    },
    instance::{DISTRIBUTED, Instance},
};

/// Statements that are not of a batch, a member or a shard: of the installation, of
/// all shards at once, or of a batch where all shards lie on one node.
const NOT_ROUTED: [&str; 12] = [
    "points.adjustments.list",
    "points.installation.",
    "points.leases.of_program",
    "points.leases.wait_no_longer",
    "points.heads.ends",
    "points.sweep.try_lock",
    "points.orders.with_transactions",
    "points.orders.written",
    "points.batch.write_grants",
    "points.batch.write_purchases",
    "points.batch.write_all",
    "points.tier_renewals.renew",
];

async fn fleet() -> Fleet {
    club_with(&[(DISTRIBUTED.0, DISTRIBUTED.1.to_owned())]).await
}

async fn connect(fleet: &Fleet) -> PgConnection {
    PgConnection::connect(fleet.points_database_url())
        .await
        .expect("the database answers")
}

fn order(order_number: &str, member: &str, request_id: &str) -> RecordPurchaseRequest {
    RecordPurchaseRequest {
        order_number: order_number.to_owned(),
        request_id: request_id.to_owned(),
        ..purchase(1, member, 10_000)
    }
}

async fn record(fleet: &Fleet, request: RecordPurchaseRequest) -> Result<bool, Status> {
    let answer = ask!(fleet.clients().earning(), record_purchase, request);
    answer.map(|answer| answer.replayed)
}

/// 200 purchases of 20 orders by 40 members, at once, over two instances that work
/// on the same shards: each order is recorded once, whoever was first.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_bring_the_same_orders_one_each_has_it() {
    let fleet = fleet().await;
    let redis = fleet.stack.read().await.redis.url();
    let database = fleet.points_database_url();
    let other = Instance::with(database, &redis, true, &[DISTRIBUTED]);
    let theirs = EarningServiceClient::new(other.channel.clone());
    let calls = (0..200_usize).map(|number| {
        let (order_number, member) = (format!("order-{}", number % 20), number % 40);
        let request = order(
            &order_number,
            &format!("member-{member}"),
            &format!("{number}"),
        );
        let client = if number % 3 == 0 {
            theirs.clone()
        } else {
            fleet.clients().earning()
        };
        async move { (order_number, ask!(client, record_purchase, request)) }
    });
    let mut recorded: BTreeMap<String, usize> = BTreeMap::new();
    for (order_number, answer) in join_all(calls).await {
        match answer {
            Ok(answer) => {
                assert!(!answer.replayed, "each has a request of its own");
                *recorded.entry(order_number).or_default() += 1;
            }
            Err(status) => assert_eq!(reason(&status), "ORDER_ALREADY_RECORDED"),
        }
    }
    assert_eq!(recorded.len(), 20);
    assert!(recorded.values().all(|count| *count == 1), "{recorded:?}");
    assert_eq!(verify(&fleet).await, Ok(20));
}

/// An instance that broke off between claiming an order and writing it: another
/// purchase takes the order over, and moves the fence of the shard first, so that
/// the one that broke off could not write if it were merely slow.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_came_to_nothing_is_taken_over() {
    end_a_claim(fleet().await).await;
}

/// The same where orders are no longer claimed, for the ledger is back on one node.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_was_left_behind_is_ended() {
    end_a_claim(club_with(&[]).await).await;
}

async fn end_a_claim(fleet: Fleet) {
    let mut connection = connect(&fleet).await;
    // What `shard::keys` makes of programme, brand and order number.
    let key = format!(
        "SELECT (get_byte(digest, 0) * 256 + get_byte(digest, 1))
                % (SELECT shards::integer FROM installation),
                encode(substr(digest, 1, 16), 'hex')::uuid
         FROM (SELECT sha256('{CLUB}\\000{SHOP}\\000lost\\000'::bytea) AS digest) made"
    );
    let row = sqlx::raw_sql(sqlx::AssertSqlSafe(key))
        .fetch_one(&mut connection)
        .await
        .expect("the key");
    let (shard, key): (i32, uuid::Uuid) = (row.get(0), row.get(1));
    sqlx::query(
        "INSERT INTO orders (shard, order_key, member_shard, request_key, claim)
         VALUES ($1, $2, 3, $3, $4)",
    )
    .bind(shard)
    .bind(key)
    .bind(uuid::Uuid::from_u128(1))
    .bind(uuid::Uuid::from_u128(2))
    .execute(&mut connection)
    .await
    .expect("claimed");
    assert_eq!(
        record(&fleet, order("lost", "anna", "a")).await.ok(),
        Some(false)
    );
    let fence: i64 = sqlx::query("SELECT fence FROM shards WHERE shard = 3")
        .fetch_one(&mut connection)
        .await
        .expect("the head")
        .get(0);
    assert_eq!(fence, 1, "whoever claimed it cannot write what it has read");
    // It is anna's for good: sent again it is answered, and nobody else has it.
    assert_eq!(
        record(&fleet, order("lost", "anna", "a")).await.ok(),
        Some(true)
    );
    let refused = record(&fleet, order("lost", "ben", "b")).await;
    let refused = refused.expect_err("it is recorded");
    assert_eq!(reason(&refused), "ORDER_ALREADY_RECORDED");
    assert_eq!(verify(&fleet).await, Ok(1));
}

/// What a node does that is away.
const REFUSES: &str = "RAISE EXCEPTION 'no connection to the node' USING ERRCODE = '08006'";
/// Half of what a statement may take.
const LONG: Duration = Duration::from_secs(15);
const IS_SILENT: &str = "WHILE EXISTS (SELECT FROM silent) LOOP PERFORM pg_sleep(0.05); END LOOP";

/// Has whatever the service does in a shard fare as if its node did that.
async fn take_away(connection: &mut PgConnection, shard: i16, does: &str) {
    let statements = format!(
        "CREATE TABLE silent AS SELECT;
         GRANT SELECT ON silent TO PUBLIC;
         CREATE FUNCTION answers(asked smallint) RETURNS boolean LANGUAGE plpgsql AS $$
         BEGIN
             IF asked = {shard} THEN
                 {does};
             END IF;
             RETURN true;
         END $$;
         ALTER TABLE transactions ENABLE ROW LEVEL SECURITY;
         ALTER TABLE shards ENABLE ROW LEVEL SECURITY;
         CREATE POLICY node ON transactions USING (answers(shard));
         CREATE POLICY node ON shards USING (answers(shard));"
    );
    let statements = sqlx::raw_sql(sqlx::AssertSqlSafe(statements));
    statements.execute(connection).await.expect("they run");
}

/// The node of one shard does not answer: who opens a feed hears of all others, and of that
/// shard as soon as it is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_feed_can_be_opened_while_a_node_does_not_answer() {
    let fleet = fleet().await;
    let mut connection = connect(&fleet).await;
    let poll = async |cursor: String| {
        let request = PollTransactionsRequest {
            start: from(cursor),
            ..PollTransactionsRequest::default()
        };
        ask!(fleet.clients().ledger(), poll_transactions, request)
    };
    let give = async |name: &str| {
        for number in 0..20 {
            let member = format!("member-{number}");
            let request = accrual(&format!("{name}-{number}"), &member, 10);
            accrue(fleet.clients(), request).await.expect("points");
        }
    };
    give("first").await;
    let (_, cursor) = polled(&fleet, String::new()).await;
    give("second").await;
    let of = "SELECT member FROM members WHERE shard = 0";
    let away: Vec<String> = sqlx::query_scalar(of)
        .fetch_all(&mut connection)
        .await
        .expect("it reads");
    assert!((1..20).contains(&away.len()));
    take_away(&mut connection, 0, REFUSES).await;

    let (cursor, heard) = (Mutex::new(cursor), Mutex::new(Vec::new()));
    let hear = async |expected: usize, is_back: bool| {
        let polled = poll(cursor.lock().await.clone()).await;
        let polled = polled.expect("the others go on");
        let known = polled.known_time.is_some();
        assert!(is_back || !known, "nobody knows of that shard");
        *cursor.lock().await = polled.cursor;
        let mut heard = heard.lock().await;
        heard.extend(polled.transactions.into_iter().map(|entry| entry.member));
        heard.len() == expected
    };
    until("the others are heard of", || hear(20 - away.len(), false)).await;
    assert!(heard.lock().await.iter().all(|who| !away.contains(who)));
    let back = "ALTER TABLE transactions DISABLE ROW LEVEL SECURITY;
        ALTER TABLE shards DISABLE ROW LEVEL SECURITY";
    let back = sqlx::raw_sql(back).execute(&mut connection).await;
    back.expect("they run");
    until("all are heard of", || hear(20, true)).await;
}

/// The node of one shard says nothing at all: who follows the feed hears of all others long
/// before a statement is given up, again and again, and of that shard once it speaks.
#[tokio::test(flavor = "multi_thread")]
async fn a_feed_is_not_held_back_by_a_node_that_is_silent() {
    let fleet = fleet().await;
    let mut connection = connect(&fleet).await;
    let give = async |name: &str, members: &[String]| {
        for member in members {
            let request = accrual(&format!("{name}-{member}"), member, 10);
            accrue(fleet.clients(), request).await.expect("points");
        }
    };
    let all: Vec<String> = (0..20).map(|number| format!("member-{number}")).collect();
    give("first", &all).await;
    let (_, cursor) = polled(&fleet, String::new()).await;
    give("second", &all).await;
    let of = "SELECT member FROM members WHERE shard = 0";
    let away: Vec<String> = sqlx::query_scalar(of)
        .fetch_all(&mut connection)
        .await
        .expect("it reads");
    assert!((1..20).contains(&away.len()));
    let others: Vec<String> = all
        .iter()
        .filter(|who| !away.contains(who))
        .cloned()
        .collect();
    take_away(&mut connection, 0, IS_SILENT).await;

    let request = WatchTransactionsRequest {
        start: from(cursor),
        ..WatchTransactionsRequest::default()
    };
    let mut client = fleet.clients().ledger();
    let opened = timeout(LONG, client.watch_transactions(request)).await;
    let opened = opened.expect("it is in time").expect("it is opened");
    let (mut feed, begun) = (opened.into_inner(), Instant::now());
    let mut hear = async |mut expected: Vec<String>| {
        while !expected.is_empty() {
            let message = timeout(LONG, feed.message()).await;
            let message = message.expect("it is in time").expect("it goes on");
            for heard in message.expect("it does not end").transactions {
                let known = expected.iter().position(|member| *member == heard.member);
                expected.swap_remove(known.expect("each is heard of once"));
            }
        }
    };
    hear(others.clone()).await;
    // Until it was tried again, and a third time, whether that node is back.
    for round in 0.. {
        give(&format!("round-{round}"), &others).await;
        hear(others.clone()).await;
        if begun.elapsed() > 2 * HEARTBEAT {
            break;
        }
    }
    let speak = sqlx::raw_sql("DELETE FROM silent").execute(&mut connection);
    speak.await.expect("it runs");
    hear(away.clone()).await;
}

/// Every statement over a shard, of a batch or else, names it, and on a cluster is one
/// task on one node. The committed `.sqlx` has all of them, so a new one is looked at
/// too.
#[tokio::test(flavor = "multi_thread")]
async fn every_statement_of_a_shard_is_routed_to_one_node() {
    let fleet = fleet().await;
    let mut connection = connect(&fleet).await;
    let distributed: bool = sqlx::query("SELECT is_distributed('shards')")
        .fetch_one(&mut connection)
        .await
        .expect("answered")
        .get(0);
    sqlx::raw_sql("SET plan_cache_mode = force_custom_plan")
        .execute(&mut connection)
        .await
        .expect("set");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../services/points/.sqlx");
    let mut looked_at = 0;
    for file in fs::read_dir(folder).expect("it is committed") {
        let text = fs::read_to_string(file.expect("a file").path()).expect("text");
        let known: Value = serde_json::from_str(&text).expect("JSON");
        let query = known["query"].as_str().expect("a statement");
        let name = query.split_once("-- ").expect("a name").1;
        let name = name.split(['\n', ':']).next().unwrap_or_default();
        assert!(name.starts_with("points."), "{name}: whose it is");
        if NOT_ROUTED.iter().any(|not| name.starts_with(not)) {
            continue;
        }
        assert!(
            query.contains("shard = $1") || query.contains("VALUES ($1"),
            "{name} names no shard"
        );
        looked_at += 1;
        if !distributed {
            // There are no nodes to route to: the plan says nothing.
            continue;
        }
        let parameters = known["describe"]["parameters"]["Left"].as_array();
        let arguments: Vec<&str> = parameters.expect("a list").iter().map(argument).collect();
        let statements = format!(
            "DEALLOCATE ALL; PREPARE looked_at AS {query}\n; \
             EXPLAIN (FORMAT JSON, COSTS OFF) EXECUTE looked_at({})",
            arguments.join(", ")
        );
        let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(statements))
            .fetch_all(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let plan = rows.last().expect("a plan").get::<Value, _>(0).to_string();
        assert!(plan.contains("\"Task Count\":1"), "{name}: {plan}");
        let parts = plan.matches("\"Task Count\"").count();
        assert_eq!(parts, 1, "{name} is taken apart: {plan}");
    }
    assert!(looked_at > 30, "only {looked_at} statements were looked at");
}

/// A value of a parameter's type.
fn argument(kind: &Value) -> &'static str {
    match kind.as_str() {
        Some("Int2" | "Int4" | "Int8") => "0",
        Some("Text") => "'x'",
        Some("Bool") => "false",
        Some("Bytea") => "'\\x00'",
        Some("Uuid") => "'00000000-0000-0000-0000-000000000001'",
        Some("Timestamptz") => "now()",
        // Arrays, of rows or else.
        _ => "'{}'",
    }
}

/// A table of a shard's that is not distributed lies on another node than its shard.
#[tokio::test(flavor = "multi_thread")]
async fn every_table_of_a_shard_is_distributed() {
    let fleet = club_with(&[]).await;
    let mut connection = connect(&fleet).await;
    let with_shard = "SELECT table_name::text FROM information_schema.columns
        WHERE column_name = 'shard' AND table_schema = 'public' ORDER BY 1";
    let tables: Vec<String> = sqlx::query_scalar(with_shard)
        .fetch_all(&mut connection)
        .await
        .expect("there are tables");
    let mut distributed = fealty_points::SCHEMA.distributed.to_vec();
    distributed.sort_unstable();
    assert_eq!(tables, distributed);
}
