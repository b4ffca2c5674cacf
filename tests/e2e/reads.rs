//! What can be asked of the books: past and future balances, lots, statements,
//! explanations, accounts at any position, and what brands owe each other.

use std::collections::HashSet;

use fealty_cli::demo::Fleet;
use fealty_proto::points::v1::{
    BatchGetBalancesRequest, Consistency, ExplainTransactionRequest, GetBalanceRequest,
    GetTransactionRequest, ListLotsRequest, ListTransactionsRequest, OrderKey, RedeemRequest,
    RequestKey, Transaction, TransactionFilter, TransactionKind, get_balance_request::Moment,
    get_transaction_request::By,
};

use crate::harness::{
    CLUB, NOWHERE, POINTS, SHOP, START_S, accrual, accrue, ask, balance, club, ids, purchase,
    reason, set_time, verify,
};

const DAY_S: i64 = 86_400;

fn at(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}

pub(crate) fn redemption(
    request_id: &str,
    member: &str,
    brand: &str,
    points: i64,
) -> RedeemRequest {
    RedeemRequest {
        request_id: request_id.to_owned(),
        program: CLUB.to_owned(),
        member: member.to_owned(),
        brand: brand.to_owned(),
        currency: POINTS.to_owned(),
        points,
        reference: String::new(),
        ..RedeemRequest::default()
    }
}

async fn available_at(fleet: &Fleet, moment: Moment) -> i64 {
    let request = GetBalanceRequest {
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        currency: POINTS.to_owned(),
        consistency: 0,
        moment: Some(moment),
        ..GetBalanceRequest::default()
    };
    let read = ask!(fleet.clients().ledger(), get_balance, request).expect("it is read");
    read.balance.expect("a balance").available
}

