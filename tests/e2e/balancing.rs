//! Calls that find the instances that are there, while these come and go.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use fealty_auth::Role;
use fealty_cli::token::{Keys, grant};
use fealty_client::{Credentials, Deadline, call, connect};
use fealty_proto::points::v1::ledger_service_client::LedgerServiceClient;
use fealty_stack::{Supervised, free_port};

use crate::{
    callers::status,
    harness::{accrual, ask, fealty, knobs, stack, until},
};

/// One of several instances of points, at an address of its own.
fn instance(
    host: &str,
    port: u16,
    stack: &fealty_stack::Stack,
    keys: &Keys,
    folder: &std::path::Path,
) -> Supervised {
    let mut env = knobs(&[
        ("FEALTY_SERVER_LISTEN", &format!("{host}:{port}")),
        ("FEALTY_DATABASE_URL", &stack.postgres.url("points")),
        ("FEALTY_CACHE_URL", &stack.redis.url()),
        // Callers find new instances soon.
        ("FEALTY_LIMITS_CONNECTION_AGE_S", "2"),
    ]);
    env.extend(keys.variables().map(|(key, value)| (key.to_owned(), value)));
    let log = folder.join(format!("{host}.log"));
    let args = ["serve", "points"];
    Supervised::start(&fealty(), args, env, &log, "TERM", None).expect("it runs")
}

/// Three addresses, of which some have an instance: calls go on while instances
/// come and go, and none is lost or done twice.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
async fn calls_find_the_instances_that_are_there() {
    let stack = stack().await;
    stack
        .postgres
        .create_database("points")
        .expect("a database");
    let folder = tempfile::tempdir().expect("a folder");
    let keys = Keys::make(&folder.path().join("keys")).expect("a key");
    let everything = grant("test", &[Role::Operator, Role::Checkout]);
    let shown = Credentials::token(keys.sign(&everything).expect("signed"));
    // Loopback has more addresses than one.
    let hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];
    let port = free_port().expect("a port");
    let urls = hosts.map(|host| format!("http://{host}:{port}"));
    let start = |host: &str| instance(host, port, &stack, &keys, folder.path());
    let serves = async |url: &str| {
        let channel = connect(url, &shown).expect("a URL");
        until("it serves", || async {
            status(channel.clone()).await.is_ok()
        })
        .await;
    };
    let mut first = start(hosts[0]);
    serves(&urls[0]).await;
    let channel = connect(&urls.join(","), &shown).expect("URLs");
    let apply = fealty_proto::program::v1::ApplyProgramRequest {
        source: fealty_cli::demo::PROGRAM.to_owned(),
        request_id: fealty_cli::apply::request_id(),
        ..Default::default()
    };
    let programs = fealty_proto::program::v1::program_service_client::ProgramServiceClient::new(
        channel.clone(),
    );
    ask!(programs, apply_program, apply).expect("applied");
    let (ending, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let callers: Vec<_> = (0..16)
        .map(|caller| {
            let (ending, done) = (Arc::clone(&ending), Arc::clone(&done));
            let ledger = LedgerServiceClient::new(channel.clone());
            tokio::spawn(async move {
                let mut number = 0;
                while !ending.load(Ordering::Relaxed) {
                    number += 1;
                    let member = format!("member-{caller}");
                    let request = accrual(&format!("call-{number}"), &member, 1);
                    let given = call(Deadline::within(Duration::from_secs(20)), || {
                        let (mut ledger, request) = (ledger.clone(), request.clone());
                        async move { ledger.accrue(request).await }
                    });
                    let given = given.await.expect("no call is lost");
                    assert!(given.transaction.is_some());
                    done.fetch_add(1, Ordering::Relaxed);
                }
                number
            })
        })
        .collect();
    let more = async |calls: u64| {
        let until_then = done.load(Ordering::Relaxed) + calls;
        until("calls go on", || async {
            done.load(Ordering::Relaxed) >= until_then
        })
        .await;
    };
    more(200).await;
    let second = start(hosts[1]);
    let third = start(hosts[2]);
    serves(&urls[1]).await;
    serves(&urls[2]).await;
    more(2_000).await;
    // One is told to end, one dies: both at their work.
    first.stop();
    second.signal("KILL");
    more(2_000).await;
    let again = start(hosts[0]);
    serves(&urls[0]).await;
    more(2_000).await;
    // By then the new one has its part: the other may die too.
    third.signal("KILL");
    more(200).await;
    ending.store(true, Ordering::Relaxed);
    let mut calls = 0;
    for caller in callers {
        calls += caller.await.expect("no panic");
    }
    let database = fealty_postgres::Database::open(&stack.postgres.url("points"), 1).await;
    let options = fealty_points::audit::verify::Options::default();
    let verified =
        fealty_points::audit::verify::verify(&database.expect("a URL"), &options, |_, _| {}).await;
    // Every call is in the books, once.
    assert_eq!(verified.expect("it verifies").transactions, calls);
    drop((again, second, third));
}
