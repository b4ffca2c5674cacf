//! Lanes at the edge: a defect that breaks off a batch, shards that stand still.

use fealty_cli::demo::Fleet;
use fealty_proto::{
    operations::v1::SetTimeRequest,
    points::v1::{GiftRequest, RedeemRequest, ledger_service_client::LedgerServiceClient},
};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::harness::{
    CLUB, POINTS, SHOP, START_S, accrual, accrue, ask, available, club, club_with, reason, until,
    verify,
};

const DAY: i64 = 86_400;

fn at(seconds: i64) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds, nanos: 0 }
}

/// What no request should bring about: a wallet with less in it than its lots have. Whoever
/// touches it meets a defect; nobody else does.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_breaks_a_lane_is_refused_and_the_lane_goes_on() {
    let memory = [("FEALTY_LEDGER_MEMBERS_IN_MEMORY", "0".to_owned())];
    let fleet = club_with(&memory).await;
    // So many members that every lane has some.
    for number in 0..40 {
        let mut request = accrual(&format!("first-{number}"), &format!("member-{number}"), 5);
        if number == 0 {
            request.expiry_time = Some(at(START_S + DAY));
        }
        accrue(fleet.clients(), request).await.expect("points");
    }
    let mut forger = PgConnection::connect(fleet.points_database_url())
        .await
        .expect("it answers");
    forger
        .execute(
            "UPDATE wallets w SET available = 1 FROM members m
             WHERE m.member = 'member-0' AND m.shard = w.shard AND m.member_no = w.member_no",
        )
        .await
        .expect("it runs");
    // The sweeper meets it as well, and says so.
    let [mut clock, ..] = fleet.clients().clocks();
    let time = Some(at(START_S + 2 * DAY));
    let swept = clock.set_time(SetTimeRequest { time }).await;
    assert_eq!(reason(&swept.expect_err("it is broken")), "INTERNAL");
    let broken = accrual("second-0", "member-0", 5);
    let mut client: LedgerServiceClient<_> = fleet.clients().ledger();
    let refused = client.accrue(broken).await.expect_err("it is broken");
    assert_eq!(reason(&refused), "INTERNAL");
    for number in 1..40 {
        let request = accrual(&format!("second-{number}"), &format!("member-{number}"), 5);
        accrue(fleet.clients(), request).await.expect("points");
        let member = format!("member-{number}");
        assert_eq!(available(fleet.clients(), &member).await, 10);
    }
    // The log says which request it was; the health says that something broke, and that the
    // service serves all the same.
    let log = fleet.log("points").await.expect("there is one");
    assert!(log.contains("request second-0 of record-club/member-0"));
    until("the health tells of it", || async {
        health(&fleet, "lanes").await == Some(ServingStatus::NotServing)
    })
    .await;
    assert_eq!(health(&fleet, "").await, Some(ServingStatus::Serving));
}

/// A wallet with more in it than its lots have, which no request brings about either: the
/// requests that are in a batch with one for it are done.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_wallet_keeps_nobody_else_from_being_served() {
    let memory = [("FEALTY_LEDGER_MEMBERS_IN_MEMORY", "0".to_owned())];
    let fleet = club_with(&memory).await;
    let [members, _] = members_by_shard(&fleet, 0).await;
    let (damaged, others) = members.split_first().expect("there are some");
    assert!(!others.is_empty());
    let url = fleet.points_database_url();
    let mut forger = PgConnection::connect(url).await.expect("it answers");
    let forge = "UPDATE wallets w SET available = 1000 FROM members m
        WHERE m.member = $1 AND m.shard = w.shard AND m.member_no = w.member_no";
    let forged = sqlx::query(forge).bind(damaged).execute(&mut forger).await;
    assert_eq!(forged.expect("it runs").rows_affected(), 1);
    let redeem = RedeemRequest {
        request_id: "redeem-1".to_owned(),
        program: CLUB.to_owned(),
        member: damaged.clone(),
        brand: SHOP.to_owned(),
        currency: POINTS.to_owned(),
        points: 900,
        ..RedeemRequest::default()
    };
    // All of them wait, so that the batch after the first has all.
    let mut holder = held(&fleet, 0).await;
    let mut calls = Vec::new();
    for number in 0..20 {
        let mut client: LedgerServiceClient<_> = fleet.clients().ledger();
        let other = &others[number % others.len()];
        let request = accrual(&format!("second-{number}"), other, 5);
        calls.push(tokio::spawn(async move {
            client.accrue(request).await.map(drop)
        }));
    }
    let mut client: LedgerServiceClient<_> = fleet.clients().ledger();
    let broken = tokio::spawn(async move { client.redeem(redeem).await });
    let mut client: LedgerServiceClient<_> = fleet.clients().ledger();
    let (last, of) = (accrual("last", &others[0], 5), others[0].clone());
    calls.push(tokio::spawn(
        async move { client.accrue(last).await.map(drop) },
    ));
    holder.execute("ROLLBACK").await.expect("it lets go");
    for call in calls {
        call.await.expect("it ends").expect("points");
    }
    let refused = broken.await.expect("it ends").expect_err("it is damaged");
    assert_eq!(reason(&refused), "INTERNAL");
    assert!(available(fleet.clients(), &of).await >= 15);
}