/// Every balance of a history, asked for afterwards by time and by name.
#[tokio::test(flavor = "multi_thread")]
async fn every_past_balance_and_the_future_one() {
    let fleet = club().await;
    let clients = fleet.clients();
    let mut known = Vec::new();
    for day in 0..40 {
        let now = START_S + day * DAY_S;
        set_time(&fleet, now).await;
        let transaction = if day % 3 == 2 {
            let request = redemption(&format!("day-{day}"), "anna", SHOP, 30);
            ask!(clients.ledger(), redeem, request)
                .expect("redeemed")
                .transaction
        } else {
            let mut request = accrual(&format!("day-{day}"), "anna", 50);
            request.expiry_time = Some(at(now + 10 * DAY_S + 3_600));
            accrue(clients, request).await.expect("points").transaction
        };
        let transaction = transaction.expect("one");
        let after = transaction.balances[0].available;
        known.push((now, transaction.id, after));
        // Something of another shard, and of another member of any shard.
        accrue(clients, accrual(&format!("day-{day}"), "berta", 1))
            .await
            .expect("points");
    }
    assert_eq!(
        available_at(&fleet, Moment::PastTime(at(START_S - 1))).await,
        0
    );
    for (now, name, after) in &known {
        assert_eq!(
            available_at(&fleet, Moment::PastTime(at(*now))).await,
            *after,
            "{name}"
        );
        let by_name = Moment::AfterTransaction(name.clone());
        assert_eq!(available_at(&fleet, by_name).await, *after);
    }
    // In between, what expired in the meantime is gone.
    for pair in known.windows(2) {
        let between = available_at(&fleet, Moment::PastTime(at(pair[1].0 - 1))).await;
        assert!(between <= pair[0].2);
    }
    // What will have expired by then, without anything being written.
    let last = known.last().expect("forty").0;
    let now = available_at(&fleet, Moment::FutureTime(at(last))).await;
    let mut before = now;
    for day in 1..12 {
        let then = available_at(&fleet, Moment::FutureTime(at(last + day * DAY_S))).await;
        assert!(then <= before, "points only expire");
        before = then;
    }
    assert_eq!(before, 0);
    set_time(&fleet, last + 5 * DAY_S).await;
    let (read, _) = balance(clients, "anna", Consistency::Strong).await;
    assert_eq!(
        available_at(&fleet, Moment::FutureTime(at(last + 5 * DAY_S))).await,
        read.available
    );
    let request = GetBalanceRequest {
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        currency: POINTS.to_owned(),
        consistency: 0,
        moment: Some(Moment::AfterTransaction(
            ids(&fleet).await.transaction(NOWHERE),
        )),
        ..GetBalanceRequest::default()
    };
    let refused = ask!(clients.ledger(), get_balance, request).expect_err("there is none");
    assert_eq!(reason(&refused), "TRANSACTION_NOT_FOUND");
    verify(&fleet).await.expect("the ledger verifies");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_balances_at_once() {
    let fleet = club().await;
    let clients = fleet.clients();
    let members: Vec<String> = (0..40).map(|number| format!("member-{number}")).collect();
    for (points, member) in (1..).zip(&members) {
        accrue(clients, accrual("gift", member, points))
            .await
            .expect("points");
    }
    let mut asked = members.clone();
    asked.push("nobody".to_owned());
    for consistency in [Consistency::Cached, Consistency::Strong] {
        let request = BatchGetBalancesRequest {
            program: CLUB.to_owned(),
            members: asked.clone(),
            currency: POINTS.to_owned(),
            consistency: consistency.into(),
        };
        let read = ask!(clients.ledger(), batch_get_balances, request).expect("read");
        let points: Vec<i64> = read
            .balances
            .iter()
            .map(|of| of.balance.as_ref().expect("a balance").available)
            .collect();
        let expected: Vec<i64> = (1..=40).chain([0]).collect();
        assert_eq!(points, expected);
        assert!(
            read.balances
                .iter()
                .zip(&asked)
                .all(|(of, member)| of.member == *member)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lots_say_what_expires_when_and_sum_to_the_balance() {
    let fleet = club().await;
    let clients = fleet.clients();
    for number in 0..25 {
        let mut request = accrual(&format!("gift-{number}"), "anna", 10 + number);
        // Out of order, some at the same time, some of them never.
        let days = (number * 7) % 12;
        request.expiry_time = (days > 0).then(|| at(START_S + (days + 40) * DAY_S));
        if number % 6 == 0 {
            request.activation = Some(fealty_proto::points::v1::Activation {
                when: Some(fealty_proto::points::v1::activation::When::Time(at(
                    START_S + DAY_S,
                ))),
            });
        }
        accrue(clients, request).await.expect("points");
    }
    let hold = fealty_proto::points::v1::HoldRequest {
        request_id: "hold".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points: 77,
        timeout: None,
        reference: String::new(),
        ..fealty_proto::points::v1::HoldRequest::default()
    };
    ask!(clients.ledger(), hold, hold).expect("held");
    for page_size in [1, 4, 24, 25, 26, 1_000] {
        let (mut pending, mut available, mut held) = (0, 0, 0);
        let mut page_token = String::new();
        let mut seen = HashSet::new();
        let mut order = Vec::new();
        loop {
            let request = ListLotsRequest {
                program: CLUB.to_owned(),
                member: "anna".to_owned(),
                currency: POINTS.to_owned(),
                page_size,
                page_token,
            };
            let page = ask!(clients.ledger(), list_lots, request).expect("listed");
            assert!(page.lots.len() <= usize::try_from(page_size).expect("small"));
            for open in page.lots {
                let lot = open.lot.expect("a lot");
                assert!(seen.insert(lot.id.clone()), "{} is listed twice", lot.id);
                if open.available > 0 {
                    order.push(lot.expiry_time.map_or(i64::MAX, |time| time.seconds));
                }
                pending += open.pending;
                available += open.available;
                held += open.held;
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let (read, _) = balance(clients, "anna", Consistency::Strong).await;
        let expected = (read.pending, read.available, read.held);
        assert_eq!(
            (pending, available, held),
            expected,
            "in pages of {page_size}"
        );
        assert!(order.is_sorted(), "{order:?}");
    }
}

async fn list(
    fleet: &Fleet,
    filter: Option<TransactionFilter>,
    page_size: i32,
) -> Vec<Transaction> {
    let mut transactions = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListTransactionsRequest {
            program: CLUB.to_owned(),
            member: "anna".to_owned(),
            page_size,
            page_token,
            filter: filter.clone(),
        };
        let page = ask!(fleet.clients().ledger(), list_transactions, request).expect("listed");
        transactions.extend(page.transactions);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return transactions;
        }
    }
}

#[expect(clippy::too_many_lines, reason = "one story")]
#[tokio::test(flavor = "multi_thread")]
async fn statements_are_filtered_and_transactions_found_by_what_made_them() {
    let fleet = club().await;
    let clients = fleet.clients();
    for number in 0..30 {
        set_time(
            &fleet,
            START_S + i64::try_from(number).expect("small") * DAY_S,
        )
        .await;
        if number % 3 == 0 {
            ask!(
                clients.earning(),
                record_purchase,
                purchase(number, "anna", 2_000)
            )
            .expect("bought");
        } else {
            accrue(clients, accrual(&format!("gift-{number}"), "anna", 5))
                .await
                .expect("points");
        }
    }
    let all = list(&fleet, None, 7).await;
    assert_eq!(all.len(), 30);
    let written = |transaction: &Transaction| {
        let time = transaction.written_time.expect("a time");
        (time.seconds, time.nanos)
    };
    let newest_first = all
        .windows(2)
        .all(|pair| written(&pair[0]) >= written(&pair[1]));
    assert!(newest_first);
    let sequences: Vec<i64> = all.iter().map(|t| t.balances[0].sequence).collect();
    assert!(sequences.windows(2).all(|pair| pair[0] > pair[1]));
    // What a statement tells shows neither shards nor volumes.
    assert!(
        all.iter()
            .all(|t| t.shard.is_none() && t.position == 0 && t.chain.is_empty())
    );
    let kinds = TransactionFilter {
        kinds: vec![TransactionKind::Purchase.into()],
        ..TransactionFilter::default()
    };
    let purchases = list(&fleet, Some(kinds), 4).await;
    assert_eq!(purchases.len(), 10);
    let week = TransactionFilter {
        start_time: Some(at(START_S + 7 * DAY_S)),
        end_time: Some(at(START_S + 14 * DAY_S)),
        ..TransactionFilter::default()
    };
    assert_eq!(list(&fleet, Some(week.clone()), 50).await.len(), 7);
    let both = TransactionFilter {
        kinds: vec![TransactionKind::Purchase.into()],
        ..week
    };
    assert_eq!(list(&fleet, Some(both), 50).await.len(), 2);
    let other_brand = TransactionFilter {
        brand: "no-brand".to_owned(),
        ..TransactionFilter::default()
    };
    assert!(list(&fleet, Some(other_brand), 50).await.is_empty());
    let order = TransactionFilter {
        order_number: "order-9".to_owned(),
        ..TransactionFilter::default()
    };
    let by_order = list(&fleet, Some(order), 50).await;
    assert_eq!(by_order.len(), 1);

    let get = async |by: By| {
        let request = GetTransactionRequest {
            program: CLUB.to_owned(),
            by: Some(by),
        };
        ask!(clients.ledger(), get_transaction, request)
    };
    let wanted = Some(by_order[0].clone());
    let name = get(By::Transaction(by_order[0].id.clone()))
        .await
        .expect("by name");
    assert_eq!(name.transaction, wanted);
    let request = RequestKey {
        member: "anna".to_owned(),
        request_id: "purchase-9".to_owned(),
    };
    assert_eq!(
        get(By::Request(request))
            .await
            .expect("by request")
            .transaction,
        wanted
    );
    let order = OrderKey {
        brand: SHOP.to_owned(),
        order_number: "order-9".to_owned(),
        ..OrderKey::default()
    };
    assert_eq!(
        get(By::Order(order)).await.expect("by order").transaction,
        wanted
    );
    for missing in [
        By::Transaction(ids(&fleet).await.transaction(NOWHERE)),
        By::Request(RequestKey {
            member: "anna".to_owned(),
            request_id: "never".to_owned(),
        }),
    ] {
        let refused = get(missing).await.expect_err("there is none");
        assert_eq!(reason(&refused), "TRANSACTION_NOT_FOUND");
    }
    let request = ExplainTransactionRequest {
        program: CLUB.to_owned(),
        transaction: by_order[0].id.clone(),
    };
    let explained = ask!(clients.ledger(), explain_transaction, request).expect("explained");
    assert_eq!(explained.transaction, wanted);
    let told: Vec<&str> = explained
        .steps
        .iter()
        .map(|step| step.text.as_str())
        .collect();
    let told = told.join("\n");
    for said in [
        "purchase-9",
        "version 1",
        "order-9",
        "rule base gave 200 points",
        "tier",
    ] {
        assert!(told.contains(said), "{said}: {told}");
    }
    assert_eq!(explained.lots.len(), 1);
}
