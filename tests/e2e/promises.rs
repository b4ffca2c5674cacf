//! What the contracts promise beside the figures: ids that tell nothing, what is kept
//! with a change, holds that can be read, two persons, versions, and refusals that
//! machines can read whoever made them.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use fealty_auth::Role;
use fealty_cli::{
    apply::{How, apply, request_id},
    demo::{Fleet, PROGRAM},
    token::grant,
};
use fealty_proto::{
    points::v1::{
        ActivatePointsRequest, Activation, Adjustment, AdjustmentState, ApproveAdjustmentRequest,
        BatchAccrueRequest, CaptureRequest, ExtendHoldRequest, FeedStart, GetBalanceRequest,
        GetHoldRequest, HoldRequest, HoldState, ListAdjustmentsRequest, ListHoldsRequest,
        ListLotsRequest, OrderKey, PollTransactionsRequest, ProposeAdjustmentRequest,
        RejectAdjustmentRequest, Transaction, WatchTransactionsRequest,
        activate_points_request::Of, activation::When, feed_start::At,
    },
    program::v1::{ApplyProgramRequest, GetProgramOutlineRequest, ListVersionsRequest},
    tiers::v1::BatchGetStatusRequest,
};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{
    callers::Server,
    harness::{
        CLUB, POINTS, SHOP, START_S, accrual, accrue, ask, available, balance, club, club_with,
        purchase, reason, set_time, verify,
    },
};

const DAY_S: i64 = 86_400;

#[expect(clippy::unnecessary_wraps, reason = "as the messages have it")]
fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

