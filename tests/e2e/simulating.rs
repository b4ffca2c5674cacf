//! What-if: a simulation makes the log again that was written, and of a changed programme the log
//! that it would have made.

mod script;

use std::{path::Path, process::Output};

use fealty_cli::{
    apply::{How, apply},
    demo::Fleet,
    simulate::judges,
};
use fealty_points::simulation::{BudgetsBy, Options, Report, TiersBy, simulate as play};
use fealty_program::Program;
use fealty_proto::points::v1::{GiftRequest, RedeemRequest};
use fealty_types::Timestamp;
use serde_json::Value;
use sqlx::PgConnection;
use tokio::process::Command;

use crate::{
    earning::{bought, line, record, with_rules},
    ends::until_ended,
    harness::{
        CLUB, POINTS, SHOP, START_S, ask, available, club_of, fealty, purchase, set_time, until,
        verify,
    },
    returns::id_of,
    tiers::tier_of,
};
use script::Script;

const DAY: i64 = 86_400;
/// 1 March 1997, midnight.
const MARCH_S: i64 = 857_174_400;
const DAYS: i64 = 66;

/// A programme with all that reads what was before: counters, an edge, caps, a budget, a true-up.
fn rules(rate: i64, cap: i64, edge: i64, budget: i64) -> String {
    let rules = format!(
        r#"
counters:
  records: {{ of: line, when: 'line.category == "jazz"', add: line.quantity, over: {{ every: month }} }}
  spent:   {{ of: purchase, add: purchase.amount, over: {{ every: month }} }}
  earned:  {{ of: points, rules: [base], over: {{ every: month }} }}
budgets: {{ spring: {{ currency: points, points: {budget}, until: 1997-06-01 }} }}
earning:
  - {{ rule: base, on: purchase, earn: {{ currency: points, rate: {{ points: {rate}, per: "1.00" }} }} }}
  - rule: jazz
    on: purchase
    lines: 'line.category == "jazz"'
    earn: {{ multiply: base, by: 2 }}
    caps: [ {{ per: member, every: month, points: {cap} }} ]
  - {{ rule: third-record, on: purchase, when: counters.records.passes({edge}), earn: {{ currency: points, fixed: 25 }} }}
  - {{ rule: spring, on: purchase, when: purchase.amount >= money("30.00"), earn: {{ currency: points, fixed: 10 }}, budget: spring }}
  - rule: true-up
    on: end_of.month
    earn: {{ currency: points, of: counters.earned, steps: {{ by: counters.spent, factors: {{ "100.00": "0.5", "200.00": "1" }} }} }}
"#
    );
    let file = with_rules(&rules);
    let (head, tail) = file
        .split_once("after: 12 months, round_to: end_of_month")
        .expect("it expires");
    format!("{head}after: 20 days{tail}")
}

/// Plays a fleet's log under a programme.
pub(crate) async fn simulate(fleet: &Fleet, program: &str, since_s: Option<i64>) -> Report {
    let url = fleet.points_database_url();
    let limits = fealty_postgres::Limits::LONG_READ;
    let database = fealty_postgres::Database::open_within(url, 2, limits).await;
    let options = Options {
        changed: Program::parse(program).expect("a programme"),
        since: since_s.map(|second| Timestamp::from_micros(second * 1_000_000).expect("a moment")),
        judges: judges(),
    };
    let played = play(&database.expect("a URL"), options, |_, _| {}).await;
    played.expect("it is played")
}

/// Asserts that the programme that a fleet has makes the same log again.
pub(crate) async fn reproduces(fleet: &Fleet, program: &str) -> Report {
    let report = simulate(fleet, program, None).await;
    let reproduced = report.reproduced.expect("it is the same programme");
    assert_eq!(reproduced.different, 0, "{reproduced:?}");
    assert_eq!(reproduced.transactions, report.played.transactions);
    assert!(reproduced.transactions > 0, "something was played");
    assert!(report.missed.is_nothing(), "{:?}", report.missed);
    for of in report.currencies.values() {
        assert_eq!(of.before, of.after);
    }
    report
}

/// A fleet on which a script was played under a programme, and all that was due is written.
async fn played(program: &str, accepted: Option<Vec<bool>>) -> (Fleet, Vec<bool>) {
    let fleet = club_of(program, &[]).await;
    let mut script = Script::new(accepted);
    script.play(&fleet).await;
    until_ended(&fleet, MARCH_S).await;
    until_swept(&fleet).await;
    verify(&fleet).await.expect("the ledger holds");
    (fleet, script.asked)
}

