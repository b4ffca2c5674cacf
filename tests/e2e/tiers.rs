//! Tiers that decide whether points go with inactivity, and the feed that tells of tiers.

use fealty_cli::{
    apply::{How, apply},
    demo::{Fleet, PROGRAM},
};
use fealty_proto::{
    operations::v1::SetTimeRequest,
    points::v1::{Balance, Consistency, ListTransactionsRequest, TransactionKind},
    tiers::v1::{GetStatusRequest, PollTierChangesRequest, PollTierChangesResponse},
    r#type::v1::{FeedStart, feed_start::At},
};
use sqlx::{Connection as _, PgConnection};

use crate::{
    harness::{CLUB, START_S, ask, balance, club, purchase, set_time, until, verify},
    returns::{give_back, id_of, whole},
};

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// Midnights, in seconds.
const FEBRUARY_1998: i64 = 886_291_200;
const NEW_YEAR_1999: i64 = 915_148_800;

/// The club's programme, with other terms of expiry.
fn program(expires: &str) -> String {
    let terms = "expires: { after: 12 months, round_to: end_of_month }";
    let file = PROGRAM.replace(terms, &format!("expires: {expires}"));
    assert_ne!(file, PROGRAM, "the example has other terms");
    file
}

/// Gold's and platinum's points stay, the others' go.
pub(crate) fn gold_stays() -> String {
    program(
        "{ inactive_for: 6 months, by_tier: { gold: never, platinum: never }, after_fall: 30 days }",
    )
}

pub(crate) async fn apply_to(fleet: &Fleet, file: &str) {
    let applied = apply(fleet.clients(), file, How::Now).await;
    applied.expect("the programme is applied");
}

async fn wallet(fleet: &Fleet, member: &str) -> Balance {
    let read = balance(fleet.clients(), member, Consistency::Strong);
    read.await.0
}

async fn buy(fleet: &Fleet, number: usize, member: &str, cents: i64) {
    let asked = purchase(number, member, cents);
    ask!(fleet.clients().earning(), record_purchase, asked).expect("recorded");
}

async fn until_waived(fleet: &Fleet, member: &str, waived: bool) {
    let told = format!("whether {member} keeps its points becomes {waived}");
    until(&told, || async {
        wallet(fleet, member).await.inactivity_waived == waived
    })
    .await;
}

fn second(time: Option<prost_types::Timestamp>) -> Option<i64> {
    time.map(|time| time.seconds)
}

/// Up to when points knows who had which tier.
async fn known(fleet: &Fleet) -> Option<i64> {
    let url = fleet.points_database_url();
    let mut connection = PgConnection::connect(url).await.expect("it answers");
    let known: Option<Option<i64>> = sqlx::query_scalar(
        "SELECT extract(epoch FROM known_at)::bigint FROM feed_cursors WHERE source = 'tiers'",
    )
    .fetch_optional(&mut connection)
    .await
    .expect("there is a table of cursors");
    known.flatten()
}

