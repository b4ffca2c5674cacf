//! Activities: what is no purchase earns by its own rules, once, and what counts since one.

use std::collections::BTreeMap;

use fealty_cli::demo::Fleet;
use fealty_proto::points::v1::{
    ActivityKey, AttributeValue, ExplainTransactionRequest, GetTransactionRequest,
    RecordActivityRequest, RecordActivityResponse, ReverseRequest, RuleOutcome, TransactionKind,
    attribute_value::Value, earning_service_client::EarningServiceClient,
    get_transaction_request::By,
};
use futures::future::join_all;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{
    earning::{bought, counters, earned, line, record, with_rules},
    harness::{CLUB, SHOP, START_S, ask, available, club_of, polled, reason, set_time, verify},
    instance::{DISTRIBUTED, Instance},
};

const DAY: i64 = 86_400;

const RULES: &str = r#"
activities:
  review: { attributes: { stars: int } }
  moved: {}
counters:
  reviews: { of: activity.review, over: { every: month } }
  moves: { of: activity.moved, over: { last: 90 days } }
budgets: { praise: { currency: points, points: 70 } }
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
  - rule: furniture
    on: purchase
    when: counters.moves >= 1
    lines: 'line.category == "table"'
    earn: { currency: points, rate: { points: 5, per: "1.00" } }
    caps: [ { per: member, since: activity.moved, points: 100 } ]
  - rule: review
    on: activity.review
    earn: { currency: points, fixed: 50 }
    caps: [ { per: member, every: week, times: 1 } ]
    budget: praise
  - { rule: kind, on: activity.review, when: activity.attributes.stars >= 4, earn: { currency: points, fixed: 1, times: activity.attributes.stars } }
"#;

/// A review with so many stars.
fn review(number: usize, member: &str, stars: i64) -> RecordActivityRequest {
    let value = Some(Value::Number(stars));
    RecordActivityRequest {
        request_id: format!("review-{number}"),
        program: CLUB.to_owned(),
        member: member.to_owned(),
        brand: SHOP.to_owned(),
        activity: "review".to_owned(),
        activity_id: format!("r-{number}"),
        attributes: [("stars".to_owned(), AttributeValue { value })].into(),
        ..RecordActivityRequest::default()
    }
}

fn moved(number: usize, member: &str) -> RecordActivityRequest {
    RecordActivityRequest {
        request_id: format!("move-{number}"),
        activity: "moved".to_owned(),
        activity_id: format!("m-{number}"),
        attributes: std::collections::HashMap::new(),
        ..review(number, member, 0)
    }
}

async fn act(fleet: &Fleet, request: RecordActivityRequest) -> RecordActivityResponse {
    ask!(fleet.clients().earning(), record_activity, request).expect("recorded")
}

/// What rules gave, by their names.
fn gave(answer: &RecordActivityResponse) -> Vec<(&str, i64)> {
    let transaction = answer.transaction.as_ref().expect("a transaction");
    let activity = transaction.activity.as_ref().expect("an activity");
    let earned = activity.earned_points.iter();
    earned
        .map(|earned| (earned.rule.as_str(), earned.points))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "step by step")]
