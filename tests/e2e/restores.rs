//! A database that is restored to an earlier moment while services run: what was lost is not
//! served, and who followed the log is told, not left behind.

use fealty_proto::points::v1::{
    Consistency, PollTransactionsRequest, ledger_service_client::LedgerServiceClient,
};

use crate::harness::{accrual, accrue, ask, balance, club, from, purchase, reason, until, verify};

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
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
    let mut kept = String::new();
    loop {
        let polled = poll(kept.clone()).await.expect("a part of the log");
        kept = polled.cursor;
        if polled.behind == 0 {
            break;
        }
    }
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
    let mut lost = kept.clone();
    loop {
        let polled = poll(lost.clone()).await.expect("a part of the log");
        lost = polled.cursor;
        if polled.behind == 0 {
            break;
        }
    }
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
