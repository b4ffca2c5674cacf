//! Networks that vanish, processes that freeze, clocks that are wrong: nothing is waited for
//! without end, and the health says what is the matter.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fealty_client::Channel;
use fealty_postgres::{Database, Limits};
use fealty_proto::points::v1::ledger_service_client::LedgerServiceClient;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::Instant,
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{
    harness::{accrual, available, club, reason, send, until, verify},
    instance::Instance,
};

/// A way to a server that may vanish: then nothing comes through, and nobody is told.
struct Way {
    port: u16,
    is_gone: Arc<AtomicBool>,
}

impl Way {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let own = listener.local_addr().expect("an address").port();
        let is_gone = Arc::new(AtomicBool::new(false));
        let gone = Arc::clone(&is_gone);
        tokio::spawn(async move {
            while let Ok((caller, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await;
                let ((read, write), (back, forth)) = (
                    caller.into_split(),
                    server.expect("it listens").into_split(),
                );
                tokio::spawn(carry(read, forth, Arc::clone(&gone)));
                tokio::spawn(carry(back, write, Arc::clone(&gone)));
            }
        });
        Self { port: own, is_gone }
    }

    fn vanish(&self) {
        self.is_gone.store(true, Ordering::SeqCst);
    }

    /// Connections that were there stay dead; new ones get through.
    fn come_back(&self) {
        self.is_gone.store(false, Ordering::SeqCst);
    }
}

/// Carries bytes until the way is gone; then keeps both ends open for ever, and says nothing.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, is_gone: Arc<AtomicBool>) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let Ok(len) = from.read(&mut bytes).await else {
            return;
        };
        if is_gone.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if len == 0 || to.write_all(&bytes[..len]).await.is_err() {
            return;
        }
    }
}

async fn health(channel: &Channel, part: &str) -> Option<ServingStatus> {
    let request = HealthCheckRequest {
        service: part.to_owned(),
    };
    let asked = HealthClient::new(channel.clone())
        .check(request)
        .await
        .ok()?;
    Some(asked.into_inner().status())
}

fn port_of(url: &str) -> u16 {
    let port = url
        .rsplit_once("localhost:")
        .and_then(|(_, rest)| rest.split_once('/'));
    port.expect("it has a port").0.parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_vanishes_without_a_word_holds_nobody_for_long() {
    let fleet = club().await;
    let url = fleet.service_database_url();
    let way = Way::to(port_of(url)).await;
    let role = url.split_once('@').expect("it has a role").0;
    let through = format!("{role}@localhost:{}/points?sslmode=disable", way.port);
    let redis = fleet.stack.read().await.redis.url();
    let knobs = [
        ("FEALTY_DATABASE_STATEMENT_TIMEOUT_MS", "1000"),
        ("FEALTY_DATABASE_MIGRATE", "false"),
        ("FEALTY_LEDGER_BATCHES_IN_FLIGHT", "2"),
    ];
    let instance = Instance::with(&through, &redis, true, &knobs);
    let client = || LedgerServiceClient::new(instance.channel.clone());
    let accrue = |number: usize| {
        let request = accrual(&format!("gift-{number}"), &format!("member-{number}"), 7);
        async move {
            send(|| {
                let (mut client, request) = (client(), request.clone());
                async move { client.accrue(request).await }
            })
            .await
        }
    };
    accrue(0).await.expect("points");

    way.vanish();
    let vanished = Instant::now();
    // More than there are permits, over all shards.
    let calls = (1..40).map(|number| {
        let request = accrual(&format!("gift-{number}"), &format!("member-{number}"), 7);
        let mut client = client();
        async move { client.accrue(request).await }
    });
    for answer in futures::future::join_all(calls).await {
        assert_eq!(
            reason(&answer.expect_err("nothing comes through")),
            "UNAVAILABLE"
        );
    }
    let waited = vanished.elapsed();
    assert!(waited < Duration::from_secs(30), "{waited:?}");
    until("the health tells of it", || async {
        health(&instance.channel, "").await == Some(ServingStatus::NotServing)
            && health(&instance.channel, "database").await == Some(ServingStatus::NotServing)
    })
    .await;

    way.come_back();
    until("it serves again", || async {
        health(&instance.channel, "").await == Some(ServingStatus::Serving)
    })
    .await;
    for number in 0..40 {
        accrue(number).await.expect("points");
    }
    for number in 0..40 {
        let member = format!("member-{number}");
        assert_eq!(available(fleet.clients(), &member).await, 7, "{member}");
    }
    assert_eq!(verify(&fleet).await, Ok(40));
}

/// An instance that is frozen between its lock and its commit.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_held_no_longer_by_one_who_is_frozen() {
    let fleet = club().await;
    let limits = Limits {
        statement: Duration::from_secs(1),
        transactions: true,
    };
    let frozen = Database::open_within(fleet.service_database_url(), 1, limits).await;
    let frozen = frozen.expect("a URL");
    let mut transaction = frozen.pool().begin().await.expect("it answers");
    let lock = "SELECT position FROM shards WHERE shard = 0 FOR UPDATE";
    (&mut *transaction).execute(lock).await.expect("it is free");
    let url = fleet.points_database_url();
    let mut other = PgConnection::connect(url).await.expect("it answers");
    other
        .execute("SET lock_timeout = '20s'")
        .await
        .expect("a setting");
    let begun = Instant::now();
    other.execute(lock).await.expect("it is free again");
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    drop(transaction);
}

/// A service whose clock is an hour ahead of the database's refuses to serve.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_far_ahead_expires_nothing() {
    let fleet = club().await;
    let url = fleet.points_database_url();
    let mut superuser = PgConnection::connect(url).await.expect("it answers");
    let redis = fleet.stack.read().await.redis.url();
    let instance = Instance::with(
        fleet.service_database_url(),
        &redis,
        false,
        &[("FEALTY_DATABASE_MIGRATE", "false")],
    );
    let serves = |status| {
        let channel = &instance.channel;
        async move {
            health(channel, "").await == Some(status)
                && health(channel, "clock").await == Some(status)
        }
    };
    until("it serves", || serves(ServingStatus::Serving)).await;
    // The database's clock is behind, for the service.
    superuser
        .execute(
            "CREATE SCHEMA behind;
             GRANT USAGE ON SCHEMA behind TO PUBLIC;
             CREATE FUNCTION behind.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS
                 'SELECT pg_catalog.clock_timestamp() - interval ''1 hour''';
             ALTER ROLE fealty_service SET search_path = behind, pg_catalog, public;
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'fealty_service'",
        )
        .await
        .expect("the statements run");
    until("it does not trust its clock", || {
        serves(ServingStatus::NotServing)
    })
    .await;
    let request = accrual("gift-1", "anna", 7);
    let refused = LedgerServiceClient::new(instance.channel.clone())
        .accrue(request)
        .await;
    let refused = refused.expect_err("the clock is wrong");
    assert_eq!(reason(&refused), "UNAVAILABLE");
    assert!(
        refused.message().contains("ahead of the database's"),
        "{refused}"
    );
    superuser
        .execute(
            "ALTER ROLE fealty_service RESET search_path;
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'fealty_service'",
        )
        .await
        .expect("the statements run");
    until("it serves again", || serves(ServingStatus::Serving)).await;
}
