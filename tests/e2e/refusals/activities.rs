//! What an activity may not be.

use fealty_cli::apply::{How, apply};
use fealty_proto::{
    points::v1::{
        ActivityKey, AttributeValue, GetTransactionRequest, RecordActivityRequest,
        attribute_value::Value, get_transaction_request::By,
    },
    tiers::v1 as sensitive,
};

use super::*;
use crate::{
    earning::with_rules,
    harness::{SHOP, ask},
};

const RULES: &str = r#"
activities:
  review: { attributes: { stars: int } }
  loss: { sensitive: true }
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
  - { rule: review, on: activity.review, earn: { currency: points, fixed: 50 } }
"#;

/// What is changed of an activity, and the fields that are named for it.
type Changed<'a> = (&'a dyn Fn(&mut RecordActivityRequest), &'a [&'a str]);

fn review(number: usize) -> RecordActivityRequest {
    RecordActivityRequest {
        request_id: format!("review-{number}"),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        activity: "review".to_owned(),
        activity_id: format!("r-{number}"),
        ..RecordActivityRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table of refusals")]
async fn record_activity_refuses() {
    let (fleet, _) = with_anna().await;
    let clients = fleet.clients();
    apply(clients, &with_rules(RULES), How::Now)
        .await
        .expect("applied");
    let first = ask!(clients.earning(), record_activity, review(1)).expect("recorded");
    let before = books(&fleet).await;
    let record = async |change: &dyn Fn(&mut RecordActivityRequest)| {
        let mut request = review(2);
        change(&mut request);
        clients.earning().record_activity(request).await
    };
    let attribute = |name: &str, value| {
        let value = AttributeValue { value };
        [(name.to_owned(), value)].into()
    };
    let text = || Some(Value::Text("five".to_owned()));
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let rows: [Changed<'_>; 14] = [
        (&|r| r.request_id.clear(), &["request_id"]),
        (&|r| r.program = "A".to_owned(), &["program"]),
        (&|r| r.member = "a b".to_owned(), &["member"]),
        (&|r| r.brand.clear(), &["brand"]),
        (&|r| r.activity.clear(), &["activity"]),
        (&|r| r.activity = "visit".to_owned(), &["activity"]),
        (&|r| r.activity_id.clear(), &["activity_id"]),
        (&|r| r.activity_id = "x".repeat(129), &["activity_id"]),
        (
            &|r| r.activity_id = "anna@example.com".to_owned(),
            &["activity_id"],
        ),
        (
            &|r| r.activity_time = time(START_S + 3_700),
            &["activity_time"],
        ),
        (&|r| r.activity_time = time(i64::MAX), &["activity_time"]),
        (
            &|r| r.attributes = attribute("words", Some(Value::Number(1))),
            &["attributes[words]"],
        ),
        (
            &|r| r.attributes = attribute("stars", text()),
            &["attributes[stars]"],
        ),
        (
            &|r| r.attributes = attribute("stars", None),
            &["attributes[stars]"],
        ),
    ];
    for (change, fields) in rows {
        refused(record(change).await, INVALID, fields);
    }
    refused(
        record(&|r| r.program = "no-club".to_owned()).await,
        NO_PROGRAM,
        &[],
    );
    refused(
        record(&|r| r.brand = "no-shop".to_owned()).await,
        NO_BRAND,
        &[],
    );
    let sensitive = (Code::FailedPrecondition, "ACTIVITY_SENSITIVE");
    refused(
        record(&|r| r.activity = "loss".to_owned()).await,
        sensitive,
        &[],
    );
    refused(
        record(&|r| r.request_id = "review-1".to_owned()).await,
        REUSED,
        &[],
    );
    let again = record(&|r| r.activity_id = "r-1".to_owned()).await;
    let info = again.as_ref().expect_err("recorded");
    let told = info.get_details_error_info().expect("ErrorInfo").metadata;
    assert_eq!(told["transaction"], first.transaction.expect("one").id);
    refused(
        again,
        (Code::AlreadyExists, "ACTIVITY_ALREADY_RECORDED"),
        &[],
    );
    assert_eq!(books(&fleet).await, before, "nothing has changed");

    let key = |brand: &str, activity: &str, activity_id: &str| GetTransactionRequest {
        program: CLUB.to_owned(),
        by: Some(By::Activity(ActivityKey {
            brand: brand.to_owned(),
            activity: activity.to_owned(),
            activity_id: activity_id.to_owned(),
        })),
    };
    let wrong = key("", "A", "");
    let named = [
        "activity.brand",
        "activity.activity",
        "activity.activity_id",
    ];
    refused(
        clients.ledger().get_transaction(wrong).await,
        INVALID,
        &named,
    );
    for key in [key(SHOP, "review", "r-7"), key(SHOP, "loss", "r-1")] {
        refused(
            clients.ledger().get_transaction(key).await,
            (Code::NotFound, "TRANSACTION_NOT_FOUND"),
            &[],
        );
    }
}

/// What is changed of a sensitive activity, and the fields that are named for it.
type ChangedSensitive<'a> = (
    &'a dyn Fn(&mut sensitive::RecordActivityRequest),
    &'a [&'a str],
);