/// Two years of a green member, a gold one who falls, and a platinum one who does not.
#[tokio::test(flavor = "multi_thread")]
async fn points_stay_in_gold_and_go_after_the_fall() {
    let fleet = club().await;
    apply_to(&fleet, &gold_stays()).await;
    buy(&fleet, 1, "green", 1_000).await;
    buy(&fleet, 2, "gold", 30_000).await;
    buy(&fleet, 3, "platinum", 100_000).await;
    until_waived(&fleet, "gold", true).await;
    until_waived(&fleet, "platinum", true).await;
    assert_eq!(wallet(&fleet, "gold").await.inactive_time, None);
    let green = wallet(&fleet, "green").await;
    assert_eq!((green.available, green.inactivity_waived), (100, false));
    assert_eq!(second(green.inactive_time), Some(START_S + 181 * DAY));

    // Half a year without a purchase: green's are gone, an hour later at the latest.
    set_time(&fleet, START_S + 181 * DAY - 1).await;
    assert_eq!(wallet(&fleet, "green").await.available, 100);
    set_time(&fleet, START_S + 181 * DAY + HOUR).await;
    assert_eq!(wallet(&fleet, "green").await.available, 0);
    assert_eq!(wallet(&fleet, "gold").await.available, 3_000);
    // Platinum buys again, and so stays what it is.
    set_time(&fleet, START_S + 300 * DAY).await;
    buy(&fleet, 4, "platinum", 100_000).await;

    // Gold is judged at the end of 1 January, and falls: 30 days are left.
    set_time(&fleet, START_S + 370 * DAY).await;
    until_waived(&fleet, "gold", false).await;
    let fallen = wallet(&fleet, "gold").await;
    assert_eq!(fallen.available, 3_000);
    assert_eq!(second(fallen.inactive_time), Some(FEBRUARY_1998));
    let history = ListTransactionsRequest {
        program: CLUB.to_owned(),
        member: "gold".to_owned(),
        ..ListTransactionsRequest::default()
    };
    let history = ask!(fleet.clients().ledger(), list_transactions, history).expect("a history");
    let tiers = history.transactions.iter().filter_map(|transaction| {
        let tier = transaction.member_tier.as_ref()?;
        assert_eq!(transaction.kind(), TransactionKind::TierChanged);
        Some((tier.tier.clone(), second(tier.since_time)?))
    });
    let tiers: Vec<(String, i64)> = tiers.collect();
    let fall = FEBRUARY_1998 - 30 * DAY;
    let expected = [("member".to_owned(), fall), ("gold".to_owned(), START_S)];
    assert_eq!(tiers, expected, "the newest first");

    // At the end of them it is not known yet that no purchase has lifted the member:
    // the points wait for the tiers' feed, not for the hour to pass.
    set_time(&fleet, FEBRUARY_1998 - 1).await;
    assert_eq!(wallet(&fleet, "gold").await.available, 3_000);
    set_time(&fleet, FEBRUARY_1998 + 30 * 60).await;
    assert_eq!(wallet(&fleet, "gold").await.available, 3_000);
    until("it is known who had which tier", || async {
        known(&fleet)
            .await
            .is_some_and(|known| known >= FEBRUARY_1998)
    })
    .await;
    set_time(&fleet, FEBRUARY_1998 + 32 * 60).await;
    assert_eq!(wallet(&fleet, "gold").await.available, 0);

    // What is earned after the fall goes as green's does, and platinum's stays.
    buy(&fleet, 5, "gold", 1_000).await;
    set_time(&fleet, FEBRUARY_1998 + 181 * DAY + 2 * HOUR).await;
    assert_eq!(wallet(&fleet, "gold").await.available, 0);
    set_time(&fleet, NEW_YEAR_1999).await;
    assert_eq!(wallet(&fleet, "platinum").await.available, 30_000);
    // Until it falls as well.
    set_time(&fleet, NEW_YEAR_1999 + 2 * DAY).await;
    until_waived(&fleet, "platinum", false).await;
    assert_eq!(wallet(&fleet, "platinum").await.available, 30_000);
    set_time(&fleet, NEW_YEAR_1999 + 31 * DAY + HOUR).await;
    assert_eq!(wallet(&fleet, "platinum").await.available, 0);
    verify(&fleet).await.expect("the ledger is sound");
}

/// A version that says something else of tiers says it of the points that are there.
#[tokio::test(flavor = "multi_thread")]
async fn another_version_decides_of_points_that_are_there() {
    let fleet = club().await;
    apply_to(&fleet, &program("{ inactive_for: 6 months }")).await;
    for (number, member) in ["gold", "green", "silver"].into_iter().enumerate() {
        buy(&fleet, number, member, [30_000, 1_000, 10_000][number]).await;
    }
    until("tiers are told", || async {
        poll(&fleet, At::Cursor(String::new())).await.changes.len() == 2
    })
    .await;
    let in_half_a_year = Some(START_S + 181 * DAY);
    assert_eq!(
        second(wallet(&fleet, "gold").await.inactive_time),
        in_half_a_year
    );
    set_time(&fleet, START_S + 100 * DAY).await;
    apply_to(&fleet, &gold_stays()).await;
    // Nobody buys: the version is written of whom it concerns all the same.
    until_waived(&fleet, "gold", true).await;
    set_time(&fleet, START_S + 200 * DAY).await;
    assert_eq!(wallet(&fleet, "gold").await.available, 3_000);
    assert_eq!(wallet(&fleet, "green").await.available, 0);
    assert_eq!(wallet(&fleet, "silver").await.available, 0);
    // And the other way round: they live for as long as after a fall.
    let platinum_stays =
        program("{ inactive_for: 6 months, by_tier: { platinum: never }, after_fall: 30 days }");
    apply_to(&fleet, &platinum_stays).await;
    until_waived(&fleet, "gold", false).await;
    let gold = wallet(&fleet, "gold").await;
    assert_eq!(gold.available, 3_000);
    assert_eq!(second(gold.inactive_time), Some(START_S + 230 * DAY));
    set_time(&fleet, START_S + 230 * DAY + 2 * HOUR).await;
    assert_eq!(wallet(&fleet, "gold").await.available, 0);
    verify(&fleet).await.expect("the ledger is sound");
}

