//! Budgets: exact over all members, shards and instances, whoever races for the last of it.

use std::{fmt::Write as _, time::Duration};

use fealty_cli::{
    apply::{How, apply},
    demo::Fleet,
};
use fealty_proto::points::v1::{
    Budget, ExplainTransactionRequest, ListBudgetsRequest, PreviewPurchaseRequest,
    RecordPurchaseRequest, RecordPurchaseResponse, RedeemRequest, RuleOutcome, TransactionKind,
    earning_service_client::EarningServiceClient,
};
use fealty_types::shard_of;
use futures::future::join_all;
use sqlx::{Connection as _, PgConnection};

use crate::{
    earning::{earned, record, with_rules},
    harness::{
        CLUB, POINTS, SHOP, START_S, ask, available, club_of, polled, purchase, set_time, until,
        verify,
    },
    instance::{DISTRIBUTED, Instance},
    returns::{give_back, id_of, of_money, whole},
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
    let back = whole("back", "member-3", &id_of(&last));
    give_back(&fleet, back).await.expect("returned");
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

/// A budget that became larger, was used far beyond what it was, and became as small again: what
/// shards had leased of it before is not given.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_leased_of_a_larger_budget_is_not_given_by_a_smaller_one() {
    let fleet = club_of(&rules(3_200, ""), &[]).await;
    let buy = async |number: usize| {
        let member = format!("member-{}", number % 20);
        let answer = record(&fleet, purchase(number, &member, 100)).await;
        let earned = earned(&answer);
        earned
            .iter()
            .find(|(rule, _)| *rule == "spring")
            .map_or(0, |(_, points)| *points)
    };
    for number in 0..20 {
        assert_eq!(buy(number).await, 10);
    }
    let large = rules(100_000, "").replace("fixed: 10", "fixed: 5000");
    apply(fleet.clients(), &large, How::Now)
        .await
        .expect("applied");
    assert_eq!(buy(20).await, 5_000);
    apply(fleet.clients(), &rules(3_200, ""), How::Now)
        .await
        .expect("applied");
    for number in 21..41 {
        assert_eq!(buy(number).await, 0);
    }
    assert_eq!(used(&fleet).await, (5_200, 0));
    verify(&fleet).await.expect("the ledger holds");
}

/// Somebody spends so many of the points that a purchase gave, and returns all that was bought:
/// what was spent is borne.
async fn spend_and_return(
    fleet: &Fleet,
    member: &str,
    bought: &RecordPurchaseResponse,
    points: i64,
) {
    let redeem = RedeemRequest {
        request_id: format!("spent by {member}"),
        program: CLUB.to_owned(),
        member: member.to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points,
        ..RedeemRequest::default()
    };
    ask!(fleet.clients().ledger(), redeem, redeem).expect("spent");
    let back = whole(&format!("back from {member}"), member, &id_of(bought));
    let back = give_back(fleet, back).await.expect("returned");
    let told = back.transaction.and_then(|done| done.purchase_return);
    assert_eq!(told.expect("it is told").borne, points);
}

/// What was spent of a lot, and the brand bears, stays given by the budget of that lot alone.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_borne_of_a_lot_does_not_come_back_to_its_budget_alone() {
    let sections = r#"
budgets:
  first: { currency: points, points: 100 }
  second: { currency: points, points: 100 }
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
  - { rule: first, on: purchase, earn: { currency: points, fixed: 10 }, budget: first }
  - { rule: second, on: purchase, earn: { currency: points, fixed: 20 }, budget: second }
"#;
    let fleet = club_of(&with_rules(sections), &[]).await;
    let lots = [("base", 50), ("first", 10), ("second", 20)];
    let used = async || {
        let request = ListBudgetsRequest {
            program: CLUB.to_owned(),
        };
        let read = ask!(fleet.clients().earning(), list_budgets, request).expect("listed");
        read.budgets
            .iter()
            .map(|budget| budget.used)
            .collect::<Vec<_>>()
    };
    // The lots of one purchase are spent as its rules gave them.
    for (number, (spent, stays)) in [(45, [0, 0]), (57, [7, 0]), (75, [17, 15])]
        .into_iter()
        .enumerate()
    {
        let member = format!("member-{number}");
        let bought = record(&fleet, purchase(number, &member, 5_000)).await;
        assert_eq!(earned(&bought), lots);
        spend_and_return(&fleet, &member, &bought, spent).await;
        assert_eq!(used().await, stays, "{spent} were spent");
    }
    verify(&fleet).await.expect("the ledger holds");
}

/// A return gives a budget no more back than it takes: what the purchase keeps, for another rule
/// would give as much for what is left of it, is given as before. And two rules of one budget:
/// the first has its points, though both together want more than there is.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_purchase_keeps_of_a_budget_does_not_come_back_to_it() {
    let sections = r#"
