//! Counters that count what was before they began: they stand where they would if they had been
//! there from the first day, whoever asks first, and who never does.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use fealty_cli::{
    apply::{How, apply},
    demo::Fleet,
};
use fealty_client::Channel;
use fealty_proto::points::v1::{
    ExplainTransactionRequest, ListTransactionsRequest, RecordActivityRequest,
    RecordPurchaseRequest, Transaction,
    TransactionKind::{self, Activity, CountersBackfilled, PeriodEnded, Purchase, Return},
    earning_service_client::EarningServiceClient,
};
use futures::future::join_all;
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::{
    earning::{bought, counters, earned, line, record, with_rules},
    ends::{set_clock, until_ended},
    harness::{
        CLUB, SHOP, START_S, ask, club_of, polled, purchase, set_time, until, verify,
        without_sweepers,
    },
    instance::{DISTRIBUTED, Instance},
    returns::{give_back, id_of, of_money, whole},
    simulating::simulate,
};

const DAY: i64 = 86_400;

/// What counters count, each in a way of its own.
const COUNTED: [(&str, &str); 9] = [
    (
        "spent",
        "of: purchase, add: purchase.amount, over: { every: month }",
    ),
    (
        "jazz",
        "of: line, when: 'line.category == \"jazz\"', add: line.quantity, over: ever",
    ),
    (
        "days",
        "of: purchase, once_per: day, over: { last: 30 days }",
    ),
    ("weeks", "of: purchase, over: { in_a_row: week }"),
    ("reviews", "of: activity.review, over: { every: quarter }"),
    ("lately", "of: purchase, over: { since: activity.moved }"),
    (
        "small",
        "of: purchase, when: 'purchase.amount < money(\"10.00\")', over: ever",
    ),
    (
        "singles",
        "of: line, when: 'line.quantity == 1', over: ever",
    ),
    (
        "gold",
        "of: purchase, when: 'member.tier == \"gold\"', over: { every: year }",
    ),
];

/// A club with counters from its first day, and with the same once more, from the log, where
/// `twice`.
fn programme(twice: bool) -> String {
    let mut text = "activities: { review: {}, moved: {} }\ncounters:\n".to_owned();
    for (name, counted) in COUNTED {
        let _ = writeln!(text, "  {name}: {{ {counted} }}");
        if twice {
            let _ = writeln!(text, "  {name}-too: {{ {counted}, backfill: true }}");
        }
    }
    text += r#"earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
"#;
    if twice {
        text += r"  - { rule: tenth, on: purchase, when: counters.jazz.passes(10), earn: { currency: points, fixed: 500 } }
";
    }
    with_rules(&text)
}

fn activity(number: usize, member: &str, of_type: &str, seconds: i64) -> RecordActivityRequest {
    RecordActivityRequest {
        request_id: format!("activity-{number}"),
        program: CLUB.to_owned(),
        member: member.to_owned(),
        brand: SHOP.to_owned(),
        activity: of_type.to_owned(),
        activity_id: format!("a-{number}"),
        activity_time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        ..RecordActivityRequest::default()
    }
}

fn at(request: RecordPurchaseRequest, seconds: i64) -> RecordPurchaseRequest {
    RecordPurchaseRequest {
        purchase_time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        ..request
    }
}

/// A member's counters, those of the first day and those from the log.
async fn both(fleet: &Fleet, member: &str) -> (BTreeMap<String, i64>, BTreeMap<String, i64>) {
    let all = counters(fleet, member).await;
    let all = all.into_iter().map(|(name, counter)| (name, counter.value));
    let (too, first): (BTreeMap<_, _>, BTreeMap<_, _>) =
        all.partition(|(name, _)| name.ends_with("-too"));
    let too = too.into_iter();
    let too = too.map(|(name, value)| (name.trim_end_matches("-too").to_owned(), value));
    (first, too.collect())
}

async fn are_same(fleet: &Fleet, member: &str) {
    let (first, too) = both(fleet, member).await;
    assert_eq!(first, too, "{member}");
    assert_eq!(first.len(), COUNTED.len());
}

/// Waits until it is said in all shards that had an earlier version that all is worked out up to
/// this one.
async fn until_backfilled(fleet: &Fleet, version: i32) {
    until("counters are worked out", || async {
        let url = fleet.points_database_url();
        let mut connection = PgConnection::connect(url).await.expect("it answers");
        let missing: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM begun_versions b WHERE backfilled < $1 AND EXISTS (
                 SELECT FROM version_history h
                 WHERE (h.program, h.shard) = (b.program, b.shard) AND h.version < $1
             )",
        )
        .bind(version)
        .fetch_one(&mut connection)
        .await
        .expect("they are there");
        missing == 0
    })
    .await;
}

