//! The feed: filters, catching up and going on, lag; and the checkpoints and
//! state files with which the log is verified later.

use std::process::Command;

use fealty_auth::Role;
use fealty_cli::demo::Fleet;
use fealty_points::audit::verify::{Options, verify};
use fealty_postgres::Database;
use fealty_proto::points::v1::{
    FeedFilter, GetCheckpointRequest, GetPositionsRequest, GetTrialBalanceRequest,
    GetTrialBalanceResponse, PollTransactionsRequest, Transaction, TransactionKind,
    WatchTransactionsRequest,
};
use fealty_proto::r#type::v1::{FeedStart, feed_start::At};

use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::harness::{
    CLUB, START_S, accrual, accrue, ask, club, fealty, from, purchase, reason, set_time,
};

async fn some_transactions(fleet: &Fleet, from: usize, to: usize) {
    for number in from..to {
        let member = format!("member-{}", number % 7);
        if number % 4 == 0 {
            let request = purchase(number, &member, 3_000);
            ask!(fleet.clients().earning(), record_purchase, request).expect("bought");
        } else {
            let request = accrual(&format!("gift-{number}"), &member, 10);
            accrue(fleet.clients(), request).await.expect("points");
        }
    }
}

/// Reads a feed until it has caught up: transactions and the last cursor.
async fn caught_up(
    fleet: &Fleet,
    cursor: &str,
    filter: Option<FeedFilter>,
) -> (Vec<Transaction>, String) {
    let mut ledger = fleet.clients().ledger();
    let request = WatchTransactionsRequest {
        start: from(cursor.to_owned()),
        include_canonical_bytes: false,
        filter,
    };
    let feed = ledger.watch_transactions(request).await;
    let mut feed = feed.expect("it stands").into_inner();
    let mut all = Vec::new();
    loop {
        let some = feed.message().await.expect("it holds").expect("it goes on");
        let moved = some.transactions.into_iter();
        all.extend(moved.filter(|entry| entry.kind() != TransactionKind::ProgramVersion));
        if some.behind == 0 {
            return (all, some.cursor);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_is_filtered_and_its_cursor_moves_over_what_is_left_out() {
    let fleet = club().await;
    some_transactions(&fleet, 0, 80).await;
    let (all, end) = caught_up(&fleet, "", None).await;
    assert_eq!(all.len(), 80);
    let purchases = FeedFilter {
        kinds: vec![TransactionKind::Purchase.into()],
        ..FeedFilter::default()
    };
    let (some, cursor) = caught_up(&fleet, "", Some(purchases.clone())).await;
    assert_eq!(some.len(), 20);
    assert_eq!(cursor, end, "everything was looked at");
    let one = FeedFilter {
        program: CLUB.to_owned(),
        member: "member-3".to_owned(),
        ..FeedFilter::default()
    };
    let (some, _) = caught_up(&fleet, "", Some(one)).await;
    let expected = all.iter().filter(|one| one.member == "member-3").count();
    assert_eq!(some.len(), expected);
    let nobody = FeedFilter {
        brands: vec!["no-brand".to_owned()],
        ..FeedFilter::default()
    };
    let (some, cursor) = caught_up(&fleet, "", Some(nobody)).await;
    assert_eq!((some.len(), cursor), (0, end.clone()));
    some_transactions(&fleet, 80, 120).await;
    let (some, _) = caught_up(&fleet, &end, Some(purchases)).await;
    assert_eq!(some.len(), 10, "only what came after the cursor");
    let without_program = FeedFilter {
        member: "member-3".to_owned(),
        ..FeedFilter::default()
    };
    let request = WatchTransactionsRequest {
        filter: Some(without_program),
        ..WatchTransactionsRequest::default()
    };
    let refused = fleet.clients().ledger().watch_transactions(request).await;
    assert_eq!(reason(&refused.expect_err("no programme")), "INVALID_FIELD");
}

async fn forge(fleet: &Fleet, statements: &[&'static str]) {
    let connection = PgConnection::connect(fleet.points_database_url()).await;
    let mut connection = connection.expect("the database answers");
    for statement in statements {
        connection.execute(*statement).await.expect("it runs");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_shows_what_was_cut_off_although_all_else_fits() {
    let fleet = club().await;
    some_transactions(&fleet, 0, 40).await;
    let signed = ask!(
        fleet.clients().audit(),
        get_checkpoint,
        GetCheckpointRequest {}
    );
    let signed = signed.expect("signed");
    assert!(
        signed.note.contains("\n\n\u{2014} fealty.dev/points "),
        "{}",
        signed.note
    );
    let key = signed.verifier_key;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("checkpoint");
    let saved = Command::new(fealty())
        .args(["checkpoint", "--points", &fleet.endpoints().points])
        .env("FEALTY_TOKEN", fleet.token(&[Role::Auditor]))
        .output()
        .expect("the command runs");
    assert!(
        saved.status.success(),
        "{}",
        String::from_utf8_lossy(&saved.stderr)
    );
    std::fs::write(&file, &saved.stdout).expect("it is written");
    let verify_with = |file: &std::path::Path| {
        let output = Command::new(fealty())
            .args([
                "verify",
                "--database-url",
                fleet.points_database_url(),
                "--checkpoint-key",
                &key,
                "--checkpoint",
            ])
            .arg(file)
            .output()
            .expect("the command runs");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), told)
    };
    some_transactions(&fleet, 40, 50).await;
    assert_eq!(verify_with(&file).0, Some(0), "the log has gone on");
    // A forged checkpoint is not believed.
    let text = String::from_utf8(saved.stdout).expect("text");
    let forged = folder.path().join("forged");
    std::fs::write(&forged, text.replacen("shard 0 ", "shard 0 1", 1)).expect("written");
    let (code, told) = verify_with(&forged);
    assert_eq!(code, Some(1));
    assert!(told.contains("signature"), "{told}");
    // A whole ledger with its log cut off, heads and books set back, is sound in
    // itself; who has kept the checkpoint sees it.
    forge(
        &fleet,
        &[
            "TRUNCATE transactions, wallets, lots, holds, reversals, returns, leases, members, accounts, orders, marks, account_marks, begun_versions, version_history, period_ends",
            "UPDATE shards SET position = 0, members = 0, chain = decode(repeat('00', 32), 'hex')",
        ],
    )
    .await;
    let database = Database::open(fleet.points_database_url(), 1)
        .await
        .expect("a URL");
    let alone = verify(&database, &Options::default(), |_, _| {}).await;
    alone.expect("nothing is wrong with an empty ledger");
    let (code, told) = verify_with(&file);
    assert_eq!(code, Some(1));
    assert!(told.contains("the log ends before it"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn verifying_goes_on_where_it_stopped() {
    let fleet = club().await;
    some_transactions(&fleet, 0, 60).await;
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        state: Some(folder.path().to_owned()),
        ..Options::default()
    };
    let database = Database::open(fleet.points_database_url(), 1)
        .await
        .expect("a URL");
    let first = verify(&database, &options, |_, _| {}).await.expect("sound");
    assert_eq!((first.transactions, first.verified_before), (60, 0));
    some_transactions(&fleet, 60, 90).await;
    let second = verify(&database, &options, |_, _| {}).await.expect("sound");
    assert_eq!((second.transactions, second.verified_before), (90, 60));
    let whole = verify(&database, &Options::default(), |_, _| {})
        .await
        .expect("sound");
    assert_eq!((whole.wallets, whole.lots), (second.wallets, second.lots));
    // What was verified, and then changed where the next run goes on, is found.
    forge(&fleet, &["UPDATE transactions SET chain = body"]).await;
    let changed = verify(&database, &options, |_, _| {}).await;
    changed.expect_err("the log is not the one that was verified");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_begins_at_a_time_or_now_and_can_be_polled() {
    let fleet = club().await;
    some_transactions(&fleet, 0, 20).await;
    set_time(&fleet, START_S + 60).await;
    some_transactions(&fleet, 20, 30).await;
    let poll = async |at: At, wait: i64| {
        let request = PollTransactionsRequest {
            start: Some(FeedStart { at: Some(at) }),
            wait: Some(prost_types::Duration {
                seconds: wait,
                nanos: 0,
            }),
            ..PollTransactionsRequest::default()
        };
        ask!(fleet.clients().ledger(), poll_transactions, request).expect("polled")
    };
    let all_from = async |mut at: At| {
        let mut heard = 0;
        loop {
            let polled = poll(at, 0).await;
            let moved = polled.transactions.iter();
            let moved = moved.filter(|entry| entry.kind() != TransactionKind::ProgramVersion);
            heard += moved.count();
            if polled.transactions.is_empty() && polled.behind == 0 {
                return heard;
            }
            at = At::Cursor(polled.cursor);
        }
    };
    assert_eq!(all_from(At::Cursor(String::new())).await, 30);
    let time = |seconds| At::Time(prost_types::Timestamp { seconds, nanos: 0 });
    assert_eq!(all_from(time(START_S)).await, 30);
    assert_eq!(all_from(time(START_S + 1)).await, 10);
    assert_eq!(all_from(time(START_S + 60)).await, 10);
    assert_eq!(all_from(time(START_S + 61)).await, 0);
    // From now on: whoever waits hears of what is written, as soon as it is.
    let now = poll(At::Now(true), 0).await;
    assert_eq!((now.transactions.len(), now.behind), (0, 0));
    let waiting = poll(At::Cursor(now.cursor.clone()), 20);
    let writing = some_transactions(&fleet, 30, 31);
    let (heard, ()) = tokio::join!(waiting, writing);
    assert_eq!(heard.transactions.len(), 1);
    let nothing = poll(At::Cursor(heard.cursor), 1).await;
    assert!(nothing.transactions.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "step by step")]
async fn accounts_and_positions_are_read_at_a_time_and_page_by_page() {
    let fleet = club().await;
    some_transactions(&fleet, 0, 20).await;
    set_time(&fleet, START_S + 60).await;
    some_transactions(&fleet, 20, 30).await;
    set_time(&fleet, START_S + 180).await;
    let minute = |minutes: i64| {
        Some(prost_types::Timestamp {
            seconds: START_S + 60 * minutes,
            nanos: 0,
        })
    };
    let totals = async |time, cursor: &str, page_size, page_token: &str| {
        let request = GetTrialBalanceRequest {
            program: CLUB.to_owned(),
            cursor: cursor.to_owned(),
            time,
            page_size,
            page_token: page_token.to_owned(),
        };
        ask!(fleet.clients().audit(), get_trial_balance, request).expect("read")
    };
    let sum = |read: &GetTrialBalanceResponse| -> i64 {
        let accounts = read.accounts.iter();
        accounts.map(|account| account.credits).sum()
    };
    let (before, now) = (
        totals(minute(1), "", 0, "").await,
        totals(None, "", 0, "").await,
    );
    assert!(0 < sum(&before) && sum(&before) < sum(&now));
    assert_eq!(totals(minute(2), "", 0, "").await.accounts, now.accounts);
    assert_eq!(totals(minute(0), "", 0, "").await.accounts, []);
    assert_eq!(
        totals(None, &before.cursor, 0, "").await.accounts,
        before.accounts
    );
    // Page by page, at the first page's cursor.
    let mut paged = totals(None, "", 1, "").await;
    let cursor = paged.cursor.clone();
    while !paged.next_page_token.is_empty() {
        let next = totals(None, &cursor, 1, &paged.next_page_token).await;
        assert_eq!(next.accounts.len(), 1);
        paged.accounts.extend(next.accounts);
        paged.next_page_token = next.next_page_token;
    }
    assert_eq!(paged.accounts, now.accounts);
    let issued = async |start_time, end_time| -> i64 {
        let request = GetPositionsRequest {
            program: CLUB.to_owned(),
            start_time,
            end_time,
            ..GetPositionsRequest::default()
        };
        let read = ask!(fleet.clients().settlement(), get_positions, request).expect("read");
        read.positions.iter().map(|position| position.issued).sum()
    };
    let whole = issued(None, None).await;
    let (first, second) = (issued(None, minute(1)).await, issued(minute(1), None).await);
    assert!(first > 0 && second > 0);
    assert_eq!(first + second, whole);
    let both = GetPositionsRequest {
        program: CLUB.to_owned(),
        start_cursor: cursor,
        start_time: minute(0),
        ..GetPositionsRequest::default()
    };
    let refused = ask!(fleet.clients().settlement(), get_positions, both).expect_err("both");
    assert_eq!(reason(&refused), "INVALID_FIELD");
    // Not yet settled, and a page of another moment.
    for (time, token, field) in [(minute(3), "", "time"), (None, "x/y/z", "page_token")] {
        let request = GetTrialBalanceRequest {
            program: CLUB.to_owned(),
            time,
            page_token: token.to_owned(),
            ..GetTrialBalanceRequest::default()
        };
        let refused = ask!(fleet.clients().audit(), get_trial_balance, request);
        let refused = refused.expect_err("refused");
        let named = tonic_types::StatusExt::get_details_bad_request(&refused).expect("which");
        assert_eq!(named.field_violations[0].field, field);
    }
}
