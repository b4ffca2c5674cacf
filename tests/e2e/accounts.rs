//! Accounts at any position of the log, and what brands owe each other: each is a
//! plain sum over transfers.

use std::collections::BTreeMap;

use fealty_cli::demo::Fleet;
use fealty_proto::{
    points::v1::{
        Account, AccountKind, GetAccountBalanceRequest, GetPositionsRequest,
        GetTrialBalanceRequest, ReverseRequest, Transaction, WatchTransactionsRequest,
    },
    program::v1::ApplyProgramRequest,
};

use crate::{
    harness::{CLUB, POINTS, SHOP, START_S, accrual, accrue, ask, club, reason, set_time, verify},
    reads::redemption,
};

const DAY_S: i64 = 86_400;

/// Two brands that issue and accept each other's points.
async fn partners(fleet: &Fleet) {
    let source = "program: record-club
time_zone: UTC
money: { currency: USD, decimals: 2 }
currencies:
  points: { expires: { after: 30 days } }
brands:
  record-shop: { issues: [points], accepts: [points] }
  cafe: { issues: [points], accepts: [points] }
refunds: { policy: balance, restore_grace: 10 days }
";
    let request = ApplyProgramRequest {
        source: source.to_owned(),
        request_id: fealty_cli::apply::request_id(),
        ..ApplyProgramRequest::default()
    };
    let (_, client) = fleet.clients().programs()[0].clone();
    ask!(client, apply_program, request).expect("applied");
}

async fn everything(fleet: &Fleet) -> Vec<(Transaction, String)> {
    let mut ledger = fleet.clients().ledger();
    let request = WatchTransactionsRequest::default();
    let mut feed = ledger
        .watch_transactions(request)
        .await
        .expect("it stands")
        .into_inner();
    let mut all = Vec::new();
    loop {
        let some = feed.message().await.expect("it holds").expect("it goes on");
        let cursor = some.cursor.clone();
        all.extend(
            some.transactions
                .into_iter()
                .map(|one| (one, cursor.clone())),
        );
        if some.behind == 0 {
            return all;
        }
    }
}

