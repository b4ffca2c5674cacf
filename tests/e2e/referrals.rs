//! Members who bring others: claimed once and before the first purchase, given once on both
//! sides when the purchase has stood.

use fealty_auth::Role;
use fealty_cli::{
    apply::{How, apply},
    demo::Fleet,
};
use fealty_proto::points::v1::{
    ClaimReferralRequest, ClaimReferralResponse, GetReferralCodeRequest, GetReferralRequest,
    RecordActivityRequest, RecordPurchaseRequest, RedeemRequest, Referral, ReferralState,
    ReturnPurchaseRequest, ReturnedLine, ReverseRequest, return_purchase_request::Of,
};
use fealty_proto::r#type::v1::Money;
use futures::future::join_all;
use sqlx::{Connection as _, PgConnection};
use tonic::Status;

use crate::{
    earning::{counters, record, with_rules},
    harness::{
        CLUB, POINTS, SHOP, START_S, accrual, accrue, ask, available, club_of, fealty, purchase,
        reason, set_time, verify,
    },
    instance::DISTRIBUTED,
    simulating::{reproduces, simulate},
};

const DAY: i64 = 86_400;

const RULES: &str = r#"
referrals: { brand: record-shop, returns_within: 30 days, minimum: "20.00" }
counters:
  friends: { of: activity.referrer, over: ever }
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
  - { rule: hello, on: activity.referral-claim, earn: { currency: points, fixed: 10 } }
  - { rule: welcome, on: activity.referred, earn: { currency: points, fixed: 200 } }
  - { rule: thanks, on: activity.referrer, earn: { currency: points, fixed: 500 }, caps: [ { per: member, every: year, times: 2 } ] }
"#;

/// The same club, in which nobody brings others.
const WITHOUT: &str = r#"
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
"#;

async fn fleet() -> Fleet {
    let fleet = club_of(&with_rules(RULES), &[]).await;
    // Who brings others is there before them.
    record(&fleet, purchase(1, "anna", 5_000)).await;
    set_time(&fleet, START_S + 60).await;
    fleet
}

async fn code(fleet: &Fleet, member: &str) -> String {
    let asked = GetReferralCodeRequest {
        program: CLUB.to_owned(),
        member: member.to_owned(),
    };
    let told = ask!(fleet.clients().referrals(), get_referral_code, asked);
    told.expect("a code").code
}

async fn claim(
    fleet: &Fleet,
    (member, request_id): (&str, &str),
    code: &str,
) -> Result<ClaimReferralResponse, Status> {
    let request = ClaimReferralRequest {
        request_id: request_id.to_owned(),
        program: CLUB.to_owned(),
        member: member.to_owned(),
        code: code.to_owned(),
        ..ClaimReferralRequest::default()
    };
    ask!(fleet.clients().referrals(), claim_referral, request)
}

async fn referral(fleet: &Fleet, member: &str) -> Referral {
    let asked = GetReferralRequest {
        program: CLUB.to_owned(),
        member: member.to_owned(),
    };
    let told = ask!(fleet.clients().referrals(), get_referral, asked);
    told.expect("claimed").referral.expect("one")
}

async fn state(fleet: &Fleet, member: &str) -> (ReferralState, Option<i64>) {
    let told = referral(fleet, member).await;
    (told.state(), told.due_time.map(|at| at.seconds))
}

async fn both(fleet: &Fleet, one: &str, other: &str) -> (i64, i64) {
    (
        available(fleet.clients(), one).await,
        available(fleet.clients(), other).await,
    )
}

/// What `fealty member show` says of a member's claim.
async fn shown(fleet: &Fleet, member: &str) -> Option<String> {
    let endpoints = fleet.endpoints();
    let output = tokio::process::Command::new(fealty())
        .args(["member", "show", member])
        .env("FEALTY_POINTS_URL", &endpoints.points)
        .env("FEALTY_TIERS_URL", &endpoints.tiers)
        .env("FEALTY_REWARDS_URL", &endpoints.rewards)
        .env("FEALTY_TOKEN", fleet.token(&[Role::Operator]))
        .kill_on_drop(true)
        .output();
    let output = output.await.expect("it runs");
    let said = String::from_utf8(output.stdout).expect("a text");
    assert!(output.status.success(), "{said}");
    let mut lines = said.lines();
    let claim = lines.find(|line| line.contains("brought by another"));
    claim.map(|line| line.trim().to_owned())
}

