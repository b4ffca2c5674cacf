//! A purchase with its receipt, paid with points in part.

use fealty_proto::points::v1::{
    ExplainTransactionRequest, GetTransactionRequest, HoldRequest, PurchaseLine,
    RecordPurchaseRequest, ReverseRequest, Tender, TenderKind, get_transaction_request::By,
};

use crate::harness::{
    CLUB, POINTS, SHOP, accrual, accrue, ask, available, books, club, purchase, reason, verify,
};

/// A receipt over 30.00: two records and a cup, 20.00 by card and 10.00 in points.
fn receipt(number: usize, hold: &str) -> RecordPurchaseRequest {
    let line = |sku: &str, category: &str, quantity, amount_minor_units| PurchaseLine {
        sku: sku.to_owned(),
        category: category.to_owned(),
        quantity,
        amount_minor_units,
        tax_minor_units: amount_minor_units / 5,
        ..PurchaseLine::default()
    };
    let tender = |kind: TenderKind, amount_minor_units, hold: &str| Tender {
        kind: kind.into(),
        amount_minor_units,
        hold: hold.to_owned(),
    };
    RecordPurchaseRequest {
        channel: "store".to_owned(),
        store: "17".to_owned(),
        terminal: "17-2".to_owned(),
        lines: vec![
            line("lp-1", "jazz", Some(2), 2_500),
            line("cup-1", "coffee", None, 500),
        ],
        tenders: vec![
            tender(TenderKind::Card, 2_000, ""),
            tender(TenderKind::Points, 1_000, hold),
        ],
        ..purchase(number, "anna", 3_000)
    }
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "step by step")]
async fn a_purchase_is_paid_with_held_points_in_its_own_transaction() {
    let fleet = club().await;
    let clients = fleet.clients();
    accrue(clients, accrual("gift", "anna", 1_200))
        .await
        .expect("given");
    let hold = async |number: usize, points: i64| {
        let request = HoldRequest {
            request_id: format!("hold-{number}"),
            program: CLUB.to_owned(),
            member: "anna".to_owned(),
            brand: SHOP.to_owned(),
            currency: POINTS.to_owned(),
            points,
            ..HoldRequest::default()
        };
        ask!(clients.ledger(), hold, request).expect("held").hold
    };
    let held = hold(1, 1_000).await;
    assert_eq!(available(clients, "anna").await, 200);
    let asked = receipt(1, &held);
    let recorded = ask!(clients.earning(), record_purchase, asked.clone()).expect("recorded");
    let made = recorded.transaction.expect("a transaction");
    // 10 points for each dollar that earns: 20.00, for points earn none.
    let told = made.purchase.clone().expect("a purchase");
    assert_eq!(told.earned_points[0].points, 200);
    let balance = &made.balances[0];
    assert_eq!((balance.available, balance.held), (400, 0));
    assert_eq!(
        made.balances.len(),
        1,
        "one transaction, one line of the statement"
    );
    // The receipt stays as it was sent; a quantity that was left out is one.
    let mut lines = asked.lines.clone();
    lines[1].quantity = Some(1);
    assert_eq!((told.lines, told.tenders), (lines, asked.tenders.clone()));
    let codes = (&*told.channel, &*told.store, &*told.terminal);
    assert_eq!(codes, ("store", "17", "17-2"));
    let explain = ExplainTransactionRequest {
        program: CLUB.to_owned(),
        transaction: made.id.clone(),
    };
    let explained = ask!(clients.ledger(), explain_transaction, explain).expect("explained");
    let texts: Vec<_> = explained.steps.iter().map(|step| &*step.text).collect();
    assert!(
        texts
            .iter()
            .any(|text| text.contains("10.00 USD by points or vouchers")),
        "{texts:?}"
    );
    // The same again spends nothing, and another receipt is another request.
    let before = books(&fleet).await;
    let again = ask!(clients.earning(), record_purchase, asked.clone()).expect("again");
    assert!(again.replayed);
    let mut other = asked.clone();
    other.lines[0].sku = "lp-2".to_owned();
    let refused = ask!(clients.earning(), record_purchase, other).expect_err("another");
    assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
    // A hold is spent once.
    let refused = ask!(clients.earning(), record_purchase, receipt(2, &held));
    assert_eq!(reason(&refused.expect_err("spent")), "HOLD_EXHAUSTED");
    assert_eq!(books(&fleet).await, before, "a refusal changes nothing");
    // Undone as a whole, the points that were paid come back and those earned go.
    let reverse = ReverseRequest {
        request_id: "undo".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        transaction: made.id.clone(),
        ..ReverseRequest::default()
    };
    let undone = ask!(clients.ledger(), reverse, reverse).expect("undone");
    let outcome = undone.transaction.expect("one").reversal.expect("what");
    assert_eq!(outcome.points, 1_200);
    assert_eq!(available(clients, "anna").await, 1_200);
    let read = GetTransactionRequest {
        program: CLUB.to_owned(),
        by: Some(By::Transaction(made.id.clone())),
    };
    let read = ask!(clients.ledger(), get_transaction, read).expect("read");
    assert_eq!(read.transaction.expect("one").purchase, made.purchase);
    verify(&fleet).await.expect("the ledger verifies");
}