/// All transactions of the log.
async fn log(fleet: &Fleet, len: usize) -> Vec<Transaction> {
    let request = WatchTransactionsRequest {
        include_canonical_bytes: true,
        ..WatchTransactionsRequest::default()
    };
    let mut client = fleet.clients().ledger();
    let mut stream = client
        .watch_transactions(request)
        .await
        .expect("the feed stands")
        .into_inner();
    let mut transactions = Vec::new();
    while transactions.len() < len {
        let more = stream.message().await.expect("the feed holds");
        transactions.extend(more.expect("it has no end").transactions);
    }
    transactions
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "step by step")]
async fn a_change_keeps_what_it_came_with_and_when_it_was_written() {
    let fleet = club().await;
    let clients = fleet.clients();
    let mut moved = accrual("moved", "anna", 40);
    moved.earned_time = at(START_S - 100 * DAY_S);
    moved.metadata = HashMap::from([
        ("till".to_owned(), "7".to_owned()),
        ("campaign".to_owned(), "Herbst & Winter".to_owned()),
    ]);
    let done = accrue(clients, moved.clone()).await.expect("given");
    let made = done.transaction.expect("one");
    assert_eq!(made.metadata, moved.metadata);
    assert_eq!(made.lots[0].earned_time, moved.earned_time);
    assert_eq!(made.effective_time, made.written_time, "at once");
    assert_eq!(made.engine, 1);
    let caller = made.caller.expect("who asked");
    assert!(
        caller.roles.contains(&(Role::Checkout.to_wire().into())),
        "{caller:?}"
    );
    // The same request with other metadata is another one.
    let mut other = moved.clone();
    other.metadata.insert("till".to_owned(), "8".to_owned());
    let refused = accrue(clients, other).await.expect_err("another");
    assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
    let info = refused.get_details_error_info().expect("which");
    assert_eq!(info.metadata["field"], "metadata");
    assert!(
        accrue(clients, moved.clone())
            .await
            .expect("again")
            .replayed
    );
    for (key, value) in [("Till", "7"), ("till", ""), ("t l", "x"), ("9", "x")] {
        let mut bad = accrual("bad", "anna", 1);
        bad.metadata = HashMap::from([(key.to_owned(), value.to_owned())]);
        let refused = accrue(clients, bad).await.expect_err("no metadata");
        let named = refused.get_details_bad_request().expect("which");
        assert_eq!(named.field_violations[0].field, format!("metadata[{key}]"));
    }
    let mut many = accrual("many", "anna", 1);
    many.metadata = (0..17)
        .map(|n| (format!("key-{n}"), "x".to_owned()))
        .collect();
    let refused = accrue(clients, many).await.expect_err("too many");
    assert_eq!(reason(&refused), "INVALID_FIELD");
    let mut later = accrual("later", "anna", 1);
    later.earned_time = at(START_S + 1);
    let refused = accrue(clients, later).await.expect_err("not yet");
    let named = refused.get_details_bad_request().expect("which");
    assert_eq!(named.field_violations[0].field, "earned_time");
    // What would tell who somebody is does not become a key.
    for personal in ["anna@example.com", "+49 30 1234567", "4111 1111 1111 1111"] {
        let refused = accrue(clients, accrual(personal, "anna", 1)).await;
        assert_eq!(
            reason(&refused.expect_err("personal")),
            "INVALID_FIELD",
            "{personal}"
        );
        let mut bought = purchase(7, "anna", 100);
        bought.order_number = personal.to_owned();
        let refused = clients.earning().record_purchase(bought).await;
        assert_eq!(
            reason(&refused.expect_err("personal")),
            "INVALID_FIELD",
            "{personal}"
        );
    }
    set_time(&fleet, START_S + 60).await;
    accrue(clients, accrual("minute", "anna", 1))
        .await
        .expect("given");
    let known = log(&fleet, 2).await;
    assert!(
        known[0].written_time.expect("one").seconds < known[1].written_time.expect("one").seconds
    );
    verify(&fleet).await.expect("the ledger verifies");
}

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

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "step by step")]
async fn points_become_available_by_the_order_and_the_event() {
    let fleet = club().await;
    let waits = PROGRAM.replacen(
        "{ decimals: 0,",
        "{ activates: { on: shipped }, decimals: 0,",
        1,
    );
    let (_, client) = fleet.clients().programs()[0].clone();
    let request = ApplyProgramRequest {
        request_id: request_id(),
        source: waits,
        ..ApplyProgramRequest::default()
    };
    ask!(client, apply_program, request).expect("applied");
    let clients = fleet.clients();
    let bought = ask!(
        clients.earning(),
        record_purchase,
        purchase(1, "anna", 5_000)
    );
    let bought = bought.expect("recorded").transaction.expect("one");
    assert_eq!(bought.lots[0].activation_event, "shipped");
    let wallet = async |member: &str| {
        let (read, _) = balance(
            clients,
            member,
            fealty_proto::points::v1::Consistency::Strong,
        )
        .await;
        (read.pending, read.available)
    };
    let (pending, none) = wallet("anna").await;
    assert!(pending > 0 && none == 0);
    let mut gift = accrual("gift", "anna", 7);
    gift.activation = Some(Activation {
        when: Some(When::Event("delivered".to_owned())),
    });
    accrue(clients, gift).await.expect("given");
    let activate = |member: &str, event: &str, order: &str| ActivatePointsRequest {
        request_id: format!("{event}-{order}"),
        program: CLUB.to_owned(),
        member: member.to_owned(),
        event: event.to_owned(),
        of: Some(Of::Order(OrderKey {
            brand: SHOP.to_owned(),
            order_number: order.to_owned(),
        })),
        ..ActivatePointsRequest::default()
    };
    for (member, event, order, expected) in [
        ("anna", "delivered", "order-1", "NOTHING_PENDING"),
        ("anna", "shipped", "order-9", "TRANSACTION_NOT_FOUND"),
        ("ben", "shipped", "order-1", "TRANSACTION_NOT_FOUND"),
        ("anna", "Shipped!", "order-1", "INVALID_FIELD"),
    ] {
        let refused = ask!(
            clients.ledger(),
            activate_points,
            activate(member, event, order)
        );
        assert_eq!(
            reason(&refused.expect_err("refused")),
            expected,
            "{event} {order}"
        );
    }
    let shipped = activate("anna", "shipped", "order-1");
    let done = ask!(clients.ledger(), activate_points, shipped.clone()).expect("activated");
    assert_eq!(done.transaction.expect("one").activated, bought.id);
    assert_eq!(wallet("anna").await, (7, pending));
    assert!(
        ask!(clients.ledger(), activate_points, shipped)
            .expect("again")
            .replayed
    );
    verify(&fleet).await.expect("the ledger verifies");
}

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
    verify(&fleet).await.expect("the ledger verifies");
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "step by step")]
async fn programmes_are_applied_once_over_the_version_that_was_meant() {
    let fleet = club().await;
    let ines = fleet
        .clients_as(&grant("ines", &[Role::Operator]))
        .expect("a token");
    let double = PROGRAM.replacen("points: 10,", "points: 20,", 1);
    for (name, mut client) in ines.programs() {
        let request = ApplyProgramRequest {
            request_id: "double".to_owned(),
            source: double.clone(),
            expected_version: Some(1),
            note: "double points".to_owned(),
            ..ApplyProgramRequest::default()
        };
        let dry = ApplyProgramRequest {
            dry_run: true,
            ..request.clone()
        };
        let compared = client.apply_program(dry).await.expect(name).into_inner();
        assert_eq!(compared.version.expect("one").version, 2);
        assert!(!compared.changes.is_empty());
        let applied = client
            .apply_program(request.clone())
            .await
            .expect(name)
            .into_inner();
        assert!(!applied.replayed);
        let again = client
            .apply_program(request.clone())
            .await
            .expect(name)
            .into_inner();
        assert!(again.replayed, "{name}");
        assert_eq!(again.version, applied.version);
        let other = ApplyProgramRequest {
            source: PROGRAM.to_owned(),
            ..request
        };
        let refused = client.apply_program(other).await.expect_err("another file");
        assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
        let list = ListVersionsRequest {
            program: CLUB.to_owned(),
            page_size: 1,
            ..Default::default()
        };
        let page = client
            .list_versions(list.clone())
            .await
            .expect("listed")
            .into_inner();
        let newest = &page.versions[0];
        let told = (newest.version, &*newest.actor, &*newest.note);
        assert_eq!(told, (2, "ines", "double points"));
        let next = ListVersionsRequest {
            page_token: page.next_page_token,
            ..list
        };
        let page = client
            .list_versions(next)
            .await
            .expect("listed")
            .into_inner();
        assert_eq!(page.versions[0].version, 1);
        assert!(page.next_page_token.is_empty());
    }
    let again = apply(&ines, &double, How::DryRun)
        .await
        .expect("the same everywhere");
    assert!(again.changes.is_empty());
    // An app reads no YAML.
    let anna = fealty_auth::Grant {
        programs: vec![CLUB.to_owned()],
        member: Some("anna".to_owned()),
        ..grant("anna", &[Role::Member])
    };
    let anna = fleet.clients_as(&anna).expect("a token");
    let (_, client) = anna.programs()[1].clone();
    let request = GetProgramOutlineRequest {
        program: CLUB.to_owned(),
    };
    let outline = ask!(client, get_program_outline, request)
        .expect("told")
        .outline;
    let outline = outline.expect("one");
    assert_eq!(
        (&*outline.money_currency_code, outline.money_decimals),
        ("USD", 2)
    );
    assert!(
        outline
            .currencies
            .iter()
            .any(|currency| currency.id == POINTS)
    );
    assert!(outline.tiers.windows(2).all(|pair| {
        pair[0].rank < pair[1].rank && pair[0].threshold_minor_units < pair[1].threshold_minor_units
    }));
    let members: Vec<String> = ["anna", "ben"].map(str::to_owned).into();
    let request = BatchGetStatusRequest {
        program: CLUB.to_owned(),
        members,
    };
    let statuses = ask!(fleet.clients().tier(), batch_get_status, request)
        .expect("told")
        .statuses;
    assert_eq!(
        statuses.iter().map(|s| &*s.member).collect::<Vec<_>>(),
        ["anna", "ben"]
    );
    let next = statuses[0]
        .next_tier
        .as_ref()
        .expect("there is a higher one");
    let needed = &next.requirements[0];
    assert_eq!(
        (&*needed.metric, needed.now, &*needed.currency_code),
        ("money_spent", 0, "USD")
    );
    assert!(needed.needed > 0);
}

