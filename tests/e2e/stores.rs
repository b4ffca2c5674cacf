//! Postgres and Redis: over TLS, and with tables that nobody brought up to date.

use std::{
    fs::Permissions,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use fealty_proto::points::v1::Consistency;
use fealty_stack::{Durability, Stack, Supervised, free_port};
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::{
    callers::Authority,
    harness::{accrual, accrue, balance, club_with, fealty, stack, until},
};

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
