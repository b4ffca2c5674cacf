//! `card-points`, its earning: a month is trued up when it ends, and again for what arrives late.

use std::collections::BTreeMap;

use fealty_proto::points::v1::{ReturnPurchaseRequest, return_purchase_request::Of};

use super::{Chance, DAY, Line, balance, fleet_of, gave, purchase_in};
use crate::{
    harness::{ask, set_time, verify},
    simulating::reproduces,
};

const PROGRAM: &str = include_str!("../../../examples/programs/card-points.yaml");
const NAME: (&str, &str, &str) = ("card-points", "issuer", "KRW");
/// Noon of 1 January 2026 in Seoul.
const NEW_YEAR_S: i64 = 1_767_236_400;
const KINDS: [&str; 8] = [
    "books",
    "clothes",
    "dining",
    "transport",
    "online",
    "tax",
    "utilities",
    "gift-card",
];
/// Days of the months of 2026, and of January after it.
const MONTHS: [i64; 13] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31];

fn month_of(day: i64) -> usize {
    let mut last = 0;
    let ended = |days: &&i64| {
        last += **days;
        last <= day
    };
    MONTHS.iter().take_while(ended).count()
}

/// What a purchase spent that earns, and the points of both rules.
fn reckoned(lines: &[Line]) -> (i64, i64, i64) {
    let sum = |wanted: &[&str]| -> i64 {
        let wanted = lines.iter().filter(|(kind, _)| wanted.contains(kind));
        wanted.map(|(_, won)| won).sum()
    };
    let (others, daily) = (sum(&KINDS[..2]), sum(&KINDS[2..5]));
    (others + daily, others / 100, 3 * daily / 100)
}

/// What of a month was spent, and the points of its base.
#[derive(Clone, Copy, Default)]
struct Month {
    spent: i64,
    base: i64,
}

impl Month {
    fn trued_up(self) -> i64 {
        let part = match self.spent {
            1_000_000.. => self.base,
            500_000.. => self.base / 2,
            _ => 0,
        };
        part.min(50_000)
    }
}

/// A year and a month, day by day; a purchase arrives up to 40 days late.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a day a turn")]
async fn a_year_of_a_card_is_as_a_plain_loop_says() {
    let fleet = fleet_of(PROGRAM).await;
    let (mut chance, mut months) = (Chance(11), [Month::default(); 14]);
    let mut bought: BTreeMap<usize, (String, i64, Vec<Line>)> = BTreeMap::new();
    let (mut late, mut back, mut steps) = (0, 0, [0; 3]);
    for day in 0..390 {
        set_time(&fleet, NEW_YEAR_S + day * DAY).await;
        for visit in 0..chance.between(0, 2) {
            let lines = (0..chance.between(1, 3)).map(|_| {
                let kind = KINDS[usize::try_from(chance.below(8)).expect("small")];
                // Some months are dear.
                let most = 20_000 + 130_000 * i64::from(month_of(day) % 3 == 1);
                (kind, chance.between(900, most))
            });
            let lines: Vec<Line> = lines.collect();
            let on = if chance.below(5) == 0 {
                (day - chance.between(1, 40)).max(0)
            } else {
                day
            };
            late += i64::from(month_of(on) < month_of(day));
            let number = usize::try_from(10 * day + visit).expect("small");
            let request = purchase_in(NAME, number, NEW_YEAR_S + on * DAY, &lines);
            let answer = ask!(fleet.clients().earning(), record_purchase, request);
            let transaction = answer.expect("recorded").transaction.expect("one");
            let (spent, base, daily) = reckoned(&lines);
            let rows = [("base", base), ("daily-life", daily)];
            let rows = rows.iter().filter(|(_, points)| *points > 0);
            let expected: Vec<_> = rows
                .map(|(rule, points)| ((*rule).to_owned(), *points))
                .collect();
            assert_eq!(gave(&transaction), expected, "day {day}");
            let month = &mut months[month_of(on)];
            month.spent += spent;
            month.base += base + daily;
            bought.insert(number, (transaction.id, on, lines));
        }
        if chance.below(15) == 0
            && let Some(entry) = bought
                .iter()
                .nth(usize::try_from(chance.below(bought.len().max(1) as u64)).expect("small"))
        {
            let number = *entry.0;
            let (transaction, on, lines) = bought.remove(&number).expect("it is there");
            let request = ReturnPurchaseRequest {
                request_id: format!("back-{number}"),
                program: NAME.0.to_owned(),
                member: "anna".to_owned(),
                of: Some(Of::Transaction(transaction)),
                ..ReturnPurchaseRequest::default()
            };
            ask!(fleet.clients().earning(), return_purchase, request).expect("it comes back");
            let (spent, base, daily) = reckoned(&lines);
            let month = &mut months[month_of(on)];
            month.spent -= spent;
            month.base -= base + daily;
            back += i64::from(month_of(on) < month_of(day));
        }
        let earned: i64 = months.iter().map(|month| month.base).sum();
        let ended = &months[..month_of(day)];
        let trued_up: i64 = ended.iter().map(|month| month.trued_up()).sum();
        let expected = (earned + trued_up, 0);
        assert_eq!(
            balance(&fleet, NAME.0, "points").await,
            expected,
            "day {day}"
        );
    }
    for month in &months[..12] {
        let step = match month.spent {
            1_000_000.. => 2,
            500_000.. => 1,
            _ => 0,
        };
        steps[step] += 1;
    }
    // The year had what it was to have.
    assert!(late > 5 && back > 2, "{late} {back}");
    assert!(steps.iter().all(|months| *months > 0), "{steps:?}");
    verify(&fleet).await.expect("the ledger holds");
    reproduces(&fleet, PROGRAM).await;
}
