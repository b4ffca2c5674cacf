//! Returns: a purchase keeps what is left of it earns, counters and caps go back, what was paid
//! in points is restored, whoever asks at once.

use fealty_cli::{
    apply::{How, apply},
    demo::Fleet,
};
use fealty_proto::{
    points::v1::{
        ExplainTransactionRequest, HoldRequest, ListTransactionsRequest, OrderKey, PurchaseReturn,
        RecordPurchaseRequest, RecordPurchaseResponse, RedeemRequest, ReturnPurchaseRequest,
        ReturnPurchaseResponse, ReturnedLine, Tender, TenderKind, TransactionFilter,
        TransactionKind, earning_service_client::EarningServiceClient, return_purchase_request::Of,
    },
    tiers::v1::GetStatusRequest,
    r#type::v1::Money,
};
use futures::future::join_all;
use proptest::{
    strategy::{Strategy, ValueTree as _},
    test_runner::TestRunner,
};
use sqlx::{Connection as _, PgConnection};
use tonic::Status;

use crate::{
    earning::{bought, counters, earned, line, record, with_rules},
    harness::{
        CLUB, POINTS, SHOP, START_S, ask, available, books, club, club_of, purchase, reason,
        set_time, until, verify,
    },
    instance::{DISTRIBUTED, Instance},
};

const DAY: i64 = 86_400;

const RULES: &str = r#"
counters:
  coffees: { of: line, when: 'line.category == "coffee"', add: line.quantity, over: { every: week } }
  spent: { of: purchase, add: purchase.amount, over: { every: month } }
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
  - { rule: fifth-coffee, on: purchase, when: counters.coffees.passes(5), earn: { currency: points, fixed: 50 } }
  - rule: double
    on: purchase
    lines: 'line.category == "jazz"'
    earn: { multiply: base, by: 2 }
    caps: [ { per: member, every: month, points: 10 } ]
"#;

pub(crate) fn id_of(answer: &RecordPurchaseResponse) -> String {
    answer.transaction.as_ref().expect("one").id.clone()
}

/// A return of all that is left of a purchase.
pub(crate) fn whole(request_id: &str, member: &str, transaction: &str) -> ReturnPurchaseRequest {
    ReturnPurchaseRequest {
        request_id: request_id.to_owned(),
        program: CLUB.to_owned(),
        member: member.to_owned(),
        of: Some(Of::Transaction(transaction.to_owned())),
        ..ReturnPurchaseRequest::default()
    }
}

fn of_lines(request: ReturnPurchaseRequest, lines: &[(i32, i32)]) -> ReturnPurchaseRequest {
    let lines = lines.iter().map(|(line, quantity)| ReturnedLine {
        line: *line,
        quantity: Some(*quantity),
        amount_minor_units: None,
    });
    ReturnPurchaseRequest {
        lines: lines.collect(),
        ..request
    }
}

pub(crate) fn of_money(request: ReturnPurchaseRequest, minor_units: i64) -> ReturnPurchaseRequest {
    ReturnPurchaseRequest {
        amount: Some(Money {
            currency_code: "USD".to_owned(),
            minor_units,
        }),
        ..request
    }
}

pub(crate) async fn give_back(
    fleet: &Fleet,
    request: ReturnPurchaseRequest,
) -> Result<ReturnPurchaseResponse, Status> {
    ask!(fleet.clients().earning(), return_purchase, request)
}

fn told(answer: &ReturnPurchaseResponse) -> &PurchaseReturn {
    let transaction = answer.transaction.as_ref().expect("one");
    transaction
        .purchase_return
        .as_ref()
        .expect("what came back")
}

