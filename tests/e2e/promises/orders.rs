//! Within what order numbers are unique.

use fealty_cli::{
    apply::{How, apply},
    demo::PROGRAM,
};
use fealty_proto::points::v1::{
    GetTransactionRequest, OrderKey, RecordPurchaseRequest, get_transaction_request::By,
};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::harness::{CLUB, SHOP, START_S, ask, club_of, purchase, reason, verify};

const DAY: i64 = 24 * 3_600;

/// Receipt 7 of a store on a day.
fn receipt(request: usize, store: &str, second: i64) -> RecordPurchaseRequest {
    RecordPurchaseRequest {
        order_number: "7".to_owned(),
        store: store.to_owned(),
        purchase_time: Some(prost_types::Timestamp {
            seconds: second,
            nanos: 0,
        }),
        ..purchase(request, "anna", 1_000)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn receipt_numbers_come_again_where_the_programme_says_so() {
    let program = format!("{PROGRAM}\norders: {{ unique_by: [store, day] }}\n");
    let fleet = club_of(&program, &[]).await;
    let record = async |asked: RecordPurchaseRequest| {
        ask!(fleet.clients().earning(), record_purchase, asked)
    };
    let recorded = async |asked: RecordPurchaseRequest| {
        let answer = record(asked).await.expect("recorded");
        answer.transaction.expect("a transaction")
    };
    // The club's days begin at midnight in UTC; the clock stands at noon.
    let first = recorded(receipt(1, "s-1", START_S)).await;
    let other_store = recorded(receipt(2, "s-2", START_S)).await;
    let other_day = recorded(receipt(3, "s-1", START_S - DAY)).await;
    let date = |made: &fealty_proto::points::v1::Transaction| {
        made.purchase
            .as_ref()
            .map(|made| made.business_date.clone())
    };
    assert_eq!(date(&first).as_deref(), Some("1997-01-01"));
    assert_eq!(date(&other_day).as_deref(), Some("1996-12-31"));

    // Again on the same day in the same store: refused, and by whom it is had.
    let again = record(receipt(4, "s-1", START_S - 3_600)).await;
    let refused = again.expect_err("it was recorded");
    assert_eq!(reason(&refused), "ORDER_ALREADY_RECORDED");
    let info = refused
        .get_details_error_info()
        .expect("machines can read it");
    assert_eq!(info.metadata.get("transaction"), Some(&first.id));

    // What names it must be said.
    for (store, time, field) in [("", Some(START_S), "store"), ("s-1", None, "purchase_time")] {
        let mut asked = receipt(5, store, time.unwrap_or_default());
        asked.purchase_time = asked.purchase_time.filter(|_| time.is_some());
        let refused = record(asked).await.expect_err("it is refused");
        assert_eq!(refused.code(), Code::InvalidArgument);
        let violated = refused.get_details_bad_request().expect("fields are named");
        assert_eq!(violated.field_violations[0].field, field);
    }

    // And it is found by what names it.
    let find = async |store: &str, date: &str| {
        let asked = GetTransactionRequest {
            program: CLUB.to_owned(),
            by: Some(By::Order(OrderKey {
                brand: SHOP.to_owned(),
                order_number: "7".to_owned(),
                store: store.to_owned(),
                business_date: date.to_owned(),
            })),
        };
        let found = ask!(fleet.clients().ledger(), get_transaction, asked);
        found.map(|found| found.transaction.expect("a transaction").id)
    };
    assert_eq!(find("s-1", "1997-01-01").await.ok(), Some(first.id));
    assert_eq!(find("s-2", "1997-01-01").await.ok(), Some(other_store.id));
    assert_eq!(find("s-1", "1996-12-31").await.ok(), Some(other_day.id));
    let nowhere = find("s-1", "").await.expect_err("no such order");
    assert_eq!(nowhere.code(), Code::NotFound);
    let malformed = find("s-1", "1.1.97").await.expect_err("no date");
    assert_eq!(malformed.code(), Code::InvalidArgument);
    verify(&fleet).await.expect("the ledger is sound");

    // Were it changed, what was recorded could be recorded again.
    let changed = apply(fleet.clients(), PROGRAM, How::Now).await;
    let told = format!("{:#}", changed.expect_err("it stays"));
    assert!(told.contains("orders: what names the orders"), "{told}");
}
