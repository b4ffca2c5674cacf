//! The demo's figures, computed a second time: a plain loop over the file, in
//! integers alone, sharing no code with the engine, the rules or the
//! tiers. Days are numbers of days since 1970-01-01.

use std::collections::{BTreeMap, BTreeSet};

use fealty_cli::demo::Report;

/// Days since 1970-01-01 of a civil date (Howard Hinnant's `days_from_civil`).
fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let shifted = (month + 9) % 12;
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[derive(Clone, Copy)]
struct Date {
    year: i64,
    month: i64,
    day: i64,
}

impl Date {
    fn number(self) -> i64 {
        day_number(self.year, self.month, self.day)
    }

    /// The day on which a lot earned on this date is gone: the first of the
    /// month after the twelfth month on.
    fn gone(self) -> i64 {
        let (year, month) = (self.year + 1, self.month + 1);
        if month == 13 {
            day_number(year + 1, 1, 1)
        } else {
            day_number(year, month, 1)
        }
    }
}

#[derive(Default)]
struct Member {
    /// Day and cents of each purchase.
    spent: Vec<(i64, i64)>,
    rank: usize,
    /// First day of the judgement, and its date a year on.
    judged_on: Option<i64>,
    /// Points left, by the day they are gone.
    lots: BTreeMap<i64, i64>,
}

const THRESHOLDS: [i64; 4] = [0, 10_000, 30_000, 100_000];
const NAMES: [&str; 4] = ["member", "silver", "gold", "platinum"];
const BONUS_PERCENT: [i64; 4] = [0, 25, 50, 100];

impl Member {
    /// Money spent on the days `from..=to`.
    fn spent(&self, from: i64, to: i64) -> i64 {
        self.spent
            .iter()
            .filter(|(day, _)| (from..=to).contains(day))
            .map(|(_, cents)| cents)
            .sum()
    }

    fn rank_for(cents: i64) -> usize {
        (0..4)
            .rev()
            .find(|rank| THRESHOLDS[*rank] <= cents)
            .unwrap_or(0)
    }
}

/// Customer and cents.
type Purchase<'a> = (&'a str, i64);

/// Plays the purchases of `text`, of which each must be in 1997 or 1998.
#[expect(
    clippy::too_many_lines,
    reason = "a plain loop, to be read in one piece"
)]
pub(crate) fn play(text: &str) -> Report {
    let mut report = Report::default();
    let mut members: BTreeMap<&str, Member> = BTreeMap::new();
    let mut by_day: BTreeMap<i64, (Date, Vec<Purchase>)> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [member, date, _, amount] = columns[..] else {
            continue;
        };
        let date: i64 = date.parse().expect("a date");
        let date = Date {
            year: date / 10_000,
            month: date / 100 % 100,
            day: date % 100,
        };
        let cents: i64 = amount.replace('.', "").parse().expect("an amount");
        by_day
            .entry(date.number())
            .or_insert((date, Vec::new()))
            .1
            .push((member, cents));
    }
    let mut concerts = 0;
    let last_day = *by_day.keys().last().expect("purchases");
    for day in *by_day.keys().next().expect("purchases")..=last_day {
        // What falls due as the day begins: judgements, then expiries.
        for member in members.values_mut() {
            if member.judged_on == Some(day) {
                member.rank = Member::rank_for(member.spent(day - 365, day - 1));
                // No 29 February lies in these years: a year is 365 days.
                member.judged_on = (member.rank > 0).then_some(day + 365);
            }
            while let Some((gone, points)) = member.lots.first_key_value().map(|(g, p)| (*g, *p)) {
                if gone > day {
                    break;
                }
                report.points_expired += points;
                member.lots.remove(&gone);
            }
        }
        let Some((date, purchases)) = by_day.get(&day) else {
            continue;
        };
        // The tier that counts is the one held as the day began.
        let ranks: BTreeMap<&str, usize> = purchases
            .iter()
            .map(|(id, _)| (*id, members.get(id).map_or(0, |m| m.rank)))
            .collect();
        for (id, cents) in purchases {
            let base = cents * 10 / 100;
            let bonus = base * BONUS_PERCENT[ranks[id]] / 100;
            report.purchases += 1;
            report.points_base += base;
            report.points_bonus += bonus;
            let member = members.entry(id).or_default();
            *member.lots.entry(date.gone()).or_default() += base + bonus;
            member.spent.push((day, *cents));
            // At noon: the noon 365 days before is not in the window.
            let rank = Member::rank_for(member.spent(day - 364, day));
            if rank > member.rank {
                member.rank = rank;
                member.judged_on = Some(day + 366);
            }
        }
        let buyers: BTreeSet<&str> = purchases.iter().map(|(id, _)| *id).collect();
        for id in buyers {
            let member = members.get_mut(id).expect("a buyer");
            let available: i64 = member.lots.values().sum();
            let (reward, price) = if available >= 5_000 && concerts < 300 {
                concerts += 1;
                ("concert-evening", 5_000)
            } else if available >= 1_000 {
                ("ten-off", 1_000)
            } else {
                continue;
            };
            *report.redemptions.entry(reward.to_owned()).or_default() += 1;
            report.points_redeemed += price;
            let mut missing = price;
            for points in member.lots.values_mut() {
                let part = missing.min(*points);
                *points -= part;
                missing -= part;
            }
        }
    }
    report.points_outstanding = members.values().flat_map(|m| m.lots.values()).sum();
    report.members = members.len() as u64;
    for (rank, name) in NAMES.iter().enumerate() {
        let count = members
            .values()
            .filter(|member| member.rank == rank)
            .count();
        let count = i64::try_from(count).expect("a small number");
        report.tiers.insert((*name).to_owned(), count);
    }
    report
}

/// Whether the services found what the loop found.
pub(crate) fn assert_same_figures(played: &Report, expected: &Report) {
    assert_eq!(played.purchases, expected.purchases);
    assert_eq!(played.members, expected.members);
    assert_eq!(played.points_base, expected.points_base);
    assert_eq!(played.points_bonus, expected.points_bonus);
    assert_eq!(played.points_redeemed, expected.points_redeemed);
    assert_eq!(played.points_expired, expected.points_expired);
    assert_eq!(played.points_outstanding, expected.points_outstanding);
    assert_eq!(played.tiers, expected.tiers);
    assert_eq!(played.redemptions, expected.redemptions);
}