/// The code, the reason and the id of a refusal.
fn told(refused: &tonic::Status) -> (Code, String) {
    let info = refused
        .get_details_error_info()
        .unwrap_or_else(|| panic!("{refused:?}"));
    assert_eq!(info.domain, "fealty.dev");
    let id = refused
        .get_details_request_info()
        .unwrap_or_else(|| panic!("{refused:?}"));
    assert_eq!(id.request_id.len(), 32, "{refused:?}");
    (refused.code(), info.reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_one_that_machines_can_read() {
    let fleet = club().await;
    let token = fleet.token(&[Role::Checkout, Role::Service]);
    let server = Server::at(&fleet.endpoints().points);
    let call = async |path: &str, message: &'static [u8]| {
        let answer = server
            .call(path, Some(&token), Bytes::from_static(message))
            .await;
        told(&answer.expect_err("it is refused"))
    };
    let unknown = call("/fealty.points.v1.LedgerService/Steal", b"").await;
    assert_eq!(
        unknown,
        (Code::Unimplemented, "METHOD_NOT_FOUND".to_owned())
    );
    let unknown = call("/fealty.points.v1.NoService/Steal", b"").await;
    assert_eq!(
        unknown,
        (Code::Unimplemented, "METHOD_NOT_FOUND".to_owned())
    );
    let malformed = call(
        "/fealty.points.v1.LedgerService/GetBalance",
        b"\xff\xff\xff",
    )
    .await;
    assert_eq!(
        malformed,
        (Code::InvalidArgument, "MALFORMED_REQUEST".to_owned())
    );
    // In a stream, an accrual that cannot be read ends it, and says why.
    let mut ledger = fleet.clients().ledger();
    let one = BatchAccrueRequest {
        sequence: 1,
        accrual: None,
    };
    let mut answers = ledger
        .batch_accrue(tokio_stream::iter([one]))
        .await
        .expect("the stream stands")
        .into_inner();
    let answer = answers
        .message()
        .await
        .expect("it holds")
        .expect("an answer");
    let Some(fealty_proto::points::v1::batch_accrue_response::Outcome::Refusal(whole)) =
        answer.outcome
    else {
        panic!("{answer:?}");
    };
    assert_eq!(whole.code, i32::from(Code::InvalidArgument));
    assert!(
        whole
            .details
            .iter()
            .any(|detail| detail.type_url.ends_with("google.rpc.ErrorInfo"))
    );
    assert!(
        whole
            .details
            .iter()
            .any(|detail| detail.type_url.ends_with("google.rpc.BadRequest"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_takes_too_long_is_told_so() {
    let short = ("FEALTY_SERVER_REQUEST_TIMEOUT_MS", "700".to_owned());
    let fleet = club_with(&[short]).await;
    let request = PollTransactionsRequest {
        start: Some(FeedStart {
            at: Some(At::Now(true)),
        }),
        wait: Some(prost_types::Duration {
            seconds: 20,
            nanos: 0,
        }),
        ..PollTransactionsRequest::default()
    };
    let refused = fleet.clients().ledger().poll_transactions(request).await;
    let expected = (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".to_owned());
    assert_eq!(told(&refused.expect_err("late")), expected);
}
