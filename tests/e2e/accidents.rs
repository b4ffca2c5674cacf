//! Accidents: Redis gone and back, redemptions whose process died at each
//! step, SIGTERM with calls in flight, Postgres gone.

use std::{process::Command, time::Duration};

use fealty_auth::Role;
use fealty_cli::demo::Fleet;
use fealty_cli::token::{Keys, grant};
use fealty_client::Credentials;
use fealty_proto::{
    points::v1::Consistency,
    rewards::v1::{
        GetRedemptionRequest, ListRewardsRequest, RedeemRequest as RedeemRewardRequest,
        RedemptionState,
    },
};
use fealty_rewards::{
    config::Config,
    redemption::{Begun, Redemption, Redemptions, State},
};
use fealty_server::config::{Source, load};
use tokio::time::Instant;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::harness::{
    CLUB, accrual, accrue, available, balance, club, fealty, purchase, send, until, verify,
};

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_all_goes_on_and_with_it_balances_are_right_at_once() {
    let fleet = club().await;
    let clients = fleet.clients();
    accrue(clients, accrual("before", "anna", 100))
        .await
        .expect("points");
    until("the balance is cached", || async {
        balance(clients, "anna", Consistency::Cached).await == {
            let (read, _) = balance(clients, "anna", Consistency::Strong).await;
            (read, true)
        }
    })
    .await;
    fleet.stack.write().await.redis.interrupt();
    for number in 0..20 {
        accrue(clients, accrual(&format!("without-{number}"), "anna", 1))
            .await
            .expect("points");
        let (read, cached) = balance(clients, "anna", Consistency::Cached).await;
        assert_eq!((read.available, cached), (101 + number, false));
    }
    fleet
        .stack
        .write()
        .await
        .redis
        .resume()
        .expect("Redis starts");
    let back = Instant::now();
    accrue(clients, accrual("with", "anna", 5))
        .await
        .expect("points");
    let (read, _) = balance(clients, "anna", Consistency::Cached).await;
    assert_eq!(read.available, 125, "right at once, from wherever");
    until("the balance is cached again", || async {
        let (read, cached) = balance(clients, "anna", Consistency::Cached).await;
        assert_eq!(read.available, 125);
        cached
    })
    .await;
    assert!(
        back.elapsed() < Duration::from_secs(1),
        "{:?}",
        back.elapsed()
    );
    assert_eq!(verify(&fleet).await, Ok(22));
}

/// Redis that comes back with what it knew before must not be believed.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_slept_tells_nothing_old() {
    let fleet = club().await;
    let clients = fleet.clients();
    accrue(clients, accrual("before", "anna", 100))
        .await
        .expect("points");
    fleet.stack.read().await.redis.signal("STOP");
    accrue(clients, accrual("asleep", "anna", 11))
        .await
        .expect("points");
    fleet.stack.read().await.redis.signal("CONT");
    let woken = Instant::now();
    until("the balance is cached again", || async {
        let (read, cached) = balance(clients, "anna", Consistency::Cached).await;
        assert_eq!(read.available, 111);
        cached
    })
    .await;
    assert!(
        woken.elapsed() < Duration::from_secs(1),
        "{:?}",
        woken.elapsed()
    );
}

/// A rewards service in this process, without recovery at work, over a fleet's
/// database.
async fn rewards_app(fleet: &Fleet) -> Redemptions {
    let url = fleet.stack.read().await.postgres.url("rewards");
    let file = tempfile(&format!(
        "[server]\nlisten = \"127.0.0.1:0\"\ntest_clock = true\n[database]\nurl = \"{url}\"\n\
         [points]\nurl = \"{}\"\n[credentials]\ntoken_file = \"{}\"\n[vouchers]\nkey = \"{}\"\n",
        fleet.endpoints().points,
        fleet
            .keys()
            .service_token_file("test")
            .expect("a token")
            .display(),
        "00112233445566778899aabbccddeeff".repeat(2),
    ));
    let source = Source {
        file: Some(&file),
        table: None,
        prefix: "NO_SUCH_VARIABLE_",
    };
    let config: Config = load(source).expect("valid").config;
    let app = fealty_rewards::open(&config).await.expect("it opens");
    std::fs::remove_file(file).expect("the file is there");
    app
}

fn tempfile(text: &str) -> std::path::PathBuf {
    let name = format!("fealty-test-{}.toml", uuid::Uuid::now_v7());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, text).expect("a temporary file");
    path
}