async fn poll(fleet: &Fleet, at: At) -> PollTierChangesResponse {
    let request = PollTierChangesRequest {
        start: Some(FeedStart { at: Some(at) }),
        wait: None,
    };
    ask!(fleet.clients().tier(), poll_tier_changes, request).expect("polled")
}

/// The feed of tiers begins at a cursor, a time or now, and can be polled.
#[tokio::test(flavor = "multi_thread")]
async fn the_feed_of_tiers_begins_at_a_time_or_now_and_can_be_polled() {
    let fleet = club().await;
    let all = async || poll(&fleet, At::Cursor(String::new())).await;
    buy(&fleet, 1, "anna", 10_000).await;
    until("anna is told of", || async {
        all().await.changes.len() == 1
    })
    .await;
    set_time(&fleet, START_S + 60).await;
    buy(&fleet, 2, "ben", 30_000).await;
    until("ben is told of", || async {
        all().await.changes.len() == 2
    })
    .await;
    let told = all().await;
    let members: Vec<&str> = told.changes.iter().map(|change| &*change.member).collect();
    assert_eq!((members, told.behind), (vec!["anna", "ben"], 0));
    let written: Vec<_> = told
        .changes
        .iter()
        .map(|change| second(change.written_time))
        .collect();
    assert_eq!(written, [Some(START_S), Some(START_S + 60)]);
    let from = async |seconds| {
        let time = prost_types::Timestamp { seconds, nanos: 0 };
        poll(&fleet, At::Time(time)).await.changes.len()
    };
    assert_eq!((from(START_S).await, from(START_S + 1).await), (2, 1));
    assert_eq!((from(START_S + 60).await, from(START_S + 61).await), (1, 0));
    let now = poll(&fleet, At::Now(true)).await;
    assert_eq!((now.changes.len(), &now.cursor), (0, &told.cursor));
    // Who waits hears of what is written, as soon as it is.
    let waiting = async {
        let request = PollTierChangesRequest {
            start: crate::harness::from(now.cursor.clone()),
            wait: Some(prost_types::Duration {
                seconds: 20,
                nanos: 0,
            }),
        };
        ask!(fleet.clients().tier(), poll_tier_changes, request).expect("polled")
    };
    let (heard, ()) = tokio::join!(waiting, buy(&fleet, 3, "carl", 10_000));
    assert_eq!(heard.changes.len(), 1);
    assert_eq!(heard.changes[0].member, "carl");
}

pub(crate) async fn tier_of(fleet: &Fleet, member: &str) -> Option<String> {
    let request = GetStatusRequest {
        program: CLUB.to_owned(),
        member: member.to_owned(),
    };
    let read = fleet.clients().tier().get_status(request).await.ok()?;
    Some(read.into_inner().status?.tier)
}

async fn end(fleet: &Fleet, service: &str) {
    fleet.signal(service, "TERM").await.expect("it is there");
    until("it has ended", || async {
        !fleet.is_running(service).await.expect("it is known")
    })
    .await;
}