/// Kinds of what stands in a member's log, the oldest first.
async fn kinds(fleet: &Fleet, member: &str) -> Vec<TransactionKind> {
    let request = ListTransactionsRequest {
        program: CLUB.to_owned(),
        member: member.to_owned(),
        ..ListTransactionsRequest::default()
    };
    let listed = ask!(fleet.clients().ledger(), list_transactions, request).expect("listed");
    let kinds = listed.transactions.iter().rev();
    kinds.map(Transaction::kind).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "step by step")]
async fn what_was_before_counts_and_goes_back() {
    let fleet = club_of(&programme(false), &[]).await;
    let clients = fleet.clients();
    let jazz = |number, member: &str, quantity| {
        bought(
            number,
            member,
            &[line("jazz", 1_000, quantity), line("rock", 500, 1)],
        )
    };
    let first = id_of(&record(&fleet, jazz(1, "anna", 8)).await);
    let second = id_of(&record(&fleet, jazz(2, "anna", 1)).await);
    record(&fleet, purchase(3, "ben", 2_000)).await;
    for (number, of_type) in [(1, "review"), (2, "moved")] {
        let request = activity(number, "anna", of_type, START_S);
        ask!(clients.earning(), record_activity, request).expect("recorded");
    }
    let part = of_money(whole("back-1", "anna", &second), 300);
    give_back(&fleet, part).await.expect("returned");
    set_time(&fleet, START_S + 3 * DAY).await;

    // Whoever asks first has it worked out; edges that were reached before are not reached again.
    let sweepers = without_sweepers(&fleet).await;
    let (_, cursor) = polled(&fleet, String::new()).await;
    apply(clients, &programme(true), How::Now)
        .await
        .expect("applied");
    are_same(&fleet, "anna").await;
    let (_, too) = both(&fleet, "anna").await;
    assert_eq!((too["jazz"], too["spent"], too["reviews"]), (9, 2_700, 1));
    let third = record(&fleet, jazz(4, "anna", 1)).await;
    assert_eq!(earned(&third), [("base", 15), ("tenth", 500)]);
    record(&fleet, jazz(5, "dora", 2)).await;
    are_same(&fleet, "anna").await;
    are_same(&fleet, "dora").await;

    // What comes back later of a purchase from before goes back, too, part by part.
    let part = of_money(whole("back-2", "anna", &second), 600);
    let answer = give_back(&fleet, part).await.expect("returned");
    are_same(&fleet, "anna").await;
    let rest = whole("back-3", "anna", &second);
    give_back(&fleet, rest).await.expect("returned");
    are_same(&fleet, "anna").await;
    give_back(&fleet, whole("back-4", "anna", &first))
        .await
        .expect("returned");
    are_same(&fleet, "anna").await;
    let (_, too) = both(&fleet, "anna").await;
    assert_eq!((too["jazz"], too["spent"]), (1, 1_500));
    // What comes late counts in its own time.
    record(&fleet, at(jazz(6, "anna", 3), START_S + DAY)).await;
    are_same(&fleet, "anna").await;

    // Who does nothing is swept.
    drop(sweepers);
    until_backfilled(&fleet, 2).await;
    are_same(&fleet, "ben").await;
    record(&fleet, purchase(7, "ben", 2_000)).await;
    are_same(&fleet, "ben").await;
    assert_eq!(
        kinds(&fleet, "anna").await,
        [
            Purchase,
            Purchase,
            Activity,
            Activity,
            Return,
            CountersBackfilled,
            Purchase,
            Return,
            Return,
            Return,
            Purchase
        ]
    );
    assert_eq!(
        kinds(&fleet, "ben").await,
        [Purchase, CountersBackfilled, Purchase]
    );
    assert_eq!(
        kinds(&fleet, "dora").await,
        [Purchase],
        "nothing was before"
    );

    // The feed tells of it, and explanations say why.
    let (told, _) = polled(&fleet, cursor).await;
    let of_kind = |kind| told.iter().filter(move |entry| entry.kind() == kind);
    assert_eq!(of_kind(CountersBackfilled).count(), 2);
    let said = of_kind(TransactionKind::AllCountersBackfilled);
    let versions: Vec<i64> = said.map(|notice| notice.program_version).collect();
    assert!(!versions.is_empty() && versions.iter().all(|version| *version == 2));
    let backfilled = of_kind(CountersBackfilled).next().expect("one");
    assert_eq!(backfilled.program_version, 2);
    let returned = answer.transaction.expect("one").id;
    for (transaction, says) in [
        (&backfilled.id, "counters that count what was before"),
        (
            &returned,
            "counters go back with it that began after the purchase",
        ),
    ] {
        let request = ExplainTransactionRequest {
            program: CLUB.to_owned(),
            transaction: transaction.clone(),
        };
        let explained = ask!(clients.ledger(), explain_transaction, request).expect("explained");
        let mut steps = explained.steps.iter();
        assert!(steps.any(|step| step.text.contains(says)), "{explained:?}");
    }
    verify(&fleet).await.expect("the ledger holds");
    reproduces_since(&fleet).await;
}

