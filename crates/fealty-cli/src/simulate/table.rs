//! The report as a table for a terminal.

use std::fmt::Write as _;

use fealty_points::simulation::{BudgetsBy, Compared, Members, Report, TiersBy};

use crate::figures::{difference, grouped, growth, money, signed};

/// Rules that are told one by one.
const COSTS_TOLD: usize = 20;

/// The report as text.
pub(super) fn table(report: &Report) -> String {
    let mut out = String::new();
    heading(&mut out, report);
    currencies(&mut out, report);
    costs(&mut out, report);
    limits(&mut out, report);
    members(&mut out, report);
    missed(&mut out, report);
    out
}

/// Adds a line; writing to memory does not fail.
macro_rules! line {
    ($out:expr, $($what:tt)*) => {{
        let _ = writeln!($out, $($what)*);
    }};
}

fn heading(out: &mut String, report: &Report) {
    let played = &report.played;
    line!(
        out,
        "{}, version {}: {} transactions of {} members were played, {} of them under the file",
        report.program,
        report.version,
        grouped(played.transactions),
        grouped(played.members),
        grouped(played.tried),
    );
    line!(
        out,
        "  since {}, until {}: {} purchases, {} returns, {} activities",
        report.since.as_deref().unwrap_or("the beginning"),
        report.until.as_deref().unwrap_or("the beginning"),
        grouped(played.purchases),
        grouped(played.returns),
        grouped(played.activities),
    );
    if let Some(reproduced) = &report.reproduced {
        match reproduced.first.filter(|_| reproduced.different > 0) {
            None => line!(
                out,
                "  the file says what was in force, and makes the same log: {} transactions, byte \
                 for byte",
                grouped(reproduced.transactions)
            ),
            Some((shard, position)) => line!(
                out,
                "  the file says what was in force, but {} of {} transactions come out otherwise, \
                 first shard {shard}, position {position}",
                grouped(reproduced.different),
                grouped(reproduced.transactions)
            ),
        }
    }
    if report.tiers == TiersBy::Computed {
        line!(
            out,
            "  what tiers go by has changed: they were worked out on both sides, by what was spent"
        );
    }
    if report.budgets == BudgetsBy::OnePurse {
        line!(
            out,
            "  budgets were drawn on in the order of time, as if shards had one purse"
        );
    }
}

fn compared(out: &mut String, name: &str, Compared { before, after }: Compared<i64>) {
    let more = growth(before, after).unwrap_or_default();
    line!(
        out,
        "  {name:<34} {:>18} {:>18} {:>16} {more:>8}",
        signed(before),
        signed(after),
        difference(after - before),
    );
}

fn currencies(out: &mut String, report: &Report) {
    for (currency, of) in &report.currencies {
        line!(
            out,
            "\n{:<36} {:>18} {:>18} {:>16}",
            currency.as_str(),
            "recorded",
            "file",
            "difference"
        );
        let rows = [
            ("given", of.before.issued, of.after.issued),
            ("taken back", of.before.taken_back, of.after.taken_back),
            ("redeemed", of.before.redeemed, of.after.redeemed),
            ("expired", of.before.expired, of.after.expired),
            (
                "outstanding at the end",
                of.before.outstanding,
                of.after.outstanding,
            ),
            ("owed by members", of.before.owed, of.after.owed),
        ];
        for (name, before, after) in rows {
            if before != 0 || after != 0 {
                compared(out, name, Compared { before, after });
            }
        }
        if of.before.worth.is_some() || of.after.worth.is_some() {
            let worth = |of: Option<i64>| of.unwrap_or_default();
            let (before, after) = (worth(of.before.worth), worth(of.after.worth));
            let (code, decimals) = (&report.money.0, report.money.1);
            line!(
                out,
                "  {:<34} {:>18} {:>18} {:>16} {:>8}",
                format!("outstanding, in {code}"),
                money(before, decimals),
                money(after, decimals),
                money(after - before, decimals),
                growth(before, after).unwrap_or_default(),
            );
        }
    }
}

fn costs(out: &mut String, report: &Report) {
    if report.costs.is_empty() {
        return;
    }
    line!(out, "\nwhat each brand's rules give, less what came back");
    for cost in report.costs.iter().take(COSTS_TOLD) {
        let rule = cost.rule.as_ref().map_or("(callers)", |rule| rule.as_str());
        let name = format!("{} {rule} {}", cost.brand, cost.currency);
        compared(out, &name, cost.points);
    }
    if let Some(left) = report
        .costs
        .len()
        .checked_sub(COSTS_TOLD)
        .filter(|left| *left > 0)
    {
        line!(out, "  … and {left} more");
    }
}

fn limits(out: &mut String, report: &Report) {
    if !report.held_back.is_empty() {
        line!(out, "\nwhat caps and budgets held back, in points");
        for (rule, of) in &report.held_back {
            let points = Compared {
                before: of.before.points,
                after: of.after.points,
            };
            compared(out, rule.as_str(), points);
        }
    }
    if !report.used.is_empty() {
        line!(out, "\nwhat was used of budgets");
        for (budget, used) in &report.used {
            let size = used.size.after.or(used.size.before).unwrap_or_default();
            let name = format!("{budget} (of {})", signed(size));
            compared(out, &name, used.points);
        }
    }
}

fn members(out: &mut String, report: &Report) {
    for (currency, members) in &report.members {
        let Members {
            gain,
            gained,
            lose,
            lost,
            same,
            ..
        } = members;
        line!(
            out,
            "\n{currency}: {} members gain {}, {} lose {}, {} are given the same",
            grouped(*gain),
            signed(*gained),
            grouped(*lose),
            signed(*lost),
            grouped(*same),
        );
        for change in members
            .most_gained
            .iter()
            .take(3)
            .chain(members.most_lost.iter().take(3))
        {
            compared(out, change.member.as_str(), change.points);
        }
    }
    for moved in &report.tier_moves {
        line!(
            out,
            "{} members would have {} instead of {}",
            grouped(moved.members),
            moved.after,
            moved.before
        );
    }
}

fn missed(out: &mut String, report: &Report) {
    let missed = &report.missed;
    if missed.is_nothing() {
        return;
    }
    line!(out, "\nwhat could not be played as it was recorded");
    if missed.spends > 0 {
        let points = missed.points.iter();
        let points: Vec<String> = points
            .map(|(currency, points)| format!("{} {currency}", signed(*points)))
            .collect();
        line!(
            out,
            "  {} redemptions found too little: {} were not there",
            grouped(missed.spends),
            points.join(", ")
        );
    }
    if missed.holds > 0 {
        line!(
            out,
            "  {} tenders in points had no hold",
            grouped(missed.holds)
        );
    }
    if missed.tiers > 0 {
        line!(
            out,
            "  at {} events a tier would count, and none was recorded: the lowest was taken",
            grouped(missed.tiers)
        );
    }
    for (why, times) in &missed.refused {
        line!(out, "  {} refused: {why}", grouped(*times));
    }
}