/// A gold member bought enough to keep the tier while the tiers service was away. When it is
/// back, and does not hear from points yet, she is due, and does not fall.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_falls_for_a_purchase_that_is_not_read_yet() {
    let fleet = club().await;
    buy(&fleet, 1, "anna", 30_000).await;
    until("she is gold", || async {
        tier_of(&fleet, "anna").await.as_deref() == Some("gold")
    })
    .await;
    set_time(&fleet, START_S + 300 * DAY).await;
    end(&fleet, "tiers").await;
    buy(&fleet, 2, "anna", 30_000).await;
    end(&fleet, "points").await;
    fleet.restart("tiers").await.expect("it serves");

    let [_, mut tiers, _] = fleet.clients().clocks();
    let time = Some(prost_types::Timestamp {
        seconds: START_S + 370 * DAY,
        nanos: 0,
    });
    let set = tiers.set_time(SetTimeRequest { time }).await;
    assert_eq!(set.expect("the clock is set").into_inner().due_items, 0);
    fleet.restart("points").await.expect("it serves");
    set_time(&fleet, START_S + 370 * DAY).await;
    let url = fleet.stack.read().await.postgres.url("tiers");
    let connection = PgConnection::connect(&url).await.expect("it answers");
    let connection = tokio::sync::Mutex::new(connection);
    until("she is judged", || async {
        let judged = "SELECT count(*) FROM statuses WHERE evaluate_at > to_timestamp($1::bigint)";
        let mut connection = connection.lock().await;
        let judged = sqlx::query_scalar::<_, i64>(judged)
            .bind(START_S + 370 * DAY)
            .fetch_one(&mut *connection);
        judged.await.expect("it counts") == 1
    })
    .await;
    let told = poll(&fleet, At::Cursor(String::new())).await;
    let tiers: Vec<&str> = told.changes.iter().map(|change| &*change.tier).collect();
    assert_eq!(tiers, ["gold"]);
}

/// Silver until 2 January 1998, and bought enough to keep it, of which she returns some on the
/// 3rd, while tiers is away. She was judged on the 2nd, so she keeps the tier for another year,
/// and what came back does not count at the next judgement.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_back_after_a_judgement_does_not_change_it() {
    let fleet = club().await;
    buy(&fleet, 1, "anna", 10_000).await;
    let has = |tier: &'static str| {
        let fleet = &fleet;
        async move { tier_of(fleet, "anna").await.as_deref() == Some(tier) }
    };
    until("she is silver", || has("silver")).await;
    set_time(&fleet, START_S + 300 * DAY).await;
    let bought = purchase(2, "anna", 10_000);
    let bought = ask!(fleet.clients().earning(), record_purchase, bought).expect("recorded");
    end(&fleet, "tiers").await;
    let mut points = fleet.clients().clocks().into_iter().next().expect("points");
    let time = |days: i64| {
        Some(prost_types::Timestamp {
            seconds: START_S + days * DAY,
            nanos: 0,
        })
    };
    let request = SetTimeRequest { time: time(368) };
    points.set_time(request).await.expect("the clock is set");
    let back = whole("back", "anna", &id_of(&bought));
    give_back(&fleet, back).await.expect("returned");
    fleet.restart("tiers").await.expect("it serves");
    set_time(&fleet, START_S + 369 * DAY).await;
    let spent = async |cents: i64| {
        until("tiers have heard of it", || async {
            let request = GetStatusRequest {
                program: CLUB.to_owned(),
                member: "anna".to_owned(),
            };
            let read = ask!(fleet.clients().tier(), get_status, request).expect("read");
            let status = read.status.expect("one");
            status.spent.expect("money").minor_units == cents && status.tier == "silver"
        })
        .await;
    };
    spent(0).await;
    set_time(&fleet, START_S + 740 * DAY).await;
    until("she falls", || has("member")).await;
}

/// While releases change, an instance of before takes purchases, and knows nothing of days.
#[tokio::test(flavor = "multi_thread")]
async fn purchases_that_an_instance_of_before_takes_count() {
    let fleet = club().await;
    let url = fleet.stack.read().await.postgres.url("tiers");
    let mut connection = PgConnection::connect(&url).await.expect("it answers");
    for (position, cents) in [(1_i64, 6_000_i64), (2, 3_999)] {
        let taken = sqlx::query(
            "INSERT INTO purchases (program, member, purchased_at, shard, position, minor_units)
            VALUES ($1, 'old', to_timestamp($2::bigint), 15, -$3, $4)",
        )
        .bind(CLUB)
        .bind(START_S)
        .bind(position)
        .bind(cents);
        taken.execute(&mut connection).await.expect("taken");
    }
    set_time(&fleet, START_S + DAY).await;
    buy(&fleet, 1, "old", 1).await;
    until("they lift together", || async {
        tier_of(&fleet, "old").await.as_deref() == Some("silver")
    })
    .await;
}

