//! The ends of periods: written once for each member by the version that was in force, whoever
//! does something first and whoever does nothing; again for what comes late or comes back.

use std::collections::BTreeMap;

use fealty_cli::{
    apply::{How, apply},
    demo::Fleet,
};
use fealty_client::Channel;
use fealty_proto::operations::v1::{
    SetTimeRequest, test_clock_service_client::TestClockServiceClient,
};
use fealty_proto::points::v1::{
    Consistency, ConversionInto, ExplainTransactionRequest, GiftRequest, ListTransactionsRequest,
    Period, RecordPurchaseRequest, RedeemRequest, ReverseRequest, RuleOutcome, Transaction,
    TransactionKind, earning_service_client::EarningServiceClient,
};
use futures::future::join_all;
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::{
    earning::{bought, counters, line, record, with_rules},
    harness::{
        CLUB, POINTS, SHOP, accrual, accrue, ask, available, balance, club_of, polled, purchase,
        reason, set_time, until, verify, without_sweepers,
    },
    instance::{DISTRIBUTED, Instance},
    returns::{give_back, id_of, of_money, whole},
};

const DAY: i64 = 86_400;
/// 20 January 1997, noon.
const JANUARY_S: i64 = 853_761_600;
/// 1 February 1997, midnight: January's end.
const FEBRUARY_S: i64 = 854_755_200;
/// 1 March 1997, midnight.
const MARCH_S: i64 = 857_174_400;
/// 1 April 1997, midnight: the end of a quarter too.
const APRIL_S: i64 = 859_852_800;

/// A point for each 1.00; half of them again from 500.00 in a month, all of them from 1,000.00.
const TRUE_UP: &str = r#"
counters:
  spent:  { of: purchase, add: purchase.amount, over: { every: month } }
  earned: { of: points, rules: [base], over: { every: month } }
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
  - rule: true-up
    on: end_of.month
    earn: { currency: points, of: counters.earned, steps: { by: counters.spent, factors: { "500.00": "0.5", "1000.00": "1" } } }
    caps: [ { per: member, every: month, points: 5000 } ]
"#;

const VOUCHERS: &str = r#"
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
  - { rule: vouchers, on: end_of.quarter, when: wallet.available >= 150, convert: { currency: points, each: 50, into: voucher, value: "0.50" } }
"#;

/// A club in January.
async fn club_with_ends(rules: &str) -> Fleet {
    let fleet = club_of(&with_rules(rules), &[]).await;
    set_time(&fleet, JANUARY_S).await;
    fleet
}

async fn buy(fleet: &Fleet, number: usize, member: &str, cents: i64) -> String {
    id_of(&record(fleet, purchase(number, member, cents)).await)
}

/// A purchase that is told later.
fn late(number: usize, member: &str, cents: i64, seconds: i64) -> RecordPurchaseRequest {
    RecordPurchaseRequest {
        purchase_time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        ..purchase(number, member, cents)
    }
}

/// A member's transactions, the oldest first.
async fn statement(fleet: &Fleet, member: &str) -> Vec<Transaction> {
    let request = ListTransactionsRequest {
        program: CLUB.to_owned(),
        member: member.to_owned(),
        ..ListTransactionsRequest::default()
    };
    let listed = ask!(fleet.clients().ledger(), list_transactions, request).expect("listed");
    let mut transactions = listed.transactions;
    transactions.reverse();
    transactions
}

/// What ends came to for a member: how often they were written before, what was given, and
/// taken back.
async fn ends(fleet: &Fleet, member: &str) -> Vec<(i32, i64, i64)> {
    let of_member = statement(fleet, member).await;
    of_member.iter().filter_map(end_of).collect()
}

fn end_of(transaction: &Transaction) -> Option<(i32, i64, i64)> {
    if transaction.kind() != TransactionKind::PeriodEnded {
        return None;
    }
    let end = transaction.period_end.as_ref().expect("it says of what");
    let given = transaction.lots.iter().map(|lot| lot.amount).sum();
    Some((end.number, given, end.taken_back))
}

