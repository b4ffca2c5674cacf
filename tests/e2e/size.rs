//! Sizes: a wallet with 10,000 open lots, a member with a million transactions, a programme
//! of 4 MiB.

use std::fmt::Write as _;

use fealty_cli::{
    apply::{How, apply},
    demo::PROGRAM,
};
use fealty_program::SOURCE_LEN_MAX;
use fealty_proto::{
    points::v1::{
        BatchAccrueRequest, ListTransactionsRequest, RedeemRequest, batch_accrue_response::Outcome,
    },
    program::v1::GetProgramRequest,
};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::time::Instant;
use tokio_stream::iter;

use crate::harness::{
    CLUB, POINTS, SHOP, START_S, accrual, accrue, ask, available, club, purchase, verify,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_with_10_000_lots_redeems_across_5_000_in_one_call() {
    let fleet = club().await;
    let clients = fleet.clients();
    let requests = (0..10_000).map(|sequence| {
        let mut request = accrual(&format!("lot-{sequence}"), "anna", 2);
        request.expiry_time = Some(prost_types::Timestamp {
            seconds: START_S + 86_400 + (sequence * 7_919) % 10_000,
            nanos: 0,
        });
        BatchAccrueRequest {
            sequence,
            accrual: Some(request),
        }
    });
    let mut ledger = clients.ledger();
    let answers = ledger
        .batch_accrue(iter(requests.collect::<Vec<_>>()))
        .await;
    let mut answers = answers.expect("the stream stands").into_inner();
    while let Some(answer) = answers.message().await.expect("the stream holds") {
        let outcome = answer.outcome.expect("an outcome");
        assert!(matches!(outcome, Outcome::Accrued(_)), "{outcome:?}");
    }
    assert_eq!(available(clients, "anna").await, 20_000);
    let request = RedeemRequest {
        request_id: "across".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points: 10_000,
        reference: String::new(),
        ..RedeemRequest::default()
    };
    let begun = Instant::now();
    let redeemed = ask!(clients.ledger(), redeem, request.clone()).expect("redeemed");
    let took = begun.elapsed();
    assert_eq!(redeemed.transaction.expect("one").transfers.len(), 5_000);
    assert!(took.as_secs() < 5, "it took {took:?}");
    assert_eq!(available(clients, "anna").await, 10_000);
    assert!(
        ask!(clients.ledger(), redeem, request)
            .expect("again")
            .replayed
    );
    assert_eq!(verify(&fleet).await, Ok(10_001));
}

/// Rows of a log that is not a real one: what is looked at is the way to a page.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_million_transactions_takes_the_time_of_one_of_ten() {
    let fleet = club().await;
    let clients = fleet.clients();
    for number in 0..10 {
        let request = accrual(&format!("gift-{number}"), "few", 1);
        accrue(clients, request).await.expect("points");
    }
    accrue(clients, accrual("gift", "many", 1))
        .await
        .expect("points");
    let connection = PgConnection::connect(fleet.points_database_url()).await;
    let mut connection = connection.expect("the database answers");
    let filled = connection
        .execute(
            "INSERT INTO transactions (shard, position, member_no, request_key, body, chain)
             SELECT t.shard, 1000000 + number, t.member_no, NULL, t.body, t.chain
             FROM members m JOIN transactions t USING (shard, member_no),
                  generate_series(1, 1000000) AS number
             WHERE m.member = 'many'",
        )
        .await
        .expect("rows");
    assert_eq!(filled.rows_affected(), 1_000_000);
    let page = async |member: &str| {
        let request = ListTransactionsRequest {
            program: CLUB.to_owned(),
            member: member.to_owned(),
            page_size: 10,
            ..ListTransactionsRequest::default()
        };
        let begun = Instant::now();
        let page = ask!(clients.ledger(), list_transactions, request).expect("a page");
        assert_eq!(page.transactions.len(), 10);
        begun.elapsed()
    };
    // The better of some: what else the machine does is not what is measured.
    let (mut few, mut many) = (page("few").await, page("many").await);
    for _ in 0..20 {
        few = few.min(page("few").await);
        many = many.min(page("many").await);
    }
    assert!(
        many < few * 3,
        "{many:?} for the million, {few:?} for the ten"
    );
}

/// A spend of a part of a lot changes what remains of it, and touches no index: Postgres
/// writes the row beside the old one only where no index names a column that changed.
#[tokio::test(flavor = "multi_thread")]
async fn no_index_of_lots_names_what_a_spend_changes() {
    let fleet = club().await;
    let mut connection = PgConnection::connect(fleet.points_database_url())
        .await
        .expect("it answers");
    let indexes = "SELECT pg_get_indexdef(indexrelid) FROM pg_index
                   WHERE indrelid = 'lots'::regclass";
    let indexes: Vec<String> = sqlx::query_scalar(indexes)
        .fetch_all(&mut connection)
        .await
        .expect("it runs");
    assert!(indexes.len() >= 3, "{indexes:?}");
    for index in indexes {
        for column in ["remaining", "held", "expired"] {
            let mut names = index.split(|c: char| !c.is_alphanumeric() && c != '_');
            assert!(names.all(|name| name != column), "{index}");
        }
    }
}

/// Whole catalogues and thousands of rules stand in a file: it is applied to all three
/// services, planned by, and read back.
#[tokio::test(flavor = "multi_thread")]
async fn a_programme_of_4_mib_is_applied_and_read_back() {
    let mut program = PROGRAM.to_owned();
    let name = "Name ".repeat(30);
    for number in 0..9_900 {
        writeln!(
            program,
            "  reward-{number}: {{ name: \"{name}\", price: {{ currency: points, points: 9 }}, \
             accepted_by: record-shop, stock: {number} }}"
        )
        .expect("to memory");
    }
    // Small parts are many.
    program.push_str("examples:\n");
    let lines = "{ amount: 1 }, ".repeat(100);
    for _ in 0..500 {
        writeln!(
            program,
            "  - {{ given: {{ time: 1997-01-05, lines: [ {lines} ] }}, earns: {{ base: 1000 }} }}"
        )
        .expect("to memory");
    }
    let left = SOURCE_LEN_MAX - program.len();
    program.push_str(&"# remark\n".repeat(left / 9));
    assert!(program.len() > SOURCE_LEN_MAX - 1_000, "{}", program.len());
    let fleet = club().await;
    let clients = fleet.clients();
    let applied = apply(clients, &program, How::Now).await.expect("applied");
    let rows = applied.changes.len() + usize::try_from(applied.changes_left_out).expect("some");
    assert!(applied.changes_left_out > 0 && rows > 20_000, "{rows}");
    for (_, client) in clients.programs() {
        let request = GetProgramRequest {
            program: CLUB.to_owned(),
            version: None,
        };
        let read = ask!(client, get_program, request).expect("read");
        assert_eq!(read.source.len(), program.len());
    }
    ask!(clients.earning(), record_purchase, purchase(1, "anna", 500)).expect("recorded");
    program.push_str(&"# too long\n".repeat(100));
    let refused = apply(clients, &program, How::Now).await;
    let refused = format!("{:#}", refused.expect_err("refused"));
    assert!(
        refused.contains("must be at most 4194304 bytes"),
        "{refused}"
    );
    verify(&fleet).await.expect("the ledger holds");
}
