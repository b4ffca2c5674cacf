//! Ids that tell nothing.

use std::collections::HashSet;

use fealty_proto::points::v1::{GetBalanceRequest, ListLotsRequest};

use crate::harness::{CLUB, POINTS, accrual, accrue, ask, club, reason};

#[tokio::test(flavor = "multi_thread")]
async fn ids_tell_nothing_and_are_each_installations_own() {
    let (one, other) = (club().await, club().await);
    let mut ids = HashSet::new();
    for fleet in [&one, &other] {
        let mut before = String::new();
        for number in 0..10 {
            // The same requests, so the same places in the same shards.
            let request = accrual(&format!("gift-{number}"), "anna", 5);
            let made = accrue(fleet.clients(), request).await.expect("given");
            let made = made.transaction.expect("one");
            assert!(
                made.id.starts_with("txn_") && made.id.len() == 30,
                "{}",
                made.id
            );
            assert!(made.lots[0].id.starts_with("lot_"), "{}", made.lots[0].id);
            assert_eq!((made.shard, made.position), (None, 0));
            let same = made.id.bytes().zip(before.bytes()).filter(|(a, b)| a == b);
            assert!(same.count() < 15, "{} after {before}", made.id);
            before.clone_from(&made.id);
            assert!(
                ids.insert(made.id.clone()),
                "unique beyond one installation"
            );
        }
        // A page of lots or of transactions goes on without telling how many there are.
        let request = ListLotsRequest {
            program: CLUB.to_owned(),
            member: "anna".to_owned(),
            currency: POINTS.to_owned(),
            page_size: 3,
            ..ListLotsRequest::default()
        };
        let page = ask!(fleet.clients().ledger(), list_lots, request.clone()).expect("a page");
        assert!(page.next_page_token.len() > 26, "{}", page.next_page_token);
        let next = ListLotsRequest {
            page_token: page.next_page_token,
            ..request
        };
        let next = ask!(fleet.clients().ledger(), list_lots, next).expect("the next");
        let lot = |lot: &fealty_proto::points::v1::OpenLot| lot.lot.clone().expect("one").id;
        assert_ne!(lot(&page.lots[2]), lot(&next.lots[0]));
    }
    // An id of one installation means nothing in another.
    let foreign = accrue(one.clients(), accrual("foreign", "anna", 5))
        .await
        .expect("given");
    let foreign = foreign.transaction.expect("one").id;
    let request = GetBalanceRequest {
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        currency: POINTS.to_owned(),
        min_position: foreign.clone(),
        ..GetBalanceRequest::default()
    };
    let read = ask!(one.clients().ledger(), get_balance, request.clone()).expect("her own write");
    assert_eq!(read.transaction, foreign);
    let refused = ask!(other.clients().ledger(), get_balance, request).expect_err("foreign");
    assert_eq!(reason(&refused), "INVALID_FIELD");
}