/// Waits until it is said that all ends up to a moment are written, in all shards that have the
/// programme.
pub(crate) async fn until_ended(fleet: &Fleet, seconds: i64) {
    until("the ends of periods are written", || async {
        let url = fleet.points_database_url();
        let mut connection = PgConnection::connect(url).await.expect("it answers");
        let missing: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM begun_versions b LEFT JOIN period_ends e USING (program, shard)
             WHERE e.through IS NULL OR e.through < to_timestamp($1)",
        )
        .bind(seconds)
        .fetch_one(&mut connection)
        .await
        .expect("they are there");
        missing == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "step by step")]
async fn a_month_is_trued_up_once_and_again_for_what_comes_late_or_back() {
    let fleet = club_with_ends(TRUE_UP).await;
    let clients = fleet.clients();
    buy(&fleet, 1, "anna", 40_000).await;
    let second = buy(&fleet, 2, "anna", 20_000).await;
    buy(&fleet, 3, "ben", 49_999).await;
    buy(&fleet, 4, "cleo", 200_000).await;
    assert_eq!(available(clients, "anna").await, 600);

    // Whoever reads right after midnight sees it, swept or not.
    let sweepers = without_sweepers(&fleet).await;
    set_time(&fleet, FEBRUARY_S).await;
    assert_eq!(available(clients, "anna").await, 900);
    let (cached, _) = balance(clients, "cleo", Consistency::Cached).await;
    assert_eq!(cached.available, 4_000);
    assert_eq!(ends(&fleet, "anna").await, [(0, 300, 0)]);
    // Whoever buys has it written before.
    buy(&fleet, 5, "dora", 60_000).await;
    drop(sweepers);
    until_ended(&fleet, FEBRUARY_S).await;
    assert_eq!(ends(&fleet, "ben").await, [], "nothing came of it");
    assert_eq!(ends(&fleet, "dora").await, [], "it was bought in February");
    assert_eq!(available(clients, "anna").await, 900);

    let ended = statement(&fleet, "anna").await.pop().expect("one");
    let end = ended.period_end.as_ref().expect("one");
    assert_eq!((end.period(), end.number), (Period::Month, 0));
    assert_eq!(end.end_time.map(|time| time.seconds), Some(FEBRUARY_S));
    assert_eq!(
        ended.effective_time.map(|time| time.seconds),
        Some(FEBRUARY_S)
    );
    let lot = &ended.lots[0];
    let last_instant = lot.earned_time.expect("one");
    assert_eq!(
        (last_instant.seconds, last_instant.nanos),
        (FEBRUARY_S - 1, 999_999_000),
        "it is January's"
    );
    assert_eq!(ended.transfers[0].rule, "true-up");
    let reverse = ReverseRequest {
        request_id: "reverse".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        transaction: ended.id.clone(),
        ..ReverseRequest::default()
    };
    let refused = ask!(clients.ledger(), reverse, reverse).expect_err("what ends gave stays");
    assert_eq!(reason(&refused), "NOT_REVERSIBLE");
    let why = ExplainTransactionRequest {
        program: CLUB.to_owned(),
        transaction: ended.id.clone(),
    };
    let why = ask!(clients.ledger(), explain_transaction, why).expect("told");
    let told = why
        .steps
        .iter()
        .map(|step| (&*step.rule, step.outcome(), step.points));
    let told: Vec<_> = told
        .filter(|(_, outcome, _)| *outcome != RuleOutcome::Unspecified)
        .collect();
    assert_eq!(told, [("true-up", RuleOutcome::Gave, 300)]);
    assert!(
        why.steps[0]
            .text
            .starts_with("the month ended at 1997-02-01"),
        "{why:?}"
    );

    // A purchase of January that is told in February: 1,000 and more in all.
    set_time(&fleet, FEBRUARY_S + 5 * DAY).await;
    record(&fleet, late(6, "anna", 40_050, JANUARY_S + DAY)).await;
    // 1,000 of base in all, less the 300 of before.
    assert_eq!(ends(&fleet, "anna").await, [(0, 300, 0), (1, 700, 0)]);
    assert_eq!(available(clients, "anna").await, 600 + 400 + 1_000);
    // Ben comes to it late.
    record(&fleet, late(7, "ben", 1, JANUARY_S)).await;
    assert_eq!(ends(&fleet, "ben").await, [(0, 249, 0)]);
    // What was bought in February changes nothing of January.
    record(&fleet, late(8, "ben", 500, FEBRUARY_S + DAY)).await;
    assert_eq!(ends(&fleet, "ben").await.len(), 1);

    // What comes back takes its part of the month with it: of the newest lots first.
    give_back(&fleet, whole("back", "anna", &second))
        .await
        .expect("back");
    assert_eq!(
        ends(&fleet, "anna").await,
        [(0, 300, 0), (1, 700, 0), (2, 0, 600)]
    );
    // 800 of base, and half of it.
    assert_eq!(available(clients, "anna").await, 800 + 400);
    assert_eq!(
        counters(&fleet, "anna").await["earned"].value,
        0,
        "of February"
    );
    verify(&fleet).await.expect("the ledger holds");

    // February ends too, and nothing of January is written again.
    set_time(&fleet, MARCH_S + DAY).await;
    until_ended(&fleet, MARCH_S).await;
    assert_eq!(ends(&fleet, "anna").await.len(), 3);
    assert_eq!(ends(&fleet, "dora").await, [(0, 300, 0)]);
    verify(&fleet).await.expect("the ledger holds");
}