/// Positions and past accounts, next to a plain sum over the feed.
#[expect(clippy::too_many_lines, reason = "one story")]
#[tokio::test(flavor = "multi_thread")]
async fn positions_and_past_accounts_are_plain_sums_over_transfers() {
    let fleet = club().await;
    partners(&fleet).await;
    let clients = fleet.clients();
    let mut redemptions = Vec::new();
    // More than a thousand in one shard, so that there are marks to start from.
    for round in 0..60 {
        set_time(&fleet, START_S + round * DAY_S).await;
        let mut work = Vec::new();
        for member in 0..6 {
            let member = format!("member-{member}");
            for (brand, points) in [(SHOP, 40), ("cafe", 25), (SHOP, 3), ("cafe", 2)] {
                let mut request = accrual(&format!("{round}-{brand}-{points}"), &member, points);
                request.brand = brand.to_owned();
                work.push(request);
            }
        }
        let accrued = futures::future::join_all(work.into_iter().map(|r| accrue(clients, r)));
        assert!(accrued.await.iter().all(Result::is_ok));
        for (member, brand) in [(0, SHOP), (1, "cafe"), (2, SHOP)] {
            let member = format!("member-{member}");
            let request = redemption(&format!("redeem-{round}"), &member, brand, 45);
            let redeemed = ask!(clients.ledger(), redeem, request).expect("redeemed");
            redemptions.push((member, redeemed.transaction.expect("one").id));
        }
        if round % 4 == 0 {
            let (member, transaction) = redemptions[usize::try_from(round).expect("small")].clone();
            let request = ReverseRequest {
                request_id: format!("reverse-{round}"),
                program: CLUB.to_owned(),
                member,
                transaction,
                points: Some(20),
                ..ReverseRequest::default()
            };
            ask!(clients.ledger(), reverse, request).expect("reversed");
        }
    }
    let all = everything(&fleet).await;
    let mut cursors: Vec<String> = all.iter().map(|(_, cursor)| cursor.clone()).collect();
    cursors.dedup();
    let last = cursors.last().expect("there is something").clone();
    // A position, and by what the entry there is known again.
    let position = |part: &str| {
        let position = part.split('-').next().expect("a position");
        i64::from_str_radix(position, 16).expect("hexadecimal")
    };
    let inside = |cursor: &str, transaction: &Transaction| {
        let positions: Vec<i64> = cursor.split('.').map(position).collect();
        let shard = usize::try_from(transaction.shard.expect("of the feed")).expect("a shard");
        transaction.position <= positions[shard]
    };
    // A cursor in the middle of every shard.
    let middle: Vec<String> = last
        .split('.')
        .map(|part| format!("{:x}", position(part) * 2 / 3))
        .collect();
    let middle = middle.join(".");
    for cursor in [&middle, &last] {
        let mut sums: BTreeMap<(i32, String), (i64, i64)> = BTreeMap::new();
        for (transaction, _) in all.iter().filter(|(t, _)| inside(cursor, t)) {
            for transfer in &transaction.transfers {
                for (account, is_debit) in [(&transfer.debit, true), (&transfer.credit, false)] {
                    let account = account.clone().expect("an account");
                    let sum = sums.entry((account.kind, account.brand)).or_default();
                    if is_debit {
                        sum.0 += transfer.amount;
                    } else {
                        sum.1 += transfer.amount;
                    }
                }
            }
        }
        let request = GetTrialBalanceRequest {
            program: CLUB.to_owned(),
            cursor: cursor.clone(),
            ..GetTrialBalanceRequest::default()
        };
        let read = ask!(clients.audit(), get_trial_balance, request).expect("read");
        let read: BTreeMap<(i32, String), (i64, i64)> = read
            .accounts
            .into_iter()
            .map(|row| {
                let account = row.account.expect("an account");
                ((account.kind, account.brand), (row.debits, row.credits))
            })
            .collect();
        assert_eq!(read, sums, "at {cursor}");
    }
    // What was moved between the two cursors, by issuer and acceptor.
    let mut sums: BTreeMap<(String, String), [i64; 3]> = BTreeMap::new();
    for (transaction, _) in all.iter().filter(|(t, _)| !inside(&middle, t)) {
        for transfer in &transaction.transfers {
            let (debit, credit) = (
                transfer.debit.clone().expect("one"),
                transfer.credit.clone().expect("one"),
            );
            let mut add = |acceptor: &str, column: usize, points: i64| {
                let key = (transfer.issuer.clone(), acceptor.to_owned());
                sums.entry(key).or_default()[column] += points;
            };
            match (debit.kind(), credit.kind()) {
                (_, AccountKind::Redeemed) => add(&credit.brand, 0, transfer.amount),
                (AccountKind::Redeemed, _) => add(&debit.brand, 1, transfer.amount),
                (_, AccountKind::Expired) => add(&credit.brand, 2, transfer.amount),
                _ => {}
            }
        }
    }
    let request = GetPositionsRequest {
        program: CLUB.to_owned(),
        start_cursor: middle.clone(),
        end_cursor: last.clone(),
        ..GetPositionsRequest::default()
    };
    let read = ask!(clients.settlement(), get_positions, request).expect("read");
    let read: BTreeMap<(String, String), [i64; 3]> = read
        .positions
        .into_iter()
        .map(|row| {
            (
                (row.issuer, row.acceptor),
                [row.redeemed, row.restored, row.expired],
            )
        })
        .filter(|(_, moved)| *moved != [0; 3])
        .collect();
    assert_eq!(read, sums);
    assert!(read.keys().any(|(issuer, acceptor)| issuer != acceptor));
    let backwards = GetPositionsRequest {
        program: CLUB.to_owned(),
        start_cursor: last.clone(),
        end_cursor: middle,
        ..GetPositionsRequest::default()
    };
    let refused = ask!(clients.settlement(), get_positions, backwards).expect_err("backwards");
    assert_eq!(reason(&refused), "CURSOR_OUT_OF_RANGE");
    // One account, by issuer.
    let request = GetAccountBalanceRequest {
        program: CLUB.to_owned(),
        currency: POINTS.to_owned(),
        account: Some(Account {
            kind: AccountKind::Redeemed.into(),
            brand: SHOP.to_owned(),
        }),
    };
    let read = ask!(clients.audit(), get_account_balance, request).expect("read");
    assert_eq!(
        read.credits,
        read.issuers
            .iter()
            .map(|issuer| issuer.credits)
            .sum::<i64>()
    );
    assert_eq!(read.issuers.len(), 2, "its own points, and the cafe's");
    verify(&fleet).await.expect("the ledger verifies");
}