/// Purchases that come a year late: one of a cent gives no tier again that was had; one that
/// would have kept the tier when it was judged does.
#[tokio::test(flavor = "multi_thread")]
async fn late_purchases_count_as_if_they_had_come_in_time() {
    let fleet = club().await;
    buy(&fleet, 1, "anna", 10_000).await;
    let has = |tier: &'static str| {
        let fleet = &fleet;
        async move { tier_of(fleet, "anna").await.as_deref() == Some(tier) }
    };
    until("she is silver", || has("silver")).await;
    set_time(&fleet, START_S + 370 * DAY).await;
    until("her year is over", || has("member")).await;
    let late = async |number: usize, days: i64, cents: i64| {
        let mut asked = purchase(number, "anna", cents);
        asked.purchase_time = Some(prost_types::Timestamp {
            seconds: START_S + days * DAY,
            nanos: 0,
        });
        ask!(fleet.clients().earning(), record_purchase, asked).expect("recorded");
        let url = fleet.stack.read().await.postgres.url("tiers");
        until("it is taken", || async {
            let mut connection = PgConnection::connect(&url).await.expect("it answers");
            let taken = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM purchases");
            let taken = taken.fetch_one(&mut connection).await;
            usize::try_from(taken.expect("it counts")) == Ok(number)
        })
        .await;
    };
    late(2, 1, 1).await;
    assert!(has("member").await, "she was silver then");
    late(3, 300, 10_000).await;
    assert!(has("silver").await, "she would have been kept");
}

/// What the tiers service's database commits in a second.
async fn commits_in_a_second(fleet: &Fleet) -> i64 {
    let url = fleet.stack.read().await.postgres.url("tiers");
    let mut connection = PgConnection::connect(&url).await.expect("it answers");
    let mut commits = [0_i64; 2];
    for read in &mut commits {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let counted = "SELECT xact_commit FROM pg_stat_database WHERE datname = 'tiers'";
        let counted = sqlx::query_scalar(counted).fetch_one(&mut connection);
        *read = counted.await.expect("it counts");
    }
    commits[1] - commits[0]
}

/// Who has a tier that is no more is judged at once. 501 members are due when their
/// programme has no tiers any more: nobody goes round in circles, and they are judged when
/// it has some again.
#[tokio::test(flavor = "multi_thread")]
async fn members_of_tiers_that_are_removed_are_judged_when_there_are_some_again() {
    let fleet = club().await;
    let calls = (0..501).map(|number| {
        let asked = purchase(number, &format!("member-{number}"), 40_000);
        let mut client = fleet.clients().earning();
        async move { client.record_purchase(asked).await.map(|_| ()) }
    });
    for made in futures::future::join_all(calls).await {
        made.expect("recorded");
    }
    let tier = |member: &'static str| tier_of(&fleet, member);
    until("the last is gold", || async {
        tier("member-500").await.as_deref() == Some("gold")
    })
    .await;
    // No gold: who has it is judged at once.
    let without_gold = PROGRAM
        .replace("    - { tier: gold, from: \"300.00\" }\n", "")
        .replace("gold: \"1.50\", ", "");
    apply_to(&fleet, &without_gold).await;
    until("the last is silver", || async {
        tier("member-500").await.as_deref() == Some("silver")
    })
    .await;

    // No tiers: nothing that earns by them, either.
    let section = |name: &str, file: &str| {
        let start = file.find(&format!("\n{name}:")).expect("it has it");
        let end = file[start + 1..]
            .find("\n\n")
            .map_or(file.len(), |len| start + 1 + len);
        (start, end)
    };
    let mut without = PROGRAM.to_owned();
    let (start, end) = section("tiers", &without);
    without.replace_range(start..end, "");
    let bonus = without
        .find("  # A factor is the whole")
        .expect("the bonus");
    let end = without[bonus..].find("\n\n").expect("an end") + bonus;
    without.replace_range(bonus..end, "");
    apply_to(&fleet, &without).await;
    set_time(&fleet, START_S + 400 * DAY).await;
    let commits = commits_in_a_second(&fleet).await;
    assert!(
        commits < 300,
        "{commits} commits in a second where there is nothing to do"
    );

    // There are tiers again: the purchases of more than a year ago do not count.
    apply_to(&fleet, PROGRAM).await;
    until("the last is an ordinary member", || async {
        tier("member-500").await.as_deref() == Some("member")
    })
    .await;
}