/// What a return takes of an end that was spent is taken as the programme's refunds say.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_spent_of_an_end_is_owed_when_it_is_taken_back() {
    let rules = format!("{TRUE_UP}\nrefunds: {{ policy: debt }}\n");
    let fleet = club_with_ends(&rules).await;
    let bought = buy(&fleet, 1, "anna", 100_000).await;
    set_time(&fleet, FEBRUARY_S + DAY).await;
    assert_eq!(available(fleet.clients(), "anna").await, 2_000);
    let spend = RedeemRequest {
        request_id: "spend".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points: 1_900,
        ..RedeemRequest::default()
    };
    ask!(fleet.clients().ledger(), redeem, spend).expect("spent");
    let half = of_money(whole("half", "anna", &bought), 50_000);
    give_back(&fleet, half).await.expect("back");
    // 500 of base go, and of 1,000 that the month gave, 750.
    assert_eq!(ends(&fleet, "anna").await, [(0, 1_000, 0), (1, 0, 750)]);
    let (wallet, _) = balance(fleet.clients(), "anna", Consistency::Strong).await;
    assert_eq!((wallet.available, wallet.debt), (0, 1_150));
    verify(&fleet).await.expect("the ledger holds");
}

#[tokio::test(flavor = "multi_thread")]
async fn points_become_vouchers_as_they_stood_when_the_quarter_ended() {
    let fleet = club_with_ends(VOUCHERS).await;
    let clients = fleet.clients();
    for (number, (member, cents)) in [("anna", 17_500), ("ben", 14_900), ("cleo", 15_000)]
        .into_iter()
        .enumerate()
    {
        buy(&fleet, number, member, cents).await;
    }
    accrue(clients, accrual("start", "dora", 400))
        .await
        .expect("given");
    let sweepers = without_sweepers(&fleet).await;
    set_time(&fleet, APRIL_S + 60).await;
    // Ben has 150 now, and had 149 when the quarter ended.
    buy(&fleet, 10, "ben", 100).await;
    buy(&fleet, 11, "ben", 100).await;
    assert_eq!(available(clients, "ben").await, 151);
    // What is given away has become a voucher before.
    let gift = GiftRequest {
        request_id: "gift".to_owned(),
        program: CLUB.to_owned(),
        member: "dora".to_owned(),
        recipient: "ben".to_owned(),
        currency: POINTS.to_owned(),
        points: 1,
        ..GiftRequest::default()
    };
    let refused = ask!(clients.ledger(), gift, gift);
    assert!(refused.is_err(), "all of hers became vouchers");
    drop(sweepers);
    until_ended(&fleet, APRIL_S).await;
    let left = join_all(["anna", "ben", "cleo", "dora"].map(|member| available(clients, member)));
    assert_eq!(left.await, [25, 151, 0, 0]);
    let ended = statement(&fleet, "anna").await.pop().expect("one");
    let end = ended.period_end.as_ref().expect("one");
    let [voucher] = &*end.converted else {
        panic!("one voucher for all: {end:?}");
    };
    assert_eq!(
        (
            voucher.points,
            voucher.value_minor_units,
            voucher.into(),
            &*voucher.brand
        ),
        (150, 150, ConversionInto::Voucher, SHOP)
    );
    assert_eq!(end.period(), Period::Quarter);
    assert!(
        ended
            .transfers
            .iter()
            .all(|transfer| transfer.rule == "vouchers")
    );
    assert_eq!(
        ended.effective_time.map(|time| time.seconds),
        Some(APRIL_S),
        "as it stood then"
    );
    verify(&fleet).await.expect("the ledger holds");
    // The next quarter begins anew.
    set_time(&fleet, APRIL_S + 92 * DAY).await;
    until_ended(&fleet, APRIL_S + 91 * DAY).await;
    assert_eq!(available(clients, "ben").await, 1);
    verify(&fleet).await.expect("the ledger holds");
}

