//! `coffee-stars`, its earning: rates by tier, one's own cup, double-star days, three days of a week.

use std::collections::BTreeSet;

use fealty_proto::points::v1::{AttributeValue, attribute_value::Value};

use super::{Chance, DAY, Line, NEW_YEAR_S, bring, fleet_of, purchase};
use crate::{
    harness::{set_time, verify},
    simulating::reproduces,
};

const PROGRAM: &str = include_str!("../../../examples/programs/coffee-stars.yaml");
const NAME: (&str, &str) = ("coffee-stars", "coffee-house");
/// 14 March, 21 June and 1 October, counted from New Year.
const DOUBLE: [i64; 3] = [72, 171, 273];
/// A Thursday.
const NEW_YEAR_WEEKDAY: i64 = 3;

/// What the loop knows of the member.
#[derive(Default)]
struct Account {
    /// Stars by day.
    earned: Vec<(i64, i64)>,
    /// Days with purchases.
    days: BTreeSet<i64>,
    /// Weeks whose three days were rewarded.
    weeks: BTreeSet<i64>,
    /// Double-star days that were used.
    doubled: BTreeSet<i64>,
    /// The rank of the tier that was reached.
    tier: usize,
}

const TIERS: [(&str, i64, i64); 3] = [
    // Stars of the last 12 months, and tenths of a star for each 1.00.
    ("green", 0, 10),
    ("gold", 500, 12),
    ("reserve", 2_500, 17),
];

impl Account {
    /// The tier that the chain's own till says: by stars of the last 12 months, kept here.
    fn tier(&mut self, day: i64) -> usize {
        let recent = self.earned.iter().filter(|(earned, _)| day - earned < 365);
        let stars: i64 = recent.map(|(_, stars)| stars).sum();
        let reached = TIERS.iter().rposition(|(_, from, _)| *from <= stars);
        self.tier = self.tier.max(reached.unwrap_or(0));
        self.tier
    }

    fn earns(&mut self, day: i64, own_cup: bool, lines: &[Line]) -> Vec<(String, i64)> {
        let tenths = TIERS[self.tier].2;
        let eaten = lines
            .iter()
            .filter(|(category, _)| *category != "gift-card");
        let cents: i64 = eaten.map(|(_, cents)| cents).sum();
        let base = cents * tenths / 1_000;
        let has_lines = lines.iter().any(|(category, _)| *category != "gift-card");
        let is_double = DOUBLE.contains(&day) && has_lines && !self.doubled.contains(&day);
        // Twice of it, less what the base gave.
        let double = if is_double {
            2 * cents * tenths / 1_000 - base
        } else {
            0
        };
        if double > 0 {
            self.doubled.insert(day);
        }
        self.days.insert(day);
        let week = (day + NEW_YEAR_WEEKDAY).div_euclid(7);
        let of_week = (week * 7 - NEW_YEAR_WEEKDAY)..(week * 7 + 7 - NEW_YEAR_WEEKDAY);
        let three = self.days.range(of_week).count() >= 3 && self.weeks.insert(week);
        let rows = [
            ("base", base),
            ("own-cup", if own_cup { 25 } else { 0 }),
            ("double-stars", double),
            ("three-days", if three { 40 } else { 0 }),
        ];
        let some = rows.iter().filter(|(_, points)| *points > 0);
        let rows: Vec<_> = some
            .map(|(rule, points)| ((*rule).to_owned(), *points))
            .collect();
        let stars = rows.iter().map(|(_, points)| points).sum();
        self.earned.push((day, stars));
        rows
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_year_of_coffee_earns_as_a_plain_loop_says() {
    let fleet = fleet_of(PROGRAM).await;
    let (mut chance, mut account) = (Chance(7), Account::default());
    let (mut number, mut tiers) = (0, BTreeSet::new());
    for day in 0..365 {
        set_time(&fleet, NEW_YEAR_S + day * DAY).await;
        let visits = if DOUBLE.contains(&day) {
            2
        } else {
            chance.between(0, 3) - 2
        };
        for _ in 0..visits.max(0) {
            let lines = (0..chance.between(1, 3)).map(|_| {
                let kinds = ["drink", "food", "drink", "gift-card"];
                let kind = kinds[usize::try_from(chance.below(4)).expect("small")];
                (kind, chance.between(150, 4_500))
            });
            let lines: Vec<Line> = lines.collect();
            number += 1;
            let own_cup = chance.below(4) == 0;
            let mut request = purchase(NAME, number, NEW_YEAR_S + day * DAY, &lines);
            let value = Some(Value::Boolean(own_cup));
            let cup = ("own_cup".to_owned(), AttributeValue { value });
            request.attributes = [cup].into();
            let tier = account.tier(day);
            tiers.insert(tier);
            let given = bring(&fleet, request, TIERS[tier].0).await;
            let expected = account.earns(day, own_cup, &lines);
            assert_eq!(given, expected, "day {day}: {own_cup} {lines:?}");
        }
    }
    assert_eq!(tiers.len(), 3, "the member came to all tiers");
    assert_eq!(account.doubled.len(), 3);
    assert!(account.weeks.len() > 3, "{:?}", account.weeks);
    verify(&fleet).await.expect("the ledger holds");
    reproduces(&fleet, PROGRAM).await;
}
