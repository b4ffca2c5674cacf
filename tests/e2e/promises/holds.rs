//! Holds that can be read, listed and extended.

use fealty_proto::points::v1::{
    CaptureRequest, ExtendHoldRequest, GetHoldRequest, HoldRequest, HoldState, ListHoldsRequest,
};

use super::at;
use crate::harness::{
    CLUB, POINTS, SHOP, START_S, accrual, accrue, ask, available, club, set_time, verify,
};

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "step by step")]
async fn holds_can_be_read_listed_and_extended() {
    let fleet = club().await;
    let clients = fleet.clients();
    accrue(clients, accrual("gift", "anna", 100))
        .await
        .expect("given");
    let hold = |number: i64| HoldRequest {
        request_id: format!("hold-{number}"),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points: 10 * number,
        timeout: Some(prost_types::Duration {
            seconds: 60,
            nanos: 0,
        }),
        reference: format!("table {number}"),
        ..HoldRequest::default()
    };
    let mut held = Vec::new();
    for number in 1..=3 {
        let made = ask!(clients.ledger(), hold, hold(number)).expect("held");
        assert!(made.hold.starts_with("hold_"), "{}", made.hold);
        assert_eq!(made.expiry_time, at(START_S + 60), "until when");
        held.push(made.hold);
    }
    let list = async |page_size: i32, page_token: String| {
        let request = ListHoldsRequest {
            program: CLUB.to_owned(),
            member: "anna".to_owned(),
            page_size,
            page_token,
        };
        ask!(clients.ledger(), list_holds, request).expect("listed")
    };
    let page = list(2, String::new()).await;
    let rest = list(2, page.next_page_token.clone()).await;
    let all: Vec<_> = [page.holds, rest.holds].concat();
    assert_eq!(
        all.iter().map(|hold| &hold.id).collect::<Vec<_>>(),
        held.iter().collect::<Vec<_>>()
    );
    assert!(rest.next_page_token.is_empty());
    assert_eq!(
        (all[1].points, all[1].remaining, &*all[1].reference),
        (20, 20, "table 2")
    );
    // A part is captured and the rest kept; without a word, the rest comes back.
    let capture = |request_id: &str, hold: &str, points, keep_rest| CaptureRequest {
        request_id: request_id.to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        hold: hold.to_owned(),
        points,
        keep_rest,
        ..CaptureRequest::default()
    };
    let get = async |hold: &str| {
        let request = GetHoldRequest {
            program: CLUB.to_owned(),
            member: "anna".to_owned(),
            hold: hold.to_owned(),
        };
        let read = ask!(clients.ledger(), get_hold, request).expect("read");
        let read = read.hold.expect("one");
        (
            read.state(),
            read.remaining,
            read.expiry_time.expect("one").seconds - START_S,
        )
    };
    ask!(
        clients.ledger(),
        capture,
        capture("a", &held[0], Some(4), true)
    )
    .expect("captured");
    assert_eq!(get(&held[0]).await, (HoldState::Open, 6, 60));
    ask!(
        clients.ledger(),
        capture,
        capture("b", &held[1], Some(4), false)
    )
    .expect("captured");
    assert_eq!(get(&held[1]).await, (HoldState::Ended, 0, 60));
    assert_eq!(available(clients, "anna").await, 100 - 10 - 4 - 30);
    let extend = ExtendHoldRequest {
        request_id: "extend".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        hold: held[2].clone(),
        timeout: Some(prost_types::Duration {
            seconds: 600,
            nanos: 0,
        }),
        ..ExtendHoldRequest::default()
    };
    let extended = ask!(clients.ledger(), extend_hold, extend.clone()).expect("extended");
    assert_eq!(extended.expiry_time, at(START_S + 600));
    assert!(
        ask!(clients.ledger(), extend_hold, extend)
            .expect("again")
            .replayed
    );
    set_time(&fleet, START_S + 61).await;
    assert_eq!(
        get(&held[0]).await,
        (HoldState::Ended, 0, 60),
        "it has timed out"
    );
    assert_eq!(get(&held[2]).await, (HoldState::Open, 30, 600));
    assert_eq!(list(0, String::new()).await.holds.len(), 1);
    set_time(&fleet, START_S + 600).await;
    assert_eq!(available(clients, "anna").await, 100 - 8);
    verify(&fleet).await.expect("the ledger verifies");
}