/// The log is made again by the versions that wrote it, and by a third that takes over.
async fn reproduces_since(fleet: &Fleet) {
    let url = fleet.points_database_url();
    let mut connection = PgConnection::connect(url).await.expect("it answers");
    let since: i64 = sqlx::query_scalar(
        "SELECT extract(epoch FROM max(begun_at))::bigint + 1 FROM begun_versions",
    )
    .fetch_one(&mut connection)
    .await
    .expect("it began");
    let same = simulate(fleet, &programme(true), Some(since)).await;
    let reproduced = same.reproduced.expect("it is the same programme");
    assert_eq!(reproduced.different, 0, "{reproduced:?}");
}

/// A version whose counters are dropped, and come again: they count all that was before, and
/// nothing twice.
#[tokio::test(flavor = "multi_thread")]
async fn counters_that_were_dropped_come_again() {
    let fleet = club_of(&programme(false), &[]).await;
    let clients = fleet.clients();
    let mut number = 0;
    for twice in [true, false, true, false, true] {
        for member in ["anna", "ben", "cleo"] {
            number += 1;
            record(&fleet, bought(number, member, &[line("jazz", 700, 2)])).await;
        }
        set_time(&fleet, START_S + i64::try_from(number).expect("few") * DAY).await;
        apply(clients, &programme(twice), How::Now)
            .await
            .expect("applied");
        number += 1;
        // Some come at once, some when they are swept, one not before the next version.
        record(&fleet, bought(number, "anna", &[line("jazz", 300, 1)])).await;
        if twice {
            are_same(&fleet, "anna").await;
            are_same(&fleet, "ben").await;
        }
    }
    until_backfilled(&fleet, 6).await;
    for member in ["anna", "ben", "cleo"] {
        are_same(&fleet, member).await;
    }
    verify(&fleet).await.expect("the ledger holds");
}

/// What comes back too late for counters takes nothing off, before they began and after.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_back_too_late_counts_all_the_same() {
    let fleet = club_of(&programme(false), &[]).await;
    let mut bought_first = Vec::new();
    for number in 0..4 {
        let lines = [line("jazz", 1_500, 2)];
        bought_first.push(id_of(&record(&fleet, bought(number, "anna", &lines)).await));
    }
    give_back(
        &fleet,
        of_money(whole("in-time", "anna", &bought_first[0]), 600),
    )
    .await
    .expect("returned");
    set_time(&fleet, START_S + 420 * DAY).await;
    for (number, late) in bought_first.iter().enumerate().take(2) {
        let request = whole(&format!("late-{number}"), "anna", late);
        give_back(&fleet, request).await.expect("returned");
    }
    apply(fleet.clients(), &programme(true), How::Now)
        .await
        .expect("applied");
    are_same(&fleet, "anna").await;
    give_back(&fleet, whole("later", "anna", &bought_first[2]))
        .await
        .expect("returned");
    are_same(&fleet, "anna").await;
    let (first, _) = both(&fleet, "anna").await;
    assert_eq!(first["jazz"], 8, "all four count");
    verify(&fleet).await.expect("the ledger holds");
}

