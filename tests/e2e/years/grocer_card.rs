//! `grocer-card`: whole pounds, and vouchers when a quarter ends, with what comes back in between.

use fealty_proto::points::v1::{ReturnPurchaseRequest, return_purchase_request::Of};

use super::{Chance, DAY, Line, balance, conversions, fleet_of, gave, purchase_in};
use crate::{
    harness::{ask, set_time, verify},
    simulating::reproduces,
};

const PROGRAM: &str = include_str!("../../../examples/programs/grocer-card.yaml");
const NAME: (&str, &str, &str) = ("grocer-card", "grocer", "GBP");
/// Noon of 1 January 2026 in London.
const NEW_YEAR_S: i64 = 1_767_268_800;
/// The days with which March, June, September and December begin, and another March.
const QUARTERS: [i64; 5] = [59, 151, 243, 334, 424];
const KINDS: [&str; 6] = ["bread", "wine", "nappies", "tobacco", "stamps", "gift-card"];

/// A year and a quarter of a member, day by day.
#[tokio::test(flavor = "multi_thread")]
async fn a_year_of_a_grocers_card_is_as_a_plain_loop_says() {
    let fleet = fleet_of(PROGRAM).await;
    let mut chance = Chance(3);
    // Points that are there, below zero where they are owed; what each purchase brought.
    let (mut points, mut bought): (i64, Vec<(String, i64)>) = (0, Vec::new());
    let mut vouchers: Vec<(i64, i64)> = Vec::new();
    let mut owed = 0;
    for day in 0..430 {
        if QUARTERS.contains(&day) && points >= 150 {
            let whole = points / 50;
            vouchers.push((50 * whole, 50 * whole));
            points -= 50 * whole;
        }
        set_time(&fleet, NEW_YEAR_S + day * DAY).await;
        for visit in 0..chance.between(0, 5) - 3 {
            let lines = (0..chance.between(1, 4)).map(|_| {
                let kind = KINDS[usize::try_from(chance.below(6)).expect("small")];
                (kind, chance.between(50, 2_500))
            });
            let lines: Vec<Line> = lines.collect();
            let number = usize::try_from(10 * day + visit).expect("small");
            let request = purchase_in(NAME, number, NEW_YEAR_S + day * DAY, &lines);
            let answer = ask!(fleet.clients().earning(), record_purchase, request);
            let transaction = answer.expect("recorded").transaction.expect("one");
            let earns = lines.iter().filter(|(kind, _)| !KINDS[3..].contains(kind));
            let whole = earns.map(|(_, pence)| pence).sum::<i64>() / 100;
            let expected = (whole > 0).then(|| ("base".to_owned(), whole));
            assert_eq!(gave(&transaction), Vec::from_iter(expected), "day {day}");
            points += whole;
            bought.push((transaction.id, whole));
        }
        // Much comes back when it has just become a voucher.
        let back = match (QUARTERS.contains(&day), chance.below(12)) {
            (true, _) => 6,
            (false, 0) => 1,
            (false, _) => 0,
        };
        for nth in 0..back {
            let Some((transaction, whole)) = bought.pop() else {
                break;
            };
            let back = ReturnPurchaseRequest {
                request_id: format!("back-{day}-{nth}"),
                program: NAME.0.to_owned(),
                member: "anna".to_owned(),
                of: Some(Of::Transaction(transaction)),
                ..ReturnPurchaseRequest::default()
            };
            ask!(fleet.clients().earning(), return_purchase, back).expect("it comes back");
            points -= whole;
        }
        let expected = (points.max(0), (-points).max(0));
        assert_eq!(
            balance(&fleet, NAME.0, "points").await,
            expected,
            "day {day}"
        );
        owed += i64::from(points < 0);
    }
    assert_eq!(conversions(&fleet, NAME.0).await, vouchers);
    // The year had what it was to have.
    assert!(vouchers.len() >= 3 && owed > 0, "{vouchers:?} {owed}");
    verify(&fleet).await.expect("the ledger holds");
    reproduces(&fleet, PROGRAM).await;
}
