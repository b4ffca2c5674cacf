//! Dates at the edge: points that reach a member who was away for long, points that would
//! be gone before they are there.

use fealty_auth::Role;
use fealty_cli::token::grant;
use fealty_cli::{
    apply::{How, apply},
    demo::{Fleet, PROGRAM},
};
use fealty_proto::points::v1::{
    AdjustRequest, ApproveAdjustmentRequest, Consistency, GiftRequest, ListBalancesRequest,
    ProposeAdjustmentRequest, Transaction, WalletOverview,
};
use sqlx::{Connection as _, PgConnection};

use crate::harness::{
    CLUB, POINTS, SHOP, START_S, accrual, accrue, ask, balance, club, club_of, purchase, set_time,
    until, verify,
};

const DAY: i64 = 86_400;
/// Midnights, in seconds.
const NEW_YEAR_1998: i64 = 883_612_800;
const NEW_YEAR_1999: i64 = 915_148_800;

fn program(expires: &str) -> String {
    let terms = "expires: { after: 12 months, round_to: end_of_month }";
    let file = PROGRAM.replace(terms, expires);
    assert_ne!(file, PROGRAM, "the example has other terms");
    file
}

async fn overview(fleet: &Fleet, member: &str) -> WalletOverview {
    let request = ListBalancesRequest {
        program: CLUB.to_owned(),
        member: member.to_owned(),
    };
    let read = ask!(fleet.clients().ledger(), list_balances, request);
    read.expect("they are read").wallets.remove(0)
}

async fn give(fleet: &Fleet, from: &str, to: &str, points: i64) {
    let request = GiftRequest {
        request_id: format!("gift-{from}-{to}"),
        program: CLUB.to_owned(),
        member: from.to_owned(),
        recipient: to.to_owned(),
        currency: POINTS.to_owned(),
        points,
        ..GiftRequest::default()
    };
    ask!(fleet.clients().ledger(), gift, request).expect("given");
}

/// Ben was away for a year. What Anna gives him lives as long as what one earns; what he
/// has had for some time does not live longer for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_gift_to_a_member_who_was_away_lives_a_full_term() {
    let fleet = club_of(&program("expires: { inactive_for: 6 months }"), &[]).await;
    let available = |member: &'static str| async {
        let read = balance(fleet.clients(), member, Consistency::Strong);
        read.await.0.available
    };
    accrue(fleet.clients(), accrual("ben-1", "ben", 10))
        .await
        .expect("given");
    set_time(&fleet, START_S + 365 * DAY).await;
    until("Ben's points are gone", || async {
        available("ben").await == 0
    })
    .await;
    accrue(fleet.clients(), accrual("anna-1", "anna", 800))
        .await
        .expect("given");
    give(&fleet, "anna", "ben", 500).await;
    // The sweeper has all the time it needs.
    set_time(&fleet, START_S + 365 * DAY + 60).await;
    accrue(fleet.clients(), accrual("carl-1", "carl", 10))
        .await
        .expect("given");
    set_time(&fleet, START_S + 540 * DAY).await;
    assert_eq!(available("ben").await, 500);

    // Carl has some that go in a few days; what he receives stays when they do.
    give(&fleet, "anna", "carl", 300).await;
    let carl = overview(&fleet, "carl").await;
    assert_eq!(
        (carl.expiring_with_inactivity, carl.never_expiring),
        (10, 0)
    );
    let received = carl.expiries.first().expect("a date of its own");
    assert_eq!(received.points, 300);
    set_time(&fleet, START_S + 560 * DAY).await;
    until("Carl's own points are gone", || async {
        available("carl").await == 300
    })
    .await;
    let until_s = received.expiry_time.expect("a date").seconds;
    set_time(&fleet, until_s - 1).await;
    assert_eq!(available("carl").await, 300);
    set_time(&fleet, until_s).await;
    assert_eq!(available("carl").await, 0);
    verify(&fleet).await.expect("the ledger holds");
}

/// Points that are there after two weeks and gone at the year's end: what is bought in the
/// last two weeks of December is gone at the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_shortly_before_the_years_end_is_recorded() {
    let file = program("activates: { after: 14 days }, expires: { on: 12-31 }");
    let fleet = club_of(&file, &[]).await;
    let compared = apply(fleet.clients(), &file, How::DryRun).await;
    let notes = compared.expect("compared").notes;
    assert_eq!(notes[0].path, "currencies.points.activates.after");
    for (number, before) in [(1, 15), (2, 14), (3, 1)] {
        set_time(&fleet, NEW_YEAR_1998 - before * DAY).await;
        let asked = purchase(number, "anna", 1_000);
        let recorded = ask!(fleet.clients().earning(), record_purchase, asked).expect("recorded");
        let lot = recorded.transaction.expect("a transaction").lots.remove(0);
        let expected = if before > 14 {
            NEW_YEAR_1998
        } else {
            NEW_YEAR_1999
        };
        assert_eq!(
            lot.expiry_time.expect("a date").seconds,
            expected,
            "{before}"
        );
    }
    verify(&fleet).await.expect("the ledger holds");
}

