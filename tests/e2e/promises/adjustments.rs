//! Adjustments that two persons decide.

use std::collections::{HashMap, HashSet};

use fealty_auth::{Grant, Role};
use fealty_cli::token::grant;
use fealty_proto::points::v1::{
    Adjustment, AdjustmentState, ApproveAdjustmentRequest, GetTransactionRequest,
    ListAdjustmentsRequest, ProposeAdjustmentRequest, RejectAdjustmentRequest,
    get_transaction_request::By,
};

use crate::harness::{CLUB, POINTS, SHOP, ask, available, club, reason, verify};

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "two persons, step by step")]
async fn an_adjustment_takes_two_persons_and_is_made_once() {
    let fleet = club().await;
    let person = |name: &str| {
        let caller = fleet.clients_as(&grant(name, &[Role::Operator]));
        caller.expect("a token")
    };
    let (ines, olga, ruth) = (person("ines"), person("olga"), person("ruth"));
    let propose = async |request_id: &str, points: i64| -> Adjustment {
        let request = ProposeAdjustmentRequest {
            request_id: request_id.to_owned(),
            program: CLUB.to_owned(),
            member: "anna".to_owned(),
            brand: SHOP.to_owned(),
            currency: POINTS.to_owned(),
            points,
            reason: "lost-parcel".to_owned(),
            note: "see the ticket".to_owned(),
            metadata: HashMap::from([("ticket".to_owned(), "4711".to_owned())]),
        };
        let proposed = ask!(ines.adjustments(), propose_adjustment, request).expect("proposed");
        proposed.adjustment.expect("one")
    };
    let approve = |request_id: &str, adjustment: &Adjustment| ApproveAdjustmentRequest {
        request_id: request_id.to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        adjustment: adjustment.id.clone(),
    };
    let proposed = propose("one", 5_000).await;
    assert_eq!(
        (proposed.state(), &*proposed.proposer),
        (AdjustmentState::Proposed, "ines")
    );
    assert_eq!(propose("one", 5_000).await.id, proposed.id, "once");
    assert_eq!(
        available(fleet.clients(), "anna").await,
        0,
        "nothing is moved yet"
    );
    let himself = approve("approve", &proposed);
    let refused = ask!(ines.adjustments(), approve_adjustment, himself.clone());
    assert_eq!(
        reason(&refused.expect_err("alone")),
        "SECOND_PERSON_REQUIRED"
    );
    // Many approve at once: it is made once, by one of them.
    let approvals = (0..16).map(|number| {
        let mut client = if number % 2 == 0 {
            olga.adjustments()
        } else {
            ruth.adjustments()
        };
        let request = approve(&format!("approve-{}", number % 2), &proposed);
        tokio::spawn(async move { client.approve_adjustment(request).await })
    });
    let mut by = HashSet::new();
    for approval in approvals.collect::<Vec<_>>() {
        match approval.await.expect("it ends") {
            Ok(approved) => {
                let approved = approved.into_inner();
                let made = approved.transaction.expect("made");
                let action = made.operator_action.expect("who");
                assert_eq!(action.actor, "ines");
                assert_eq!(made.metadata["ticket"], "4711");
                by.insert((made.id, action.approver));
            }
            Err(refused) => {
                // The other's request id, or too late.
                let known = ["ADJUSTMENT_DECIDED", "REQUEST_ID_REUSED"];
                assert!(known.contains(&&*reason(&refused)), "{refused:?}");
            }
        }
    }
    assert_eq!(by.len(), 1, "{by:?}");
    let (made, approver) = by.into_iter().next().expect("one");
    assert_eq!(available(fleet.clients(), "anna").await, 5_000);
    // What was rejected is not made, and what cannot be made stays proposed.
    let taken = propose("two", -9_000).await;
    let refused = ask!(
        olga.adjustments(),
        approve_adjustment,
        approve("two", &taken)
    );
    assert_eq!(
        reason(&refused.expect_err("too many")),
        "INSUFFICIENT_POINTS"
    );
    let reject = RejectAdjustmentRequest {
        request_id: "reject".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        adjustment: taken.id.clone(),
        note: "she has not so many".to_owned(),
    };
    let rejected = ask!(ines.adjustments(), reject_adjustment, reject.clone()).expect("taken back");
    assert_eq!(
        rejected.adjustment.expect("one").state(),
        AdjustmentState::Rejected
    );
    assert!(
        ask!(ines.adjustments(), reject_adjustment, reject)
            .expect("again")
            .replayed
    );
    let refused = ask!(
        olga.adjustments(),
        approve_adjustment,
        approve("late", &taken)
    );
    assert_eq!(
        reason(&refused.expect_err("too late")),
        "ADJUSTMENT_DECIDED"
    );
    let list = async |page_size: i32, page_token: String, states: Vec<i32>| {
        let request = ListAdjustmentsRequest {
            program: CLUB.to_owned(),
            page_size,
            page_token,
            states,
            ..ListAdjustmentsRequest::default()
        };
        ask!(olga.adjustments(), list_adjustments, request).expect("listed")
    };
    let first = list(1, String::new(), Vec::new()).await;
    let second = list(1, first.next_page_token.clone(), Vec::new()).await;
    assert_eq!(first.adjustments[0].id, taken.id, "newest first");
    let approved = &second.adjustments[0];
    assert_eq!((&approved.id, &approved.transaction), (&proposed.id, &made));
    assert_eq!(approved.decider, approver);
    assert_eq!(approved.state(), AdjustmentState::Approved);
    let waiting = list(0, String::new(), vec![AdjustmentState::Proposed.into()]).await;
    assert!(waiting.adjustments.is_empty());
    // The member sees that, and why, but not who, nor what they wrote to each other.
    let anna = Grant {
        programs: vec![CLUB.to_owned()],
        member: Some("anna".to_owned()),
        ..grant("anna", &[Role::Member])
    };
    let anna = fleet.clients_as(&anna).expect("a token");
    let read = GetTransactionRequest {
        program: CLUB.to_owned(),
        by: Some(By::Transaction(made)),
    };
    let read = ask!(anna.ledger(), get_transaction, read).expect("her own");
    let read = read.transaction.expect("one");
    let action = read.operator_action.expect("why");
    assert_eq!(action.reason, "lost-parcel");
    let hidden = [action.actor, action.approver, action.note];
    assert_eq!(hidden.concat(), "");
    assert!(read.metadata.is_empty());
    // Who speaks for another brand hears nothing of them.
    let elsewhere = Grant {
        brands: vec!["elsewhere".to_owned()],
        ..grant("emil", &[Role::Operator])
    };
    let emil = fleet.clients_as(&elsewhere).expect("a token");
    let request = ListAdjustmentsRequest {
        program: CLUB.to_owned(),
        page_size: 1,
        ..ListAdjustmentsRequest::default()
    };
    let listed = ask!(emil.adjustments(), list_adjustments, request).expect("listed");
    assert_eq!(
        (listed.adjustments.len(), &*listed.next_page_token),
        (0, "")
    );
    let refused = ask!(
        emil.adjustments(),
        approve_adjustment,
        approve("emil", &taken)
    );
    assert_eq!(
        reason(&refused.expect_err("another brand's")),
        "ADJUSTMENT_NOT_FOUND"
    );
    verify(&fleet).await.expect("the ledger verifies");
}