/// Points that expire when the month ends have become a voucher before; those that become
/// available at that instant are among them.
#[tokio::test(flavor = "multi_thread")]
async fn at_one_instant_points_become_available_then_the_period_ends_then_they_expire() {
    let rules = VOUCHERS.replace("end_of.quarter", "end_of.month");
    let file = with_rules(&rules).replace(
        "expires: { after: 12 months, round_to: end_of_month }",
        "activates: { after: 12 days }, expires: { after: 1 month, round_to: end_of_month }",
    );
    let fleet = club_of(&file, &[]).await;
    // These are gone when February ends, and those are there from that instant on.
    buy(&fleet, 1, "anna", 14_000).await;
    set_time(&fleet, MARCH_S - 12 * DAY).await;
    buy(&fleet, 2, "anna", 1_000).await;
    set_time(&fleet, MARCH_S).await;
    until_ended(&fleet, MARCH_S).await;
    let kinds = |transactions: Vec<Transaction>| -> Vec<_> {
        transactions.iter().map(Transaction::kind).collect()
    };
    let anna = statement(&fleet, "anna").await;
    let at_once: BTreeMap<_, _> = anna.iter().map(|t| (t.kind(), t.effective_time)).collect();
    assert_eq!(
        at_once.get(&TransactionKind::Activate),
        at_once.get(&TransactionKind::PeriodEnded),
        "the last one that became available did so when February ended"
    );
    assert_eq!(
        kinds(anna),
        [
            TransactionKind::Purchase,
            TransactionKind::Activate,
            TransactionKind::Purchase,
            TransactionKind::Activate,
            TransactionKind::PeriodEnded
        ],
        "all became vouchers: nothing expired"
    );
    assert_eq!(available(fleet.clients(), "anna").await, 0);
    verify(&fleet).await.expect("the ledger holds");
}

/// The version that was in force just before the moment decides, also for what comes late; a
/// rule that is new has no part in what was before it.
#[tokio::test(flavor = "multi_thread")]
async fn the_version_that_was_in_force_decides() {
    let fleet = club_with_ends(TRUE_UP).await;
    let clients = fleet.clients();
    buy(&fleet, 1, "anna", 60_000).await;
    buy(&fleet, 2, "ben", 10_000).await;
    let sweepers = without_sweepers(&fleet).await;
    set_time(&fleet, FEBRUARY_S + 60).await;
    let generous = TRUE_UP.replace("\"500.00\": \"0.5\"", "\"50.00\": \"3\"");
    apply(clients, &with_rules(&generous), How::Now)
        .await
        .expect("applied");
    // The new version begins before anybody's January was written.
    buy(&fleet, 3, "anna", 10_000).await;
    buy(&fleet, 4, "ben", 10_000).await;
    drop(sweepers);
    until_ended(&fleet, FEBRUARY_S).await;
    assert_eq!(ends(&fleet, "anna").await, [(0, 300, 0)], "by the old one");
    assert_eq!(ends(&fleet, "ben").await, []);
    record(&fleet, late(5, "anna", 10_000, JANUARY_S)).await;
    assert_eq!(ends(&fleet, "anna").await, [(0, 300, 0), (1, 50, 0)]);
    set_time(&fleet, MARCH_S + 60).await;
    until_ended(&fleet, MARCH_S).await;
    assert_eq!(ends(&fleet, "ben").await, [(0, 300, 0)], "by the new one");
    // Without a rule for it a month ends as it always did, and what came before stays.
    let (without, _) = TRUE_UP.split_once("  - rule: true-up").expect("one");
    apply(clients, &with_rules(without), How::Now)
        .await
        .expect("applied");
    buy(&fleet, 6, "ben", 90_000).await;
    set_time(&fleet, APRIL_S + 60).await;
    record(&fleet, late(7, "ben", 10_000, MARCH_S - DAY)).await;
    assert_eq!(ends(&fleet, "ben").await, [(0, 300, 0), (1, 300, 0)]);
    verify(&fleet).await.expect("the ledger holds");
}

