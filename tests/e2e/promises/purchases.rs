//! A purchase with its receipt, paid with points in part.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use fealty_proto::{
    points::v1::{
        ExplainTransactionRequest, GetTransactionRequest, HoldRequest, ListTransactionsRequest,
        LotOrigin, PurchaseLine, RecordPurchaseRequest, ReverseRequest, Tender, TenderKind,
        get_transaction_request::By,
    },
    tiers::v1::GetStatusRequest,
};

use crate::harness::{
    CLUB, POINTS, SHOP, START_S, accrual, accrue, ask, available, books, club, polled, purchase,
    reason, set_time, until, verify,
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

/// A hundred of the longest receipts at once are 6 MiB: more than a gRPC client takes in
/// one message. Who follows the feed hears of all of them all the same.
#[tokio::test(flavor = "multi_thread")]
async fn the_longest_receipts_hold_up_no_feed_and_no_list() {
    const RECEIPTS: usize = 100;
    let fleet = club().await;
    let clients = fleet.clients();
    let line = PurchaseLine {
        sku: "s".repeat(27),
        category: "c".repeat(27),
        brand: "b".repeat(27),
        amount_minor_units: 2,
        ..PurchaseLine::default()
    };
    let buy = |number: usize| {
        let request = RecordPurchaseRequest {
            lines: vec![line.clone(); 500],
            ..purchase(number, "anna", 1_000)
        };
        async move { ask!(clients.earning(), record_purchase, request).expect("recorded") }
    };
    futures::future::join_all((0..RECEIPTS).map(buy)).await;
    until("tiers have heard of all", || async {
        let request = GetStatusRequest {
            program: CLUB.to_owned(),
            member: "anna".to_owned(),
        };
        let read = ask!(clients.tier(), get_status, request).expect("read");
        let spent = read.status.expect("one").spent.expect("money");
        spent.minor_units == 100_000
    })
    .await;
    let (heard, _) = polled(&fleet, String::new()).await;
    let heard = heard
        .iter()
        .filter(|entry| entry.purchase.is_some())
        .count();
    assert_eq!(heard, RECEIPTS);
    let (mut listed, mut page_token) = (0, String::new());
    loop {
        let request = ListTransactionsRequest {
            program: CLUB.to_owned(),
            member: "anna".to_owned(),
            page_size: 1_000,
            page_token,
            ..ListTransactionsRequest::default()
        };
        let page = ask!(clients.ledger(), list_transactions, request).expect("a page");
        listed += page.transactions.len();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, RECEIPTS);
}

/// Paid in stars, it earned points: a part of either can be undone, by its currency.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_what_was_paid_in_another_currency_comes_back() {
    let fleet = club().await;
    let clients = fleet.clients();
    let mut programs = clients.programs()[0].1.clone();
    let applied = fealty_proto::program::v1::ApplyProgramRequest {
        source: super::balances::PROGRAM.to_owned(),
        request_id: fealty_cli::apply::request_id(),
        ..Default::default()
    };
    programs.apply_program(applied).await.expect("applied");
    let mut given = accrual("gift", "anna", 40);
    given.currency = "stars".to_owned();
    accrue(clients, given).await.expect("given");
    let hold = HoldRequest {
        request_id: "hold".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        currency: "stars".to_owned(),
        points: 40,
        ..HoldRequest::default()
    };
    let held = ask!(clients.ledger(), hold, hold).expect("held").hold;
    let asked = receipt(1, &held);
    let bought = ask!(clients.earning(), record_purchase, asked).expect("recorded");
    let bought = bought.transaction.expect("one");
    assert_eq!(bought.balances.len(), 2, "both wallets");
    let undo = |number: i64, currency: &str, points: i64| ReverseRequest {
        request_id: format!("undo-{number}"),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        transaction: bought.id.clone(),
        currency: currency.to_owned(),
        points: Some(points),
        ..ReverseRequest::default()
    };
    let back = ask!(clients.ledger(), reverse, undo(1, "stars", 10)).expect("restored");
    assert_eq!(back.transaction.expect("one").balances[0].available, 10);
    let back = ask!(clients.ledger(), reverse, undo(2, POINTS, 5)).expect("taken back");
    assert_eq!(back.transaction.expect("one").balances[0].available, 15);
    let refused = ask!(clients.ledger(), reverse, undo(3, "stars", 31));
    assert_eq!(
        reason(&refused.expect_err("30 are left")),
        "REVERSAL_EXCEEDED"
    );
    verify(&fleet).await.expect("the ledger verifies");
}

/// What a rule gives on top of another's points is a promotion, in a lot of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_bonus_is_a_promotion() {
    let fleet = club().await;
    let buy = async |number: usize, cents: i64| {
        let bought = ask!(
            fleet.clients().earning(),
            record_purchase,
            purchase(number, "anna", cents)
        );
        bought.expect("recorded").transaction.expect("one")
    };
    let first = buy(0, 10_000).await;
    assert_eq!(first.lots.len(), 1);
    // The tier of the day's beginning counts, and points hears of it in a moment.
    set_time(&fleet, START_S + 24 * 3_600).await;
    let number = AtomicUsize::new(0);
    let last = Mutex::new(first);
    until("anna buys as silver", || async {
        let bought = buy(number.fetch_add(1, Ordering::Relaxed) + 1, 1_000).await;
        let tier = bought.purchase.as_ref().map(|bought| bought.tier.clone());
        *last.lock().expect("nobody else") = bought;
        tier.as_deref() == Some("silver")
    })
    .await;
    let bought = last.into_inner().expect("nobody else");
    let lots = bought.lots.iter().map(|lot| (lot.origin(), lot.amount));
    let expected = [(LotOrigin::Purchase, 100), (LotOrigin::Promotion, 25)];
    assert_eq!(lots.collect::<Vec<_>>(), expected);
    // Undone as a whole, both go.
    let before = available(fleet.clients(), "anna").await;
    let reverse = ReverseRequest {
        request_id: "back".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        transaction: bought.id,
        ..ReverseRequest::default()
    };
    ask!(fleet.clients().ledger(), reverse, reverse).expect("reversed");
    assert_eq!(available(fleet.clients(), "anna").await, before - 125);
    verify(&fleet).await.expect("the ledger is sound");
}
