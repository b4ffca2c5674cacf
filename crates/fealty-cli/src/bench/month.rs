//! A month's end: every member is trued up while others buy.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Scale,
    fill::Ledger,
    measured::Measured,
    measures::{Whose, measure_of},
    report::Report,
    say,
    service::Service,
};
use crate::load::{calls::Call, calls::Subject};

/// A month is trued up by what was spent in it.
pub(super) const TRUED_UP: &str = r#"
program: month
language: 1
calendar: { time_zone: UTC }
money: { currency: EUR }
currencies: { points: { expires: { after: 24 months } } }
brands: { shop: { issues: [points], accepts: [points] } }
counters:
  spent: { of: purchase, add: purchase.amount, over: { every: month } }
  earned: { of: points, rules: [base], over: { every: month } }
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
  - rule: true-up
    on: end_of.month
    earn: { currency: points, of: counters.earned, steps: { by: counters.spent, factors: { "500.00": "0.5", "1000.00": "1" } } }
    caps: [ { per: member, every: month, points: 50000 } ]
"#;
/// What each member has bought in the month that has ended.
pub(super) const SPENT: i64 = 60_000;
/// How long ago that was: in a month before this one.
pub(super) const AGO: Duration = Duration::from_hours(32 * 24);
/// How long a month's end may take.
const SWEEP_MAX: Duration = Duration::from_mins(15);

/// Measures purchases while all members' months are trued up, and when they have been.
pub(super) async fn measure(
    service: &Service,
    ledger: &Ledger,
    begun: Instant,
    scale: Scale,
    report: &mut Report,
) -> anyhow::Result<()> {
    let [program, brand, currency, money] = ["month", "shop", "points", "EUR"].map(str::to_owned);
    let subject = Subject {
        program,
        brand,
        currency,
        money,
        ..Subject::default()
    };
    let all = Whose::AllOf(ledger.members);
    let during = measure_of(
        service,
        ("month_end_purchase_512", 512),
        (Call::Purchase, subject.clone()),
        scale,
        all,
    );
    report.add(during.await);
    anyhow::ensure!(
        !report.month_is_over()?,
        "the month was over before the measure"
    );
    while !report.month_is_over()? {
        anyhow::ensure!(begun.elapsed() < SWEEP_MAX, "the month does not end");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let took = begun.elapsed();
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    let members = u64::try_from(ledger.members)?;
    let ended = Measured {
        per_second: members * 1_000 / millis,
        ..Measured::of("month_end", 1, took, &mut [])
    };
    say(&ended);
    report.add(ended);
    report.settle().await?;
    let after = measure_of(
        service,
        ("month_over_purchase_512", 512),
        (Call::Purchase, subject),
        scale,
        all,
    );
    report.add(after.await);
    Ok(())
}