/// So is one by a member whose tier has points live shorter than they wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_tier_whose_points_live_shorter_than_they_wait_earns() {
    let file = program(
        "activates: { after: 14 days }, expires: { after: 12 months, by_tier: { member: 7 days } }",
    );
    let fleet = club_of(&file, &[]).await;
    let asked = purchase(1, "anna", 1_000);
    let recorded = ask!(fleet.clients().earning(), record_purchase, asked).expect("recorded");
    let lot = recorded.transaction.expect("a transaction").lots.remove(0);
    let second = |time: Option<prost_types::Timestamp>| time.expect("a date").seconds;
    assert_eq!(second(lot.activation_time), START_S + 14 * DAY);
    assert_eq!(second(lot.expiry_time), START_S + 21 * DAY);
    verify(&fleet).await.expect("the ledger holds");
}

/// Nobody has points to spend and owes some: what a reversal restores repays first.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_restored_repays_debt() {
    use fealty_proto::points::v1::{RedeemRequest, ReverseRequest};
    let debts = format!("{PROGRAM}\nrefunds: {{ policy: debt }}\n");
    let fleet = club().await;
    apply(fleet.clients(), &debts, How::Now)
        .await
        .expect("applied");
    let earned = accrue(fleet.clients(), accrual("anna-1", "anna", 100)).await;
    let earned = earned.expect("given").transaction.expect("a transaction");
    let redeem = RedeemRequest {
        request_id: "redeem-1".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: crate::harness::SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points: 100,
        ..RedeemRequest::default()
    };
    let spent = ask!(fleet.clients().ledger(), redeem, redeem).expect("redeemed");
    let spent = spent.transaction.expect("a transaction");
    for (number, transaction) in [(1, earned.id), (2, spent.id)] {
        let reverse = ReverseRequest {
            request_id: format!("reverse-{number}"),
            program: CLUB.to_owned(),
            member: "anna".to_owned(),
            transaction,
            ..ReverseRequest::default()
        };
        ask!(fleet.clients().ledger(), reverse, reverse).expect("reversed");
    }
    let read = balance(fleet.clients(), "anna", Consistency::Strong)
        .await
        .0;
    assert_eq!((read.available, read.debt), (0, 0));
    verify(&fleet).await.expect("the ledger holds");
}

/// Points that two persons give live as long as those that one gives: by the member's tier.
#[tokio::test(flavor = "multi_thread")]
async fn an_approved_adjustment_goes_by_the_members_tier() {
    let file = program("expires: { after: 12 months, by_tier: { gold: 24 months } }");
    let fleet = club_of(&file, &[]).await;
    let asked = purchase(1, "anna", 30_000);
    ask!(fleet.clients().earning(), record_purchase, asked).expect("recorded");
    until("points knows that she is gold", || async {
        let url = fleet.points_database_url();
        let mut reader = PgConnection::connect(url).await.expect("it answers");
        let gold = "SELECT count(*) FROM member_tiers WHERE tier = 'gold'";
        let gold = sqlx::query_scalar::<_, i64>(gold).fetch_one(&mut reader);
        gold.await.expect("it runs") == 1
    })
    .await;
    set_time(&fleet, START_S + 2 * DAY).await;
    let [ines, olga] = ["ines", "olga"].map(|name| {
        let caller = fleet.clients_as(&grant(name, &[Role::Operator]));
        caller.expect("a token")
    });
    let adjust = AdjustRequest {
        request_id: "alone".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points: 5,
        reason: "lost-parcel".to_owned(),
        ..AdjustRequest::default()
    };
    let alone = ask!(ines.ledger(), adjust, adjust).expect("given");
    let propose = ProposeAdjustmentRequest {
        request_id: "propose".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points: 5,
        reason: "lost-parcel".to_owned(),
        ..ProposeAdjustmentRequest::default()
    };
    let proposed = ask!(ines.adjustments(), propose_adjustment, propose).expect("proposed");
    let approve = ApproveAdjustmentRequest {
        request_id: "approve".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        adjustment: proposed.adjustment.expect("one").id,
    };
    let approved = ask!(olga.adjustments(), approve_adjustment, approve).expect("approved");
    let expires = |made: Option<Transaction>| {
        let lot = made.expect("a transaction").lots.remove(0);
        lot.expiry_time.expect("a date").seconds
    };
    let (alone, approved) = (expires(alone.transaction), expires(approved.transaction));
    assert!(alone > START_S + 700 * DAY);
    assert_eq!(approved, alone);
    verify(&fleet).await.expect("the ledger holds");
}