/// Takes a purchase back, all of it.
async fn take_back(fleet: &Fleet, request_id: &str, member: &str, transaction: &str) {
    let request = ReturnPurchaseRequest {
        request_id: request_id.to_owned(),
        program: CLUB.to_owned(),
        member: member.to_owned(),
        of: Some(Of::Transaction(transaction.to_owned())),
        ..ReturnPurchaseRequest::default()
    };
    ask!(fleet.clients().earning(), return_purchase, request).expect("taken back");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_are_given_when_the_purchase_has_stood() {
    let fleet = fleet().await;
    let code = code(&fleet, "anna").await;
    assert!(code.starts_with("ref_") && !code.contains("anna"), "{code}");
    let claimed = claim(&fleet, ("ben", "c-1"), &code).await.expect("claimed");
    let told = claimed.referral.clone().expect("one");
    assert_eq!((&*told.member, &told.code), ("ben", &code));
    assert_eq!(told.state(), ReferralState::Waiting);
    let transaction = claimed.transaction.expect("one");
    assert_eq!(transaction.id, told.transaction);
    let rules = &transaction.activity.expect("an activity").earned_points;
    assert_eq!((&*rules[0].rule, rules[0].points), ("hello", 10));
    let again = claim(&fleet, ("ben", "c-1"), &code).await.expect("again");
    assert!(again.replayed);
    assert_eq!(again.referral.as_ref(), Some(&told));

    // Bought a week later, of which 25.00 stay.
    set_time(&fleet, START_S + 7 * DAY).await;
    let mut bought = purchase(2, "ben", 3_000);
    bought.lines = vec![
        crate::earning::line("disc", 2_500, 1),
        crate::earning::line("book", 500, 1),
    ];
    let bought = record(&fleet, bought).await.transaction.expect("one").id;
    set_time(&fleet, START_S + 31 * DAY).await;
    let due = START_S + 37 * DAY;
    assert_eq!(
        state(&fleet, "ben").await,
        (ReferralState::Waiting, Some(due))
    );
    let waits = "brought by another, claimed 1997-01-01: both sides are given on 1997-02-07, if the purchase stays";
    assert_eq!(shown(&fleet, "ben").await.as_deref(), Some(waits));
    let part = ReturnPurchaseRequest {
        request_id: "part".to_owned(),
        program: CLUB.to_owned(),
        member: "ben".to_owned(),
        of: Some(Of::Transaction(bought)),
        lines: vec![ReturnedLine {
            line: 2,
            ..ReturnedLine::default()
        }],
        ..ReturnPurchaseRequest::default()
    };
    ask!(fleet.clients().earning(), return_purchase, part).expect("taken back");
    set_time(&fleet, due - 1).await;
    assert_eq!(both(&fleet, "anna", "ben").await, (50, 10 + 25));
    set_time(&fleet, due).await;
    assert_eq!(both(&fleet, "anna", "ben").await, (550, 10 + 25 + 200));
    assert_eq!(state(&fleet, "ben").await, (ReferralState::Given, None));
    let given = "brought by another, claimed 1997-01-01: both sides are given";
    assert_eq!(shown(&fleet, "ben").await.as_deref(), Some(given));
    assert_eq!(shown(&fleet, "anna").await, None);
    assert_eq!(counters(&fleet, "anna").await["friends"].value, 1);
    set_time(&fleet, due + 90 * DAY).await;
    assert_eq!(both(&fleet, "anna", "ben").await, (550, 235));
    verify(&fleet).await.expect("the ledger is sound");
    reproduces(&fleet, &with_rules(RULES)).await;
    // Under a file without referrals their steps are told to be refused, and give nothing.
    let played = simulate(&fleet, &with_rules(WITHOUT), None).await;
    let refused: u64 = played.missed.refused.values().sum();
    assert_eq!(refused, 3, "{:?}", played.missed);
}

/// What comes back does not count, nor what is too little; the next purchase may.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_purchase_counts_that_stays() {
    let fleet = fleet().await;
    let code = code(&fleet, "anna").await;
    claim(&fleet, ("ben", "c-1"), &code).await.expect("claimed");
    record(&fleet, purchase(2, "ben", 1_999)).await;
    let first = record(&fleet, purchase(3, "ben", 9_000)).await;
    let second = record(&fleet, purchase(4, "ben", 8_000)).await;
    set_time(&fleet, START_S + 10 * DAY).await;
    let first = first.transaction.expect("one").id;
    take_back(&fleet, "back", "ben", &first).await;
    // The points of the second are taken back by hand.
    let reverse = ReverseRequest {
        request_id: "by-hand".to_owned(),
        program: CLUB.to_owned(),
        member: "ben".to_owned(),
        transaction: second.transaction.expect("one").id,
        ..ReverseRequest::default()
    };
    ask!(fleet.clients().ledger(), reverse, reverse).expect("reversed");
    set_time(&fleet, START_S + 20 * DAY).await;
    record(&fleet, purchase(5, "ben", 2_000)).await;
    set_time(&fleet, START_S + 49 * DAY).await;
    assert_eq!(both(&fleet, "anna", "ben").await, (50, 10 + 19 + 20));
    let due = START_S + 50 * DAY;
    assert_eq!(
        state(&fleet, "ben").await,
        (ReferralState::Waiting, Some(due))
    );
    set_time(&fleet, due).await;
    assert_eq!(both(&fleet, "anna", "ben").await, (550, 10 + 19 + 20 + 200));
    // What comes back later is too late, whenever it is looked at.
    claim(&fleet, ("carl", "c"), &code).await.expect("claimed");
    set_time(&fleet, due + 40 * DAY).await;
    let late = RecordPurchaseRequest {
        purchase_time: Some(prost_types::Timestamp {
            seconds: due + 5 * DAY,
            nanos: 0,
        }),
        ..purchase(6, "carl", 4_000)
    };
    let late = record(&fleet, late).await.transaction.expect("one").id;
    // One that is told late stands for a day after it was told.
    set_time(&fleet, due + 41 * DAY - 1).await;
    assert_eq!(both(&fleet, "anna", "carl").await, (550, 10 + 40));
    set_time(&fleet, due + 41 * DAY).await;
    assert_eq!(both(&fleet, "anna", "carl").await, (1_050, 10 + 40 + 200));
    assert_eq!(state(&fleet, "carl").await, (ReferralState::Given, None));
    take_back(&fleet, "too-late", "carl", &late).await;
    set_time(&fleet, due + 80 * DAY).await;
    assert_eq!(both(&fleet, "anna", "carl").await, (1_050, 10 + 200));
    verify(&fleet).await.expect("the ledger is sound");
}