/// A process that dies after each step of a redemption: recovery finishes it,
/// once, with one voucher, and the points are taken once.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
async fn a_redemption_that_died_at_any_step_is_finished() {
    let fleet = club().await;
    let clients = fleet.clients();
    let app = rewards_app(&fleet).await;
    let program = CLUB.parse().expect("an id");
    let reward = "ten-off".parse().expect("an id");
    let terms = app
        .programs
        .newest(&program)
        .expect("applied")
        .program
        .rewards[&reward]
        .clone();
    for steps in 1..=3 {
        let member = format!("member-{steps}");
        accrue(clients, accrual("gift", &member, 1_500))
            .await
            .expect("points");
        let asked = Redemption {
            id: uuid::Uuid::now_v7(),
            program: program.clone(),
            member: member.parse().expect("an id"),
            request_id: "died".parse().expect("an id"),
            reward: reward.clone(),
            currency: terms.currency.clone(),
            points: terms.points,
            brand: terms.accepted_by.clone(),
            state: State::Requested,
            hold: None,
            reason: None,
            voucher_sealed: None,
            requested_at: fealty_types::Timestamp::EPOCH,
            issued_at: None,
            attempt: 1,
            asked_by: None,
        };
        let begun = app.begin(asked, &terms, None).await.expect("step 1");
        let Begun::Leased(mut redemption) = begun else {
            panic!("{begun:?}")
        };
        if steps >= 2 {
            app.hold(&mut redemption).await.expect("step 2");
        }
        if steps >= 3 {
            app.capture(&redemption).await.expect("step 3");
        }
        // The process is gone; its lease runs out.
        let url = fleet.stack.read().await.postgres.url("rewards");
        let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(&url)
            .await
            .expect("the database answers");
        sqlx::query("UPDATE redemptions SET leased_until = now()")
            .execute(&mut connection)
            .await
            .expect("the lease is there");
        let request = GetRedemptionRequest {
            program: CLUB.to_owned(),
            member: member.clone(),
            redemption: redemption.id.to_string(),
        };
        until("recovery finishes it", || async {
            let read = send(|| {
                let (mut client, request) = (clients.redemption(), request.clone());
                async move { client.get_redemption(request).await }
            });
            let read = read
                .await
                .expect("it is read")
                .redemption
                .expect("a redemption");
            assert_eq!(
                read.state() == RedemptionState::Issued,
                !read.voucher_code.is_empty(),
                "a voucher is shown when it is issued, and not before"
            );
            read.state() == RedemptionState::Issued
        })
        .await;
        assert_eq!(
            available(clients, &member).await,
            500,
            "taken once, after {steps} steps"
        );
        let again = RedeemRewardRequest {
            request_id: "died".to_owned(),
            program: CLUB.to_owned(),
            member: member.clone(),
            reward: "ten-off".to_owned(),
        };
        let again = send(|| {
            let (mut client, request) = (clients.redemption(), again.clone());
            async move { client.redeem(request).await }
        });
        assert!(again.await.expect("answered").replayed);
        assert_eq!(available(clients, &member).await, 500);
    }
    verify(&fleet).await.expect("the ledger verifies");
}

