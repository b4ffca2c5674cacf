//! The pool's connections, none of which is waited for without end.
//!
//! A Postgres whose host dies without a word leaves connections on which nothing ever
//! comes. So every statement has a deadline here, besides the one that Postgres keeps; a
//! connection whose statement was given up is thrown away.

use std::{fmt, io, pin::Pin, time::Duration};

use either::Either;
use futures::{
    FutureExt as _, StreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use sqlx::{
    Error, Execute, Executor, PgPool, Postgres, SqlStr, Transaction,
    pool::PoolConnection,
    postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};
use tokio::time::Sleep;

/// A pool of connections to a service's database.
#[derive(Clone)]
pub struct Pool {
    pool: PgPool,
    /// How long a statement may take; none where that is for the caller to say.
    deadline: Option<Duration>,
}

impl Pool {
    pub(crate) fn new(pool: PgPool, deadline: Option<Duration>) -> Self {
        Self { pool, deadline }
    }

    /// A connection; its statements have no deadline but the caller's.
    pub async fn acquire(&self) -> Result<PoolConnection<Postgres>, Error> {
        self.pool.acquire().await
    }

    /// Opens a transaction; its statements have no deadline but the caller's.
    pub async fn begin(&self) -> Result<Transaction<'static, Postgres>, Error> {
        within(self.deadline, self.pool.begin()).await
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.deadline
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pool.fmt(formatter)
    }
}

fn too_late() -> Error {
    Error::Io(io::Error::new(
        io::ErrorKind::TimedOut,
        "the database does not answer",
    ))
}

fn within<T, F: Future<Output = Result<T, Error>>>(
    deadline: Option<Duration>,
    work: F,
) -> impl Future<Output = Result<T, Error>> + use<T, F> {
    // An async function would hold the work twice.
    let work = tokio::time::timeout(deadline.unwrap_or(Duration::MAX), work);
    work.map(|done| done.unwrap_or_else(|_| Err(too_late())))
}

/// The items of a stream; an error, and nothing more, once the time is over.
fn stream_within<'e, T: Send + 'e>(
    deadline: Option<Duration>,
    mut items: BoxStream<'e, Result<T, Error>>,
) -> BoxStream<'e, Result<T, Error>> {
    let Some(deadline) = deadline else {
        return items;
    };
    let mut timer: Option<Pin<Box<Sleep>>> = Some(Box::pin(tokio::time::sleep(deadline)));
    stream::poll_fn(move |context| {
        let Some(running) = &mut timer else {
            return None.into();
        };
        let next = items.poll_next_unpin(context);
        if next.is_pending() && running.poll_unpin(context).is_ready() {
            timer = None;
            return Some(Err(too_late())).into();
        }
        next
    })
    .boxed()
}

impl<'p> Executor<'p> for &'p Pool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        stream_within(self.deadline, self.pool.fetch_many(query))
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        within(self.deadline, self.pool.fetch_optional(query)).boxed()
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'p: 'e,
    {
        within(self.deadline, self.pool.prepare_with(sql, parameters)).boxed()
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<sqlx::Describe<Postgres>, Error>>
    where
        'p: 'e,
    {
        within(self.deadline, self.pool.describe(sql)).boxed()
    }
}
