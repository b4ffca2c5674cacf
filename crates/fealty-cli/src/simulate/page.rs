//! The report as a page for a browser, which stands alone: no script, nothing to load.

use fealty_points::simulation::{
    BudgetsBy, Compared, MemberChange, Members, OfCurrency, Report, TiersBy,
};
use fealty_types::CurrencyId;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chart::{Bars, bars, chart, short};
use crate::figures::{difference, grouped, growth, money, signed};

/// How it looks.
const STYLE: &str = include_str!("page.css");

/// The report as a page.
pub(super) fn page(report: &Report) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "What if: " (report.program) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    (heading(report))
                    @for (currency, of) in &report.currencies {
                        (of_currency(report, currency, of))
                    }
                    (costs(report))
                    (limits(report))
                    (tiers(report))
                    (missed(report))
                }
            }
        }
    }
}

fn heading(report: &Report) -> Markup {
    let played = &report.played;
    let since = report.since.as_deref().unwrap_or("the log’s beginning");
    html! {
        h1 { "What if: " (report.program) }
        p.soft {
            "Recorded with up to version " (report.version) ", compared with a changed file from "
            (since) " to " (report.until.as_deref().unwrap_or("then")) ". "
            (grouped(played.purchases)) " purchases, " (grouped(played.returns)) " returns and "
            (grouped(played.activities)) " activities of " (grouped(played.members))
            " members were played under it."
        }
        p.legend {
            span { i style="background:var(--before)" {} "recorded" }
            span { i style="background:var(--after)" {} "with the file" }
        }
        @if let Some(reproduced) = &report.reproduced {
            @if reproduced.different == 0 {
                p.note {
                    "The file says what was in force all the time, and makes the same log: "
                    (grouped(reproduced.transactions)) " transactions, byte for byte."
                }
            } @else {
                p.note.wrong {
                    "The file says what was in force all the time, but "
                    (grouped(reproduced.different)) " of " (grouped(reproduced.transactions))
                    " transactions come out otherwise. Run fealty verify."
                }
            }
        }
        @if report.tiers == TiersBy::Computed {
            p.note {
                "What tiers go by has changed. They were worked out on both sides by what members "
                "spent, so what was recorded may differ a little from the log."
            }
        }
        @if report.budgets == BudgetsBy::OnePurse {
            p.note {
                "Budgets were drawn on in the order of time, as if all shards had one purse."
            }
        }
    }
}

/// A figure of both sides.
fn tile(name: &str, of: Compared<i64>, figure: impl Fn(i64) -> String) -> Markup {
    let more = of.after - of.before;
    html! {
        div.sheet.tile {
            h3.soft { (name) }
            div.figure { (figure(of.after)) }
            div.was {
                "recorded " (figure(of.before)) " "
                span.more[more > 0].less[more < 0] {
                    @match growth(of.before, of.after) {
                        Some(growth) => (growth),
                        None => @if more != 0 { (difference(more)) },
                    }
                }
            }
        }
    }
}

fn of_currency(
    report: &Report,
    currency: &CurrencyId,
    Compared { before, after }: &Compared<OfCurrency>,
) -> Markup {
    let both = |of: fn(&OfCurrency) -> i64| Compared {
        before: of(before),
        after: of(after),
    };
    let (code, decimals) = (&report.money.0, report.money.1);
    let cash = |minor_units| money(minor_units, decimals);
    let has_worth = before.worth.is_some() || after.worth.is_some();
    let going = if has_worth {
        bars(&before.going_worth, &after.going_worth)
    } else {
        bars(&before.going, &after.going)
    };
    let given = bars(&before.issued_by_month, &after.issued_by_month);
    html! {
        h2 { (currency) }
        div.tiles {
            (tile("Points given", both(|of| of.issued - of.taken_back), signed))
            (tile("Points redeemed", both(|of| of.redeemed), signed))
            (tile("Points expired", both(|of| of.expired), signed))
            (tile("Outstanding at the end", both(|of| of.outstanding), signed))
            @if has_worth {
                (tile(
                    &format!("Liability at the end, {code}"),
                    both(|of| of.worth.unwrap_or_default()),
                    cash,
                ))
            }
        }
        div.charts {
            (drawn("Points given, by month", &given, short))
            @if has_worth {
                (drawn(&format!("When the liability goes, {code}"), &going, cash))
            } @else {
                (drawn("When the outstanding points go", &going, short))
            }
        }
        @if let Some(members) = report.members.get(currency) {
            (members_of(currency, members))
        }
    }
}

fn drawn(name: &str, bars: &Bars, figure: impl Fn(i64) -> String) -> Markup {
    html! {
        div.sheet {
            h3 { (name) }
            @if bars.is_empty() {
                p.soft { "There are none." }
            } @else {
                (chart(bars, figure))
            }
        }
    }
}

