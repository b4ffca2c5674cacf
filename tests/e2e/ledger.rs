//! The commands beyond purchases and redemptions: adjustments, transfers,
//! lots moved by hand, points that wait, points that go with inactivity, and
//! accruals over a stream.

use std::collections::BTreeMap;

use fealty_cli::demo::Fleet;
use fealty_proto::{
    points::v1::{
        ActivatePointsRequest, Activation, AdjustRequest, BatchAccrueRequest, Consistency,
        ExtendLotRequest, GiftRequest, ReinstateLotRequest, ReverseRequest, TransactionKind,
        activate_points_request::Of, activation::When, batch_accrue_response::Outcome,
    },
    program::v1::ApplyProgramRequest,
};
use fealty_types::shard_of;
use prost::Message as _;
use tokio_stream::iter;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::{
    CLUB, POINTS, SHOP, START_S, accrual, accrue, ask, available, balance, books, club, purchase,
    reason, send, set_time, verify,
};

const DAY_S: i64 = 86_400;

#[expect(clippy::unnecessary_wraps, reason = "as the messages have it")]
fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

/// Applies a programme to the points service alone.
async fn terms(fleet: &Fleet, currency: &str, more: &str) {
    let source = format!(
        "program: record-club
time_zone: UTC
money: {{ currency: USD, decimals: 2 }}
currencies:
  points: {currency}
brands:
  record-shop: {{ issues: [points], accepts: [points] }}
earning:
  - rule: base
    on: purchase
    earn: {{ currency: points, rate: {{ points: 1, per: \"1.00\" }}, round: floor }}
{more}
"
    );
    let request = ApplyProgramRequest {
        source,
        request_id: fealty_cli::apply::request_id(),
        ..ApplyProgramRequest::default()
    };
    let (_, client) = fleet.clients().programs()[0].clone();
    ask!(client, apply_program, request).expect("applied");
}

fn adjustment(request_id: &str, points: i64) -> AdjustRequest {
    AdjustRequest {
        request_id: request_id.to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points,
        reason: "late-delivery".to_owned(),
        actor: "ines".to_owned(),
        ..AdjustRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn adjustments_have_a_reason_an_actor_and_above_a_limit_a_second_person() {
    let fleet = club().await;
    terms(&fleet, "{}", "adjustments: { approval_above: 1000 }").await;
    let ledger = fleet.clients().ledger();
    let given = ask!(ledger.clone(), adjust, adjustment("one", 1_000)).expect("within the limit");
    let transaction = given.transaction.expect("one");
    assert_eq!(transaction.kind(), TransactionKind::Adjust);
    let action = transaction.operator_action.expect("who and why");
    assert_eq!((&*action.reason, &*action.actor), ("late-delivery", "ines"));
    let before = books(&fleet).await;
    let refused = ask!(ledger.clone(), adjust, adjustment("two", 1_001)).expect_err("above it");
    assert_eq!(reason(&refused), "APPROVAL_REQUIRED");
    assert_eq!(books(&fleet).await, before, "nothing has changed");
    let taken = ask!(ledger.clone(), adjust, adjustment("three", -500)).expect("taken");
    assert_eq!(available(fleet.clients(), "anna").await, 500);
    // What was taken by hand can be reversed as well.
    let request = ReverseRequest {
        request_id: "back".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        transaction: taken.transaction.expect("one").id,
        ..ReverseRequest::default()
    };
    ask!(ledger.clone(), reverse, request).expect("reversed");
    let refused = ask!(ledger, adjust, adjustment("four", -9_000)).expect_err("too many");
    assert_eq!(reason(&refused), "APPROVAL_REQUIRED");
    assert_eq!(available(fleet.clients(), "anna").await, 1_000);
    verify(&fleet).await.expect("the ledger verifies");
}

/// Two members of one shard, and two of different ones.
fn pairs() -> [(String, String); 2] {
    let program = CLUB.parse().expect("an id");
    let shard = |member: &str| shard_of(&program, &member.parse().expect("an id"), 8).get();
    let names: Vec<String> = (0..100).map(|number| format!("member-{number}")).collect();
    let other = |same: bool| {
        let found = names[1..]
            .iter()
            .find(|name| (shard(name) == shard(&names[0])) == same);
        found.expect("among a hundred").clone()
    };
    [
        (names[0].clone(), other(true)),
        (names[0].clone(), other(false)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn points_given_to_another_member_keep_issuer_and_expiry() {
    let fleet = club().await;
    let clients = fleet.clients();
    for (number, (giver, taker)) in pairs().into_iter().enumerate() {
        let gift = format!("gift-{number}");
        let accrued = accrue(clients, accrual(&gift, &giver, 300)).await;
        let lot = accrued.expect("points").transaction.expect("one").lots[0].clone();
        let request = GiftRequest {
            request_id: format!("transfer-{number}"),
            program: CLUB.to_owned(),
            member: giver.clone(),
            recipient: taker.clone(),
            currency: POINTS.to_owned(),
            points: 120,
            reference: "happy birthday".to_owned(),
            ..GiftRequest::default()
        };
        let before = available(clients, &giver).await;
        let first = ask!(clients.ledger(), gift, request.clone()).expect("given");
        let again = ask!(clients.ledger(), gift, request.clone()).expect("answered again");
        assert!(!first.replayed && again.replayed);
        assert_eq!(again.transaction, first.transaction);
        assert_eq!(again.recipient_transaction, first.recipient_transaction);
        let other = GiftRequest {
            points: 121,
            ..request.clone()
        };
        let refused = ask!(clients.ledger(), gift, other).expect_err("another request");
        assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
        assert_eq!(available(clients, &giver).await, before - 120);
        assert_eq!(available(clients, &taker).await, 120);
        let get = fealty_proto::points::v1::GetTransactionRequest {
            program: CLUB.to_owned(),
            by: Some(
                fealty_proto::points::v1::get_transaction_request::By::Transaction(
                    first.recipient_transaction,
                ),
            ),
        };
        let received = ask!(clients.ledger(), get_transaction, get).expect("it is there");
        let received = received.transaction.expect("one");
        assert_eq!(received.kind(), TransactionKind::GiftReceived);
        assert_eq!(received.member, taker);
        assert_eq!(received.counterpart.expect("the giver").member, giver);
        assert_eq!(received.lots[0].brand, lot.brand);
        assert_eq!(received.lots[0].expiry_time, lot.expiry_time);
        assert_eq!(received.lots[0].earned_time, lot.earned_time);
        let too_many = GiftRequest {
            request_id: format!("too-many-{number}"),
            points: 10_000,
            ..request
        };
        let refused = ask!(clients.ledger(), gift, too_many).expect_err("not so many");
        assert_eq!(reason(&refused), "INSUFFICIENT_POINTS");
    }
    verify(&fleet).await.expect("the ledger verifies");
}

/// Members who all give to each other at once: nobody waits for ever, and no
/// point is lost or made.
#[tokio::test(flavor = "multi_thread")]
async fn transfers_in_a_circle_keep_the_sum() {
    let fleet = club().await;
    let clients = fleet.clients();
    let name = |number: usize| format!("member-{}", number % 12);
    for number in 0..12 {
        let gift = accrual("gift", &name(number), 100);
        accrue(clients, gift).await.expect("points");
    }
    let transfers = (0..240).map(|number| {
        let request = GiftRequest {
            request_id: format!("transfer-{number}"),
            program: CLUB.to_owned(),
            member: name(number),
            recipient: name(number * 7 + 1),
            currency: POINTS.to_owned(),
            points: 1 + i64::try_from(number % 5).expect("small"),
            reference: String::new(),
            ..GiftRequest::default()
        };
        let (accrual, ledger) = (
            accrual(&format!("more-{number}"), &name(number), 1),
            clients.ledger(),
        );
        async move {
            let given = if request.member == request.recipient {
                Ok(())
            } else {
                ask!(ledger, gift, request).map(drop)
            };
            accrue(clients, accrual).await.expect("points");
            given
        }
    });
    for given in futures::future::join_all(transfers).await {
        if let Err(refused) = given {
            assert_eq!(reason(&refused), "INSUFFICIENT_POINTS");
        }
    }
    let mut sum = 0;
    for number in 0..12 {
        sum += available(clients, &name(number)).await;
    }
    assert_eq!(sum, 12 * 100 + 240);
    verify(&fleet).await.expect("the ledger verifies");
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_points_wait_for_their_time_or_for_an_event() {
    let fleet = club().await;
    terms(&fleet, "{ activates: { after: 14 days } }", "").await;
    let clients = fleet.clients();
    let wallet = async |member: &str| {
        let (read, _) = balance(clients, member, Consistency::Strong).await;
        (read.pending, read.available)
    };
    accrue(clients, accrual("by-programme", "anna", 10))
        .await
        .expect("points");
    let mut waits = accrual("on-event", "anna", 20);
    waits.activation = Some(Activation {
        when: Some(When::Event("shipped".to_owned())),
    });
    let waiting = accrue(clients, waits).await.expect("points");
    let waiting = waiting.transaction.expect("one").id;
    let mut at_once = accrual("at-once", "anna", 40);
    at_once.activation = Some(Activation {
        when: Some(When::Time(at(START_S).expect("a time"))),
    });
    accrue(clients, at_once).await.expect("points");
    assert_eq!(wallet("anna").await, (30, 40));
    set_time(&fleet, START_S + 14 * DAY_S).await;
    assert_eq!(wallet("anna").await, (20, 50));
    let activate = ActivatePointsRequest {
        request_id: "shipped".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        of: Some(Of::Transaction(waiting.clone())),
        event: "shipped".to_owned(),
        reference: "parcel 7".to_owned(),
        ..ActivatePointsRequest::default()
    };
    let another = ActivatePointsRequest {
        request_id: "delivered".to_owned(),
        event: "delivered".to_owned(),
        ..activate.clone()
    };
    let refused = ask!(clients.ledger(), activate_points, another).expect_err("it did not");
    assert_eq!(reason(&refused), "NOTHING_PENDING");
    let activated = ask!(clients.ledger(), activate_points, activate.clone()).expect("activated");
    assert_eq!(activated.transaction.expect("one").activated, waiting);
    assert_eq!(wallet("anna").await, (0, 70));
    assert!(
        ask!(clients.ledger(), activate_points, activate.clone())
            .expect("again")
            .replayed
    );
    let once_more = ActivatePointsRequest {
        request_id: "shipped-again".to_owned(),
        ..activate
    };
    let refused = ask!(clients.ledger(), activate_points, once_more).expect_err("nothing waits");
    assert_eq!(reason(&refused), "NOTHING_PENDING");
    verify(&fleet).await.expect("the ledger verifies");
}

#[tokio::test(flavor = "multi_thread")]
async fn points_that_go_with_inactivity_live_from_purchase_to_purchase() {
    let fleet = club().await;
    terms(&fleet, "{ expires: { inactive_for: 12 months } }", "").await;
    let clients = fleet.clients();
    let buy = async |number: usize| {
        ask!(
            clients.earning(),
            record_purchase,
            purchase(number, "anna", 5_000)
        )
        .expect("bought");
    };
    buy(1).await;
    set_time(&fleet, START_S + 300 * DAY_S).await;
    buy(2).await;
    // 365 days after the first, and 65 after the second.
    set_time(&fleet, START_S + 365 * DAY_S).await;
    assert_eq!(available(clients, "anna").await, 100);
    let (read, _) = balance(clients, "anna", Consistency::Strong).await;
    assert_eq!(read.inactive_time, at(START_S + 665 * DAY_S));
    // A redemption does not count, by this programme.
    let redeem = fealty_proto::points::v1::RedeemRequest {
        request_id: "ten".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points: 10,
        reference: String::new(),
        ..fealty_proto::points::v1::RedeemRequest::default()
    };
    ask!(clients.ledger(), redeem, redeem).expect("redeemed");
    set_time(&fleet, START_S + 665 * DAY_S).await;
    assert_eq!(available(clients, "anna").await, 0, "all of them at once");
    buy(3).await;
    assert_eq!(available(clients, "anna").await, 50);
    verify(&fleet).await.expect("the ledger verifies");
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_extend_lots_and_bring_expired_ones_back() {
    let fleet = club().await;
    terms(&fleet, "{ expires: { after: 30 days } }", "").await;
    let clients = fleet.clients();
    let accrued = accrue(clients, accrual("gift", "anna", 100))
        .await
        .expect("points");
    let lot = accrued.transaction.expect("one").lots[0].id.clone();
    let extend = |request_id: &str, day: i64| ExtendLotRequest {
        request_id: request_id.to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        lot: lot.clone(),
        expiry_time: at(START_S + day * DAY_S),
        reason: "illness".to_owned(),
        actor: "ines".to_owned(),
        ..ExtendLotRequest::default()
    };
    let refused = ask!(clients.ledger(), extend_lot, extend("earlier", 20)).expect_err("earlier");
    assert_eq!(reason(&refused), "EXPIRY_NOT_LATER");
    let extended = ask!(clients.ledger(), extend_lot, extend("later", 60)).expect("extended");
    let transaction = extended.transaction.expect("one");
    assert_eq!(
        transaction.expiry_changes[0].expiry_time,
        at(START_S + 60 * DAY_S)
    );
    set_time(&fleet, START_S + 59 * DAY_S).await;
    assert_eq!(available(clients, "anna").await, 100);
    set_time(&fleet, START_S + 60 * DAY_S).await;
    assert_eq!(available(clients, "anna").await, 0);
    let refused = ask!(clients.ledger(), extend_lot, extend("late", 90)).expect_err("it is gone");
    assert_eq!(reason(&refused), "LOT_CLOSED");
    let reinstate = |request_id: &str, points: i64| ReinstateLotRequest {
        request_id: request_id.to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        lot: lot.clone(),
        points: (points > 0).then_some(points),
        expiry_time: at(START_S + 70 * DAY_S),
        reason: "complaint".to_owned(),
        actor: "ines".to_owned(),
        ..ReinstateLotRequest::default()
    };
    let refused = ask!(clients.ledger(), reinstate_lot, reinstate("all", 101)).expect_err("more");
    assert_eq!(reason(&refused), "LOT_NOT_EXPIRED");
    ask!(clients.ledger(), reinstate_lot, reinstate("some", 60)).expect("back");
    assert_eq!(available(clients, "anna").await, 60);
    ask!(clients.ledger(), reinstate_lot, reinstate("rest", 0)).expect("back");
    assert_eq!(available(clients, "anna").await, 100);
    set_time(&fleet, START_S + 70 * DAY_S).await;
    assert_eq!(available(clients, "anna").await, 0);
    let of_berta = ExtendLotRequest {
        member: "berta".to_owned(),
        ..extend("hers", 90)
    };
    let refused = ask!(clients.ledger(), extend_lot, of_berta).expect_err("not hers");
    assert_eq!(reason(&refused), "LOT_NOT_FOUND");
    verify(&fleet).await.expect("the ledger verifies");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_accruals_has_one_answer_each() {
    const REQUESTS: i64 = 5_000;
    let fleet = club().await;
    let requests = (0..REQUESTS).map(|sequence| {
        // Every tenth is sent twice, every hundredth is refused.
        let number = if sequence % 10 == 9 {
            sequence - 1
        } else {
            sequence
        };
        let mut accrual = accrual(
            &format!("stream-{number}"),
            &format!("member-{}", number % 50),
            2,
        );
        if sequence % 100 == 50 {
            accrual.points = 0;
        }
        BatchAccrueRequest {
            sequence,
            accrual: Some(accrual),
        }
    });
    let mut ledger = fleet.clients().ledger();
    let answers = ledger
        .batch_accrue(iter(requests.collect::<Vec<_>>()))
        .await;
    let mut answers = answers.expect("the stream stands").into_inner();
    let mut outcomes = BTreeMap::new();
    let (mut accrued, mut replayed, mut refused) = (0, 0, 0);
    while let Some(answer) = answers.message().await.expect("the stream holds") {
        match answer.outcome.clone().expect("an outcome") {
            Outcome::Accrued(done) if done.replayed => replayed += 1,
            Outcome::Accrued(_) => accrued += 1,
            Outcome::Refusal(refusal) => {
                let whole = Status::with_details(
                    Code::from_i32(refusal.code),
                    refusal.message.clone(),
                    refusal.encode_to_vec().into(),
                );
                assert_eq!(reason(&whole), "INVALID_FIELD", "{refusal:?}");
                let violations = whole.get_details_bad_request().expect("which field");
                assert_eq!(violations.field_violations[0].field, "points");
                refused += 1;
            }
        }
        assert!(
            outcomes.insert(answer.sequence, answer).is_none(),
            "one answer each"
        );
    }
    assert_eq!(outcomes.len(), 5_000);
    assert_eq!((accrued, replayed, refused), (4_450, 500, 50));
    let mut sum = 0;
    for number in 0..50 {
        sum += available(fleet.clients(), &format!("member-{number}")).await;
    }
    assert_eq!(sum, 2 * 4_450);
    assert_eq!(verify(&fleet).await, Ok(4_450));
    // The same stream again changes nothing.
    let again = accrual("stream-0", "member-0", 2);
    assert!(
        send(|| {
            let (mut client, request) = (fleet.clients().ledger(), again.clone());
            async move { client.accrue(request).await }
        })
        .await
        .expect("answered")
        .replayed
    );
}
