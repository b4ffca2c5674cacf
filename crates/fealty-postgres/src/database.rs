//! The pool, and the one way to open a transaction.

use std::{str::FromStr as _, time::Duration};

use futures::FutureExt as _;
use opentelemetry::{KeyValue, global, metrics::Counter};
use sqlx::{
    Connection as _, PgConnection, Postgres, Transaction,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions, PgSslMode},
};

use crate::{DatabaseError, HasDatabaseError, Pool};

/// How often a transaction that lost against another one is run again.
const ATTEMPTS_MAX: u32 = 5;
const BACKOFF_FIRST: Duration = Duration::from_millis(5);
/// How long a statement may take if nothing else is said, so that nothing waits for ever.
const STATEMENT_MAX: Duration = Duration::from_secs(30);
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How much longer than Postgres one waits here for a statement or a short transaction.
const ANSWER_GRACE: Duration = Duration::from_secs(2);
/// How long a connection that comes back has to show that it works.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);
/// After how long without a word Postgres looks whether the other end is still there, and
/// how often it asks, and how often in vain.
const KEEPALIVE: [(&str, &str); 3] = [
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
];

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A statement: Postgres ends it.
    pub statement: Duration,
    /// Whether that also holds for the answer here, for a whole transaction, and for its
    /// pauses: a lock is held no longer by one who is frozen or gone. Not for one who
    /// reads for hours at one moment.
    pub transactions: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            statement: STATEMENT_MAX,
            transactions: true,
        }
    }
}

impl Limits {
    /// Of one who reads for long in one transaction.
    pub const LONG_READ: Self = Self {
        statement: STATEMENT_MAX,
        transactions: false,
    };

    /// What a connection is told.
    fn settings(self) -> Vec<(&'static str, String)> {
        let millis = |time: Duration| time.as_millis().to_string();
        let pauses = if self.transactions {
            millis(self.statement)
        } else {
            "0".to_owned()
        };
        let mut settings = vec![
            ("statement_timeout", millis(self.statement)),
            ("idle_in_transaction_session_timeout", pauses),
            ("tcp_user_timeout", millis(self.statement)),
            // Who gives a statement up hangs up: Postgres need not go on with it, though it
            // may be waiting for another node.
            ("client_connection_check_interval", "1000".to_owned()),
        ];
        settings.extend(KEEPALIVE.map(|(name, value)| (name, value.to_owned())));
        settings
    }

    fn deadline(self) -> Option<Duration> {
        let deadline = self.statement.saturating_add(ANSWER_GRACE);
        self.transactions.then_some(deadline)
    }
}

/// A service's own database.
#[derive(Clone, Debug)]
pub struct Database {
    pool: Pool,
    /// Whoever looks whether the database answers waits for nobody's reads.
    watch: Pool,
    retries: Counter<u64>,
}

impl Database {
    /// Opens a pool of at most `connections_max` connections. The database
    /// need not answer yet: with `sslmode=prefer` it is tried, for at most five
    /// seconds.
    pub async fn open(url: &str, connections_max: u32) -> Result<Self, DatabaseError> {
        Self::open_within(url, connections_max, Limits::default()).await
    }

    /// Opens a pool whose statements and transactions have these limits.
    pub async fn open_within(
        url: &str,
        connections_max: u32,
        limits: Limits,
    ) -> Result<Self, DatabaseError> {
        let options = options(url).await?;
        let options = options
            .options(limits.settings())
            .options([
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
            .after_release(|connection, _| Box::pin(still_works(connection)));
        let watch = pool.clone().max_connections(2);
        let [pool, watch] = [pool, watch].map(|pool| {
            let pool = pool.connect_lazy_with(options.clone());
            Pool::new(pool, limits.deadline())
        });
        Ok(Self::of(pool, watch))
    }

    /// Opens a pool for the owner of the tables, who brings them up to date: no
    /// time-out for a statement, and plans as Postgres makes them.
    pub async fn open_as_owner(url: &str, connections_max: u32) -> Result<Self, DatabaseError> {
        let pool = PgPoolOptions::new()
            .max_connections(connections_max)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options(url).await?.options(KEEPALIVE));
        let pool = Pool::new(pool, None);
        Ok(Self::of(pool.clone(), pool))
    }

    fn of(pool: Pool, watch: Pool) -> Self {
        let retries = global::meter("fealty")
            .u64_counter("fealty.db.transaction.retries")
            .with_description("Transactions run again after a conflict")
            .build();
        Self {
            pool,
            watch,
            retries,
        }
    }

    /// Brings the tables up to date. Safe to call from many instances at once.
    pub async fn migrate(&self, migrator: &Migrator) -> Result<(), DatabaseError> {
        let mut connection = self.pool.acquire().await?;
        migrator.run(&mut *connection).await.map_err(Into::into)
    }

    /// The pool, for reads that need no transaction.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Connections besides, opened when they are used, for whoever looks how the database
    /// is: reads of a node that does not answer may hold all others.
    #[must_use]
    pub fn watch(&self) -> &Pool {
        &self.watch
    }

    /// Whether it answers within `timeout`.
    pub async fn answers(&self, timeout: Duration) -> bool {
        let ping = async { self.watch.acquire().await?.ping().await };
        matches!(tokio::time::timeout(timeout, ping).await, Ok(Ok(())))
    }

    /// Does some work in the database, which is given up where it takes longer than
    /// transactions may. What it had under way may or may not have been done.
    pub fn within<T, F: Future<Output = T>>(
        &self,
        work: F,
    ) -> impl Future<Output = Result<T, DatabaseError>> + use<T, F> {
        // An async function would hold the work twice.
        let deadline = self.pool.deadline().unwrap_or(Duration::MAX);
        let work = tokio::time::timeout(deadline, work);
        work.map(|done| done.map_err(|_| DatabaseError::NoAnswer))
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

/// Whether a connection that comes back answers: one of which a statement was given up on
/// may never do so, and would keep its place in the pool.
async fn still_works(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    match tokio::time::timeout(RELEASE_TIMEOUT, connection.ping()).await {
        Ok(answer) => answer.map(|()| true),
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
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
/// here, nor one that does not answer in time: the commit may have reached the
/// database. The caller's request id finds out.
///
/// A macro, for a function that takes such a closure cannot promise that its
/// future may move between threads.
#[macro_export]
macro_rules! run {
    ($database:expr, $name:literal, |$connection:ident| $work:expr) => {{
        let mut attempts = $database.attempts($name);
        loop {
            let attempt = async {
                match attempts.begin().await {
                    Err(error) => Some(Err(error.into())),
                    Ok(mut transaction) => {
                        let done = {
                            let $connection: &mut $crate::PgConnection = &mut transaction;
                            $work.await
                        };
                        attempts.finish(transaction, done).await
                    }
                }
            };
            let finished = match $database.within(attempt).await {
                Ok(finished) => finished,
                Err(error) => Some(Err(error.into())),
            };
            if let Some(finished) = finished {
                break finished;
            }
        }
    }};
}