fn members_of(currency: &CurrencyId, members: &Members) -> Markup {
    html! {
        h2 { "Who gains and who loses " (currency) }
        p.soft {
            (grouped(members.gain)) " members gain " (signed(members.gained)) ", "
            (grouped(members.lose)) " lose " (signed(members.lost)) ", "
            (grouped(members.same)) " are given the same."
        }
        div.charts {
            @if !members.most_gained.is_empty() { (most("Most gained", &members.most_gained)) }
            @if !members.most_lost.is_empty() { (most("Most lost", &members.most_lost)) }
        }
    }
}

fn most(name: &str, changes: &[MemberChange]) -> Markup {
    html! {
        div.sheet.scroll {
            h3 { (name) }
            table {
                tr { th { "Member" } th { "Recorded" } th { "With the file" } th { "Difference" } }
                @for change in changes {
                    tr { td { (change.member) } (cells(change.points, signed)) }
                }
            }
        }
    }
}

/// The cells of a figure of both sides.
fn cells(of: Compared<i64>, figure: impl Fn(i64) -> String) -> Markup {
    let more = of.after - of.before;
    let sign = if more > 0 { "+" } else { "" };
    html! {
        td { (figure(of.before)) }
        td { (figure(of.after)) }
        td.more[more > 0].less[more < 0] { (sign) (figure(more)) }
    }
}

fn costs(report: &Report) -> Markup {
    let (code, decimals) = (&report.money.0, report.money.1);
    let has_worth = |of: &Compared<Option<i64>>| of.before.is_some() || of.after.is_some();
    let has_worth = report.costs.iter().any(|cost| has_worth(&cost.worth));
    html! {
        h2 { "Cost by brand and rule" }
        div.sheet.scroll {
            @if report.costs.is_empty() {
                p.soft { "Nothing was given." }
            } @else {
                table {
                    tr {
                        th { "Rule" } th.word { "Brand" } th.word { "Currency" }
                        th { "Points recorded" } th { "With the file" } th { "Difference" }
                        @if has_worth { th { "Difference, " (code) } }
                    }
                    @for cost in &report.costs {
                        @let worth = |of: Option<i64>| of.unwrap_or_default();
                        @let more = worth(cost.worth.after) - worth(cost.worth.before);
                        tr {
                            td {
                                @match &cost.rule {
                                    Some(rule) => (rule),
                                    None => span.soft { "given by callers" },
                                }
                            }
                            td.word { (cost.brand) }
                            td.word { (cost.currency) }
                            (cells(cost.points, signed))
                            @if has_worth { td { (money(more, decimals)) } }
                        }
                    }
                }
            }
        }
    }
}

fn limits(report: &Report) -> Markup {
    html! {
        @if !report.used.is_empty() {
            h2 { "Budgets" }
            div.sheet.scroll {
                table {
                    tr {
                        th { "Budget" } th { "Size" } th { "Used, recorded" }
                        th { "With the file" } th { "Difference" }
                    }
                    @for (budget, used) in &report.used {
                        tr {
                            td { (budget) }
                            td { (signed(used.size.after.or(used.size.before).unwrap_or_default())) }
                            (cells(used.points, signed))
                        }
                    }
                }
            }
        }
        @if !report.held_back.is_empty() {
            h2 { "What caps and budgets held back" }
            div.sheet.scroll {
                table {
                    tr {
                        th { "Rule" } th { "Points recorded" } th { "With the file" }
                        th { "Difference" } th { "Times recorded" } th { "With the file" }
                    }
                    @for (rule, of) in &report.held_back {
                        @let points = Compared { before: of.before.points, after: of.after.points };
                        tr {
                            td { (rule) }
                            (cells(points, signed))
                            td { (grouped(of.before.times)) }
                            td { (grouped(of.after.times)) }
                        }
                    }
                }
            }
        }
    }
}

fn tiers(report: &Report) -> Markup {
    html! {
        @if !report.tier_moves.is_empty() {
            h2 { "Tiers at the end" }
            div.sheet.scroll {
                table {
                    tr { th { "Recorded" } th.word { "With the file" } th { "Members" } }
                    @for moved in &report.tier_moves {
                        tr {
                            td { (moved.before) } td.word { (moved.after) }
                            td { (grouped(moved.members)) }
                        }
                    }
                }
            }
        }
    }
}

fn missed(report: &Report) -> Markup {
    let missed = &report.missed;
    html! {
        @if !missed.is_nothing() {
            h2 { "What could not be played as it was recorded" }
            div.sheet {
                ul {
                    @if missed.spends > 0 {
                        li {
                            (grouped(missed.spends)) " redemptions found too little: "
                            @for (at, (currency, points)) in missed.points.iter().enumerate() {
                                @if at > 0 { ", " }
                                (signed(*points)) " " (currency)
                            }
                            " were not there."
                        }
                    }
                    @if missed.holds > 0 {
                        li { (grouped(missed.holds)) " tenders in points had no hold." }
                    }
                    @if missed.tiers > 0 {
                        li {
                            "At " (grouped(missed.tiers)) " events a tier would count, and none was "
                            "recorded: the lowest was taken."
                        }
                    }
                    @for (why, times) in &missed.refused {
                        li { (grouped(*times)) " refused: " (why) }
                    }
                }
            }
        }
    }
}
