//! What callers reach that they do not name: transactions by their name, whole
//! logs, and what they do for others.

use fealty_auth::{Grant, Role};
use fealty_cli::{endpoints::Clients, token::grant};
use fealty_client::{acting_for, reason};
use fealty_proto::points::v1::{
    AdjustRequest, CaptureRequest, ExplainTransactionRequest, GetPositionsRequest,
    GetTransactionRequest, GetTrialBalanceRequest, HoldRequest, OrderKey, ReverseRequest,
    WatchTransactionsRequest, get_transaction_request::By,
};
use tonic::{Code, Request};

use crate::harness::{CLUB, NOWHERE, POINTS, SHOP, accrual, accrue, ask, club, ids, purchase};

fn by_name(name: &str) -> GetTransactionRequest {
    GetTransactionRequest {
        program: CLUB.to_owned(),
        by: Some(By::Transaction(name.to_owned())),
    }
}

fn member(fleet: &fealty_cli::demo::Fleet, member: &str) -> Clients {
    let caller = Grant {
        programs: vec![CLUB.to_owned()],
        member: Some(member.to_owned()),
        ..grant(member, &[Role::Member])
    };
    fleet.clients_as(&caller).expect("a token")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_finds_its_own_transactions_and_no_others() {
    let fleet = club().await;
    let bought = ask!(
        fleet.clients().earning(),
        record_purchase,
        purchase(1, "anna", 5_000)
    );
    let name = bought.expect("recorded").transaction.expect("one").id;
    let (anna, ben) = (member(&fleet, "anna"), member(&fleet, "ben"));
    let read = ask!(anna.ledger(), get_transaction, by_name(&name)).expect("her own");
    // Who was at the till is not the member's business.
    assert_eq!(read.transaction.expect("one").caller, None);
    let order = GetTransactionRequest {
        program: CLUB.to_owned(),
        by: Some(By::Order(OrderKey {
            brand: SHOP.to_owned(),
            order_number: "order-1".to_owned(),
            ..OrderKey::default()
        })),
    };
    let explain = ExplainTransactionRequest {
        program: CLUB.to_owned(),
        transaction: name.clone(),
    };
    let refusals = [
        ask!(ben.ledger(), get_transaction, by_name(&name)).map(drop),
        ask!(ben.ledger(), get_transaction, order).map(drop),
        ask!(ben.ledger(), explain_transaction, explain).map(drop),
        // As what is not there.
        ask!(
            ben.ledger(),
            get_transaction,
            by_name(&ids(&fleet).await.transaction(NOWHERE))
        )
        .map(drop),
    ];
    for refused in refusals {
        let refused = refused.expect_err("another's");
        assert_eq!(reason(&refused).as_deref(), Some("TRANSACTION_NOT_FOUND"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_and_sums_keep_to_the_callers_programmes_and_brands() {
    let fleet = club().await;
    accrue(fleet.clients(), accrual("gift", "anna", 100))
        .await
        .expect("given");
    let elsewhere = Grant {
        programs: vec!["other-club".to_owned()],
        ..grant("finance", &[Role::Finance])
    };
    let elsewhere = fleet.clients_as(&elsewhere).expect("a token");
    let watch = WatchTransactionsRequest::default();
    let feed = elsewhere
        .ledger()
        .watch_transactions(watch)
        .await
        .expect("it is open");
    let mut feed = feed.into_inner();
    loop {
        let heard = feed
            .message()
            .await
            .expect("no refusal")
            .expect("it goes on");
        assert!(heard.transactions.is_empty(), "{heard:?}");
        if heard.behind == 0 {
            break;
        }
    }
    let partner = |brand: &str| {
        let caller = Grant {
            programs: vec![CLUB.to_owned()],
            brands: vec![brand.to_owned()],
            ..grant("partner", &[Role::Partner])
        };
        fleet.clients_as(&caller).expect("a token")
    };
    let positions = GetPositionsRequest {
        program: CLUB.to_owned(),
        ..GetPositionsRequest::default()
    };
    let own = ask!(partner(SHOP).settlement(), get_positions, positions.clone());
    assert_eq!(own.expect("summed").positions.len(), 1);
    let others = ask!(
        partner("other-brand").settlement(),
        get_positions,
        positions
    );
    assert!(others.expect("summed").positions.is_empty());
    let bound = Grant {
        brands: vec!["other-brand".to_owned()],
        ..grant("finance", &[Role::Finance])
    };
    let totals = GetTrialBalanceRequest {
        program: CLUB.to_owned(),
        cursor: String::new(),
        ..GetTrialBalanceRequest::default()
    };
    let bound = fleet.clients_as(&bound).expect("a token");
    let totals = ask!(bound.audit(), get_trial_balance, totals).expect("summed");
    assert!(totals.accounts.is_empty(), "{totals:?}");
}

/// A till undoes and captures what is its brand's; of others' it finds nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_till_ends_its_own_brands_holds_and_no_others() {
    let fleet = club().await;
    accrue(fleet.clients(), accrual("gift", "anna", 100))
        .await
        .expect("given");
    let till = |brand: &str| {
        let caller = Grant {
            programs: vec![CLUB.to_owned()],
            brands: vec![brand.to_owned()],
            ..grant("till", &[Role::Checkout])
        };
        fleet.clients_as(&caller).expect("a token").ledger()
    };
    let (own, other) = (till(SHOP), till("other-brand"));
    let hold = HoldRequest {
        request_id: "hold".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points: 60,
        ..HoldRequest::default()
    };
    let hold = ask!(own.clone(), hold, hold).expect("held").hold;
    let capture = CaptureRequest {
        request_id: "capture".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        hold,
        points: None,
        keep_rest: false,
        ..CaptureRequest::default()
    };
    let refused = ask!(other.clone(), capture, capture.clone()).expect_err("another's");
    assert_eq!(reason(&refused).as_deref(), Some("HOLD_NOT_FOUND"));
    let captured = ask!(own.clone(), capture, capture).expect("captured");
    let reverse = ReverseRequest {
        request_id: "reverse".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        transaction: captured.transaction.expect("one").id,
        ..ReverseRequest::default()
    };
    let refused = ask!(other, reverse, reverse.clone()).expect_err("another's");
    assert_eq!(reason(&refused).as_deref(), Some("TRANSACTION_NOT_FOUND"));
    ask!(own, reverse, reverse).expect("reversed");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_service_acts_for_somebody_and_the_log_keeps_both() {
    let fleet = club().await;
    let service = fleet
        .clients_as(&grant("crm", &[Role::Service]))
        .expect("a token");
    let given = Request::new(accrual("gift", "anna", 100));
    let given = service
        .ledger()
        .accrue(acting_for(given, "ines"))
        .await
        .expect("given");
    let by = given
        .into_inner()
        .transaction
        .expect("one")
        .caller
        .expect("who asked");
    assert_eq!((&*by.subject, &*by.acting_for), ("crm", "ines"));
    let operator = fleet
        .clients_as(&grant("ines", &[Role::Operator]))
        .expect("a token");
    let given = Request::new(accrual("another", "anna", 100));
    let refused = operator.ledger().accrue(acting_for(given, "olga")).await;
    assert_eq!(
        refused.expect_err("no service").code(),
        Code::PermissionDenied
    );
    // Nor does anybody else say who did it.
    let adjustment = AdjustRequest {
        request_id: "adjust".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points: 1,
        reason: "goodwill".to_owned(),
        actor: "olga".to_owned(),
        ..AdjustRequest::default()
    };
    let refused = ask!(operator.ledger(), adjust, adjustment).expect_err("not she");
    assert_eq!(reason(&refused).as_deref(), Some("INVALID_FIELD"));
}
