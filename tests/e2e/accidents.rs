//! Accidents: Redis gone and back, SIGTERM with calls in flight, Postgres gone.

use std::{process::Command, time::Duration};

use fealty_auth::Role;
use fealty_cli::token::{Keys, grant};
use fealty_client::Credentials;
use fealty_proto::points::v1::Consistency;
use tokio::time::Instant;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::harness::{accrual, accrue, available, balance, club, fealty, purchase, until, verify};

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
