//! Programmes that read lines, attributes and counters: what purchases earn by them, why,
//! and that limits are exact whoever races for them.

use std::collections::BTreeMap;

use fealty_cli::demo::{Fleet, PROGRAM};
use fealty_proto::points::v1::{
    AttributeValue, ExplainTransactionRequest, ExplanationStep, GetCountersRequest, MemberCounter,
    PreviewPurchaseRequest, PurchaseLine, RecordPurchaseRequest, RecordPurchaseResponse,
    RuleOutcome, attribute_value::Value, earning_service_client::EarningServiceClient,
};
use futures::future::join_all;
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::{
    harness::{CLUB, START_S, ask, available, club_of, purchase, set_time, verify},
    instance::{DISTRIBUTED, Instance},
};

const DAY: i64 = 86_400;

/// The record shop with rules of these sections instead of its own.
pub(crate) fn with_rules(sections: &str) -> String {
    let (head, rest) = PROGRAM.split_once("earning:\n").expect("it has rules");
    let (_, tail) = rest.split_once("# Money spent").expect("it has tiers");
    format!("{head}{sections}\n# Money spent{tail}")
}

const RULES: &str = r#"
attributes: { purchase: { own_cup: bool }, line: { cabin: string } }
counters:
  coffees: { of: line, when: 'line.category == "coffee"', add: line.quantity, over: { every: week } }
  spent: { of: purchase, add: purchase.amount, over: { every: month } }
earning:
  - rule: base
    on: purchase
    lines: 'line.category != "gift-card"'
    earn: { currency: points, rate: { points: 1, per: "1.00" } }
  - { rule: own-cup, on: purchase, when: purchase.attributes.own_cup, earn: { currency: points, fixed: 25 } }
  - { rule: fifth-coffee, on: purchase, when: counters.coffees.passes(5), earn: { currency: points, fixed: 50 } }
  - rule: double
    on: purchase
    when: 'purchase.channel == "app"'
    earn: { multiply: base, by: 2 }
    caps: [ { per: member, every: month, points: 10 } ]
"#;

pub(crate) fn line(category: &str, amount_minor_units: i64, quantity: i32) -> PurchaseLine {
    PurchaseLine {
        category: category.to_owned(),
        amount_minor_units,
        quantity: Some(quantity),
        ..PurchaseLine::default()
    }
}

/// A purchase of lines.
pub(crate) fn bought(number: usize, member: &str, lines: &[PurchaseLine]) -> RecordPurchaseRequest {
    let cents = lines.iter().map(|line| line.amount_minor_units).sum();
    RecordPurchaseRequest {
        lines: lines.to_vec(),
        ..purchase(number, member, cents)
    }
}

pub(crate) async fn record(
    fleet: &Fleet,
    request: RecordPurchaseRequest,
) -> RecordPurchaseResponse {
    ask!(fleet.clients().earning(), record_purchase, request).expect("recorded")
}

/// What rules gave, by their names.
pub(crate) fn earned(answer: &RecordPurchaseResponse) -> Vec<(&str, i64)> {
    let transaction = answer.transaction.as_ref().expect("a transaction");
    let purchase = transaction.purchase.as_ref().expect("a purchase");
    let earned = purchase.earned_points.iter();
    earned
        .map(|earned| (earned.rule.as_str(), earned.points))
        .collect()
}

pub(crate) async fn counters(fleet: &Fleet, member: &str) -> BTreeMap<String, MemberCounter> {
    let request = GetCountersRequest {
        program: CLUB.to_owned(),
        member: member.to_owned(),
    };
    let read = ask!(fleet.clients().earning(), get_counters, request).expect("read");
    let read = read.counters.into_iter();
    read.map(|counter| (counter.counter.clone(), counter))
        .collect()
}

fn yes() -> AttributeValue {
    AttributeValue {
        value: Some(Value::Boolean(true)),
    }
}