/// Two instances, many callers, and a sweeper at midnight: each member's month is trued up once,
/// whoever was first, and what they bought counts where it belongs.
const MEMBERS: usize = 48;

async fn at_midnight(placement: Option<(&str, &str)>) {
    let fleet = club_with_ends(TRUE_UP).await;
    let variables: Vec<(&str, &str)> = placement.into_iter().collect();
    let redis = fleet.stack.read().await.redis.url();
    let url = fleet.points_database_url();
    let others = [(); 2].map(|()| Instance::with(url, &redis, true, &variables));
    for other in &others {
        set_clock(other, JANUARY_S).await;
    }
    let name = |member: usize| format!("member-{member}");
    for member in 0..MEMBERS {
        let cents = if member % 3 == 0 { 100_000 } else { 50_000 };
        buy(&fleet, member, &name(member), cents).await;
    }
    for other in &others {
        set_clock(other, FEBRUARY_S + 1).await;
    }
    set_time(&fleet, FEBRUARY_S + 1).await;
    let calls = (0..MEMBERS * 4).map(|call| {
        let (member, other) = (call % MEMBERS, &others[call % 2]);
        let request = if call % 4 == 3 {
            late(1_000 + call, &name(member), 10_000, JANUARY_S + DAY)
        } else {
            purchase(1_000 + call, &name(member), 700)
        };
        let client = EarningServiceClient::new(other.channel.clone());
        async move { ask!(client, record_purchase, request).expect("recorded") }
    });
    join_all(calls).await;
    until_ended(&fleet, FEBRUARY_S).await;
    for member in 0..MEMBERS {
        let began = if member % 3 == 0 { 1_000 } else { 500 };
        let calls = (0..4).map(|round| round * MEMBERS + member);
        let late = calls.filter(|call| call % 4 == 3).count();
        let base = began + 100 * i64::try_from(late).expect("small");
        let trued_up = if base >= 1_000 { base } else { base / 2 };
        let given: i64 = ends(&fleet, &name(member))
            .await
            .iter()
            .map(|end| end.1 - end.2)
            .sum();
        assert_eq!(given, trued_up, "member {member}: {base}");
    }
    verify(&fleet).await.expect("the ledger holds");
}

/// Waits until points has heard that a member is gold.
async fn until_gold(fleet: &Fleet, member: &str) {
    until("points has heard of the tier", || async {
        let url = fleet.points_database_url();
        let mut connection = PgConnection::connect(url).await.expect("it answers");
        let gold = "SELECT count(*) FROM member_tiers WHERE member = $1 AND tier = 'gold'";
        let gold: i64 = sqlx::query_scalar(gold)
            .bind(member)
            .fetch_one(&mut connection)
            .await
            .expect("counted");
        gold == 1
    })
    .await;
}

/// Sets the clock of points alone.
async fn set_time_of_points(fleet: &Fleet, seconds: i64) {
    let [points, ..] = fleet.clients().clocks();
    set(points, seconds).await;
}

pub(crate) async fn set_clock(instance: &Instance, seconds: i64) {
    set(
        TestClockServiceClient::new(instance.operator.clone()),
        seconds,
    )
    .await;
}

