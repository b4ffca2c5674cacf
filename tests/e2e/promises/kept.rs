//! What a change keeps: what it came with, who asked, and when it was written.

use std::collections::HashMap;

use fealty_auth::Role;
use fealty_cli::demo::Fleet;
use fealty_proto::points::v1::{Transaction, WatchTransactionsRequest};
use tonic_types::StatusExt as _;

use super::at;
use crate::harness::{
    START_S, accrual, accrue, available, club, purchase, reason, set_time, verify,
};

const DAY_S: i64 = 86_400;

/// All transactions of the log.
async fn log(fleet: &Fleet, len: usize) -> Vec<Transaction> {
    let request = WatchTransactionsRequest {
        include_canonical_bytes: true,
        ..WatchTransactionsRequest::default()
    };
    let mut client = fleet.clients().ledger();
    let mut stream = client
        .watch_transactions(request)
        .await
        .expect("the feed stands")
        .into_inner();
    let mut transactions = Vec::new();
    while transactions.len() < len {
        let more = stream.message().await.expect("the feed holds");
        let more = more.expect("it has no end").transactions.into_iter();
        transactions.extend(more.filter(|entry| !entry.member.is_empty()));
    }
    transactions
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_keeps_what_it_came_with_and_when_it_was_written() {
    let fleet = club().await;
    let clients = fleet.clients();
    let mut moved = accrual("moved", "anna", 40);
    moved.earned_time = at(START_S - 100 * DAY_S);
    moved.metadata = HashMap::from([
        ("till".to_owned(), "7".to_owned()),
        ("campaign".to_owned(), "Herbst & Winter".to_owned()),
    ]);
    let done = accrue(clients, moved.clone()).await.expect("given");
    let made = done.transaction.expect("one");
    assert_eq!(made.metadata, moved.metadata);
    assert_eq!(made.lots[0].earned_time, moved.earned_time);
    assert_eq!(made.effective_time, made.written_time, "at once");
    assert_eq!(made.engine, 2);
    let caller = made.caller.expect("who asked");
    assert!(
        caller.roles.contains(&(Role::Checkout.to_wire().into())),
        "{caller:?}"
    );
    // The same request with other metadata is another one.
    let mut other = moved.clone();
    other.metadata.insert("till".to_owned(), "8".to_owned());
    let refused = accrue(clients, other).await.expect_err("another");
    assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
    let info = refused.get_details_error_info().expect("which");
    assert_eq!(info.metadata["field"], "metadata");
    assert!(
        accrue(clients, moved.clone())
            .await
            .expect("again")
            .replayed
    );
    set_time(&fleet, START_S + 60).await;
    accrue(clients, accrual("minute", "anna", 1))
        .await
        .expect("given");
    let known = log(&fleet, 2).await;
    assert!(
        known[0].written_time.expect("one").seconds < known[1].written_time.expect("one").seconds
    );
    verify(&fleet).await.expect("the ledger verifies");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_kept_for_ever_is_refused() {
    let fleet = club().await;
    let clients = fleet.clients();
    for (key, value) in [("Till", "7"), ("till", ""), ("t l", "x"), ("9", "x")] {
        let mut bad = accrual("bad", "anna", 1);
        bad.metadata = HashMap::from([(key.to_owned(), value.to_owned())]);
        let refused = accrue(clients, bad).await.expect_err("no metadata");
        let named = refused.get_details_bad_request().expect("which");
        assert_eq!(named.field_violations[0].field, format!("metadata[{key}]"));
    }
    let mut many = accrual("many", "anna", 1);
    many.metadata = (0..17)
        .map(|n| (format!("key-{n}"), "x".to_owned()))
        .collect();
    let refused = accrue(clients, many).await.expect_err("too many");
    assert_eq!(reason(&refused), "INVALID_FIELD");
    let mut later = accrual("later", "anna", 1);
    later.earned_time = at(START_S + 1);
    let refused = accrue(clients, later).await.expect_err("not yet");
    let named = refused.get_details_bad_request().expect("which");
    assert_eq!(named.field_violations[0].field, "earned_time");
    // What would tell who somebody is does not become a key.
    for personal in ["anna@example.com", "+49 30 1234567", "4111 1111 1111 1111"] {
        let refused = accrue(clients, accrual(personal, "anna", 1)).await;
        assert_eq!(
            reason(&refused.expect_err("personal")),
            "INVALID_FIELD",
            "{personal}"
        );
        let mut bought = purchase(7, "anna", 100);
        bought.order_number = personal.to_owned();
        let refused = clients.earning().record_purchase(bought).await;
        assert_eq!(
            reason(&refused.expect_err("personal")),
            "INVALID_FIELD",
            "{personal}"
        );
    }
    assert_eq!(available(clients, "anna").await, 0, "nothing was given");
}