/// A hold that timed out before its capture: points and stock are back, and no
/// voucher was ever shown.
#[tokio::test(flavor = "multi_thread")]
async fn a_redemption_whose_hold_timed_out_is_undone() {
    let fleet = club().await;
    let clients = fleet.clients();
    let app = rewards_app(&fleet).await;
    accrue(clients, accrual("gift", "anna", 5_000))
        .await
        .expect("points");
    let program = CLUB.parse().expect("an id");
    let reward = "concert-evening".parse().expect("an id");
    let terms = app
        .programs
        .newest(&program)
        .expect("applied")
        .program
        .rewards[&reward]
        .clone();
    let asked = Redemption {
        id: uuid::Uuid::now_v7(),
        program,
        member: "anna".parse().expect("an id"),
        request_id: "late".parse().expect("an id"),
        reward,
        currency: terms.currency.clone(),
        points: terms.points,
        brand: terms.accepted_by.clone(),
        state: State::Requested,
        hold: None,
        reason: None,
        voucher_sealed: None,
        requested_at: fealty_types::Timestamp::EPOCH,
        issued_at: None,
        attempt: 1,
        asked_by: None,
    };
    let Ok(Begun::Leased(mut redemption)) = app.begin(asked, &terms, None).await else {
        panic!("step 1");
    };
    app.hold(&mut redemption).await.expect("step 2");
    crate::harness::set_time(&fleet, crate::harness::START_S + 3_600).await;
    assert_eq!(available(clients, "anna").await, 5_000, "the hold is over");
    app.finish(redemption).await.expect_err("the hold is over");
    let listed = send(|| {
        let mut client = clients.catalog();
        let request = ListRewardsRequest {
            program: CLUB.to_owned(),
            member: "anna".to_owned(),
            ..Default::default()
        };
        async move { client.list_rewards(request).await }
    });
    let listed = listed.await.expect("listed").rewards;
    let concert = listed
        .iter()
        .find(|offer| offer.id == "concert-evening")
        .expect("listed");
    assert_eq!(concert.stock_left, Some(300), "the seat is back");
    verify(&fleet).await.expect("the ledger verifies");
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "step by step")]
async fn sigterm_finishes_what_is_in_flight_and_exits_with_0() {
    let stack = crate::harness::stack().await;
    stack
        .postgres
        .create_database("points")
        .expect("a database");
    let port = fealty_stack::free_port().expect("a port");
    let folder = tempfile::tempdir().expect("a folder");
    let keys = Keys::make(folder.path()).expect("a key");
    let token = keys.sign(&grant("test", &[Role::Operator, Role::Checkout]));
    let credentials = Credentials::token(token.expect("a token"));
    let mut service = Command::new(fealty())
        .args(["serve", "points"])
        .env("FEALTY_SERVER_LISTEN", format!("127.0.0.1:{port}"))
        .env("FEALTY_DATABASE_URL", stack.postgres.url("points"))
        .env("FEALTY_TELEMETRY_LOG_FORMAT", "json")
        .envs(keys.variables())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the command runs");
    let url = format!("http://127.0.0.1:{port}");
    let channel = fealty_client::connect(&url, &credentials).expect("a URL");
    let health = || async {
        let mut client = HealthClient::new(channel.clone());
        let checked = client
            .check(HealthCheckRequest {
                service: String::new(),
            })
            .await;
        checked.map(|checked| checked.into_inner().status())
    };
    until("it serves", || async {
        matches!(health().await, Ok(ServingStatus::Serving))
    })
    .await;
    let mut program = fealty_proto::program::v1::program_service_client::ProgramServiceClient::new(
        channel.clone(),
    );
    let apply = fealty_proto::program::v1::ApplyProgramRequest {
        source: fealty_cli::demo::PROGRAM.to_owned(),
        request_id: fealty_cli::apply::request_id(),
        ..Default::default()
    };
    program.apply_program(apply).await.expect("applied");
    // Calls in flight while it is told to end.
    let calls: Vec<_> = (0..200)
        .map(|number| {
            let mut client =
                fealty_proto::points::v1::earning_service_client::EarningServiceClient::new(
                    channel.clone(),
                );
            let request = purchase(number, &format!("member-{number}"), 1_000);
            tokio::spawn(async move { client.record_purchase(request).await })
        })
        .collect();
    let killed = Command::new("kill")
        .args(["-s", "TERM", &service.id().to_string()])
        .status();
    assert!(killed.expect("kill runs").success());
    for call in calls {
        let answer = call.await.expect("the task ends");
        answer.expect("a call in flight is answered");
    }
    let ended = tokio::task::spawn_blocking(move || {
        let log = std::io::read_to_string(service.stderr.take().expect("piped")).expect("UTF-8");
        (service.wait().expect("it ends"), log)
    });
    let (status, log) = ended.await.expect("the task ends");
    assert_eq!(status.code(), Some(0), "{log}");
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
        assert!(line.get("level").is_some(), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_follows_postgres_and_the_drain() {
    let fleet = club().await;
    let channels = fleet.clients().channels();
    let all = |wanted: ServingStatus| {
        let channels = channels.clone();
        async move {
            for (_, channel) in channels {
                let mut client = HealthClient::new(channel);
                let request = HealthCheckRequest {
                    service: String::new(),
                };
                match client.check(request).await {
                    Ok(answer) if answer.get_ref().status() == wanted => {}
                    _ => return false,
                }
            }
            true
        }
    };
    until("all serve", || all(ServingStatus::Serving)).await;
    fleet.stack.write().await.postgres.interrupt("INT");
    until("none serves without Postgres", || {
        all(ServingStatus::NotServing)
    })
    .await;
    fleet
        .stack
        .write()
        .await
        .postgres
        .resume()
        .expect("Postgres starts");
    until("all serve again", || all(ServingStatus::Serving)).await;
    accrue(fleet.clients(), accrual("after", "anna", 7))
        .await
        .expect("points");
    assert_eq!(available(fleet.clients(), "anna").await, 7);
}