/// What was taken back, and restored.
fn moved(answer: &ReturnPurchaseResponse) -> (i64, i64) {
    let points = &told(answer).points;
    let taken = points.iter().map(|points| points.taken).sum();
    (taken, points.iter().map(|points| points.restored).sum())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_evaluated_by_what_counted_then() {
    let fleet = club_of(&with_rules(RULES), &[]).await;
    let first = [line("coffee", 900, 3), line("jazz", 1_500, 1)];
    let first = record(&fleet, bought(1, "anna", &first)).await;
    assert_eq!(earned(&first), [("base", 24), ("double", 10)]);
    let second = record(&fleet, bought(2, "anna", &[line("coffee", 600, 2)])).await;
    assert_eq!(earned(&second), [("base", 6), ("fifth-coffee", 50)]);
    // The second keeps its fifth coffee, though the first goes: it answers for itself.
    let asked = of_lines(whole("return-1", "anna", &id_of(&first)), &[(1, 1)]);
    let answer = give_back(&fleet, asked.clone()).await.expect("returned");
    let back = told(&answer);
    assert_eq!(back.transaction, id_of(&first));
    assert_eq!(back.amount.as_ref().expect("money").minor_units, 300);
    assert_eq!(back.left.as_ref().expect("money").minor_units, 2_100);
    let left: Vec<_> = back
        .left_earns
        .iter()
        .map(|e| (&*e.rule, e.points))
        .collect();
    assert_eq!(left, [("base", 21), ("double", 10)]);
    assert_eq!((moved(&answer), back.counted), ((3, 0), true));
    assert_eq!(counters(&fleet, "anna").await["coffees"].value, 4);
    assert_eq!(counters(&fleet, "anna").await["spent"].value, 2_700);
    // The same again is the same answer; another under its id is refused.
    let again = give_back(&fleet, asked.clone()).await.expect("returned");
    assert!(again.replayed);
    assert_eq!(again.transaction, answer.transaction);
    let other = give_back(
        &fleet,
        of_money(whole("return-1", "anna", &id_of(&first)), 300),
    )
    .await;
    assert_eq!(reason(&other.expect_err("another")), "REQUEST_ID_REUSED");
    // The fifth coffee comes back with the bonus, and is given once when it is bought again.
    let asked = of_lines(whole("return-2", "anna", &id_of(&second)), &[(1, 1)]);
    assert_eq!(
        moved(&give_back(&fleet, asked).await.expect("returned")),
        (53, 0)
    );
    let third = record(&fleet, bought(3, "anna", &[line("coffee", 300, 2)])).await;
    assert_eq!(earned(&third), [("base", 3), ("fifth-coffee", 50)]);
    let fourth = record(&fleet, bought(4, "anna", &[line("coffee", 300, 9)])).await;
    assert_eq!(earned(&fourth), [("base", 3)]);
    // The cap is given back with what used it, and used by what is bought then.
    let asked = of_lines(whole("return-3", "anna", &id_of(&first)), &[(2, 1)]);
    assert_eq!(
        moved(&give_back(&fleet, asked).await.expect("returned")),
        (25, 0)
    );
    let fifth = record(&fleet, bought(5, "anna", &[line("jazz", 400, 1)])).await;
    assert_eq!(earned(&fifth), [("base", 4), ("double", 4)]);
    let explain = ExplainTransactionRequest {
        program: CLUB.to_owned(),
        transaction: answer.transaction.as_ref().expect("one").id.clone(),
    };
    let why = ask!(fleet.clients().ledger(), explain_transaction, explain).expect("told");
    let texts: Vec<&str> = why.steps.iter().map(|step| step.text.as_str()).collect();
    assert!(
        texts
            .iter()
            .any(|text| text.contains("3.00 USD of the purchase of")),
        "{texts:?}"
    );
    assert!(texts.contains(&"rule base gives 21 points"), "{texts:?}");
    assert!(
        texts
            .iter()
            .any(|text| text.starts_with("3 points that it keeps no longer"))
    );
    verify(&fleet).await.expect("the ledger holds");
}

/// A purchase of 100.00, 40.00 of it by 1,000 points, of somebody who had them.
async fn paid_in_points(fleet: &Fleet) -> RecordPurchaseResponse {
    record(fleet, purchase(1, "anna", 100_000)).await;
    let hold = HoldRequest {
        request_id: "hold".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points: 1_000,
        ..HoldRequest::default()
    };
    let held = ask!(fleet.clients().ledger(), hold, hold)
        .expect("held")
        .hold;
    let tender = |kind: TenderKind, amount_minor_units, hold: &str| Tender {
        kind: kind.into(),
        amount_minor_units,
        hold: hold.to_owned(),
    };
    record(
        fleet,
        RecordPurchaseRequest {
            tenders: vec![
                tender(TenderKind::Card, 6_000, ""),
                tender(TenderKind::Points, 4_000, &held),
            ],
            ..bought(2, "anna", &[line("rock", 3_333, 1), line("jazz", 6_667, 1)])
        },
    )
    .await
}

/// A purchase of 100.00, 40.00 of it in points: by order, in steps, over several nodes.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_paid_in_points_comes_back_in_proportion() {
    let variables = [
        ("FEALTY_LEDGER_MEMBERS_IN_MEMORY", "0".to_owned()),
        (DISTRIBUTED.0, DISTRIBUTED.1.to_owned()),
    ];
    let fleet = club_of(&with_rules(RULES), &variables).await;
    let paid = paid_in_points(&fleet).await;
    assert_eq!(earned(&paid), [("base", 60), ("double", 10)]);
    assert_eq!(available(fleet.clients(), "anna").await, 70);
    let by_order = |request_id: &str| ReturnPurchaseRequest {
        of: Some(Of::Order(OrderKey {
            brand: SHOP.to_owned(),
            order_number: "order-2".to_owned(),
            ..OrderKey::default()
        })),
        ..whole(request_id, "anna", "")
    };
    // 33.33 of 100.00: 333 of the 1,000 points come back; 60 % of 66.67 earn.
    let first = give_back(&fleet, of_lines(by_order("return-1"), &[(1, 1)])).await;
    let first = first.expect("returned");
    assert_eq!(moved(&first), (20, 333));
    let second = give_back(&fleet, of_money(by_order("return-2"), 1)).await;
    assert_eq!(
        moved(&second.expect("returned")),
        (1, 0),
        "60 % of 66.66 earn; a third of a point is not restored"
    );
    let last = give_back(&fleet, by_order("return-3"))
        .await
        .expect("returned");
    assert_eq!(moved(&last), (49, 667));
    assert_eq!(available(fleet.clients(), "anna").await, 1_000);
    assert_eq!(counters(&fleet, "anna").await["spent"].value, 100_000);
    let nothing = give_back(&fleet, by_order("return-4")).await;
    assert_eq!(
        reason(&nothing.expect_err("all is back")),
        "RETURN_EXCEEDED"
    );
    // It is among the member's transactions, by its kind.
    let list = ListTransactionsRequest {
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        filter: Some(TransactionFilter {
            kinds: vec![TransactionKind::Return.into()],
            ..TransactionFilter::default()
        }),
        ..ListTransactionsRequest::default()
    };
    let listed = ask!(fleet.clients().ledger(), list_transactions, list).expect("listed");
    let brands: Vec<_> = listed
        .transactions
        .iter()
        .map(|t| t.brand.as_str())
        .collect();
    assert_eq!(brands, [SHOP; 3]);
    verify(&fleet).await.expect("the ledger holds");
}

