//! What every test stands on: a fleet of its own, and calls that are sent
//! again until they are answered.

use std::{future::Future, path::PathBuf, time::Duration};

use fealty_cli::{
    apply::{How, apply},
    demo::{Fleet, PROGRAM},
    endpoints::Clients,
};
use fealty_client::{Deadline, call};
use fealty_points::audit::verify::Options;
use fealty_proto::{
    operations::v1::{GetFeedStatusRequest, SetTimeRequest},
    points::v1::{
        AccrueRequest, AccrueResponse, Balance, Consistency, GetBalanceRequest,
        GetTrialBalanceRequest, PollTransactionsRequest, RecordPurchaseRequest, Transaction,
    },
    r#type::v1::{FeedStart, Money, feed_start::At},
};
use fealty_stack::{Durability, Stack};
use fealty_types::{Ids, Position, ShardId, TransactionPlace};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::time::Instant;
use tonic::{Response, Status};

pub(crate) const CLUB: &str = "record-club";
pub(crate) const SHOP: &str = "record-shop";
pub(crate) const POINTS: &str = "points";
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// Noon of 1 January 1997.
pub(crate) const START_S: i64 = 852_120_000;

/// The `fealty` command, which `cargo xtask test` has built, or the one that
/// `FEALTY_TEST_BINARY` names.
pub(crate) fn fealty() -> PathBuf {
    if let Some(path) = std::env::var_os("FEALTY_TEST_BINARY") {
        return path.into();
    }
    let mut path = std::env::current_exe().expect("a test has a path");
    path.pop();
    path.pop();
    path.push("fealty");
    assert!(
        path.exists(),
        "{} is missing: run `cargo build -p fealty-cli` first",
        path.display()
    );
    path
}

/// A private Postgres and Redis; or databases of a test's own in the Postgres, or
/// the Citus cluster, that `FEALTY_TEST_DATABASE_URL` names.
pub(crate) async fn stack() -> Stack {
    let start = || match std::env::var("FEALTY_TEST_DATABASE_URL") {
        Ok(url) => Stack::over(&url),
        Err(_) => Stack::start(Durability::Unsynced),
    };
    let started = tokio::task::spawn_blocking(start).await;
    started
        .expect("the task ends")
        .expect("Postgres and Redis start")
}

/// A fleet with the club's programme and its clocks set.
pub(crate) async fn club() -> Fleet {
    club_with(&[]).await
}

pub(crate) async fn club_with(variables: &[(&str, String)]) -> Fleet {
    club_of(PROGRAM, variables).await
}

/// A fleet with another programme of the club.
pub(crate) async fn club_of(program: &str, variables: &[(&str, String)]) -> Fleet {
    let fleet = Fleet::start_with(&fealty(), stack().await, variables).await;
    let fleet = fleet.expect("the services start");
    set_time(&fleet, START_S).await;
    apply(fleet.clients(), program, How::Now)
        .await
        .expect("the programme is applied");
    fleet
}

/// Sends until it is answered or refused.
pub(crate) async fn send<T, F: Future<Output = Result<Response<T>, Status>>>(
    send: impl Fn() -> F,
) -> Result<T, Status> {
    call(Deadline::within(DEADLINE), send).await
}

/// Sends a request to a client's method until it is answered or refused.
macro_rules! ask {
    ($client:expr, $method:ident, $request:expr) => {{
        let (client, request) = ($client, $request);
        $crate::harness::send(|| {
            let (mut client, request) = (client.clone(), request.clone());
            async move { client.$method(request).await }
        })
        .await
    }};
}
pub(crate) use ask;

