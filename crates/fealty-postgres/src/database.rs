//! The pool, and the one way to open a transaction.

use std::{str::FromStr as _, time::Duration};

use opentelemetry::{KeyValue, global, metrics::Counter};
use sqlx::{
    Connection as _, PgConnection, PgPool, Postgres, Transaction,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions, PgSslMode},
};

use crate::{DatabaseError, HasDatabaseError};

/// How often a transaction that lost against another one is run again.
const ATTEMPTS_MAX: u32 = 5;
const BACKOFF_FIRST: Duration = Duration::from_millis(5);
/// A statement that takes longer is ended, so that nothing waits for ever.
const STATEMENT_TIMEOUT: &str = "30s";
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// A service's own database.
#[derive(Clone, Debug)]
pub struct Database {
    pool: PgPool,
    retries: Counter<u64>,
}

impl Database {
    /// Opens a pool of at most `connections_max` connections. The database
    /// need not answer yet: with `sslmode=prefer` it is tried, for at most five
    /// seconds.
    pub async fn open(url: &str, connections_max: u32) -> Result<Self, DatabaseError> {
        let options = options(url).await?;
        let options = options
            .options([
                ("statement_timeout", STATEMENT_TIMEOUT),
                ("jit", "off"),
                // A plan that was made while a table was young would otherwise
                // read it whole for ever.
                ("enable_seqscan", "off"),
            ])
            .statement_cache_capacity(200);
        let pool = PgPoolOptions::new()
            .max_connections(connections_max)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            // A lane uses its connection all the time; a broken one shows at once.
            .test_before_acquire(false)
            .after_connect(|connection, _| Box::pin(set_plan_cache_mode(connection)))
            .connect_lazy_with(options);
        Ok(Self::of(pool))
    }

    /// Opens a pool for the owner of the tables, who brings them up to date: no
    /// time-out for a statement, and plans as Postgres makes them.
    pub async fn open_as_owner(url: &str, connections_max: u32) -> Result<Self, DatabaseError> {
        let pool = PgPoolOptions::new()
            .max_connections(connections_max)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options(url).await?);
        Ok(Self::of(pool))
    }

    fn of(pool: PgPool) -> Self {
        let retries = global::meter("fealty")
            .u64_counter("fealty.db.transaction.retries")
            .with_description("Transactions run again after a conflict")
            .build();
        Self { pool, retries }
    }

    /// Brings the tables up to date. Safe to call from many instances at once.
    pub async fn migrate(&self, migrator: &Migrator) -> Result<(), DatabaseError> {
        migrator.run(&self.pool).await.map_err(Into::into)
    }

    /// The pool, for reads that need no transaction.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Whether it answers within `timeout`.
    pub async fn answers(&self, timeout: Duration) -> bool {
        let ping = async { self.pool.acquire().await?.ping().await };
        matches!(tokio::time::timeout(timeout, ping).await, Ok(Ok(())))
    }

    /// The attempts that [`run!`](crate::run) makes.
    #[doc(hidden)]
    #[must_use]
    pub fn attempts(&self, name: &'static str) -> Attempts<'_> {
        Attempts {
            database: self,
            name,
            attempt: 0,
        }
    }
}

/// How to connect. `sslmode=prefer` asks for encryption where it can be had, and
/// for no proof of who answers; a certificate that cannot even be read, as the one
/// that Citus makes for itself (X.509 version 1), is then no reason to stay away:
/// as libpq does, the connection is made without encryption.
async fn options(url: &str) -> Result<PgConnectOptions, DatabaseError> {
    let options = PgConnectOptions::from_str(url)?;
    if !matches!(options.get_ssl_mode(), PgSslMode::Prefer) {
        return Ok(options);
    }
    let tried = tokio::time::timeout(ACQUIRE_TIMEOUT, PgConnection::connect_with(&options)).await;
    match tried {
        Ok(Err(error)) if is_of_certificate(&error) => {
            tracing::warn!(
                %error,
                "the database's certificate cannot be read: connections are not encrypted; \
                 sslmode=require would refuse that, sslmode=disable say it"
            );
            Ok(options.ssl_mode(PgSslMode::Disable))
        }
        Ok(Ok(connection)) => {
            // It has served its purpose; how it ends does not matter.
            let _ = connection.close().await;
            Ok(options)
        }
        // Whoever needs the database will see that it does not answer.
        Ok(Err(_)) | Err(_) => Ok(options),
    }
}

/// Whether a connection was given up for the server's certificate.
fn is_of_certificate(error: &sqlx::Error) -> bool {
    let sqlx::Error::Io(error) = error else {
        return false;
    };
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

/// Statements are few and point look-ups: one plan for each, and no time spent
/// on planning it again. Not where the tables may be distributed: there the plan
/// says which node, so it must know the shard.
async fn set_plan_cache_mode(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "-- foundation.set_plan_cache_mode
        SELECT set_config(
            'plan_cache_mode',
            CASE WHEN EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')
                THEN 'force_custom_plan' ELSE 'force_generic_plan' END,
            false
        )"
    )
    .fetch_one(connection)
    .await
    .map(drop)
}

/// The attempts at one transaction.
#[doc(hidden)]
#[derive(Debug)]
pub struct Attempts<'a> {
    database: &'a Database,
    name: &'static str,
    attempt: u32,
}

impl Attempts<'_> {
    pub async fn begin(&mut self) -> Result<Transaction<'static, Postgres>, DatabaseError> {
        self.attempt += 1;
        Ok(self.database.pool.begin().await?)
    }

    /// Commits what was done, or rolls it back; `None` if it is to be done again.
    pub async fn finish<T, E: HasDatabaseError>(
        &mut self,
        transaction: Transaction<'static, Postgres>,
        done: Result<T, E>,
    ) -> Option<Result<T, E>> {
        let error = match done {
            Ok(done) => match transaction.commit().await {
                Ok(()) => return Some(Ok(done)),
                Err(error) => DatabaseError::from(error).into(),
            },
            Err(error) => error,
        };
        let conflict = matches!(error.database_error(), Some(DatabaseError::Conflict(_)));
        if !conflict || self.attempt == ATTEMPTS_MAX {
            return Some(Err(error));
        }
        self.database
            .retries
            .add(1, &[KeyValue::new("transaction", self.name)]);
        let backoff = BACKOFF_FIRST * 2_u32.pow(self.attempt);
        tokio::time::sleep(rand::random_range(BACKOFF_FIRST..backoff)).await;
        None
    }
}

/// Runs `work` in a transaction named `name`, and commits: the one way to open
/// a transaction. Evaluates to the `Result` of `work`.
///
/// A conflict with another transaction runs it again, a few times; `work` must
/// not have effects outside the database. A lost connection is not tried again
/// here: the commit may have reached the database. The caller's request id
/// finds out.
///
/// A macro, for a function that takes such a closure cannot promise that its
/// future may move between threads.
#[macro_export]
macro_rules! run {
    ($database:expr, $name:literal, |$connection:ident| $work:expr) => {{
        let mut attempts = $database.attempts($name);
        loop {
            let finished = match attempts.begin().await {
                Err(error) => Some(Err(error.into())),
                Ok(mut transaction) => {
                    let done = {
                        let $connection: &mut $crate::PgConnection = &mut transaction;
                        $work.await
                    };
                    attempts.finish(transaction, done).await
                }
            };
            if let Some(finished) = finished {
                break finished;
            }
        }
    }};
}
