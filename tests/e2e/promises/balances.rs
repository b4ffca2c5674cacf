//! All of a member's wallets in one call.

use fealty_cli::apply::{How, apply, request_id};
use fealty_proto::points::v1::{
    Activation, HoldRequest, ListBalancesRequest, RedeemRequest, ReverseRequest, WalletOverview,
    activation::When,
};

use super::at;
use crate::harness::{CLUB, POINTS, SHOP, START_S, accrual, accrue, ask, club, set_time, verify};

const DAY_S: i64 = 86_400;

/// A programme with a currency of each way to expire.
pub(super) const PROGRAM: &str = "program: record-club
time_zone: UTC
money: { currency: USD, decimals: 2 }
currencies:
  points: { expires: { after: 30 days } }
  stars: { expires: { inactive_for: 10 days } }
  credits: {}
brands:
  record-shop: { issues: [points, stars, credits], accepts: [points, stars, credits] }
earning:
  - rule: base
    on: purchase
    earn: { currency: points, rate: { points: 1, per: \"1.00\" }, round: floor }
";

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "step by step")]
async fn one_call_tells_all_wallets_with_their_deadlines_and_what_was_since_ever() {
    let fleet = club().await;
    let clients = fleet.clients();
    let read = async |member: &str| -> Vec<WalletOverview> {
        let request = ListBalancesRequest {
            program: CLUB.to_owned(),
            member: member.to_owned(),
        };
        ask!(clients.ledger(), list_balances, request)
            .expect("read")
            .wallets
    };
    // Applied to points alone: the rewards of the club cost points that are there still.
    let mut programs = clients.programs()[0].1.clone();
    let applied = fealty_proto::program::v1::ApplyProgramRequest {
        source: PROGRAM.to_owned(),
        request_id: request_id(),
        ..Default::default()
    };
    programs.apply_program(applied).await.expect("applied");
    let nobody = read("nobody").await;
    let currencies: Vec<_> = nobody
        .iter()
        .map(|wallet| wallet.balance.as_ref().expect("one").currency.clone())
        .collect();
    assert_eq!(
        currencies,
        ["credits", "points", "stars"],
        "zeros, not nothing"
    );
    let give = async |number: i64, currency: &str, points: i64, when: Option<When>| {
        let mut request = accrual(&format!("give-{number}"), "anna", points);
        request.currency = currency.to_owned();
        request.activation = when.map(|when| Activation { when: Some(when) });
        let given = accrue(clients, request).await.expect("given");
        given.transaction.expect("one").id
    };
    let first = give(1, POINTS, 100, None).await;
    set_time(&fleet, START_S + DAY_S).await;
    give(2, POINTS, 40, None).await;
    give(3, POINTS, 7, Some(When::Event("shipped".to_owned()))).await;
    let later = prost_types::Timestamp {
        seconds: START_S + 3 * DAY_S,
        nanos: 0,
    };
    give(4, POINTS, 5, Some(When::Time(later))).await;
    give(5, "stars", 9, None).await;
    give(6, "credits", 3, None).await;
    let hold = HoldRequest {
        request_id: "hold".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points: 30,
        ..HoldRequest::default()
    };
    ask!(clients.ledger(), hold, hold).expect("held");
    let redeem = RedeemRequest {
        request_id: "redeem".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points: 20,
        ..RedeemRequest::default()
    };
    let spent = ask!(clients.ledger(), redeem, redeem).expect("redeemed");
    let reverse = |request_id: &str, transaction: &str, points: i64| ReverseRequest {
        request_id: request_id.to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        transaction: transaction.to_owned(),
        points: Some(points),
        ..ReverseRequest::default()
    };
    ask!(clients.ledger(), reverse, reverse("back-1", &first, 10)).expect("taken back");
    let spent = spent.transaction.expect("one").id;
    ask!(clients.ledger(), reverse, reverse("back-2", &spent, 5)).expect("restored");
    let wallets = read("anna").await;
    let [credits, points, stars] = &wallets[..] else {
        panic!("three currencies: {wallets:?}");
    };
    let balance = points.balance.as_ref().expect("one");
    // 140 given; 30 held, 20 spent, 5 of them back, 10 taken back.
    assert_eq!(
        (balance.available, balance.held, balance.pending),
        (85, 30, 12)
    );
    assert_eq!(
        (points.lifetime_earned, points.lifetime_redeemed),
        (142, 15)
    );
    let expiries: Vec<_> = points
        .expiries
        .iter()
        .map(|expiry| (expiry.points, expiry.expiry_time))
        .collect();
    let first_day = at(START_S + 30 * DAY_S);
    assert_eq!(expiries, [(45, first_day), (40, at(START_S + 31 * DAY_S))]);
    let pending: Vec<_> = points
        .pending
        .iter()
        .map(|row| (row.points, row.activation_time, &*row.activation_event))
        .collect();
    assert_eq!(
        pending,
        [(5, at(START_S + 3 * DAY_S), ""), (7, None, "shipped")]
    );
    assert!(points.transaction.starts_with("txn_"));
    assert_eq!(
        (stars.expiring_with_inactivity, stars.expiries.len()),
        (9, 0)
    );
    let inactive = stars.balance.as_ref().expect("one").inactive_time;
    assert_eq!(inactive, at(START_S + 11 * DAY_S));
    assert_eq!((credits.never_expiring, credits.lifetime_earned), (3, 3));
    // What is due is counted as it stands, whether or not it is written yet.
    set_time(&fleet, START_S + 30 * DAY_S + DAY_S / 2).await;
    let wallets = read("anna").await;
    let left: Vec<i64> = wallets[1]
        .expiries
        .iter()
        .map(|expiry| expiry.points)
        .collect();
    assert_eq!(
        left.iter().sum::<i64>(),
        wallets[1].balance.as_ref().expect("one").available
    );
    assert_eq!(wallets[2].expiring_with_inactivity, 0, "the stars are gone");
    verify(&fleet).await.expect("the ledger verifies");
    apply(clients, fealty_cli::demo::PROGRAM, How::Now)
        .await
        .expect_err("a currency that is in use is not taken away");
}