/// Why, from the log alone, is what was foreseen.
async fn why_is_told(fleet: &Fleet, answer: &RecordPurchaseResponse, foreseen: &[ExplanationStep]) {
    let request = ExplainTransactionRequest {
        program: CLUB.to_owned(),
        transaction: answer.transaction.as_ref().expect("one").id.clone(),
    };
    let why = ask!(fleet.clients().ledger(), explain_transaction, request).expect("told");
    let of_rules = why.steps.into_iter();
    let of_rules: Vec<_> = of_rules.filter(|step| step.outcome != 0).collect();
    assert_eq!(of_rules, foreseen);
    let told: Vec<_> = of_rules
        .iter()
        .map(|step| (step.rule.as_str(), step.outcome(), step.text.as_str()))
        .collect();
    let expected = [
        ("base", RuleOutcome::Gave, "rule base gave 12 points"),
        (
            "own-cup",
            RuleOutcome::ConditionNotMet,
            "rule own-cup gave nothing: its condition did not hold: purchase.attributes.own_cup",
        ),
        (
            "fifth-coffee",
            RuleOutcome::Gave,
            "rule fifth-coffee added 50 points",
        ),
        (
            "double",
            RuleOutcome::Gave,
            "rule double added 10 points of 12: its caps or its budget left room for no more",
        ),
    ];
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_attributes_counters_and_caps_decide() {
    let fleet = club_of(&with_rules(RULES), &[]).await;
    let mut first = bought(
        1,
        "anna",
        &[line("coffee", 900, 3), line("gift-card", 5_000, 1)],
    );
    first.attributes.insert("own_cup".to_owned(), yes());
    let answer = record(&fleet, first.clone()).await;
    assert_eq!(earned(&answer), [("base", 9), ("own-cup", 25)]);
    let again = record(&fleet, first.clone()).await;
    assert!(again.replayed);
    assert_eq!(again.transaction, answer.transaction);
    let told = answer.transaction.expect("one").purchase.expect("one");
    assert_eq!(
        (&told.attributes, &told.lines),
        (&first.attributes, &first.lines)
    );

    // The fifth coffee, and as many again as there is room for.
    let second = RecordPurchaseRequest {
        channel: "app".to_owned(),
        ..bought(2, "anna", &[line("coffee", 1_200, 3)])
    };
    let preview = PreviewPurchaseRequest {
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: second.brand.clone(),
        amount: second.amount.clone(),
        channel: second.channel.clone(),
        lines: second.lines.clone(),
        ..PreviewPurchaseRequest::default()
    };
    let foreseen = ask!(fleet.clients().earning(), preview_purchase, preview.clone());
    let foreseen = foreseen.expect("it is told");
    let answer = record(&fleet, second).await;
    assert_eq!(
        earned(&answer),
        [("base", 12), ("fifth-coffee", 50), ("double", 10)]
    );
    let purchase = answer.transaction.as_ref().expect("one").purchase.clone();
    assert_eq!(foreseen.earned_points, purchase.expect("one").earned_points);

    why_is_told(&fleet, &answer, &foreseen.rules).await;

    let counters = counters(&fleet, "anna").await;
    let coffees = &counters["coffees"];
    assert_eq!(
        (coffees.value, coffees.money, coffees.goals.len()),
        (6, false, 0)
    );
    let spent = &counters["spent"];
    assert_eq!((spent.value, spent.money), (7_100, true));
    let ends = spent
        .period_end_time
        .as_ref()
        .expect("a month ends")
        .seconds;
    assert_eq!((ends - START_S) / DAY, 30, "1 February 1997");
    // Somebody else has none of it; a basket earns for who is no member yet.
    let stranger = PreviewPurchaseRequest {
        member: "nobody-yet".to_owned(),
        ..preview
    };
    let told = ask!(fleet.clients().earning(), preview_purchase, stranger).expect("told");
    let told: Vec<_> = told
        .earned_points
        .iter()
        .map(|earned| (&*earned.rule, earned.points))
        .collect();
    assert_eq!(told, [("base", 12), ("double", 10)]);
    assert_eq!(available(fleet.clients(), "anna").await, 106);
    verify(&fleet).await.expect("the ledger holds");
}

/// A week on, the count begins again; what comes late counts in the week in which it was.
#[tokio::test(flavor = "multi_thread")]
async fn windows_end_and_late_purchases_count_in_their_own() {
    // With nothing in memory, and as over several nodes: what is stored is what counts.
    let variables = [
        ("FEALTY_LEDGER_MEMBERS_IN_MEMORY", "0".to_owned()),
        (DISTRIBUTED.0, DISTRIBUTED.1.to_owned()),
    ];
    let fleet = club_of(&with_rules(RULES), &variables).await;
    let coffees = |number, count| bought(number, "anna", &[line("coffee", 100, count)]);
    assert_eq!(earned(&record(&fleet, coffees(1, 4)).await), [("base", 1)]);
    set_time(&fleet, START_S + 8 * DAY).await;
    assert_eq!(earned(&record(&fleet, coffees(2, 4)).await), [("base", 1)]);
    let late = RecordPurchaseRequest {
        purchase_time: Some(prost_types::Timestamp {
            seconds: START_S + 60,
            nanos: 0,
        }),
        ..coffees(3, 1)
    };
    let late = record(&fleet, late).await;
    assert_eq!(earned(&late), [("base", 1), ("fifth-coffee", 50)]);
    assert_eq!(counters(&fleet, "anna").await["coffees"].value, 4);
    // So late that no window is kept for it: it earns, and counts for nothing.
    set_time(&fleet, START_S + 500 * DAY).await;
    let too_late = RecordPurchaseRequest {
        purchase_time: Some(prost_types::Timestamp {
            seconds: START_S + 60,
            nanos: 0,
        }),
        ..coffees(4, 9)
    };
    assert_eq!(earned(&record(&fleet, too_late).await), [("base", 1)]);
    verify(&fleet).await.expect("the ledger holds");
}

/// 512 callers of two instances race for the last 1,000 points of one member's monthly
/// cap, fifty times over: exactly that is given, and the log says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_members_cap_is_given_out_exactly() {
    let rules = r#"
earning:
  - rule: capped
    on: purchase
    earn: { currency: points, rate: { points: 1, per: "1.00" } }
    caps: [ { per: member, every: month, points: 1000 } ]
"#;
    let fleet = club_of(&with_rules(rules), &[]).await;
    let redis = fleet.stack.read().await.redis.url();
    let other = Instance::with(fleet.points_database_url(), &redis, true, &[]);
    let theirs = EarningServiceClient::new(other.channel.clone());
    for round in 0..50_usize {
        let member = format!("member-{round}");
        let calls = (0..512_usize).map(|number| {
            let request = purchase(round * 512 + number, &member, 700);
            let client = if number % 2 == 0 {
                theirs.clone()
            } else {
                fleet.clients().earning()
            };
            async move { ask!(client, record_purchase, request).expect("recorded") }
        });
        let answers = join_all(calls).await;
        let given = answers.iter().flat_map(earned).map(|(_, points)| points);
        assert_eq!(given.sum::<i64>(), 1_000);
        assert_eq!(available(fleet.clients(), &member).await, 1_000);
    }
    assert_eq!(verify(&fleet).await, Ok(25_600));
}