/// Points that are spent are owed; who returns late gets no room under caps back; the version of
/// the purchase decides, whatever is in force.
#[tokio::test(flavor = "multi_thread")]
async fn a_return_by_another_version_later_and_of_points_that_are_spent() {
    let fleet = club_of(&with_rules(RULES), &[]).await;
    let bought = record(&fleet, purchase(1, "anna", 10_000)).await;
    let redeem = RedeemRequest {
        request_id: "spent".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points: 90,
        ..RedeemRequest::default()
    };
    ask!(fleet.clients().ledger(), redeem, redeem).expect("spent");
    let richer = with_rules(&RULES.replace("points: 1, per", "points: 3, per"));
    apply(fleet.clients(), &richer, How::Now)
        .await
        .expect("applied");
    let answer = give_back(
        &fleet,
        of_money(whole("return-1", "anna", &id_of(&bought)), 5_000),
    );
    let answer = answer.await.expect("returned");
    assert_eq!(moved(&answer), (50, 0));
    let left: Vec<_> = told(&answer).left_earns.iter().map(|e| e.points).collect();
    assert_eq!(left, [50], "by the version of then");
    // What is spent is taken as the programme says, or borne: nothing is lost on the way.
    let balance = &answer.transaction.as_ref().expect("one").balances[0];
    assert_eq!(balance.available, 0);
    assert_eq!(balance.debt + told(&answer).borne, 40);
    set_time(&fleet, START_S + 500 * DAY).await;
    let before = counters(&fleet, "anna").await;
    let late = give_back(&fleet, whole("return-2", "anna", &id_of(&bought))).await;
    let late = late.expect("returned");
    assert!(!told(&late).counted);
    assert_eq!(told(&late).left_earns, []);
    assert_eq!(counters(&fleet, "anna").await, before);
    verify(&fleet).await.expect("the ledger holds");
}