/// A member whose log is long waits until it is read, whoever does that.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_log_is_read_beside_the_lane() {
    const PURCHASES: usize = 2_200;
    let fleet = club_of(&programme(false), &[]).await;
    let earning = fleet.clients().earning();
    let all = (0..PURCHASES).map(|number| {
        let request = bought(number, "anna", &[line("jazz", 1_500, 1)]);
        let earning = earning.clone();
        async move { ask!(earning, record_purchase, request).expect("recorded") }
    });
    join_all(all).await;
    let sweepers = without_sweepers(&fleet).await;
    apply(fleet.clients(), &programme(true), How::Now)
        .await
        .expect("applied");
    // Its member is refused for that long, and the client asks again.
    for (number, member) in [(PURCHASES, "anna"), (PURCHASES + 1, "ben")] {
        record(&fleet, bought(number, member, &[line("jazz", 1_500, 1)])).await;
    }
    are_same(&fleet, "anna").await;
    drop(sweepers);
    until_backfilled(&fleet, 2).await;
    are_same(&fleet, "anna").await;
    let (_, too) = both(&fleet, "anna").await;
    assert_eq!(usize::try_from(too["jazz"]), Ok(PURCHASES + 1));
    verify(&fleet).await.expect("the ledger holds");
}

/// A version without such counters leaves nothing to do of the one before it: ends of periods are
/// written, and nothing is said to be worked out that was not.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_without_such_counters_leaves_nothing_open() {
    const FEBRUARY_S: i64 = 854_755_200;
    let with_end = |twice: bool| {
        let end = r#"earning:
  - { rule: regular, on: end_of.month, when: counters.spent >= money("1.00"), earn: { currency: points, fixed: 10 } }
"#;
        programme(twice).replacen("earning:\n", end, 1)
    };
    let fleet = club_of(&with_end(false), &[]).await;
    let mut number = 0;
    for member in ["anna", "ben", "cleo"] {
        number += 1;
        record(&fleet, purchase(number, member, 2_000)).await;
    }
    let sweepers = without_sweepers(&fleet).await;
    for (twice, member) in [(true, "anna"), (false, "ben")] {
        apply(fleet.clients(), &with_end(twice), How::Now)
            .await
            .expect("applied");
        number += 1;
        record(&fleet, purchase(number, member, 2_000)).await;
    }
    set_time(&fleet, FEBRUARY_S + 60).await;
    drop(sweepers);
    until_ended(&fleet, FEBRUARY_S).await;
    for (member, expected) in [
        (
            "anna",
            &[Purchase, CountersBackfilled, Purchase, PeriodEnded][..],
        ),
        ("ben", &[Purchase, Purchase, PeriodEnded]),
        ("cleo", &[Purchase, PeriodEnded]),
    ] {
        assert_eq!(kinds(&fleet, member).await, expected, "{member}");
    }
    verify(&fleet).await.expect("the ledger holds");
}

/// What is forged of it is seen.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_of_it_is_compared_with_the_log() {
    let fleet = club_of(&programme(false), &[]).await;
    record(&fleet, purchase(1, "anna", 2_000)).await;
    apply(fleet.clients(), &programme(true), How::Now)
        .await
        .expect("applied");
    until_backfilled(&fleet, 2).await;
    verify(&fleet).await.expect("the ledger holds");
    let url = fleet.points_database_url();
    let mut connection = PgConnection::connect(url).await.expect("it answers");
    for forge in [
        "UPDATE begun_versions SET backfilled = 1",
        "UPDATE begun_versions SET backfilled = 3",
    ] {
        connection.execute(forge).await.expect("forged");
        let seen = verify(&fleet).await.expect_err("it is seen");
        assert!(
            seen.contains("up to which version counters are worked out"),
            "{seen}"
        );
    }
}

const MEMBERS: usize = 120;

/// What comes by chance, the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, below: i64) -> i64 {
        let next = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = next.wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 33).unwrap_or(0) % below
    }
}

/// A purchase, an activity or a return of what was bought last, for one of the members.
async fn step(
    earning: EarningServiceClient<Channel>,
    (number, now): (usize, i64),
    chance: &mut Chance,
    last: &mut BTreeMap<String, String>,
) {
    let member = format!("member-{}", chance.below(120));
    let when = now - chance.below(40) * DAY;
    match chance.below(10) {
        0 => {
            let of_type = if number % 2 == 0 { "review" } else { "moved" };
            let request = activity(number, &member, of_type, when);
            ask!(earning, record_activity, request).expect("recorded");
        }
        1 | 2 => {
            let Some((member, bought)) = last.pop_first() else {
                return;
            };
            let mut request = whole(&format!("back-{number}"), &member, &bought);
            if number % 3 > 0 {
                request = of_money(request, 1 + chance.below(300));
                last.insert(member, bought);
            }
            // Less may be left of it.
            let _ = ask!(earning, return_purchase, request);
        }
        _ => {
            let lines = [
                line("jazz", 100 + chance.below(2_000), 1),
                line("rock", chance.below(900), 1),
            ];
            let request = at(bought(number, &member, &lines), when);
            let answer = ask!(earning, record_purchase, request).expect("recorded");
            last.insert(member, id_of(&answer));
        }
    }
}

