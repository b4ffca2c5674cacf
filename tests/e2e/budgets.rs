//! Budgets: exact over all members, shards and instances, whoever races for the last of it.

use std::{fmt::Write as _, time::Duration};

use fealty_cli::{
    apply::{How, apply},
    demo::Fleet,
};
use fealty_proto::points::v1::{
    Budget, ExplainTransactionRequest, ListBudgetsRequest, PreviewPurchaseRequest,
    RecordPurchaseRequest, ReturnPurchaseRequest, RuleOutcome, TransactionKind,
    earning_service_client::EarningServiceClient, return_purchase_request::Of,
};
use futures::future::join_all;
use sqlx::{Connection as _, PgConnection};

use crate::{
    earning::{earned, record, with_rules},
    harness::{CLUB, START_S, ask, available, club_of, polled, purchase, set_time, until, verify},
    instance::{DISTRIBUTED, Instance},
};

const DAY: i64 = 86_400;

/// A base, and ten points a purchase from a budget of so many.
fn rules(points: i64, more: &str) -> String {
    with_rules(&format!(
        r#"
budgets: {{ spring: {{ currency: points, points: {points}, until: 1997-03-01{more} }} }}
earning:
  - {{ rule: base, on: purchase, earn: {{ currency: points, rate: {{ points: 1, per: "1.00" }} }} }}
  - {{ rule: spring, on: purchase, earn: {{ currency: points, fixed: 10 }}, budget: spring }}
"#
    ))
}

async fn budget(fleet: &Fleet) -> Budget {
    let request = ListBudgetsRequest {
        program: CLUB.to_owned(),
    };
    let read = ask!(fleet.clients().earning(), list_budgets, request).expect("listed");
    read.budgets.into_iter().next().expect("one")
}

/// What is used, and what is left.
async fn used(fleet: &Fleet) -> (i64, i64) {
    let budget = budget(fleet).await;
    (budget.used, budget.left)
}

fn id_of(answer: &fealty_proto::points::v1::RecordPurchaseResponse) -> String {
    answer.transaction.as_ref().expect("one").id.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_gives_what_it_has_and_the_last_one_gets_the_rest() {
    let fleet = club_of(&rules(45, ", warn_at: 80%"), &[]).await;
    // Members of many shards.
    let buy = async |number: usize| {
        record(&fleet, purchase(number, &format!("member-{number}"), 100)).await
    };
    let mut last = buy(0).await;
    for number in 1..4 {
        last = buy(number).await;
        assert_eq!(earned(&last), [("base", 1), ("spring", 10)]);
    }
    let preview = PreviewPurchaseRequest {
        program: CLUB.to_owned(),
        member: "nobody-yet".to_owned(),
        brand: "record-shop".to_owned(),
        amount: purchase(0, "", 100).amount,
        ..PreviewPurchaseRequest::default()
    };
    let foreseen = ask!(fleet.clients().earning(), preview_purchase, preview).expect("told");
    assert_eq!(foreseen.earned_points[1].points, 5);
    let rest = buy(4).await;
    assert_eq!(earned(&rest), [("base", 1), ("spring", 5)]);
    let none = buy(5).await;
    assert_eq!(earned(&none), [("base", 1)]);
    assert_eq!(used(&fleet).await, (45, 0));
    let explain = ExplainTransactionRequest {
        program: CLUB.to_owned(),
        transaction: id_of(&none),
    };
    let why = ask!(fleet.clients().ledger(), explain_transaction, explain).expect("told");
    let of_rule = why.steps.iter().find(|step| step.rule == "spring");
    let of_rule = of_rule.expect("it is told");
    assert_eq!(
        of_rule.outcome(),
        RuleOutcome::BudgetSpent,
        "{}",
        of_rule.text
    );
    // What comes back is there for the next, whichever shard has it; who was refused is not.
    let back = ReturnPurchaseRequest {
        request_id: "back".to_owned(),
        program: CLUB.to_owned(),
        member: "member-3".to_owned(),
        of: Some(Of::Transaction(id_of(&last))),
        ..ReturnPurchaseRequest::default()
    };
    ask!(fleet.clients().earning(), return_purchase, back).expect("returned");
    assert_eq!(used(&fleet).await, (35, 10));
    assert_eq!(earned(&buy(6).await), [("base", 1), ("spring", 10)]);
    assert_eq!(earned(&buy(7).await), [("base", 1)]);
    // Its end has come.
    set_time(&fleet, START_S + 70 * DAY).await;
    apply(fleet.clients(), &rules(1_000, ""), How::Now)
        .await
        .expect("applied");
    assert_eq!(earned(&buy(8).await), [("base", 1)]);
    assert_eq!(used(&fleet).await, (45, 955));
    let (heard, _) = polled(&fleet, String::new()).await;
    let warnings = heard
        .iter()
        .filter(|entry| entry.kind() == TransactionKind::BudgetWarning);
    let warnings: Vec<_> = warnings.filter_map(|entry| entry.budget.clone()).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0].size, 45);
    verify(&fleet).await.expect("the ledger holds");
}