/// Waits for a condition.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let deadline = Instant::now() + DEADLINE;
    while !condition().await {
        assert!(Instant::now() < deadline, "waiting in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub(crate) async fn set_time(fleet: &Fleet, second: i64) {
    let time = Some(prost_types::Timestamp {
        seconds: second,
        nanos: 0,
    });
    for client in fleet.clients().clocks() {
        send(|| {
            let mut client = client.clone();
            async move { client.set_time(SetTimeRequest { time }).await }
        })
        .await
        .expect("the clock is set");
    }
}

pub(crate) fn accrual(request_id: &str, member: &str, points: i64) -> AccrueRequest {
    AccrueRequest {
        request_id: request_id.to_owned(),
        program: CLUB.to_owned(),
        member: member.to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points,
        reference: String::new(),
        activation: None,
        expiry_time: None,
        ..AccrueRequest::default()
    }
}

pub(crate) async fn accrue(
    clients: &Clients,
    request: AccrueRequest,
) -> Result<AccrueResponse, Status> {
    send(|| {
        let (mut client, request) = (clients.ledger(), request.clone());
        async move { client.accrue(request).await }
    })
    .await
}

pub(crate) fn purchase(number: usize, member: &str, cents: i64) -> RecordPurchaseRequest {
    RecordPurchaseRequest {
        request_id: format!("purchase-{number}"),
        program: CLUB.to_owned(),
        member: member.to_owned(),
        brand: SHOP.to_owned(),
        order_number: format!("order-{number}"),
        amount: Some(Money {
            currency_code: "USD".to_owned(),
            minor_units: cents,
        }),
        purchase_time: None,
        ..RecordPurchaseRequest::default()
    }
}

pub(crate) async fn balance(
    clients: &Clients,
    member: &str,
    consistency: Consistency,
) -> (Balance, bool) {
    let request = GetBalanceRequest {
        program: CLUB.to_owned(),
        member: member.to_owned(),
        currency: POINTS.to_owned(),
        consistency: consistency.into(),
        moment: None,
        ..GetBalanceRequest::default()
    };
    let read = send(|| {
        let (mut client, request) = (clients.ledger(), request.clone());
        async move { client.get_balance(request).await }
    })
    .await
    .expect("the balance is read");
    (read.balance.expect("a balance"), read.cached)
}

pub(crate) async fn available(clients: &Clients, member: &str) -> i64 {
    balance(clients, member, Consistency::Strong)
        .await
        .0
        .available
}

/// How many transactions the logs have, and what the books say: equal before
/// and after something that changed nothing.
pub(crate) async fn books(fleet: &Fleet) -> (i64, String) {
    let [points, _] = fleet.clients().feeds();
    let status = send(|| {
        let mut client = points.clone();
        async move { client.get_feed_status(GetFeedStatusRequest {}).await }
    });
    let entries = status.await.expect("the status is read").head_entries;
    let totals = send(|| {
        let mut client = fleet.clients().audit();
        let request = GetTrialBalanceRequest {
            program: CLUB.to_owned(),
            cursor: String::new(),
            ..GetTrialBalanceRequest::default()
        };
        async move { client.get_trial_balance(request).await }
    });
    (
        entries,
        format!(
            "{:?}",
            totals.await.expect("the accounts are read").accounts
        ),
    )
}

/// Verifies a fleet's ledger.
pub(crate) async fn verify(fleet: &Fleet) -> Result<i64, String> {
    let database = fealty_postgres::Database::open_within(
        fleet.points_database_url(),
        1,
        fealty_postgres::Limits::LONG_READ,
    )
    .await
    .expect("a URL");
    let verified =
        fealty_points::audit::verify::verify(&database, &Options::default(), |_, _| {}).await;
    verified
        .map(|verified| verified.transactions)
        .map_err(|error| error.to_string())
}

/// The reason of a refusal.
pub(crate) fn reason(status: &Status) -> String {
    fealty_client::reason(status).unwrap_or_else(|| panic!("no reason: {status:?}"))
}

/// Variables of the environment.
pub(crate) fn knobs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// The ids of a fleet's ledger, to make some that lead nowhere.
pub(crate) async fn ids(fleet: &Fleet) -> Ids {
    let mut connection = PgConnection::connect(fleet.points_database_url())
        .await
        .expect("the database answers");
    let key: Vec<u8> = sqlx::query_scalar("SELECT id_key FROM installation")
        .fetch_one(&mut connection)
        .await
        .expect("there is an installation");
    Ids::new(key.try_into().expect("16 bytes"))
}

/// Where nothing was ever written.
pub(crate) const NOWHERE: TransactionPlace = TransactionPlace {
    shard: ShardId::new(0),
    position: Position::new(999_999),
};

/// Polls the feed from a cursor on until it has told all: the entries, with their bytes, and
/// the cursor at the end.
pub(crate) async fn polled(fleet: &Fleet, mut cursor: String) -> (Vec<Transaction>, String) {
    let mut heard = Vec::new();
    loop {
        let request = PollTransactionsRequest {
            start: from(cursor),
            include_canonical_bytes: true,
            ..PollTransactionsRequest::default()
        };
        let client = fleet.clients().ledger();
        let polled = ask!(client, poll_transactions, request).expect("a part of the log");
        cursor = polled.cursor;
        let is_end = polled.behind == 0 && polled.transactions.is_empty();
        heard.extend(polled.transactions);
        if is_end {
            return (heard, cursor);
        }
    }
}

/// Where a feed begins that goes on from a cursor.
#[expect(clippy::unnecessary_wraps, reason = "as the messages have it")]
pub(crate) fn from(cursor: String) -> Option<FeedStart> {
    Some(FeedStart {
        at: Some(At::Cursor(cursor)),
    })
}

/// A connection that keeps the sweepers away while it is not dropped.
pub(crate) async fn without_sweepers(fleet: &Fleet) -> PgConnection {
    let url = fleet.points_database_url();
    let mut connection = PgConnection::connect(url).await.expect("it answers");
    let locked = connection.execute("SELECT pg_advisory_lock(7351, shard) FROM shards");
    locked.await.expect("they end");
    connection
}