/// Two instances, many callers, and a version that begins in the middle: whoever was first, in
/// the end each counter stands where the one does that was there from the first day.
async fn while_many_buy(placement: Option<(&str, &str)>) {
    const CALLERS: usize = 32;
    let fleet = club_of(&programme(false), &[]).await;
    let now = START_S + 60 * DAY;
    set_time(&fleet, now).await;
    let redis = fleet.stack.read().await.redis.url();
    let variables: Vec<(&str, &str)> = placement.into_iter().collect();
    let other = Instance::with(fleet.points_database_url(), &redis, true, &variables);
    set_clock(&other, now).await;
    let theirs = EarningServiceClient::new(other.channel.clone());
    let ours = fleet.clients().earning();
    let (number, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let callers = (0..CALLERS).map(|at| {
        let earning = if at % 2 == 0 {
            ours.clone()
        } else {
            theirs.clone()
        };
        let (number, done) = (&number, &done);
        async move {
            let mut chance = Chance(at as u64);
            let mut last = BTreeMap::new();
            while !done.load(Ordering::Relaxed) {
                let next = number.fetch_add(1, Ordering::Relaxed);
                step(earning.clone(), (next, now), &mut chance, &mut last).await;
            }
        }
    });
    let begin = async {
        let more = async |than: usize| {
            let before = number.load(Ordering::Relaxed);
            until("purchases come", || async {
                number.load(Ordering::Relaxed) > before + than
            })
            .await;
        };
        more(10 * MEMBERS).await;
        apply(fleet.clients(), &programme(true), How::Now)
            .await
            .expect("applied");
        more(10 * MEMBERS).await;
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(join_all(callers), begin);
    until_backfilled(&fleet, 2).await;
    for member in 0..MEMBERS {
        are_same(&fleet, &format!("member-{member}")).await;
    }
    verify(&fleet).await.expect("the ledger holds");
    reproduces_since(&fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_with_such_counters_begins_while_many_buy() {
    while_many_buy(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_with_such_counters_begins_while_many_buy_distributed() {
    while_many_buy(Some(DISTRIBUTED)).await;
}

/// Where such a programme is tried from a moment on, its counters begin with what was before.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_tried_from_a_moment_on_counts_what_was_before() {
    let rules = |backfill: bool| {
        with_rules(&format!(
            r#"
counters:
  records: {{ of: line, add: line.quantity, over: ever{} }}
earning:
  - {{ rule: base, on: purchase, earn: {{ currency: points, rate: {{ points: 1, per: "1.00" }} }} }}
  - {{ rule: tenth, on: purchase, when: counters.records.passes(10), earn: {{ currency: points, fixed: 100 }} }}
"#,
            if backfill { ", backfill: true" } else { "" }
        ))
    };
    let without = with_rules(
        r#"
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
"#,
    );
    let fleet = club_of(&without, &[]).await;
    let records =
        |number, member: &str, quantity| bought(number, member, &[line("jazz", 1_000, quantity)]);
    record(&fleet, records(1, "anna", 6)).await;
    let gone = id_of(&record(&fleet, records(2, "anna", 2)).await);
    give_back(&fleet, whole("back", "anna", &gone))
        .await
        .expect("returned");
    let later = id_of(&record(&fleet, records(3, "ben", 9)).await);
    set_time(&fleet, START_S + DAY).await;
    give_back(&fleet, whole("back-later", "ben", &later))
        .await
        .expect("returned");
    record(&fleet, records(4, "anna", 4)).await;
    record(&fleet, records(5, "ben", 4)).await;
    for (backfill, hundreds) in [(true, 1), (false, 0)] {
        let tried = simulate(&fleet, &rules(backfill), Some(START_S + DAY)).await;
        let of = tried.currencies.values().next().expect("points");
        let more = of.after.issued - of.before.issued;
        assert_eq!(more, hundreds * 100, "{of:?}");
    }
    // Over the whole log they count from its first entry on anyway.
    let tried = simulate(&fleet, &rules(true), None).await;
    let of = tried.currencies.values().next().expect("points");
    assert_eq!(of.after.issued - of.before.issued, 100);
}