async fn set(client: TestClockServiceClient<Channel>, seconds: i64) {
    let time = Some(prost_types::Timestamp { seconds, nanos: 0 });
    ask!(client, set_time, SetTimeRequest { time }).expect("set");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_at_midnight_the_month_is_trued_up_once() {
    at_midnight(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_at_midnight_the_month_is_trued_up_once_over_nodes() {
    at_midnight(Some(DISTRIBUTED)).await;
}

/// A rule that reads the tier waits until that is known, and nobody's purchase waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_goes_by_the_tier_waits_for_it_for_an_hour_at_the_longest() {
    let rules = TRUE_UP.replace(
        "    on: end_of.month\n",
        "    on: end_of.month\n    when: member.tier.at_least(\"silver\")\n",
    );
    let fleet = club_with_ends(&rules).await;
    buy(&fleet, 1, "anna", 60_000).await;
    until_gold(&fleet, "anna").await;
    fleet.signal("tiers", "STOP").await.expect("it is there");
    set_time_of_points(&fleet, FEBRUARY_S + 60).await;
    let bought = record(&fleet, purchase(2, "anna", 10_000)).await;
    assert!(bought.transaction.is_some());
    assert_eq!(available(fleet.clients(), "anna").await, 700);
    assert_eq!(ends(&fleet, "anna").await, []);
    set_time_of_points(&fleet, FEBRUARY_S + 3_601).await;
    until("an hour is over", || async {
        ends(&fleet, "anna").await == [(0, 300, 0)]
    })
    .await;
    let ended = statement(&fleet, "anna").await;
    let ended = ended.iter().find_map(|t| t.period_end.as_ref());
    assert_eq!(ended.map(|end| &*end.tier), Some("gold"));
    fleet.signal("tiers", "CONT").await.expect("it is there");
    set_time(&fleet, FEBRUARY_S + 3_700).await;
    verify(&fleet).await.expect("the ledger holds");
}

/// A day ends at once, and the month with it only when the tier is known: neither is passed over
/// for the other, and what comes late changes both.
#[tokio::test(flavor = "multi_thread")]
async fn a_shorter_end_closes_no_longer_one_that_waits() {
    let rules = TRUE_UP
        .replace(
            "    on: end_of.month\n",
            "    on: end_of.month\n    when: member.tier.at_least(\"silver\")\n",
        )
        .replace(
            "counters:\n",
            "counters:\n  today: { of: purchase, over: { every: day } }\n",
        );
    let rules = format!(
        "{rules}  - {{ rule: daily, on: end_of.day, when: counters.today >= 2, earn: {{ currency: points, fixed: 7 }} }}\n"
    );
    let fleet = club_with_ends(&rules).await;
    set_time(&fleet, FEBRUARY_S - DAY / 2).await;
    buy(&fleet, 1, "anna", 60_000).await;
    buy(&fleet, 2, "anna", 10_000).await;
    buy(&fleet, 3, "ben", 60_000).await;
    until_gold(&fleet, "ben").await;
    until_gold(&fleet, "anna").await;
    fleet.signal("tiers", "STOP").await.expect("it is there");
    set_time_of_points(&fleet, FEBRUARY_S + 60).await;
    buy(&fleet, 4, "anna", 100).await;
    assert_eq!(ends(&fleet, "anna").await, [(0, 7, 0)], "the day");
    set_time_of_points(&fleet, FEBRUARY_S + 3_601).await;
    until_ended(&fleet, FEBRUARY_S).await;
    assert_eq!(ends(&fleet, "anna").await, [(0, 7, 0), (0, 350, 0)]);
    assert_eq!(ends(&fleet, "ben").await, [(0, 300, 0)]);
    record(&fleet, late(5, "ben", 10_000, FEBRUARY_S - DAY / 4)).await;
    assert_eq!(
        ends(&fleet, "ben").await,
        [(0, 300, 0), (0, 7, 0), (1, 50, 0)]
    );
    fleet.signal("tiers", "CONT").await.expect("it is there");
    set_time(&fleet, FEBRUARY_S + 3_700).await;
    verify(&fleet).await.expect("the ledger holds");
}

/// At one instant a day ends before a month: what the month gives no day's end converts.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_longer_end_gives_no_shorter_one_converts() {
    let rules = r#"
counters: { visits: { of: purchase, over: { every: month } } }
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
  - { rule: vouchers, on: end_of.day, when: wallet.available >= 150, convert: { currency: points, each: 50, into: voucher, value: "0.50" } }
  - { rule: monthly, on: end_of.month, when: counters.visits >= 1, earn: { currency: points, fixed: 200 } }
"#;
    let fleet = club_with_ends(rules).await;
    set_time(&fleet, FEBRUARY_S - DAY / 2).await;
    buy(&fleet, 1, "anna", 10_000).await;
    let sweepers = without_sweepers(&fleet).await;
    set_time(&fleet, FEBRUARY_S + 60).await;
    for _ in 0..3 {
        assert_eq!(available(fleet.clients(), "anna").await, 300);
    }
    accrue(fleet.clients(), accrual("more", "anna", 1))
        .await
        .expect("given");
    drop(sweepers);
    until_ended(&fleet, FEBRUARY_S).await;
    assert_eq!(available(fleet.clients(), "anna").await, 301);
    set_time(&fleet, FEBRUARY_S + DAY).await;
    assert_eq!(available(fleet.clients(), "anna").await, 1, "the next day");
    until_ended(&fleet, FEBRUARY_S + DAY).await;
    verify(&fleet).await.expect("the ledger holds");
}

/// Points of two currencies become vouchers at one end, each in one voucher.
#[tokio::test(flavor = "multi_thread")]
async fn two_currencies_become_vouchers_at_one_end() {
    let rules = r#"
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
  - { rule: stars, on: purchase, earn: { currency: stars, rate: { points: 2, per: "1.00" } } }
  - { rule: of-points, on: end_of.month, convert: { currency: points, each: 50, into: voucher, value: "0.50" } }
  - { rule: of-stars, on: end_of.month, convert: { currency: stars, each: 100, into: voucher, value: "1.00" } }
"#;
    let file = with_rules(rules)
        .replace("  points: { decimals", "  stars: {}\n  points: { decimals")
        .replace(
            "issues: [points], accepts: [points]",
            "issues: [points, stars], accepts: [points, stars]",
        );
    // Lanes that remember nobody, so that lots are read under the lock, one wallet at a time.
    let knobs = [("FEALTY_LEDGER_MEMBERS_IN_MEMORY", "0".to_owned())];
    let fleet = club_of(&file, &knobs).await;
    set_time(&fleet, JANUARY_S).await;
    for number in 0..3 {
        buy(&fleet, number, "anna", 5_900).await;
    }
    set_time(&fleet, FEBRUARY_S).await;
    until_ended(&fleet, FEBRUARY_S).await;
    let ended = statement(&fleet, "anna").await.pop().expect("one");
    let converted = ended.period_end.expect("one").converted;
    let converted: Vec<_> = converted
        .iter()
        .map(|of| (&*of.currency, of.points, of.value_minor_units))
        .collect();
    assert_eq!(converted, [("points", 150, 150), ("stars", 300, 300)]);
    assert_eq!(available(fleet.clients(), "anna").await, 27);
    verify(&fleet).await.expect("the ledger holds");
}

/// What is forged of ends is seen.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_of_ends_is_compared_with_the_log() {
    let fleet = club_with_ends(TRUE_UP).await;
    buy(&fleet, 1, "anna", 60_000).await;
    set_time(&fleet, FEBRUARY_S + 60).await;
    until_ended(&fleet, FEBRUARY_S).await;
    verify(&fleet).await.expect("the ledger holds");
    let url = fleet.points_database_url();
    let mut connection = PgConnection::connect(url).await.expect("it answers");
    for (forge, mend) in [
        (
            "UPDATE period_ends SET through = through + interval '1 month'",
            "UPDATE period_ends SET through = through - interval '1 month'",
        ),
        ("DELETE FROM period_ends", ""),
    ] {
        connection.execute(forge).await.expect("forged");
        let seen = verify(&fleet).await.expect_err("it is seen");
        assert!(
            seen.contains("the ends of periods are written differs"),
            "{seen}"
        );
        if !mend.is_empty() {
            connection.execute(mend).await.expect("mended");
        }
    }
}

/// The feed tells of ends, and when all are written.
#[tokio::test(flavor = "multi_thread")]
async fn the_feed_tells_of_ends_and_when_all_are_written() {
    let fleet = club_with_ends(TRUE_UP).await;
    let lines = [line("rock", 60_000, 1)];
    record(&fleet, bought(1, "anna", &lines)).await;
    let (_, cursor) = polled(&fleet, String::new()).await;
    set_time(&fleet, FEBRUARY_S + 60).await;
    until_ended(&fleet, FEBRUARY_S).await;
    let (told, _) = polled(&fleet, cursor).await;
    let kinds: Vec<_> = told.iter().map(Transaction::kind).collect();
    assert_eq!(
        kinds,
        [TransactionKind::PeriodEnded, TransactionKind::PeriodsEnded]
    );
    let end = told[1].period_end.as_ref().expect("up to when");
    assert_eq!(end.end_time.map(|time| time.seconds), Some(FEBRUARY_S));
    assert_eq!(end.period(), Period::Unspecified);
    assert_eq!(told[0].shard, told[1].shard);
}