/// How a part of points is, by its health.
async fn health(fleet: &Fleet, part: &str) -> Option<ServingStatus> {
    let channels = fleet.clients().channels();
    let mut points = channels.into_iter().filter(|(name, _)| *name == "points");
    let (_, channel) = points.next()?;
    let service = part.to_owned();
    let mut client = HealthClient::new(channel);
    let checked = client.check(HealthCheckRequest { service }).await;
    Some(checked.ok()?.into_inner().status())
}

/// Members with points, those of one shard and all others.
async fn members_by_shard(fleet: &Fleet, shard: i16) -> [Vec<String>; 2] {
    for number in 0..40 {
        let request = accrual(&format!("first-{number}"), &format!("member-{number}"), 5);
        accrue(fleet.clients(), request).await.expect("points");
    }
    let url = fleet.points_database_url();
    let mut reader = PgConnection::connect(url).await.expect("it answers");
    let mut read = [Vec::new(), Vec::new()];
    for (members, of) in read.iter_mut().zip(["shard = $1", "shard <> $1"]) {
        let found = format!("SELECT member FROM members WHERE {of} ORDER BY member");
        let found = sqlx::query_scalar(sqlx::AssertSqlSafe(found)).bind(shard);
        *members = found.fetch_all(&mut reader).await.expect("it reads");
        assert!(!members.is_empty());
    }
    read
}

/// A shard nobody can write to, until this is rolled back.
async fn held(fleet: &Fleet, shard: i16) -> PgConnection {
    let url = fleet.points_database_url();
    let mut holder = PgConnection::connect(url).await.expect("it answers");
    let lock = format!("BEGIN; SELECT position FROM shards WHERE shard = {shard} FOR UPDATE");
    let locked = holder.execute(sqlx::AssertSqlSafe(lock)).await;
    locked.expect("it is free");
    holder
}

/// One shard stands still: the health says so of the lanes, and the service serves the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_stands_still_does_not_take_the_service_away() {
    let knobs = [
        ("FEALTY_DATABASE_STATEMENT_TIMEOUT_MS", "20000".to_owned()),
        ("FEALTY_LEDGER_BATCHES_IN_FLIGHT", "2".to_owned()),
    ];
    let fleet = club_with(&knobs).await;
    let [still, others] = members_by_shard(&fleet, 0).await;
    let mut holder = held(&fleet, 0).await;
    let mut client: LedgerServiceClient<_> = fleet.clients().ledger();
    let request = accrual("second", &still[0], 5);
    let waiting = tokio::spawn(async move { client.accrue(request).await });
    until("the health tells of it", || async {
        assert_eq!(health(&fleet, "").await, Some(ServingStatus::Serving));
        health(&fleet, "lanes").await == Some(ServingStatus::NotServing)
    })
    .await;
    assert_eq!(health(&fleet, "").await, Some(ServingStatus::Serving));
    let request = accrual("second", &others[0], 5);
    accrue(fleet.clients(), request).await.expect("points");
    holder.execute("ROLLBACK").await.expect("it lets go");
    waiting.await.expect("it ends").expect("points");
    until("the lanes are well", || async {
        health(&fleet, "lanes").await == Some(ServingStatus::Serving)
    })
    .await;
}

