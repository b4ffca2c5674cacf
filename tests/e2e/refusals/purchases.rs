//! What a purchase may not be.

use fealty_proto::{
    points::v1::{
        AttributeValue, HoldRequest, OrderKey, PurchaseLine, RecordPurchaseRequest,
        ReturnPurchaseRequest, ReturnedLine, Tender, TenderKind, attribute_value::Value,
        return_purchase_request::Of,
    },
    r#type::v1::Money,
};

use super::*;
use crate::harness::{ask, purchase};

/// What is changed of a purchase, and the fields that are named for it.
type Changed<'a> = (&'a dyn Fn(&mut RecordPurchaseRequest), &'a [&'a str]);

fn line(amount_minor_units: i64) -> PurchaseLine {
    PurchaseLine {
        amount_minor_units,
        ..PurchaseLine::default()
    }
}

fn tender(kind: TenderKind, amount_minor_units: i64, hold: &str) -> Tender {
    Tender {
        kind: kind.into(),
        amount_minor_units,
        hold: hold.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table of refusals")]
async fn record_purchase_refuses_receipts_that_cannot_be() {
    let (fleet, _) = with_anna().await;
    let clients = fleet.clients();
    accrue(clients, accrual("points", "ben", 500))
        .await
        .expect("given");
    let hold = async |member: &str| {
        let request = HoldRequest {
            request_id: format!("hold-{member}"),
            program: CLUB.to_owned(),
            member: member.to_owned(),
            brand: crate::harness::SHOP.to_owned(),
            currency: POINTS.to_owned(),
            points: 100,
            ..HoldRequest::default()
        };
        ask!(clients.ledger(), hold, request).expect("held").hold
    };
    let (own, others) = (hold("anna").await, hold("ben").await);
    let nowhere = ids(&fleet).await.hold(crate::harness::NOWHERE);
    let before = books(&fleet).await;
    // A purchase of 10.00 with one thing changed, and the fields that are named for it.
    let attribute = || {
        let value = Some(Value::Boolean(true));
        [("own_cup".to_owned(), AttributeValue { value })].into()
    };
    let rows: [Changed<'_>; 19] = [
        (&|r| r.channel = "x".repeat(65), &["channel"]),
        (&|r| r.store = "a\tb".to_owned(), &["store"]),
        (&|r| r.terminal = "x".repeat(65), &["terminal"]),
        (&|r| r.attributes = attribute(), &["attributes[own_cup]"]),
        (&|r| r.lines = vec![line(999)], &["lines"]),
        (&|r| r.lines = vec![line(2); 501], &["lines"]),
        (
            &|r| r.lines = vec![line(-1), line(1_001)],
            &["lines[0].amount_minor_units"],
        ),
        (
            &|r| {
                r.lines = vec![line(1_000)];
                r.lines[0].quantity = Some(0);
            },
            &["lines[0].quantity"],
        ),
        (
            &|r| {
                r.lines = vec![line(1_000)];
                r.lines[0].tax_minor_units = 1_001;
            },
            &["lines[0].tax_minor_units"],
        ),
        (
            &|r| {
                r.lines = vec![line(1_000)];
                (r.lines[0].sku, r.lines[0].category) = ("x".repeat(65), "\n".to_owned());
            },
            &["lines[0].sku", "lines[0].category"],
        ),
        (
            &|r| {
                r.lines = vec![line(2); 500];
                for line in &mut r.lines {
                    line.sku = "ä".repeat(64);
                }
            },
            &["lines"],
        ),
        (
            &|r| {
                r.lines = vec![line(1_000)];
                r.lines[0].attributes = attribute();
            },
            &["lines[0].attributes[own_cup]"],
        ),
        (
            &|r| r.tenders = vec![tender(TenderKind::Unspecified, 1_000, "")],
            &["tenders[0].kind"],
        ),
        (
            &|r| r.tenders = vec![tender(TenderKind::Card, 1, ""); 21],
            &["tenders"],
        ),
        (
            &|r| r.tenders = vec![tender(TenderKind::Card, 1_001, "")],
            &["tenders"],
        ),
        (
            &|r| r.tenders = vec![tender(TenderKind::Points, 1_000, "")],
            &["tenders[0].hold"],
        ),
        (
            &|r| r.tenders = vec![tender(TenderKind::Points, 1_000, "hold_7")],
            &["tenders[0].hold"],
        ),
        (
            &|r| r.tenders = vec![tender(TenderKind::Cash, 1_000, &own)],
            &["tenders[0].hold"],
        ),
        (
            &|r| r.tenders = vec![tender(TenderKind::Points, 500, &own); 2],
            &["tenders"],
        ),
    ];
    for (change, fields) in rows {
        let mut request = purchase(2, "anna", 1_000);
        change(&mut request);
        refused(
            clients.earning().record_purchase(request).await,
            INVALID,
            fields,
        );
    }
    for hold in [&others, &nowhere] {
        let mut request = purchase(2, "anna", 1_000);
        request.tenders = vec![tender(TenderKind::Points, 1_000, hold)];
        let not_there = (tonic::Code::NotFound, "HOLD_NOT_FOUND");
        refused(
            clients.earning().record_purchase(request).await,
            not_there,
            &[],
        );
    }
    assert_eq!(books(&fleet).await, before, "nothing has changed");
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table of refusals")]
async fn record_purchase_refuses() {
    let (fleet, _) = with_anna().await;
    let clients = fleet.clients();
    let recorded = clients
        .earning()
        .record_purchase(purchase(1, "anna", 100))
        .await
        .expect("recorded")
        .into_inner();
    let before = books(&fleet).await;
    let record = async |change: &dyn Fn(&mut fealty_proto::points::v1::RecordPurchaseRequest)| {
        let mut request = purchase(2, "anna", 1_000);
        change(&mut request);
        clients.earning().record_purchase(request).await
    };
    let amount = |code: &str, minor_units| {
        Some(fealty_proto::r#type::v1::Money {
            currency_code: code.to_owned(),
            minor_units,
        })
    };
    refused(record(&|r| r.amount = None).await, INVALID, &["amount"]);
    refused(
        record(&|r| r.amount = amount("USD", -1)).await,
        INVALID,
        &["amount.minor_units"],
    );
    refused(
        record(&|r| r.amount = amount("USD", i64::MAX)).await,
        INVALID,
        &["amount.minor_units"],
    );
    refused(
        record(&|r| r.amount = amount("usd", 1)).await,
        INVALID,
        &["amount.currency_code"],
    );
    refused(
        record(&|r| r.amount = amount("EUR", 1)).await,
        (Code::FailedPrecondition, "WRONG_MONEY_CURRENCY"),
        &[],
    );
    refused(
        record(&|r| r.order_number = String::new()).await,
        INVALID,
        &["order_number"],
    );
    refused(
        record(&|r| r.order_number = "x".repeat(129)).await,
        INVALID,
        &["order_number"],
    );
    refused(
        record(&|r| r.member = "x".repeat(65)).await,
        INVALID,
        &["member"],
    );
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
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    refused(
        record(&|r| r.purchase_time = time(START_S + 3_700)).await,
        INVALID,
        &["purchase_time"],
    );
    refused(
        record(&|r| r.purchase_time = time(i64::MAX)).await,
        INVALID,
        &["purchase_time"],
    );
    let again = record(&|r| {
        (r.order_number, r.member) = ("order-1".to_owned(), "berta".to_owned());
    });
    let again = again.await;
    let info = again
        .as_ref()
        .expect_err("recorded")
        .get_details_error_info();
    let told = info.expect("ErrorInfo").metadata;
    assert_eq!(told["order_number"], "order-1");
    assert_eq!(told["transaction"], recorded.transaction.expect("one").id);
    refused(again, (Code::AlreadyExists, "ORDER_ALREADY_RECORDED"), &[]);
    refused(
        record(&|r| r.request_id = "purchase-1".to_owned()).await,
        REUSED,
        &[],
    );
    assert_eq!(books(&fleet).await, before, "nothing has changed");
}

/// What is changed of a return, and what is said of it.
type Wrong<'a> = (
    &'a dyn Fn(&mut ReturnPurchaseRequest),
    (tonic::Code, &'a str),
);

/// What is changed of a return, and the fields that are named for it.
type ChangedReturn<'a> = (&'a dyn Fn(&mut ReturnPurchaseRequest), &'a [&'a str]);