/// A smaller size closes what is leased beyond it; a larger one opens it again; over several
/// nodes, with nothing in memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_budget_becomes_smaller_and_larger() {
    let variables = [
        ("FEALTY_LEDGER_MEMBERS_IN_MEMORY", "0".to_owned()),
        (DISTRIBUTED.0, DISTRIBUTED.1.to_owned()),
    ];
    let fleet = club_of(&rules(10_000, ""), &variables).await;
    let buy = async |number: usize| {
        let answer = record(&fleet, purchase(number, &format!("member-{number}"), 100)).await;
        let earned = earned(&answer);
        earned
            .iter()
            .find(|(rule, _)| *rule == "spring")
            .map_or(0, |(_, points)| *points)
    };
    for number in 0..10 {
        assert_eq!(buy(number).await, 10);
    }
    assert!(budget(&fleet).await.leased > 1_000, "shards have leases");
    apply(fleet.clients(), &rules(125, ""), How::Now)
        .await
        .expect("applied");
    let mut given = Vec::new();
    for number in 10..15 {
        given.push(buy(number).await);
    }
    assert_eq!(given, [10, 10, 5, 0, 0]);
    assert_eq!(used(&fleet).await, (125, 0));
    apply(fleet.clients(), &rules(50, ""), How::Now)
        .await
        .expect("applied");
    assert_eq!(buy(15).await, 0);
    assert_eq!(used(&fleet).await, (125, 0));
    apply(fleet.clients(), &rules(135, ", partial: false"), How::Now)
        .await
        .expect("applied");
    assert_eq!((buy(16).await, buy(17).await), (10, 0));
    verify(&fleet).await.expect("the ledger holds");
}