async fn what_is_no_purchase_earns_by_its_own_rules() {
    let fleet = club_of(&with_rules(RULES), &[]).await;
    let request = review(1, "anna", 5);
    let answer = act(&fleet, request.clone()).await;
    assert_eq!(gave(&answer), [("review", 50), ("kind", 5)]);
    let again = act(&fleet, request.clone()).await;
    assert!(again.replayed);
    assert_eq!(again.transaction, answer.transaction);
    let transaction = answer.transaction.expect("one");
    let told = transaction.activity.as_ref().expect("one");
    assert_eq!(
        (
            &*told.brand,
            &*told.activity,
            &*told.activity_id,
            &*told.tier
        ),
        (SHOP, "review", "r-1", "member")
    );
    assert_eq!(told.attributes, request.attributes);
    assert_eq!(transaction.kind(), TransactionKind::Activity);

    // The week's is given; the counter counts all the same.
    let second = act(&fleet, review(2, "anna", 3)).await;
    assert_eq!(gave(&second), []);
    assert_eq!(counters(&fleet, "anna").await["reviews"].value, 2);
    let why = ExplainTransactionRequest {
        program: CLUB.to_owned(),
        transaction: second.transaction.expect("one").id,
    };
    let why = ask!(fleet.clients().ledger(), explain_transaction, why).expect("told");
    assert!(
        why.steps
            .iter()
            .any(|step| step.text == "review r-2 at record-shop")
    );
    let of_rules: BTreeMap<&str, RuleOutcome> = why
        .steps
        .iter()
        .filter(|step| step.outcome != 0)
        .map(|step| (&*step.rule, step.outcome()))
        .collect();
    let expected = [
        ("kind", RuleOutcome::ConditionNotMet),
        ("review", RuleOutcome::CapReached),
    ];
    assert_eq!(of_rules, expected.into());

    // It is found by its own id, and in the feed.
    let by = By::Activity(ActivityKey {
        brand: SHOP.to_owned(),
        activity: "review".to_owned(),
        activity_id: "r-1".to_owned(),
    });
    let asked = GetTransactionRequest {
        program: CLUB.to_owned(),
        by: Some(by),
    };
    let found = ask!(fleet.clients().ledger(), get_transaction, asked).expect("found");
    assert_eq!(found.transaction.as_ref(), Some(&transaction));
    let (feed, _) = polled(&fleet, String::new()).await;
    let of_feed = feed.iter().filter_map(|entry| entry.activity.as_ref());
    let of_feed: Vec<&str> = of_feed.map(|activity| &*activity.activity_id).collect();
    assert_eq!(of_feed, ["r-1", "r-2"]);

    // The budget has 20 left; what was given can be undone.
    let berta = act(&fleet, review(3, "berta", 4)).await;
    assert_eq!(gave(&berta), [("review", 20), ("kind", 4)]);
    let undo = ReverseRequest {
        request_id: "undo".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        transaction: transaction.id.clone(),
        ..ReverseRequest::default()
    };
    ask!(fleet.clients().ledger(), reverse, undo).expect("undone");
    assert_eq!(available(fleet.clients(), "anna").await, 0);
    verify(&fleet).await.expect("the ledger holds");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_counts_since_an_activity_begins_anew_with_each() {
    let fleet = club_of(&with_rules(RULES), &[]).await;
    let table = |number| bought(number, "anna", &[line("table", 1_500, 1)]);
    assert_eq!(earned(&record(&fleet, table(1)).await), [("base", 15)]);
    // One that no rule gives anything for is recorded, and is the member's first here.
    assert_eq!(gave(&act(&fleet, moved(1, "anna")).await), []);
    assert_eq!(gave(&act(&fleet, moved(2, "zoe")).await), []);
    let with = |points| vec![("base", 15), ("furniture", points)];
    assert_eq!(earned(&record(&fleet, table(2)).await), with(75));
    assert_eq!(earned(&record(&fleet, table(3)).await), with(25));
    assert_eq!(earned(&record(&fleet, table(4)).await), [("base", 15)]);
    set_time(&fleet, START_S + DAY).await;
    // The move of the day before, told late, is no other one; the next one is.
    let late = RecordActivityRequest {
        activity_time: Some(prost_types::Timestamp {
            seconds: START_S,
            nanos: 0,
        }),
        ..moved(3, "anna")
    };
    act(&fleet, late).await;
    assert_eq!(earned(&record(&fleet, table(5)).await), [("base", 15)]);
    act(&fleet, moved(4, "anna")).await;
    assert_eq!(earned(&record(&fleet, table(6)).await), with(75));
    set_time(&fleet, START_S + 91 * DAY).await;
    assert_eq!(earned(&record(&fleet, table(7)).await), [("base", 15)]);
    verify(&fleet).await.expect("the ledger holds");
}

/// Many tell of the same review, under names of their own, on two instances: it is recorded
/// once, and the others are told where.
#[tokio::test(flavor = "multi_thread")]
async fn an_activity_is_recorded_once_whoever_races() {
    for knobs in [&[][..], &[DISTRIBUTED][..]] {
        let of_fleet = knobs
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        let of_fleet: Vec<_> = of_fleet.collect();
        let fleet = club_of(&with_rules(RULES), &of_fleet).await;
        let redis = fleet.stack.read().await.redis.url();
        let other = Instance::with(fleet.points_database_url(), &redis, true, knobs);
        let theirs = EarningServiceClient::new(other.channel.clone());
        let calls = (0..256_usize).map(|number| {
            let request = RecordActivityRequest {
                request_id: format!("told-{number}"),
                ..review(1, &format!("member-{}", number % 64), 5)
            };
            let client = if number % 2 == 0 {
                theirs.clone()
            } else {
                fleet.clients().earning()
            };
            async move { ask!(client, record_activity, request) }
        });
        let answers = join_all(calls).await;
        let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!(done.len(), 1);
        let one = done.into_iter().next().expect("one").expect("recorded");
        let id = one.transaction.expect("one").id;
        for status in refused.into_iter().filter_map(Result::err) {
            assert_eq!(status.code(), Code::AlreadyExists, "{status:?}");
            assert_eq!(reason(&status), "ACTIVITY_ALREADY_RECORDED");
            let told = status.get_details_error_info().expect("ErrorInfo").metadata;
            assert_eq!(told["activity_id"], "r-1");
            assert_eq!(told["transaction"], id);
        }
        // Another type, or another brand, has ids of its own.
        let same_id = RecordActivityRequest {
            activity_id: "r-1".to_owned(),
            ..moved(1, "anna")
        };
        act(&fleet, same_id).await;
        verify(&fleet).await.expect("the ledger holds");
    }
}

/// A cap is exact over an activity's rules too.
#[tokio::test(flavor = "multi_thread")]
async fn a_cap_of_activities_is_given_out_exactly() {
    let rules = r"
activities: { visit: {} }
earning:
  - rule: visit
    on: activity.visit
    earn: { currency: points, fixed: 7 }
    caps: [ { per: member, every: month, points: 100 } ]
";
    let fleet = club_of(&with_rules(rules), &[]).await;
    let redis = fleet.stack.read().await.redis.url();
    let other = Instance::with(fleet.points_database_url(), &redis, true, &[]);
    let theirs = EarningServiceClient::new(other.channel.clone());
    let calls = (0..512_usize).map(|number| {
        let request = RecordActivityRequest {
            activity: "visit".to_owned(),
            ..moved(number, "anna")
        };
        let client = if number % 2 == 0 {
            theirs.clone()
        } else {
            fleet.clients().earning()
        };
        async move { ask!(client, record_activity, request).expect("recorded") }
    });
    let answers = join_all(calls).await;
    let given = answers.iter().flat_map(gave).map(|(_, points)| points);
    assert_eq!(given.sum::<i64>(), 100);
    assert_eq!(available(fleet.clients(), "anna").await, 100);
    verify(&fleet).await.expect("the ledger holds");
}
