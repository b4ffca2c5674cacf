//! The purchases that the demo plays.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::Context as _;
use jiff::civil::Date;

/// Purchases of a music shop, 1997 and 1998: customer, date, number of records,
/// amount in dollars; see examples/data/README.md.
pub const PURCHASES: &str = include_str!("../../../../examples/data/cdnow.txt");

/// A purchase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purchase {
    /// Number of its line, from 1; the data has no order numbers.
    pub line: usize,
    /// The customer.
    pub member: String,
    /// What was paid, in cents.
    pub cents: i64,
}

/// A day's purchases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day {
    /// The day.
    pub date: Date,
    /// Its purchases, in the order of the file.
    pub purchases: Vec<Purchase>,
}

/// The same purchases as `fealty import` reads them.
pub fn csv(text: &str) -> anyhow::Result<String> {
    let mut rows = "member,order,occurred_at,brand,amount\n".to_owned();
    for day in days(text)? {
        for Purchase {
            line,
            member,
            cents,
        } in &day.purchases
        {
            let (date, dollars, cents) = (day.date, cents / 100, cents % 100);
            writeln!(
                rows,
                "{member},{line},{date}T12:00,record-shop,{dollars}.{cents:02}"
            )?;
        }
    }
    Ok(rows)
}

/// Reads purchases by day, in order.
pub fn days(text: &str) -> anyhow::Result<Vec<Day>> {
    let mut days: BTreeMap<Date, Vec<Purchase>> = BTreeMap::new();
    for (index, line) in text.lines().enumerate().skip(1) {
        let parsed = parse(index, line).with_context(|| format!("line {}: {line:?}", index + 1))?;
        if let Some((date, purchase)) = parsed {
            days.entry(date).or_default().push(purchase);
        }
    }
    Ok(days
        .into_iter()
        .map(|(date, purchases)| Day { date, purchases })
        .collect())
}

fn parse(line: usize, text: &str) -> anyhow::Result<Option<(Date, Purchase)>> {
    let mut columns = text.split_whitespace();
    let Some(member) = columns.next() else {
        return Ok(None);
    };
    let date = Date::strptime("%Y%m%d", columns.next().context("no date")?)?;
    let amount = columns.nth(1).context("no amount")?;
    let (dollars, cents) = amount.split_once('.').context("no cents")?;
    anyhow::ensure!(cents.len() == 2, "cents have two digits");
    let cents = dollars.parse::<i64>()? * 100 + cents.parse::<i64>()?;
    Ok(Some((
        date,
        Purchase {
            line,
            member: member.to_owned(),
            cents,
        },
    )))
}