/// A shorter time does not reach back past what came back in time; what is left of a purchase
/// and is reversed by hand counts as come back.
#[tokio::test(flavor = "multi_thread")]
async fn another_version_judges_from_when_it_began() {
    let fleet = fleet().await;
    let code = code(&fleet, "anna").await;
    claim(&fleet, ("ben", "c-1"), &code).await.expect("claimed");
    let first = record(&fleet, purchase(2, "ben", 9_000)).await;
    set_time(&fleet, START_S + 5 * DAY).await;
    let first = first.transaction.expect("one").id;
    take_back(&fleet, "back-1", "ben", &first).await;
    set_time(&fleet, START_S + 20 * DAY).await;
    let second = record(&fleet, purchase(3, "ben", 9_000)).await;
    let second = second.transaction.expect("one").id;
    let quick = RULES.replace("returns_within: 30 days", "returns_within: 4 days");
    let quick = apply(fleet.clients(), &with_rules(&quick), How::Now).await;
    quick.expect("the programme is applied");
    set_time(&fleet, START_S + 21 * DAY).await;
    assert_eq!(both(&fleet, "anna", "ben").await, (50, 10 + 90));
    // A third of it comes back; the points of the rest are taken by hand.
    let part = ReturnPurchaseRequest {
        request_id: "back-2".to_owned(),
        program: CLUB.to_owned(),
        member: "ben".to_owned(),
        of: Some(Of::Transaction(second.clone())),
        amount: Some(Money {
            currency_code: "USD".to_owned(),
            minor_units: 3_000,
        }),
        ..ReturnPurchaseRequest::default()
    };
    ask!(fleet.clients().earning(), return_purchase, part).expect("taken back");
    let rest = ReverseRequest {
        request_id: "by-hand".to_owned(),
        program: CLUB.to_owned(),
        member: "ben".to_owned(),
        transaction: second,
        ..ReverseRequest::default()
    };
    ask!(fleet.clients().ledger(), reverse, rest).expect("reversed");
    set_time(&fleet, START_S + 30 * DAY).await;
    assert_eq!(both(&fleet, "anna", "ben").await, (50, 10));
    record(&fleet, purchase(4, "ben", 2_000)).await;
    set_time(&fleet, START_S + 34 * DAY - 1).await;
    assert_eq!(both(&fleet, "anna", "ben").await, (50, 10 + 20));
    set_time(&fleet, START_S + 34 * DAY).await;
    assert_eq!(both(&fleet, "anna", "ben").await, (550, 10 + 20 + 200));
    verify(&fleet).await.expect("the ledger is sound");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_there_before_is_not_brought() {
    let fleet = fleet().await;
    let anna = code(&fleet, "anna").await;
    // Once, however often it is asked, and by whom.
    let claims = (0..64).map(|number| {
        let (fleet, anna) = (&fleet, &anna);
        async move { claim(fleet, ("ben", &format!("c-{number}")), anna).await }
    });
    let claims = join_all(claims).await;
    let (won, lost): (Vec<_>, Vec<_>) = claims.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    let lost: Vec<String> = lost
        .into_iter()
        .map(|lost| reason(&lost.expect_err("lost")))
        .collect();
    assert!(
        lost.iter().all(|why| why == "REFERRAL_ALREADY_CLAIMED"),
        "{lost:?}"
    );
    let refused = async |member: &str, code: &str| {
        let refused = claim(&fleet, (member, "refused"), code).await;
        reason(&refused.expect_err("refused"))
    };
    // Nobody is brought in a circle, nor after a purchase, nor by who is not there.
    let (ben, carl) = (code(&fleet, "ben").await, code(&fleet, "carl").await);
    assert_eq!(refused("anna", &ben).await, "REFERRAL_NOT_NEW");
    assert_eq!(refused("dora", &carl).await, "REFERRAL_NOT_NEW");
    claim(&fleet, ("carl", "c"), &ben).await.expect("a chain");
    assert_eq!(refused("anna", &carl).await, "REFERRAL_NOT_NEW");
    record(&fleet, purchase(2, "emil", 5_000)).await;
    assert_eq!(refused("emil", &anna).await, "REFERRAL_NOT_NEW");
    // A purchase of before, told later: nothing comes of the claim.
    claim(&fleet, ("frieda", "c"), &anna)
        .await
        .expect("claimed");
    let late = RecordPurchaseRequest {
        purchase_time: Some(prost_types::Timestamp {
            seconds: START_S - 2 * 3_600,
            nanos: 0,
        }),
        ..purchase(3, "frieda", 5_000)
    };
    record(&fleet, purchase(4, "frieda", 5_000)).await;
    record(&fleet, late).await;
    record(&fleet, purchase(5, "frieda", 5_000)).await;
    set_time(&fleet, START_S + 40 * DAY).await;
    assert_eq!(state(&fleet, "frieda").await, (ReferralState::Void, None));
    assert_eq!(available(fleet.clients(), "anna").await, 50);
    verify(&fleet).await.expect("the ledger is sound");
}

/// Whoever breaks off between the two sides has the rest done, and nothing twice: also where
/// no shard knows the other's node.
#[tokio::test(flavor = "multi_thread")]
async fn each_side_is_given_once_whoever_looks_how_often() {
    for of_fleet in [&[][..], &[DISTRIBUTED][..]] {
        let of_fleet: Vec<(&str, String)> = of_fleet
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        let fleet = club_of(&with_rules(RULES), &of_fleet).await;
        record(&fleet, purchase(1, "anna", 5_000)).await;
        set_time(&fleet, START_S + 60).await;
        let code = code(&fleet, "anna").await;
        let friends = ["f-1", "f-2", "f-3", "f-4", "f-5"];
        for (number, friend) in (2..).zip(friends) {
            claim(&fleet, (friend, "c"), &code).await.expect("claimed");
            record(&fleet, purchase(number, friend, 2_000)).await;
        }
        set_time(&fleet, START_S + 40 * DAY).await;
        // Two a year are given, five are counted.
        assert_eq!(available(fleet.clients(), "anna").await, 50 + 1_000);
        assert_eq!(counters(&fleet, "anna").await["friends"].value, 5);
        let url = fleet.points_database_url();
        let mut connection = PgConnection::connect(url).await.expect("it answers");
        let forget = sqlx::query("UPDATE referrals SET state = 1");
        let forget = forget.execute(&mut connection).await.expect("forgotten");
        assert_eq!(forget.rows_affected(), 5);
        set_time(&fleet, START_S + 41 * DAY).await;
        assert_eq!(available(fleet.clients(), "anna").await, 50 + 1_000);
        for friend in friends {
            assert_eq!(available(fleet.clients(), friend).await, 10 + 20 + 200);
            assert_eq!(state(&fleet, friend).await.0, ReferralState::Given);
        }
        verify(&fleet).await.expect("the ledger is sound");
        // What a table says that the log does not is found.
        let forged = sqlx::query("UPDATE referrals SET state = 3 WHERE member = 'f-1'");
        forged.execute(&mut connection).await.expect("forged");
        verify(&fleet).await.expect_err("it is not void");
        let right = sqlx::query("UPDATE referrals SET state = 2 WHERE member = 'f-1'");
        right.execute(&mut connection).await.expect("as it was");
        verify(&fleet).await.expect("the ledger is sound");
        let forged = sqlx::query("UPDATE referrals SET claim = claim + 1 WHERE member = 'f-1'");
        forged.execute(&mut connection).await.expect("forged");
        verify(&fleet).await.expect_err("the claim is not there");
    }
}

/// Where the second side is refused at first, nothing that comes between takes it away.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_decided_stays_decided_until_both_sides_are_given() {
    const MOST: i64 = 1_000_000_000_000_000;
    let fleet = fleet().await;
    let clients = fleet.clients();
    let code = code(&fleet, "anna").await;
    claim(&fleet, ("ben", "c-1"), &code).await.expect("claimed");
    let bought = record(&fleet, purchase(2, "ben", 5_000)).await;
    // Anna's wallet is full: no points can be added.
    let full = accrue(clients, accrual("full", "anna", MOST - 50)).await;
    full.expect("given");
    let due = START_S + 30 * DAY + 60;
    set_time(&fleet, due).await;
    assert_eq!(both(&fleet, "anna", "ben").await, (MOST, 10 + 50 + 200));
    assert_eq!(
        state(&fleet, "ben").await,
        (ReferralState::Waiting, Some(due))
    );
    let bought = bought.transaction.expect("one").id;
    take_back(&fleet, "too-late", "ben", &bought).await;
    let spend = RedeemRequest {
        request_id: "spend".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points: 1_000,
        ..RedeemRequest::default()
    };
    ask!(clients.ledger(), redeem, spend).expect("spent");
    set_time(&fleet, due + DAY).await;
    assert_eq!(
        both(&fleet, "anna", "ben").await,
        (MOST - 1_000 + 500, 10 + 200)
    );
    assert_eq!(state(&fleet, "ben").await, (ReferralState::Given, None));
    verify(&fleet).await.expect("the ledger is sound");
}

/// What referrals make nobody else makes.
#[tokio::test(flavor = "multi_thread")]
async fn callers_record_no_step_of_a_referral() {
    let fleet = fleet().await;
    for step in ["referral-claim", "referred", "referrer"] {
        let request = RecordActivityRequest {
            request_id: step.to_owned(),
            program: CLUB.to_owned(),
            member: "anna".to_owned(),
            brand: SHOP.to_owned(),
            activity: step.to_owned(),
            activity_id: "mine".to_owned(),
            ..RecordActivityRequest::default()
        };
        let refused = ask!(fleet.clients().earning(), record_activity, request);
        assert_eq!(reason(&refused.expect_err("refused")), "INVALID_FIELD");
    }
    assert_eq!(available(fleet.clients(), "anna").await, 50);
}