/// 256 callers of two instances return the same 100 lines, each a line of its own choosing: each
/// line comes back once.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_returns_at_once_each_line_comes_back_once() {
    let fleet = club_of(&with_rules(RULES), &[]).await;
    let redis = fleet.stack.read().await.redis.url();
    let other = Instance::with(fleet.points_database_url(), &redis, true, &[]);
    let theirs = EarningServiceClient::new(other.channel.clone());
    let lines = vec![line("rock", 100, 1); 100];
    let purchase = record(&fleet, bought(1, "anna", &lines)).await;
    assert_eq!(available(fleet.clients(), "anna").await, 100);
    let calls = (0..256_i32).map(|number| {
        let request = whole(&format!("return-{number}"), "anna", &id_of(&purchase));
        let request = of_lines(request, &[(number % 100 + 1, 1)]);
        let client = if number % 2 == 0 {
            theirs.clone()
        } else {
            fleet.clients().earning()
        };
        async move { ask!(client, return_purchase, request) }
    });
    let answers = join_all(calls).await;
    let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((done.len(), refused.len()), (100, 156));
    for refused in refused {
        assert_eq!(reason(&refused.expect_err("refused")), "RETURN_EXCEEDED");
    }
    assert_eq!(available(fleet.clients(), "anna").await, 0);
    assert_eq!(counters(&fleet, "anna").await["spent"].value, 0);
    assert_eq!(verify(&fleet).await, Ok(101));
}

/// Tiers count what was spent, less what came back.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_back_was_not_spent() {
    let fleet = club().await;
    let spent = async |expected: i64| {
        let request = GetStatusRequest {
            program: CLUB.to_owned(),
            member: "anna".to_owned(),
        };
        until("tiers have heard of it", || async {
            let read = ask!(fleet.clients().tier(), get_status, request.clone()).expect("read");
            let spent = read.status.expect("one").spent.expect("money");
            spent.minor_units == expected
        })
        .await;
    };
    let bought = record(&fleet, purchase(1, "anna", 9_000)).await;
    spent(9_000).await;
    let some = of_money(whole("return-1", "anna", &id_of(&bought)), 2_500);
    give_back(&fleet, some).await.expect("returned");
    spent(6_500).await;
    give_back(&fleet, whole("return-2", "anna", &id_of(&bought)))
        .await
        .expect("returned");
    spent(0).await;
    verify(&fleet).await.expect("the ledger holds");
}

/// Somebody makes a return that was not one, behind the ledger's back.
#[tokio::test(flavor = "multi_thread")]
async fn returns_that_the_log_does_not_make_are_found() {
    let fleet = club().await;
    let bought = record(&fleet, purchase(1, "anna", 9_000)).await;
    let some = of_money(whole("return-1", "anna", &id_of(&bought)), 2_500);
    give_back(&fleet, some).await.expect("returned");
    verify(&fleet).await.expect("the ledger holds");
    let mut connection = PgConnection::connect(fleet.points_database_url())
        .await
        .expect("the database answers");
    for (forge, restore) in [
        (
            "UPDATE returns SET body = set_byte(body, 0, get_byte(body, 0) + 1)",
            "UPDATE returns SET body = set_byte(body, 0, get_byte(body, 0) - 1)",
        ),
        (
            "UPDATE returns SET position = position + 100",
            "UPDATE returns SET position = position - 100",
        ),
        (
            "INSERT INTO returns SELECT shard, position + 1, member_no, body FROM returns",
            "DELETE FROM returns WHERE position = (SELECT max(position) FROM returns)",
        ),
    ] {
        sqlx::query(forge)
            .execute(&mut connection)
            .await
            .expect("forged");
        let found = verify(&fleet).await.expect_err("it is found");
        assert!(
            found.contains("come back") || found.contains("returns"),
            "{forge}: {found}"
        );
        sqlx::query(restore)
            .execute(&mut connection)
            .await
            .expect("put back");
        verify(&fleet).await.expect("the ledger holds");
    }
}

/// A line as the plain loop knows it: whether it is jazz, cents, quantity.
type Simple = (usize, i64, i32);

/// What is left of a purchase, and what it keeps.
struct Kept {
    transaction: String,
    lines: Vec<Simple>,
    keeps: i64,
}

impl Kept {
    /// What its lines earn.
    fn earns(&self) -> i64 {
        let sum = |jazz: bool| -> i64 {
            let picked = self.lines.iter().filter(|line| !jazz || line.0 == 1);
            picked.map(|line| line.1).sum()
        };
        match sum(false) {
            0 => 0,
            all => (all + 2 * sum(true)) / 100 + if all < 2_000 { 7 } else { 0 },
        }
    }