budgets:
  triple: { currency: points, points: 180 }
  whole: { currency: points, points: 40, partial: false, warn_at: 100% }
groups: { rates: best }
earning:
  - { rule: triple, on: purchase, group: rates, when: 'purchase.amount >= money("50.00")', earn: { currency: points, rate: { points: 3, per: "1.00" } }, budget: triple }
  - { rule: base, on: purchase, group: rates, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
  - { rule: one, on: purchase, when: 'purchase.channel == "app"', earn: { currency: points, fixed: 30 }, budget: whole }
  - { rule: two, on: purchase, when: 'purchase.channel == "app"', earn: { currency: points, fixed: 31 }, budget: whole }
  - { rule: ten, on: purchase, when: 'purchase.channel == "web"', earn: { currency: points, fixed: 10 }, budget: whole }
"#;
    let fleet = club_of(&with_rules(sections), &[]).await;
    let bought = record(&fleet, purchase(1, "anna", 6_000)).await;
    assert_eq!(earned(&bought), [("triple", 180)]);
    let back = of_money(whole("back", "anna", &id_of(&bought)), 2_000);
    give_back(&fleet, back).await.expect("returned");
    assert_eq!(available(fleet.clients(), "anna").await, 40);
    let request = ListBudgetsRequest {
        program: CLUB.to_owned(),
    };
    let read = ask!(fleet.clients().earning(), list_budgets, request.clone()).expect("listed");
    assert_eq!((read.budgets[0].used, read.budgets[0].left), (40, 140));
    let by = |number, channel: &str| RecordPurchaseRequest {
        channel: channel.to_owned(),
        ..purchase(number, &format!("member-{number}"), 10)
    };
    let both = record(&fleet, by(2, "app")).await;
    assert_eq!(earned(&both), [("one", 30)]);
    let none = record(&fleet, by(3, "app")).await;
    assert_eq!(earned(&none), []);
    let rest = record(&fleet, by(4, "web")).await;
    assert_eq!(earned(&rest), [("ten", 10)]);
    // All of it is used: whoever asks next has it told.
    record(&fleet, by(5, "web")).await;
    until("it is told", || async {
        let read = ask!(fleet.clients().earning(), list_budgets, request.clone());
        read.expect("listed").budgets[1].warned
    })
    .await;
    // What was spent and cannot be taken back stays given.
    let bought = record(&fleet, purchase(6, "carl", 6_000)).await;
    assert_eq!(earned(&bought), [("triple", 140)]);
    spend_and_return(&fleet, "carl", &bought, 130).await;
    let read = ask!(fleet.clients().earning(), list_budgets, request).expect("listed");
    assert_eq!((read.budgets[0].used, read.budgets[0].left), (170, 10));
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

/// Heads are locked, so that nothing can be leased: who wants of the budget is told to try again
/// or waits, others buy meanwhile, and when the locks are gone all is as it was.
#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_lease_waits_and_others_buy() {
    let fleet = club_of(&rules(100, ""), &[]).await;
    let mut locking = PgConnection::connect(fleet.points_database_url())
        .await
        .expect("the database answers");
    let shards: Vec<i16> = sqlx::query_scalar("SELECT shard FROM shards ORDER BY shard")
        .fetch_all(&mut locking)
        .await
        .expect("there are some");
    // All but the last, so that members of that have a head.
    let locked = &shards[..shards.len() - 1];
    let mut lock = locking.begin().await.expect("it begins");
    sqlx::query("SELECT 1 FROM shards WHERE shard = ANY($1) ORDER BY shard FOR UPDATE")
        .bind(locked)
        .execute(&mut *lock)
        .await
        .expect("locked");
    let count = u16::try_from(shards.len()).expect("few");
    let of_last = |number: &usize| {
        let member = format!("member-{number}").parse().expect("an id");
        let shard = shard_of(&CLUB.parse().expect("an id"), &member, count);
        i16::from(shard.get()) == shards[shards.len() - 1]
    };
    let mut members = (0_usize..)
        .filter(of_last)
        .map(|number| format!("member-{number}"));
    let (buyer, other) = (members.next().expect("one"), members.next().expect("one"));
    let buying = tokio::spawn({
        let client = fleet.clients().earning();
        let request = purchase(1, &buyer, 100);
        async move { ask!(client, record_purchase, request) }
    });
    for number in 0..5 {
        let request = crate::harness::accrual(&format!("gift-{number}"), &other, 7);
        crate::harness::accrue(fleet.clients(), request)
            .await
            .expect("others go on");
    }
    assert!(!buying.is_finished(), "nothing can be leased");
    lock.rollback().await.expect("unlocked");
    let bought = buying.await.expect("it ends").expect("recorded");
    assert_eq!(earned(&bought), [("base", 1), ("spring", 10)]);
    assert_eq!(used(&fleet).await, (10, 90));
    verify(&fleet).await.expect("the ledger holds");
}