/// Somebody gives a member room under a cap behind the ledger's back.
#[tokio::test(flavor = "multi_thread")]
async fn counters_that_the_log_does_not_make_are_found() {
    let fleet = club_of(&with_rules(RULES), &[]).await;
    for number in 0..4 {
        let member = format!("member-{number}");
        record(&fleet, bought(number, &member, &[line("coffee", 100, 1)])).await;
    }
    verify(&fleet).await.expect("the ledger holds");
    let mut connection = PgConnection::connect(fleet.points_database_url())
        .await
        .expect("the database answers");
    let rows: Vec<(i64, i16, Vec<u8>)> =
        sqlx::query_as("SELECT member_no, shard, body FROM counters")
            .fetch_all(&mut connection)
            .await
            .expect("there are some");
    let (member_no, shard, body) = rows.into_iter().next().expect("there is one");
    let of_member = format!("member_no = {member_no} AND shard = {shard}");
    let forged = [
        format!("UPDATE counters SET body = '\\x00' WHERE {of_member}"),
        format!("DELETE FROM counters WHERE {of_member}"),
        format!(
            "INSERT INTO counters SELECT {member_no} + 100, {shard}, body FROM counters LIMIT 1"
        ),
    ];
    for statement in forged {
        let mut forging = connection.begin().await.expect("it begins");
        forging
            .execute(sqlx::AssertSqlSafe(statement.clone()))
            .await
            .expect("forged");
        forging.commit().await.expect("forged");
        let found = verify(&fleet).await.expect_err("it is found");
        assert!(found.contains("counters"), "{statement}: {found}");
        sqlx::query("DELETE FROM counters WHERE shard = $1 AND member_no IN ($2, $2 + 100)")
            .bind(shard)
            .bind(member_no)
            .execute(&mut connection)
            .await
            .expect("put back");
        sqlx::query("INSERT INTO counters (shard, member_no, body) VALUES ($1, $2, $3)")
            .bind(shard)
            .bind(member_no)
            .bind(&body)
            .execute(&mut connection)
            .await
            .expect("put back");
        verify(&fleet).await.expect("the ledger holds");
    }
}
