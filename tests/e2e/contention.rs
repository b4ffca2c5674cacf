//! Many callers who want the same thing. Each test starts all of them before
//! any has an answer, on connections of the same service, and counts outcomes:
//! a lost update or a double spend shows as a wrong count.

use std::collections::BTreeMap;

use fealty_cli::apply::{How, apply};
use fealty_proto::{
    points::v1::{
        Consistency, GiftRequest, RedeemRequest, ledger_service_client::LedgerServiceClient,
    },
    rewards::v1::{RedeemRequest as RedeemRewardRequest, RedemptionState},
};
use futures::future::join_all;

use crate::{
    harness::{
        CLUB, POINTS, SHOP, accrual, accrue, ask, available, balance, books, club, purchase,
        reason, send, verify,
    },
    instance::Instance,
};

#[tokio::test(flavor = "multi_thread")]
async fn of_200_who_redeem_the_whole_balance_one_succeeds() {
    let fleet = club().await;
    let clients = fleet.clients();
    accrue(clients, accrual("gift", "anna", 700))
        .await
        .expect("points");
    let redeem = |number: usize| {
        let request = RedeemRequest {
            request_id: format!("all-{number}"),
            program: CLUB.to_owned(),
            member: "anna".to_owned(),
            brand: SHOP.to_owned(),
            currency: POINTS.to_owned(),
            points: 700,
            reference: String::new(),
            ..RedeemRequest::default()
        };
        async move {
            send(|| {
                let (mut client, request) = (clients.ledger(), request.clone());
                async move { client.redeem(request).await }
            })
            .await
        }
    };
    let answers = join_all((0..200).map(redeem)).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    for refused in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!(reason(refused), "INSUFFICIENT_POINTS", "{refused:?}");
    }
    assert_eq!(available(clients, "anna").await, 0);
    assert_eq!(verify(&fleet).await, Ok(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_500_who_want_the_last_10_seats_10_get_them() {
    let fleet = club().await;
    let clients = fleet.clients();
    let ten_seats = fealty_cli::demo::PROGRAM.replace("stock: 300", "stock: 10");
    apply(clients, &ten_seats, How::Now)
        .await
        .expect("the programme is applied");
    let members: Vec<String> = (0..500).map(|number| format!("member-{number}")).collect();
    let gifts = members
        .iter()
        .map(|member| accrue(clients, accrual("gift", member, 5_000)));
    assert!(join_all(gifts).await.iter().all(Result::is_ok));
    let redeem = |member: &String| {
        let request = RedeemRewardRequest {
            request_id: "concert".to_owned(),
            program: CLUB.to_owned(),
            member: member.clone(),
            reward: "concert-evening".to_owned(),
        };
        async move {
            send(|| {
                let (mut client, request) = (clients.redemption(), request.clone());
                async move { client.redeem(request).await }
            })
            .await
        }
    };
    let answers = join_all(members.iter().map(redeem)).await;
    let mut codes = BTreeMap::new();
    for (member, answer) in members.iter().zip(&answers) {
        let left = available(clients, member).await;
        match answer {
            Ok(answer) => {
                let redemption = answer.redemption.as_ref().expect("a redemption");
                assert_eq!(redemption.state(), RedemptionState::Issued);
                codes.insert(redemption.voucher_code.clone(), member);
                assert_eq!(left, 0, "{member} has paid");
            }
            Err(refused) => {
                assert_eq!(reason(refused), "SOLD_OUT", "{refused:?}");
                assert_eq!(left, 5_000, "{member} keeps the points");
            }
        }
    }
    assert_eq!(codes.len(), 10, "ten seats, ten codes");
    verify(&fleet).await.expect("the ledger verifies");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_sent_by_100_at_once_takes_effect_once() {
    let fleet = club().await;
    let clients = fleet.clients();
    let record = || {
        send(|| {
            let mut client = clients.earning();
            async move { client.record_purchase(purchase(1, "anna", 12_345)).await }
        })
    };
    let answers = join_all((0..100).map(|_| record())).await;
    let answers: Vec<_> = answers
        .into_iter()
        .map(|answer| answer.expect("answered"))
        .collect();
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
    assert!(
        answers
            .iter()
            .all(|answer| answer.transaction == answers[0].transaction)
    );
    let before = books(&fleet).await;
    assert!(record().await.expect("answered").replayed);
    assert_eq!(books(&fleet).await, before, "a replay changes nothing");
    let (cached, _) = balance(clients, "anna", Consistency::Cached).await;
    assert_eq!(cached.available, 1_234);
}

/// Two instances and a gift between members, which no lane writes: whoever
/// remembers what was is found out at once.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_has_written_is_not_remembered_otherwise() {
    let fleet = club().await;
    let ours = fleet.clients().ledger();
    let redis = fleet.stack.read().await.redis.url();
    let other = Instance::new(fleet.points_database_url(), &redis, true);
    let theirs = LedgerServiceClient::new(other.channel.clone());
    // Enough members that shards have some who are not in the next batch.
    let members: Vec<String> = (0..24).map(|number| format!("member-{number}")).collect();
    // Rests of other instances' batches are behind after so many rounds.
    for round in 0..40_usize {
        for (number, member) in members.iter().enumerate() {
            // Now this instance, now that one, each with a few in a row.
            let ledger = if (round / 4 + number) % 3 == 0 {
                &theirs
            } else {
                &ours
            };
            let request = accrual(&format!("{round}-{number}"), member, 10);
            ask!(ledger.clone(), accrue, request).expect("points");
        }
        let gift = GiftRequest {
            request_id: format!("gift-{round}"),
            program: CLUB.to_owned(),
            member: members[round % 24].clone(),
            currency: POINTS.to_owned(),
            points: 10,
            recipient: members[(round + 7) % 24].clone(),
            reference: String::new(),
            ..GiftRequest::default()
        };
        ask!(ours.clone(), gift, gift).expect("given");
    }
    let mut sum = 0;
    for member in &members {
        sum += available(fleet.clients(), member).await;
    }
    assert_eq!(sum, 24 * 40 * 10);
    // An accrual is a transaction, a gift is two.
    assert_eq!(verify(&fleet).await, Ok(24 * 40 + 2 * 40));
}