/// Waits until all that is due in wallets is written.
async fn until_swept(fleet: &Fleet) {
    until("what is due is written", || async {
        use sqlx::Connection as _;
        let url = fleet.points_database_url();
        let mut connection = PgConnection::connect(url).await.expect("it answers");
        let due: i64 =
            sqlx::query_scalar("SELECT count(*) FROM wallets WHERE next_due <= to_timestamp($1)")
                .bind(START_S + DAYS * DAY)
                .fetch_one(&mut connection)
                .await
                .expect("they are there");
        due == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_programme_makes_the_log_that_it_would_have_made() {
    let (before, after) = (rules(1, 20, 3, 90), rules(2, 35, 2, 150));
    let (fleet, accepted) = played(&before, None).await;
    let recorded = reproduces(&fleet, &before).await;
    assert_eq!(recorded.budgets, BudgetsBy::AsLeased);
    assert!(recorded.played.returns > 3, "{:?}", recorded.played);
    let tried = simulate(&fleet, &after, None).await;
    drop(fleet);
    let (other, _) = played(&after, Some(accepted)).await;
    let lived = reproduces(&other, &after).await;

    assert_eq!(
        (tried.budgets, tried.tiers),
        (BudgetsBy::OnePurse, TiersBy::Recorded)
    );
    assert_eq!(tried.reproduced, None);
    assert!(tried.missed.is_nothing(), "{:?}", tried.missed);
    for (currency, of) in &tried.currencies {
        assert_eq!(of.before, recorded.currencies[currency].before);
        assert_eq!(
            of.after, lived.currencies[currency].before,
            "as it came to be"
        );
        assert!(of.after.expired > 0 && of.after.redeemed > 0, "{of:?}");
    }
    for (rule, of) in &tried.held_back {
        assert_eq!(of.after, lived.held_back[rule].before, "{rule}");
    }
    assert!(tried.held_back.values().any(|of| of.after.points > 0));
    for (budget, used) in &tried.used {
        assert_eq!(
            used.points.after, lived.used[budget].points.before,
            "{budget}"
        );
        assert_eq!(used.size.after, Some(150));
    }
    for cost in &lived.costs {
        let mut tried = tried.costs.iter();
        let tried = tried.find(|tried| (&tried.brand, &tried.rule) == (&cost.brand, &cost.rule));
        assert_eq!(
            tried.map(|tried| tried.points.after),
            Some(cost.points.before)
        );
    }
    let members = &tried.members.values().next().expect("points were given");
    assert!(members.gain > 0 && members.gained > 0, "{members:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_counts_from_a_moment_and_redeems_as_far_as_points_reach() {
    let rules = |rate: &str| {
        with_rules(&format!(
            r#"
earning:
  - {{ rule: base, on: purchase, earn: {{ currency: points, rate: {{ points: {rate}, per: "1.00" }} }} }}
"#
        ))
    };
    let fleet = club_of(&rules("4"), &[]).await;
    record(&fleet, purchase(1, "anna", 1_000)).await;
    set_time(&fleet, START_S + 10 * DAY).await;
    record(&fleet, purchase(2, "anna", 1_000)).await;
    let redeem = RedeemRequest {
        request_id: "all".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points: 70,
        ..RedeemRequest::default()
    };
    ask!(fleet.clients().ledger(), redeem, redeem).expect("redeemed");
    let gift = GiftRequest {
        request_id: "rest".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        recipient: "ben".to_owned(),
        currency: POINTS.to_owned(),
        points: 10,
        ..GiftRequest::default()
    };
    ask!(fleet.clients().ledger(), gift, gift).expect("given");
    assert_eq!(available(fleet.clients(), "ben").await, 10);
    reproduces(&fleet, &rules("4")).await;

    let all = simulate(&fleet, &rules("2"), None).await;
    let points = all.currencies.values().next().expect("points");
    assert_eq!((points.before.issued, points.after.issued), (80, 40));
    assert_eq!((points.before.redeemed, points.after.redeemed), (70, 40));
    assert_eq!(all.missed.spends, 2, "the redemption, and the gift");
    assert_eq!(all.missed.points.values().sum::<i64>(), 30 + 10);

    // From the second purchase on: the first gave what it gave.
    let since = simulate(&fleet, &rules("2"), Some(START_S + 5 * DAY)).await;
    let points = since.currencies.values().next().expect("points");
    assert_eq!((points.before.issued, points.after.issued), (40, 20));
    assert_eq!(points.after.redeemed, 60);
    assert_eq!(since.played.purchases, 1);
    // From the end on nothing differs.
    let nothing = simulate(&fleet, &rules("2"), Some(START_S + 50 * DAY)).await;
    let points = nothing.currencies.values().next().expect("points");
    assert_eq!(points.before, points.after);
    assert_eq!(points.after.outstanding, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn tiers_are_worked_out_where_what_they_go_by_has_changed() {
    let before = fealty_cli::demo::PROGRAM;
    let after = before.replace(
        r#"tier: silver, from: "100.00""#,
        r#"tier: silver, from: "50.00""#,
    );
    let fleet = club_of(before, &[]).await;
    record(&fleet, purchase(1, "anna", 6_000)).await;
    record(&fleet, purchase(2, "ben", 12_000)).await;
    until("ben is silver", || async {
        tier_of(&fleet, "ben").await.as_deref() == Some("silver")
    })
    .await;
    set_time(&fleet, START_S + 2 * DAY).await;
    record(&fleet, purchase(3, "anna", 1_000)).await;
    record(&fleet, purchase(4, "ben", 1_000)).await;
    reproduces(&fleet, before).await;

    let tried = simulate(&fleet, &after, None).await;
    assert_eq!(tried.tiers, TiersBy::Computed);
    let points = tried.currencies.values().next().expect("points");
    // 60, 120 and twice 10.00, of which ben's has a quarter more, and anna's would have it too.
    assert_eq!(points.before.issued, 600 + 1_200 + 100 + 125);
    assert_eq!(points.after.issued, points.before.issued + 25);
    let moves: Vec<_> = tried.tier_moves.iter().collect();
    let [moved] = &*moves else {
        panic!("{moves:?}")
    };
    assert_eq!(
        (moved.before.as_str(), moved.after.as_str()),
        ("member", "silver")
    );
    assert_eq!(moved.members, 1);
}

/// Runs the command over a fleet's ledger.
async fn command(fleet: &Fleet, file: &Path, more: &[&str]) -> (String, String, bool) {
    let mut command = Command::new(fealty());
    command
        .args(["simulate", "-f"])
        .arg(file)
        .args(more)
        .env("FEALTY_DATABASE_URL", fleet.points_database_url())
        .env("RUST_BACKTRACE", "0")
        .kill_on_drop(true);
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().await.expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("a text");
    (text(stdout), text(stderr), status.success())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_writes_and_refuses() {
    let (before, after) = (rules(1, 20, 3, 90), rules(3, 20, 3, 90));
    let fleet = club_of(&before, &[]).await;
    record(&fleet, bought(1, "anna", &[line("jazz", 5_000, 1)])).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let file = path("changed.yaml");
    std::fs::write(&file, &after).expect("written");
    let (json, html) = (path("report.json"), path("report.html"));
    let written = [
        "--json",
        json.to_str().expect("a path"),
        "--html",
        html.to_str().expect("one"),
    ];
    let (said, wrong, is_well) = command(&fleet, &file, &written).await;
    assert!(is_well, "{wrong}");
    assert!(
        said.contains("record-club, version 1: 1 transactions of 1 members"),
        "{said}"
    );
    assert!(said.contains("base"), "{said}");
    let report: Value =
        serde_json::from_slice(&std::fs::read(&json).expect("it is there")).expect("JSON");
    assert_eq!(
        report["currencies"]["points"]["before"]["issued"],
        50 + 20 + 10
    );
    assert_eq!(
        report["currencies"]["points"]["after"]["issued"],
        150 + 20 + 10
    );
    assert_eq!(report["costs"][0]["rule"], "base");
    let page = std::fs::read_to_string(&html).expect("it is there");
    assert!(page.contains("<svg") && page.contains("anna"), "{page}");
    for outside in ["<script", "http:", "https:", "@import", "url("] {
        assert!(!page.contains(outside), "it stands alone: {outside}");
    }
    let (said, _, is_well) =
        command(&fleet, &file, &["--json", "-", "--since", "1997-01-02"]).await;
    assert!(is_well);
    let report: Value = serde_json::from_str(&said).expect("JSON alone");
    assert_eq!(report["since"], "1997-01-02T00:00:00Z");
    assert_eq!(report["played"]["tried"], 0);

    let refused = async |text: &str, more: &[&str], why: &str| {
        std::fs::write(&file, text).expect("written");
        let (said, wrong, is_well) = command(&fleet, &file, more).await;
        assert!(!is_well && said.is_empty(), "{said}");
        assert!(wrong.contains(why), "{wrong}");
    };
    refused("program: 7", &[], "fealty validate").await;
    refused(&after, &["--since", "soon"], "must be a date").await;
    let other = after.replace("program: record-club", "program: another");
    refused(&other, &[], "`another` has not been applied here").await;
    let euros = after.replace("currency: USD", "currency: EUR");
    refused(&euros, &[], "purchases are in USD").await;
    // Nothing of it was written.
    verify(&fleet).await.expect("the ledger holds");
    apply(fleet.clients(), &before, How::Now)
        .await
        .expect("it is as it was");
}

/// A tier that the file lets keep its points keeps them, though the log says nothing of it; and
/// one that it no longer does loses them.
#[tokio::test(flavor = "multi_thread")]
async fn tiers_whose_points_stay_are_those_of_the_file() {
    let of = |expires: &str| {
        let terms = "expires: { after: 12 months, round_to: end_of_month }";
        fealty_cli::demo::PROGRAM.replace(terms, &format!("expires: {expires}"))
    };
    let goes = of("{ inactive_for: 3 months }");
    let stays = of("{ inactive_for: 3 months, by_tier: { silver: never }, after_fall: 30 days }");
    for (before, after, left) in [(&goes, &stays, [0, 1_200]), (&stays, &goes, [1_200, 0])] {
        let fleet = club_of(before, &[]).await;
        record(&fleet, purchase(1, "ben", 12_000)).await;
        until("ben is silver", || async {
            tier_of(&fleet, "ben").await.as_deref() == Some("silver")
        })
        .await;
        set_time(&fleet, START_S + 120 * DAY).await;
        // Another's purchase is where the log ends.
        record(&fleet, purchase(2, "anna", 100)).await;
        let ben = async || available(fleet.clients(), "ben").await;
        until("it is swept", || async { ben().await == left[0] }).await;
        reproduces(&fleet, before).await;
        let tried = simulate(&fleet, after, None).await;
        let points = tried.currencies.values().next().expect("points");
        assert_eq!(points.before.outstanding - 10, left[0]);
        assert_eq!(points.after.outstanding - 10, left[1], "{tried:?}");
    }
}

/// Points that wait for an event are activated, and gifts go on as they are given.
#[tokio::test(flavor = "multi_thread")]
async fn activations_and_gifts_are_played() {
    use fealty_proto::points::v1::{ActivatePointsRequest, activate_points_request::Of};
    let rules = |rate: usize| {
        with_rules(&format!(
            r#"
earning:
  - {{ rule: base, on: purchase, earn: {{ currency: points, rate: {{ points: {rate}, per: "1.00" }} }} }}
"#
        ))
        .replace("points: { decimals: 0,", "points: { decimals: 0, activates: { on: shipped },")
    };
    let before = rules(4);
    let fleet = club_of(&before, &[]).await;
    for (number, member) in (0..).zip(["anna", "carla", "dora"]) {
        let bought = record(&fleet, purchase(number, member, 1_000)).await;
        let activate = ActivatePointsRequest {
            request_id: format!("shipped-{number}"),
            program: CLUB.to_owned(),
            member: member.to_owned(),
            of: Some(Of::Transaction(id_of(&bought))),
            event: "shipped".to_owned(),
            ..ActivatePointsRequest::default()
        };
        ask!(fleet.clients().ledger(), activate_points, activate).expect("activated");
        let gift = GiftRequest {
            request_id: format!("gift-{number}"),
            program: CLUB.to_owned(),
            member: member.to_owned(),
            recipient: "ben".to_owned(),
            currency: POINTS.to_owned(),
            points: 30,
            ..GiftRequest::default()
        };
        ask!(fleet.clients().ledger(), gift, gift).expect("given");
    }
    assert_eq!(available(fleet.clients(), "ben").await, 90);
    reproduces(&fleet, &before).await;
    // Ten points each are there, and ten each are given.
    let tried = simulate(&fleet, &rules(1), None).await;
    let points = tried.currencies.values().next().expect("points");
    assert_eq!((points.after.issued, points.after.outstanding), (30, 30));
    assert_eq!(tried.missed.spends, 3);
    assert_eq!(tried.missed.points.values().sum::<i64>(), 60);
    assert!(tried.missed.refused.is_empty(), "{:?}", tried.missed);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_keep_their_tier_at_the_moment_of_the_change() {
    let before = fealty_cli::demo::PROGRAM;
    let after = before.replace(
        r#"tier: silver, from: "100.00""#,
        r#"tier: silver, from: "200.00""#,
    );
    let fleet = club_of(before, &[]).await;
    record(&fleet, purchase(1, "ben", 12_000)).await;
    until("ben is silver", || async {
        tier_of(&fleet, "ben").await.as_deref() == Some("silver")
    })
    .await;
    set_time(&fleet, START_S + 2 * DAY).await;
    record(&fleet, purchase(2, "ben", 1_000)).await;
    // From the second purchase on: he has what he has, and keeps it until he is judged.
    let tried = simulate(&fleet, &after, Some(START_S + DAY)).await;
    assert_eq!(tried.tiers, TiersBy::Computed);
    assert_eq!(tried.tier_moves.len(), 0, "{:?}", tried.tier_moves);
    let points = tried.currencies.values().next().expect("points");
    assert_eq!((points.before.issued, points.after.issued), (125, 125));
    // From the beginning he never reaches it.
    let tried = simulate(&fleet, &after, None).await;
    assert_eq!(tried.tier_moves.len(), 1);
    let points = tried.currencies.values().next().expect("points");
    assert_eq!(points.after.issued, points.before.issued - 25);
}