#[tokio::test(flavor = "multi_thread")]
async fn sensitive_activities_refuse() {
    let (fleet, _) = with_anna().await;
    let clients = fleet.clients();
    apply(clients, &with_rules(RULES), How::Now)
        .await
        .expect("applied");
    let client = || clients.sensitive_activities();
    let request = || sensitive::RecordActivityRequest {
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        activity: "loss".to_owned(),
        activity_id: "l-1".to_owned(),
        ..sensitive::RecordActivityRequest::default()
    };
    let value = || AttributeValue {
        value: Some(Value::Number(1)),
    };
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let rows: [ChangedSensitive<'_>; 9] = [
        (&|r| r.program = "A".to_owned(), &["program"]),
        (&|r| r.member = "a b".to_owned(), &["member"]),
        (&|r| r.activity.clear(), &["activity"]),
        (&|r| r.activity = "visit".to_owned(), &["activity"]),
        // What is not sensitive does not go there.
        (&|r| r.activity = "review".to_owned(), &["activity"]),
        (&|r| r.activity_id.clear(), &["activity_id"]),
        (
            &|r| r.activity_id = "+44 20 7946 0958".to_owned(),
            &["activity_id"],
        ),
        (
            &|r| r.activity_time = time(START_S + 3_700),
            &["activity_time"],
        ),
        (
            &|r| r.attributes = [("stars".to_owned(), value())].into(),
            &["attributes[stars]"],
        ),
    ];
    for (change, fields) in rows {
        let mut wrong = request();
        change(&mut wrong);
        refused(client().record_activity(wrong).await, INVALID, fields);
    }
    let nowhere = sensitive::RecordActivityRequest {
        program: "no-club".to_owned(),
        ..request()
    };
    refused(client().record_activity(nowhere).await, NO_PROGRAM, &[]);

    let list = |program: &str, page_size, page_token: &str| sensitive::ListActivitiesRequest {
        program: program.to_owned(),
        member: "anna".to_owned(),
        page_size,
        page_token: page_token.to_owned(),
    };
    let wrong = client().list_activities(list("A", 1_001, "next")).await;
    refused(wrong, INVALID, &["program", "page_size", "page_token"]);
    let nowhere = client().list_activities(list("no-club", 0, "")).await;
    refused(nowhere, NO_PROGRAM, &[]);
    let erase = async |program: &str, activity: &str, activity_id: &str| {
        let request = sensitive::EraseActivitiesRequest {
            program: program.to_owned(),
            member: "anna".to_owned(),
            activity: activity.to_owned(),
            activity_id: activity_id.to_owned(),
        };
        client().erase_activities(request).await
    };
    refused(erase(CLUB, "loss", "").await, INVALID, &["activity_id"]);
    refused(erase(CLUB, "", "l-1").await, INVALID, &["activity"]);
    refused(erase("no-club", "", "").await, NO_PROGRAM, &[]);
}
