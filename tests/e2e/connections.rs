//! Connections: limits that hold, Postgres and Redis over TLS, calls that find the
//! instances that are there.

use std::{
    fs::Permissions,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use fealty_auth::{Grant, Role};
use fealty_cli::token::{Keys, grant};
use fealty_client::{Credentials, Deadline, call, connect, reason, retry_after};
use fealty_proto::{
    operations::v1::{GetFeedStatusRequest, feed_service_client::FeedServiceClient},
    points::v1::{Consistency, ledger_service_client::LedgerServiceClient},
};
use fealty_stack::{Durability, Stack, Supervised, free_port};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::Code;

use crate::{
    callers::{Authority, Lone, status},
    harness::{CLUB, accrual, accrue, ask, balance, club_with, fealty, stack, until},
};

fn knobs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// A points service that takes the tokens of keys in its folder.
async fn lone(pairs: &[(&str, &str)]) -> (Lone, Keys) {
    let lone = Lone::start(|folder| {
        let keys = Keys::make(&folder.join("keys")).expect("a key");
        let mut all = knobs(pairs);
        all.extend(keys.variables().map(|(key, value)| (key.to_owned(), value)));
        all
    })
    .await;
    lone.until_it_answers().await;
    let keys = Keys::open(&lone.folder.path().join("keys")).expect("the key");
    (lone, keys)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_makes_so_many_calls_a_second_and_others_are_not_held_up() {
    let fleet = club_with(&[("FEALTY_LIMITS_MEMBER_CALLS_PER_SECOND", "5".to_owned())]).await;
    let member = |name: &str| {
        let caller = Grant {
            member: Some(name.to_owned()),
            ..grant(name, &[Role::Member])
        };
        fleet.clients_as(&caller).expect("a token")
    };
    let (anna, ben) = (member("anna"), member("ben"));
    let ask_once = |clients: fealty_cli::endpoints::Clients, name: &'static str| async move {
        let request = fealty_proto::points::v1::GetBalanceRequest {
            program: CLUB.to_owned(),
            member: name.to_owned(),
            currency: "points".to_owned(),
            ..Default::default()
        };
        clients.ledger().get_balance(request).await.map(drop)
    };
    let mut refused = Vec::new();
    for _ in 0..30 {
        refused.extend(ask_once(anna.clone(), "anna").await.err());
    }
    assert!(refused.len() > 10, "{} of 30 were refused", refused.len());
    for status in &refused {
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(reason(status).as_deref(), Some("RATE_LIMITED"));
        assert!(retry_after(status).is_some_and(|wait| wait < Duration::from_secs(1)));
    }
    ask_once(ben, "ben").await.expect("another caller");
    // Whoever waits as it is told is answered.
    balance(&anna, "anna", Consistency::Cached).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_is_refused_and_harms_nobody() {
    let (lone, keys) = lone(&[]).await;
    let token = keys.sign(&grant("aude", &[Role::Auditor])).expect("signed");
    let mut client = LedgerServiceClient::new(lone.channel(&token));
    // A message above a mebibyte.
    let long = fealty_proto::points::v1::BatchGetBalancesRequest {
        members: vec!["m".repeat(64); 20_000],
        ..Default::default()
    };
    let refused = client.batch_get_balances(long).await.expect_err("too long");
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
    // Metadata of 64 KiB.
    let mut request = tonic::Request::new(fealty_proto::points::v1::GetBalanceRequest::default());
    let value = "x".repeat(64 * 1_024).parse().expect("ASCII");
    request.metadata_mut().insert("x-long", value);
    let refused = client.get_balance(request).await.expect_err("too long");
    assert_ne!(refused.code(), Code::Unavailable, "{refused:?}");
    status(lone.channel(&token))
        .await
        .expect("others are served");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_only_opens_connections_loses_them_and_callers_do_not() {
    let most = 50;
    let (lone, keys) = lone(&[("FEALTY_LIMITS_CONNECTIONS_MAX", "50")]).await;
    let token = keys.sign(&grant("aude", &[Role::Auditor])).expect("signed");
    let caller = lone.channel(&token);
    status(caller.clone()).await.expect("it is served");
    let address = format!("127.0.0.1:{}", lone.port);
    let mut silent = Vec::new();
    for _ in 0..3 * most {
        silent.push(TcpStream::connect(&address).await.expect("it is taken"));
        if silent.len().is_multiple_of(most) {
            status(caller.clone()).await.expect("it is served on");
            status(lone.channel(&token))
                .await
                .expect("and so is a new one");
        }
    }
    // The first are closed, without a word of theirs.
    let mut first = silent.swap_remove(0);
    let mut greeting = Vec::new();
    let ended = first.read_to_end(&mut greeting);
    let ended = tokio::time::timeout(Duration::from_secs(10), ended).await;
    // With an end or a reset, long before the minute that a silent one has.
    drop(ended.expect("it ends"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_caller_ends_and_an_old_one_is_made_anew() {
    let (lone, keys) = lone(&[
        ("FEALTY_LIMITS_FIRST_CALL_S", "1"),
        ("FEALTY_LIMITS_CONNECTION_AGE_S", "1"),
        ("FEALTY_LIMITS_CONNECTION_AGE_GRACE_S", "1"),
    ])
    .await;
    let address = format!("127.0.0.1:{}", lone.port);
    let mut silent = TcpStream::connect(&address).await.expect("it is taken");
    let mut read = Vec::new();
    let ended = silent.read_to_end(&mut read);
    let ended = tokio::time::timeout(Duration::from_secs(10), ended).await;
    // With an end or a reset: in any case without a word of ours.
    drop(ended.expect("it ends"));
    // Calls go on over connections that grow old under them, and a stream ends.
    let token = keys.sign(&grant("aude", &[Role::Auditor])).expect("signed");
    let channel = lone.channel(&token);
    let mut client = LedgerServiceClient::new(channel.clone());
    let watch = fealty_proto::points::v1::WatchTransactionsRequest::default();
    let feed = client.watch_transactions(watch).await.expect("it is open");
    let mut feed = feed.into_inner();
    let ends = async {
        loop {
            match feed.message().await {
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return,
            }
        }
    };
    let calls = async {
        let end = tokio::time::Instant::now() + Duration::from_secs(4);
        while tokio::time::Instant::now() < end {
            // One that meets the end of a connection is sent again, as by any client.
            let asked = call(Deadline::within(Duration::from_secs(5)), || {
                let mut client = FeedServiceClient::new(channel.clone());
                async move { client.get_feed_status(GetFeedStatusRequest {}).await }
            });
            asked.await.expect("asked to connect anew, none is lost");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(15), async { tokio::join!(ends, calls) });
    ended.await.expect("the stream ends with its connection");
}

/// Sends an HTTP/1.1 request and answers with the head of the answer.
async fn http1(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("it connects");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = vec![0; 4_096];
    let mut len = 0;
    while !answer[..len].windows(4).any(|window| window == b"\r\n\r\n") {
        let read = stream.read(&mut answer[len..]).await.expect("an answer");
        assert!(read > 0, "{}", String::from_utf8_lossy(&answer[..len]));
        len += read;
    }
    String::from_utf8_lossy(&answer[..len]).to_lowercase()
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_call_from_the_pages_that_may_and_need_a_token_too() {
    let origin = "https://app.example.com";
    let (lone, keys) = lone(&[
        ("FEALTY_SERVER_GRPC_WEB", "true"),
        ("FEALTY_SERVER_CORS_ORIGINS", origin),
    ])
    .await;
    let path = "/fealty.points.v1.LedgerService/GetBalance";
    let asks = |origin: &str| {
        format!(
            "OPTIONS {path} HTTP/1.1\r\nhost: localhost\r\norigin: {origin}\r\n\
             access-control-request-method: POST\r\n\
             access-control-request-headers: authorization,content-type,x-grpc-web\r\n\r\n"
        )
    };
    let allowed = http1(lone.port, &asks(origin)).await;
    assert!(
        allowed.contains(&format!("access-control-allow-origin: {origin}")),
        "{allowed}"
    );
    assert!(allowed.contains("authorization"), "{allowed}");
    let other = http1(lone.port, &asks("https://evil.example.com")).await;
    assert!(!other.contains("access-control-allow-origin"), "{other}");
    let call = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\norigin: {origin}\r\n\
         content-type: application/grpc-web+proto\r\ncontent-length: 5\r\n\r\n\0\0\0\0\0"
    );
    let refused = http1(lone.port, &call).await;
    assert!(refused.contains("grpc-status: 16"), "{refused}");
    let till = keys
        .sign(&grant("till", &[Role::Checkout]))
        .expect("signed");
    let bearer = format!("authorization: Bearer {till}\r\ncontent-type");
    let known = http1(lone.port, &call.replacen("content-type", &bearer, 1)).await;
    // An empty request, by somebody who may: its fields are what is wrong.
    assert!(known.contains("grpc-status: 3"), "{known}");
    assert!(
        refused.contains(&format!("access-control-allow-origin: {origin}")),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_nobody_brought_up_to_date_are_not_served() {
    let stack = stack().await;
    stack
        .postgres
        .create_database("points")
        .expect("a database");
    let url = stack.postgres.url("points");
    let serve = |migrate: &str, arguments: &[&str]| {
        Command::new(fealty())
            .args(["serve", "points"])
            .args(arguments)
            .envs([
                ("FEALTY_SERVER_LISTEN", "127.0.0.1:0"),
                ("FEALTY_DATABASE_URL", &*url),
                ("FEALTY_DATABASE_MIGRATE", migrate),
                ("FEALTY_SERVER_INSECURE", "true"),
            ])
            .output()
            .expect("the command runs")
    };
    let told = |output: std::process::Output| {
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let empty = told(serve("false", &[]));
    assert!(empty.contains("the tables lack migration 1"), "{empty}");
    assert!(serve("true", &["--migrate-only"]).status.success());
    let mut connection = PgConnection::connect(&url).await.expect("it answers");
    let changed = "UPDATE _sqlx_migrations SET checksum = 'x' WHERE version = 100";
    connection.execute(changed).await.expect("changed");
    let other = told(serve("false", &[]));
    assert!(other.contains("migration 100 is not the one"), "{other}");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_over_tls_must_prove_who_it_is() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("ca.pem"), authority.pem()).expect("written");
    let (certificate, key) = (
        folder.path().join("redis.pem"),
        folder.path().join("redis.key"),
    );
    authority.write(&["127.0.0.1"], &certificate, &key);
    let port = free_port().expect("a port");
    let log = folder.path().join("redis.log");
    let arguments = [
        "--port",
        "0",
        "--tls-port",
        &port.to_string(),
        "--bind",
        "127.0.0.1",
        "--tls-cert-file",
        &path("redis.pem"),
        "--tls-key-file",
        &path("redis.key"),
        "--tls-ca-cert-file",
        &path("ca.pem"),
        "--tls-auth-clients",
        "no",
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
        &path(""),
    ]
    .map(str::to_owned);
    let redis = std::path::Path::new("redis-server");
    let redis = Supervised::start(redis, arguments, [], &log, "TERM", None).expect("it runs");
    let url = format!("rediss://127.0.0.1:{port}");
    let cached = async |ca_file: Option<String>, within: u64| {
        let mut knobs = vec![("FEALTY_CACHE_URL", url.clone())];
        knobs.extend(ca_file.map(|path| ("FEALTY_CACHE_CA_FILE", path)));
        let fleet = club_with(&knobs).await;
        accrue(fleet.clients(), accrual("gift", "anna", 111))
            .await
            .expect("given");
        let deadline = tokio::time::Instant::now() + Duration::from_secs(within);
        loop {
            let (read, cached) = balance(fleet.clients(), "anna", Consistency::Cached).await;
            assert_eq!(read.available, 111);
            if cached || tokio::time::Instant::now() > deadline {
                return cached;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(cached(Some(path("ca.pem")), 30).await, "it is believed");
    assert!(
        !cached(None, 3).await,
        "nobody of the web has signed it; Postgres answers"
    );
    drop(redis);
}

/// A certificate of X.509 version 1, as Citus makes for itself.
const VERSION_1: (&str, &str) = (
    include_str!("fixtures/version1.crt"),
    include_str!("fixtures/version1.key"),
);

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
async fn postgres_over_tls_by_every_mode() {
    // One of its own, for it is set up and started again.
    let start = || Stack::start(Durability::Unsynced);
    let started = tokio::task::spawn_blocking(start)
        .await
        .expect("the task ends");
    let mut stack = started.expect("Postgres starts");
    stack
        .postgres
        .create_database("points")
        .expect("a database");
    let socket = stack.postgres.url("points");
    let mut connection = PgConnection::connect(&socket).await.expect("it answers");
    let shown = |name: &str| format!("SELECT current_setting('{name}')");
    let folder: String = sqlx::query_scalar(sqlx::AssertSqlSafe(shown("data_directory")))
        .fetch_one(&mut connection)
        .await
        .expect("told");
    let folder = PathBuf::from(folder);
    let port: String = sqlx::query_scalar(sqlx::AssertSqlSafe(shown("port")))
        .fetch_one(&mut connection)
        .await
        .expect("told");
    let certify = |certificate: &str, key: &str| {
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let path = folder.join(name);
            std::fs::write(&path, text).expect("written");
            let owner = std::fs::metadata(&folder).expect("there");
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("set");
            chown(&path, Some(owner.uid()), Some(owner.gid())).expect("owned");
        }
    };
    let authority = Authority::new();
    let own = tempfile::tempdir().expect("a folder");
    let (certificate, key) = (own.path().join("crt"), own.path().join("key"));
    authority.write(&["127.0.0.1", "localhost"], &certificate, &key);
    let read = |path: &Path| std::fs::read_to_string(path).expect("read");
    certify(&read(&certificate), &read(&key));
    for setting in ["ssl = on", "listen_addresses = '127.0.0.1'"] {
        let set = format!("ALTER SYSTEM SET {setting}");
        connection
            .execute(sqlx::AssertSqlSafe(set))
            .await
            .expect("set");
    }
    drop(connection);
    let started = tokio::task::spawn_blocking(move || {
        stack.postgres.interrupt("INT");
        stack.postgres.resume().expect("it starts");
        stack
    });
    let stack = started.await.expect("no panic");
    let role = socket.split(['/', '@']).nth(2).expect("a role");
    let opens = async |mode: &str| {
        let url = format!("postgres://{role}@127.0.0.1:{port}/points?{mode}");
        let database = fealty_postgres::Database::open(&url, 1)
            .await
            .expect("a URL");
        let ssl = sqlx::query_scalar::<_, bool>(
            "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
        );
        ssl.fetch_one(database.pool()).await
    };
    let ca = own.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).expect("written");
    let verified = format!("sslmode=verify-full&sslrootcert={}", ca.display());
    until("it speaks TLS", || async {
        opens("sslmode=prefer").await.ok() == Some(true)
    })
    .await;
    assert!(opens(&verified).await.expect("it proves itself"));
    assert!(!opens("sslmode=disable").await.expect("plain"));
    // A certificate that cannot be read: no proof was asked for, so none is missed.
    certify(VERSION_1.0, VERSION_1.1);
    let mut connection = PgConnection::connect(&socket).await.expect("it answers");
    connection
        .execute("SELECT pg_reload_conf()")
        .await
        .expect("told");
    until("it shows the other", || async {
        opens("sslmode=require").await.is_err()
    })
    .await;
    assert!(!opens("sslmode=prefer").await.expect("without encryption"));
    opens(&verified).await.expect_err("it proves nothing");
    drop(stack);
}

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
        validate_only: false,
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

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_a_token_reaches_no_other() {
    let fleet = club_with(&[("FEALTY_CREDENTIALS_TOKEN_FILE", "/dev/null".to_owned())]).await;
    accrue(fleet.clients(), accrual("gift", "anna", 2_000))
        .await
        .expect("given");
    let reward = fealty_proto::rewards::v1::RedeemRewardRequest {
        request_id: "reward".to_owned(),
        program: CLUB.to_owned(),
        member: "anna".to_owned(),
        reward: "ten-off".to_owned(),
    };
    let refused = fleet.clients().redemption().redeem_reward(reward).await;
    let refused = refused.expect_err("rewards may not hold points");
    assert_eq!(reason(&refused).as_deref(), Some("UNAVAILABLE"));
    let log = fleet.log("rewards").await.expect("a log");
    assert!(log.contains("not a JWT"), "points told it why: {log}");
    until("tiers says that its feed is refused", || async {
        let log = fleet.log("tiers").await.expect("a log");
        log.contains("the feed is refused")
    })
    .await;
}