/// 512 callers of two instances race for the last 1,000 points, fifty times over, while one of
/// the instances is killed again and again: exactly that is given, and the logs say so.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_a_budget_is_given_out_exactly() {
    const ROUNDS: usize = 50;
    let mut sections = "budgets:\n".to_owned();
    for round in 0..ROUNDS {
        writeln!(sections, "  b{round}: {{ currency: points, points: 1000 }}").expect("to memory");
    }
    sections.push_str("earning:\n");
    for round in 0..ROUNDS {
        writeln!(
            sections,
            "  - {{ rule: r{round}, on: purchase, when: 'purchase.channel == \"c{round}\"', earn: {{ currency: points, rate: {{ points: 1, per: \"1.00\" }} }}, budget: b{round} }}"
        )
        .expect("to memory");
    }
    let fleet = club_of(&with_rules(&sections), &[]).await;
    let redis = fleet.stack.read().await.redis.url();
    let other = Instance::with(fleet.points_database_url(), &redis, true, &[]);
    let theirs = EarningServiceClient::new(other.channel.clone());
    let killing = async {
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            other.kill().await;
        }
    };
    let racing = async {
        for round in 0..ROUNDS {
            let calls = (0..512_usize).map(|number| {
                let request = RecordPurchaseRequest {
                    channel: format!("c{round}"),
                    ..purchase(
                        round * 512 + number,
                        &format!("member-{}", number % 200),
                        700,
                    )
                };
                let client = if number % 4 == 0 {
                    theirs.clone()
                } else {
                    fleet.clients().earning()
                };
                async move { ask!(client, record_purchase, request).expect("recorded") }
            });
            let answers = join_all(calls).await;
            let given = answers.iter().flat_map(earned).map(|(_, points)| points);
            assert_eq!(given.sum::<i64>(), 1_000, "round {round}");
        }
    };
    tokio::select! {
        () = racing => {}
        () = killing => {}
    }
    let request = ListBudgetsRequest {
        program: CLUB.to_owned(),
    };
    let budgets = ask!(fleet.clients().earning(), list_budgets, request).expect("listed");
    for budget in budgets.budgets {
        assert_eq!((budget.used, budget.left), (1_000, 0), "{}", budget.budget);
    }
    let mut all = 0;
    for member in 0..200 {
        all += available(fleet.clients(), &format!("member-{member}")).await;
    }
    assert_eq!(all, 1_000 * i64::try_from(ROUNDS).expect("few"));
    verify(&fleet).await.expect("the ledger holds");
}

/// Somebody makes a lease larger behind the ledger's back.
#[tokio::test(flavor = "multi_thread")]
async fn leases_that_the_log_does_not_make_are_found() {
    let fleet = club_of(&rules(10_000, ""), &[]).await;
    for number in 0..8 {
        record(&fleet, purchase(number, &format!("member-{number}"), 100)).await;
    }
    verify(&fleet).await.expect("the ledger holds");
    let mut connection = PgConnection::connect(fleet.points_database_url())
        .await
        .expect("the database answers");
    for (forge, restore) in [
        (
            "UPDATE leases SET lying = lying + 5",
            "UPDATE leases SET lying = lying - 5",
        ),
        (
            "UPDATE leases SET leased = leased - 5",
            "UPDATE leases SET leased = leased + 5",
        ),
        (
            "INSERT INTO leases SELECT program, 'other', shard, 1, 0, 1, 0, 1, 0 FROM leases LIMIT 1",
            "DELETE FROM leases WHERE budget = 'other'",
        ),
    ] {
        sqlx::query(forge)
            .execute(&mut connection)
            .await
            .expect("forged");
        let found = verify(&fleet).await.expect_err("it is found");
        assert!(found.contains("budgets"), "{forge}: {found}");
        sqlx::query(restore)
            .execute(&mut connection)
            .await
            .expect("put back");
        verify(&fleet).await.expect("the ledger holds");
    }
}

/// The home of a budget does not answer: who wants of it is told to try again, others buy.
#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_lease_is_told_so_and_others_buy() {
    let fleet = club_of(&rules(100, ""), &[]).await;
    let mut locking = PgConnection::connect(fleet.points_database_url())
        .await
        .expect("the database answers");
    // Heads that somebody has locked: nothing is leased while he has them.
    let mut lock = locking.begin().await.expect("it begins");
    sqlx::query("SELECT 1 FROM shards ORDER BY shard FOR UPDATE")
        .execute(&mut *lock)
        .await
        .expect("locked");
    let buying = tokio::spawn({
        let client = fleet.clients().earning();
        let request = purchase(1, "anna", 100);
        async move { ask!(client, record_purchase, request) }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!buying.is_finished(), "it waits");
    lock.rollback().await.expect("unlocked");
    let bought = buying.await.expect("it ends").expect("recorded");
    assert_eq!(earned(&bought), [("base", 1), ("spring", 10)]);
    until("it is counted", || async { used(&fleet).await == (10, 90) }).await;
    verify(&fleet).await.expect("the ledger holds");
}