    /// Takes some of a line away; answers with the points that go, or nothing, if there is
    /// not as much of it.
    fn give_back(&mut self, at: usize, quantity: i32, cents: Option<i64>) -> Option<i64> {
        let (_, left, left_quantity) = self.lines[at];
        let (quantity, cents) = match cents {
            Some(cents) => (0, cents),
            None if quantity == left_quantity => (quantity, left),
            None if quantity > left_quantity => return None,
            None => (
                quantity,
                left * i64::from(quantity) / i64::from(left_quantity),
            ),
        };
        if cents > left {
            return None;
        }
        let line = &mut self.lines[at];
        (line.1, line.2) = (left - cents, left_quantity - quantity);
        let keeps = self.keeps.min(self.earns());
        Some(std::mem::replace(&mut self.keeps, keeps) - keeps)
    }
}

/// Something random, the same each time.
fn random<T: std::fmt::Debug>(of: impl Strategy<Value = T>, len: usize) -> Vec<T> {
    let many = proptest::collection::vec(of, len);
    let tree = many.new_tree(&mut TestRunner::deterministic());
    tree.expect("there is some").current()
}

/// Some purchases and returns of one member at random, through two instances, against a plain
/// loop: each purchase has what its rest earned, less never gave, and what was refused changed
/// nothing.
#[tokio::test(flavor = "multi_thread")]
async fn random_returns_leave_what_a_plain_loop_leaves() {
    let rules = r#"
earning:
  - { rule: base, on: purchase, earn: { currency: points, rate: { points: 1, per: "1.00" } } }
  - { rule: jazz, on: purchase, lines: 'line.category == "jazz"', earn: { multiply: base, by: 3 } }
  - { rule: small, on: purchase, when: 'purchase.amount < money("20.00")', earn: { currency: points, fixed: 7 } }
"#;
    let fleet = club_of(&with_rules(rules), &[]).await;
    let redis = fleet.stack.read().await.redis.url();
    let other = Instance::with(fleet.points_database_url(), &redis, true, &[]);
    let clients = [
        fleet.clients().earning(),
        EarningServiceClient::new(other.channel.clone()),
    ];
    let lines = proptest::collection::vec((0_usize..2, 1_i64..2_500, 1_i32..5), 1..5);
    let mut known = Vec::new();
    for (number, lines) in random(lines, 20).into_iter().enumerate() {
        let asked: Vec<_> = lines
            .iter()
            .map(|(kind, cents, quantity)| line(["rock", "jazz"][*kind], *cents, *quantity))
            .collect();
        let answer = record(&fleet, bought(number, "anna", &asked)).await;
        let mut bought = Kept {
            transaction: id_of(&answer),
            lines,
            keeps: 0,
        };
        bought.keeps = bought.earns();
        known.push(bought);
    }
    let cents = proptest::option::of(1_i64..900);
    let returns = random((0_usize..20, 0_usize..5, 1_i32..4, cents), 120);
    let mut refusals = 0;
    for (number, (of, at, quantity, cents)) in returns.into_iter().enumerate() {
        let purchase = &mut known[of];
        let at = at % purchase.lines.len();
        let request = ReturnPurchaseRequest {
            lines: vec![ReturnedLine {
                line: i32::try_from(at).expect("small") + 1,
                quantity: cents.is_none().then_some(quantity),
                amount_minor_units: cents,
            }],
            ..whole(&format!("return-{number}"), "anna", &purchase.transaction)
        };
        let before = books(&fleet).await;
        let answer = ask!(clients[number % 2].clone(), return_purchase, request);
        if let Some(taken) = purchase.give_back(at, quantity, cents) {
            assert_eq!(moved(&answer.expect("returned")), (taken, 0));
            let all: i64 = known.iter().map(|purchase| purchase.keeps).sum();
            assert_eq!(available(fleet.clients(), "anna").await, all);
        } else {
            assert_eq!(reason(&answer.expect_err("too much")), "RETURN_EXCEEDED");
            assert_eq!(books(&fleet).await, before, "a refusal changes nothing");
            refusals += 1;
        }
    }
    assert!(refusals > 10, "{refusals} refusals");
    verify(&fleet).await.expect("the ledger holds");
}