/// As many shards stand still as there are places, so that no other can work: the health
/// says so of the service, until one can.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_in_which_nothing_comes_through_does_not_serve() {
    let knobs = [
        ("FEALTY_DATABASE_STATEMENT_TIMEOUT_MS", "25000".to_owned()),
        ("FEALTY_LEDGER_BATCHES_IN_FLIGHT", "1".to_owned()),
    ];
    let fleet = club_with(&knobs).await;
    let [first, _] = members_by_shard(&fleet, 0).await;
    let [second, others] = members_by_shard(&fleet, 1).await;
    let works = others.iter().find(|member| !first.contains(member));
    let mut holders = [held(&fleet, 0).await, held(&fleet, 1).await];
    let waiting = [&first[0], &second[0]].map(|member| {
        let mut client: LedgerServiceClient<_> = fleet.clients().ledger();
        let request = accrual(&format!("second-{member}"), member, 5);
        tokio::spawn(async move { client.accrue(request).await })
    });
    until("the service does not serve", || async {
        health(&fleet, "").await == Some(ServingStatus::NotServing)
    })
    .await;
    assert_eq!(
        health(&fleet, "lanes").await,
        Some(ServingStatus::NotServing)
    );
    let [first, second] = &mut holders;
    first.execute("ROLLBACK").await.expect("it lets go");
    let request = accrual("second", works.expect("there are others"), 5);
    accrue(fleet.clients(), request).await.expect("points");
    until("it serves", || async {
        health(&fleet, "").await == Some(ServingStatus::Serving)
    })
    .await;
    assert_eq!(
        health(&fleet, "lanes").await,
        Some(ServingStatus::NotServing)
    );
    second.execute("ROLLBACK").await.expect("it lets go");
    for waiting in waiting {
        waiting.await.expect("it ends").expect("points");
    }
}

/// One shard stands still, and its callers try again and again: the others do not wait for
/// the one batch that may be under way, neither the first time nor later.
#[tokio::test(flavor = "multi_thread")]
async fn batches_that_do_not_come_through_leave_room_for_the_others() {
    let knobs = [
        ("FEALTY_DATABASE_STATEMENT_TIMEOUT_MS", "6000".to_owned()),
        ("FEALTY_LEDGER_BATCHES_IN_FLIGHT", "1".to_owned()),
    ];
    let fleet = club_with(&knobs).await;
    let [still, others] = members_by_shard(&fleet, 0).await;
    let mut holder = held(&fleet, 0).await;
    let calls = (0..4).map(|number| {
        let mut client: LedgerServiceClient<_> = fleet.clients().ledger();
        let request = accrual(&format!("again-{number}"), &still[0], 5);
        let (tell, told) = tokio::sync::oneshot::channel();
        let mut tell = Some(tell);
        let task = tokio::spawn(async move {
            while let Err(refused) = client.accrue(request.clone()).await {
                assert_eq!(reason(&refused), "UNAVAILABLE");
                if let Some(tell) = tell.take() {
                    tell.send(()).expect("it is waited for");
                }
            }
        });
        (task, told)
    });
    let (tasks, refused): (Vec<_>, Vec<_>) = calls.unzip();
    let beside = async |round: &str| {
        let begun = tokio::time::Instant::now();
        for number in 0..20 {
            let member = &others[number % others.len()];
            let request = accrual(&format!("{round}-{number}"), member, 5);
            accrue(fleet.clients(), request).await.expect("points");
        }
        let took = begun.elapsed();
        assert!(took.as_secs() < 4, "{took:?}");
    };
    let url = fleet.points_database_url();
    let reader = PgConnection::connect(url).await.expect("it answers");
    let reader = tokio::sync::Mutex::new(reader);
    until("the first batch waits", || async {
        let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted";
        let mut reader = reader.lock().await;
        let waits = sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut *reader);
        waits.await.expect("it counts") > 0
    })
    .await;
    beside("first").await;
    for refused in refused {
        refused.await.expect("the shard stands still");
    }
    beside("later").await;
    holder.execute("ROLLBACK").await.expect("it lets go");
    for task in tasks {
        task.await.expect("points at last");
    }
    assert_eq!(available(fleet.clients(), &still[0]).await, 5 + 4 * 5);
    verify(&fleet).await.expect("a sound ledger");
}

/// A gift that is asked for again is answered while others have both shards locked.
#[tokio::test(flavor = "multi_thread")]
async fn a_gift_is_answered_again_without_a_lock() {
    let fleet = club().await;
    accrue(fleet.clients(), accrual("first", "anna", 100))
        .await
        .expect("points");
    let gift = GiftRequest {
        request_id: "gift-1".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        recipient: "ben".to_owned(),
        currency: POINTS.to_owned(),
        points: 40,
        ..GiftRequest::default()
    };
    let first = ask!(fleet.clients().ledger(), gift, gift.clone()).expect("given");
    let mut other = PgConnection::connect(fleet.points_database_url())
        .await
        .expect("it answers");
    let mut held = other.begin().await.expect("a transaction");
    (&mut *held)
        .execute("SELECT position FROM shards ORDER BY shard FOR UPDATE")
        .await
        .expect("they are free");
    let mut client = fleet.clients().ledger();
    let again = tokio::time::timeout(std::time::Duration::from_secs(5), client.gift(gift)).await;
    let again = again
        .expect("it waits for no lock")
        .expect("given")
        .into_inner();
    assert!(again.replayed);
    assert_eq!(again.recipient_transaction, first.recipient_transaction);
    held.rollback().await.expect("it ends");
}
