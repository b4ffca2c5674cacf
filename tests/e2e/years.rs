//! A member's year in each of the example programmes, played through the services on the test
//! clock: every figure is what a plain loop says that shares no code with them.

mod card_points;
mod charge_card;
mod coffee_stars;
mod grocer_card;

use fealty_cli::{
    apply::{How, apply},
    demo::Fleet,
};
use fealty_proto::{
    points::v1::{
        GetBalanceRequest, ImportPurchasesRequest, ListTransactionsRequest, PurchaseLine,
        RecordPurchaseRequest, Transaction, TransactionFilter, TransactionKind,
        import_purchases_response::Outcome,
    },
    r#type::v1::Money,
};

use crate::harness::{ask, fealty, stack};

const DAY: i64 = 86_400;
/// Noon of 1 January 2026 in New York.
const NEW_YEAR_S: i64 = 1_767_286_800;

/// A fleet with an example programme.
async fn fleet_of(program: &str) -> Fleet {
    let fleet = Fleet::start(&fealty(), stack().await).await;
    let fleet = fleet.expect("the services start");
    apply(fleet.clients(), program, How::Now)
        .await
        .expect("it is applied");
    fleet
}

/// Numbers that are the same each time, and look like chance.
struct Chance(u64);

impl Chance {
    /// 0 to `below` - 1.
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    /// `from` to `to`.
    fn between(&mut self, from: i64, to: i64) -> i64 {
        let span = u64::try_from(to - from + 1).expect("above 0");
        from + i64::try_from(self.below(span)).expect("small")
    }
}

/// What was bought: a category and cents.
type Line = (&'static str, i64);

/// A purchase of lines in dollars.
fn purchase(
    (program, brand): (&str, &str),
    number: usize,
    time_s: i64,
    lines: &[Line],
) -> RecordPurchaseRequest {
    purchase_in((program, brand, "USD"), number, time_s, lines)
}

/// A purchase of lines in some money.
fn purchase_in(
    (program, brand, money): (&str, &str, &str),
    number: usize,
    time_s: i64,
    lines: &[Line],
) -> RecordPurchaseRequest {
    RecordPurchaseRequest {
        request_id: format!("purchase-{number}"),
        program: program.to_owned(),
        member: "anna".to_owned(),
        brand: brand.to_owned(),
        order_number: number.to_string(),
        amount: Some(Money {
            currency_code: money.to_owned(),
            minor_units: lines.iter().map(|(_, cents)| cents).sum(),
        }),
        purchase_time: Some(prost_types::Timestamp {
            seconds: time_s,
            nanos: 0,
        }),
        lines: lines
            .iter()
            .map(|(category, cents)| PurchaseLine {
                category: (*category).to_owned(),
                amount_minor_units: *cents,
                ..PurchaseLine::default()
            })
            .collect(),
        ..RecordPurchaseRequest::default()
    }
}

/// What rules gave for a purchase.
fn gave(transaction: &Transaction) -> Vec<(String, i64)> {
    let purchase = transaction.purchase.as_ref().expect("a purchase");
    let earned = purchase.earned_points.iter();
    earned
        .map(|earned| (earned.rule.clone(), earned.points))
        .collect()
}

/// What the member has, and owes.
async fn balance(fleet: &Fleet, program: &str, currency: &str) -> (i64, i64) {
    let request = GetBalanceRequest {
        program: program.to_owned(),
        member: "anna".to_owned(),
        currency: currency.to_owned(),
        ..GetBalanceRequest::default()
    };
    let balance = ask!(fleet.clients().ledger(), get_balance, request).expect("read");
    let balance = balance.balance.expect("one");
    (balance.available, balance.debt)
}

/// What points became at the ends of periods: how many, and what that is worth.
async fn conversions(fleet: &Fleet, program: &str) -> Vec<(i64, i64)> {
    let request = ListTransactionsRequest {
        program: program.to_owned(),
        member: "anna".to_owned(),
        filter: Some(TransactionFilter {
            kinds: vec![TransactionKind::PeriodEnded.into()],
            ..TransactionFilter::default()
        }),
        ..ListTransactionsRequest::default()
    };
    let listed = ask!(fleet.clients().ledger(), list_transactions, request).expect("listed");
    let ends = listed.transactions.into_iter().rev();
    let converted = ends.filter_map(|transaction| transaction.period_end);
    let converted = converted.flat_map(|end| end.converted);
    converted
        .map(|converted| (converted.points, converted.value_minor_units))
        .collect()
}

/// Records a purchase whose tier is said; answers with what rules gave.
async fn bring(fleet: &Fleet, purchase: RecordPurchaseRequest, tier: &str) -> Vec<(String, i64)> {
    let request = ImportPurchasesRequest {
        sequence: 1,
        purchase: Some(purchase),
        program_version: None,
        tier: tier.to_owned(),
    };
    let mut client = fleet.clients().earning();
    let answers = client.import_purchases(tokio_stream::iter([request])).await;
    let mut answers = answers.expect("the stream stands").into_inner();
    let answer = answers.message().await.expect("it holds").expect("one");
    match answer.outcome {
        Some(Outcome::Imported(imported)) => imported
            .earned_points
            .into_iter()
            .map(|earned| (earned.rule, earned.points))
            .collect(),
        other => panic!("{other:?}"),
    }
}