fn returned(line: i32, quantity: Option<i32>, amount_minor_units: Option<i64>) -> ReturnedLine {
    ReturnedLine {
        line,
        quantity,
        amount_minor_units,
    }
}

fn dollars(minor_units: i64) -> Money {
    Money {
        currency_code: "USD".to_owned(),
        minor_units,
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table of refusals")]
async fn return_purchase_refuses_what_was_not_bought() {
    let (fleet, _) = with_anna().await;
    let clients = fleet.clients();
    let accrued = accrue(clients, accrual("more", "anna", 5)).await;
    let accrued = accrued.expect("given").transaction.expect("one").id;
    let bought = RecordPurchaseRequest {
        lines: vec![line(400), line(600)],
        ..purchase(1, "anna", 1_000)
    };
    let bought = ask!(clients.earning(), record_purchase, bought).expect("recorded");
    let bought = bought.transaction.expect("one").id;
    let request = || ReturnPurchaseRequest {
        request_id: "return-1".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        of: Some(Of::Transaction(bought.clone())),
        ..ReturnPurchaseRequest::default()
    };
    let before = books(&fleet).await;
    let order = |order_number: &str| {
        Some(Of::Order(OrderKey {
            brand: crate::harness::SHOP.to_owned(),
            order_number: order_number.to_owned(),
            ..OrderKey::default()
        }))
    };
    let rows: [ChangedReturn<'_>; 17] = [
        (&|r| r.request_id.clear(), &["request_id"]),
        (&|r| r.program = "A".to_owned(), &["program"]),
        (&|r| r.member = "a b".to_owned(), &["member"]),
        (&|r| r.of = None, &["of"]),
        (
            &|r| r.of = Some(Of::Transaction("txn_7".to_owned())),
            &["transaction"],
        ),
        (&|r| r.of = order(""), &["order.order_number"]),
        (&|r| r.reference = "x".repeat(257), &["reference"]),
        (&|r| r.amount = Some(dollars(0)), &["amount.minor_units"]),
        (&|r| r.amount = Some(dollars(-1)), &["amount.minor_units"]),
        (
            &|r| {
                r.lines = vec![returned(1, Some(1), None)];
                r.amount = Some(dollars(1));
            },
            &["amount"],
        ),
        (
            &|r| r.lines = vec![returned(0, Some(1), None)],
            &["lines[0].line"],
        ),
        (
            &|r| r.lines = vec![returned(3, Some(1), None)],
            &["lines[0].line"],
        ),
        (
            &|r| r.lines = vec![returned(1, Some(-1), None)],
            &["lines[0].quantity"],
        ),
        (
            &|r| r.lines = vec![returned(1, Some(0), None)],
            &["lines[0].quantity"],
        ),
        (
            &|r| r.lines = vec![returned(1, None, Some(-1))],
            &["lines[0].amount_minor_units"],
        ),
        (
            &|r| r.lines = vec![returned(1, Some(1), None); 2],
            &["lines"],
        ),
        (
            &|r| r.lines = vec![returned(1, Some(1), None); 501],
            &["lines"],
        ),
    ];
    for (change, fields) in rows {
        let mut request = request();
        change(&mut request);
        let answer = clients.earning().return_purchase(request).await;
        refused(answer, INVALID, fields);
    }
    let precondition = tonic::Code::FailedPrecondition;
    let exceeded = (precondition, "RETURN_EXCEEDED");
    let not_found = (tonic::Code::NotFound, "TRANSACTION_NOT_FOUND");
    let nowhere = ids(&fleet).await.transaction(crate::harness::NOWHERE);
    let euros = Money {
        currency_code: "EUR".to_owned(),
        minor_units: 100,
    };
    let rows: [Wrong<'_>; 8] = [
        (&|r| r.amount = Some(dollars(1_001)), exceeded),
        (&|r| r.lines = vec![returned(2, Some(2), None)], exceeded),
        (
            &|r| r.lines = vec![returned(2, Some(1), Some(601))],
            exceeded,
        ),
        (
            &|r| r.amount = Some(euros.clone()),
            (precondition, "WRONG_MONEY_CURRENCY"),
        ),
        (
            &|r| r.of = Some(Of::Transaction(nowhere.clone())),
            not_found,
        ),
        (&|r| r.of = order("order-9"), not_found),
        (&|r| r.member = "ben".to_owned(), not_found),
        (
            &|r| r.of = Some(Of::Transaction(accrued.clone())),
            (precondition, "NOT_REVERSIBLE"),
        ),
    ];
    for (change, expected) in rows {
        let mut request = request();
        change(&mut request);
        let answer = clients.earning().return_purchase(request).await;
        refused(answer, expected, &[]);
    }
    assert_eq!(books(&fleet).await, before, "a refusal changes nothing");
}
