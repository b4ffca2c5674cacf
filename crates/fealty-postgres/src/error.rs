//! What Postgres can answer, by SQLSTATE.

use std::{fmt, str::FromStr};

use sqlx::postgres::PgDatabaseError;

/// A statement that did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The database cannot be reached, is starting or stopping, or has no
    /// connection or space left. Retrying may help.
    #[error("the database is unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// The transaction lost against another one; it can be run again.
    #[error("the transaction conflicts with another")]
    Conflict(#[source] sqlx::Error),
    /// Others were at the same rows all the time; it can be run again.
    #[error("{0}")]
    Contended(&'static str),
    /// The database took longer than a statement may.
    #[error("the statement took too long")]
    Timeout(#[source] sqlx::Error),
    /// No answer came in time: its host or the way to it is gone. Whether the work was done
    /// is not known.
    #[error("the database does not answer")]
    NoAnswer,
    /// A row that cannot be what a service wrote.
    #[error("{table}.{column} of {key} cannot be read")]
    Corrupt {
        /// Its table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// Which row.
        key: String,
    },
    /// What must hold did not.
    #[error("{0}")]
    Broken(&'static str),
    /// Everything else: a defect of ours.
    #[error("the statement failed")]
    Defect(#[source] sqlx::Error),
}

impl DatabaseError {
    /// Whether the same may work a little later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unavailable(_)
            | Self::Conflict(_)
            | Self::Contended(_)
            | Self::Timeout(_)
            | Self::NoAnswer => true,
            Self::Corrupt { .. } | Self::Broken(_) | Self::Defect(_) => false,
        }
    }
}

/// A row that is being read, to be named if it is corrupt.
#[derive(Clone, Copy, Debug)]
pub struct StoredRow<K> {
    table: &'static str,
    key: K,
}

impl<K: fmt::Display> StoredRow<K> {
    /// The row of a table with that key.
    pub fn of(table: &'static str, key: K) -> Self {
        Self { table, key }
    }

    /// The value of a column; the row is corrupt if it is none.
    pub fn parse<T: FromStr>(&self, column: &'static str, text: &str) -> Result<T, DatabaseError> {
        self.check(column, text.parse::<T>().ok())
    }

    /// The value of a column; the row is corrupt without it.
    pub fn check<T>(&self, column: &'static str, value: Option<T>) -> Result<T, DatabaseError> {
        value.ok_or_else(|| self.corrupt(column))
    }

    /// The row is corrupt in that column.
    pub fn corrupt(&self, column: &'static str) -> DatabaseError {
        DatabaseError::Corrupt {
            table: self.table,
            column,
            key: self.key.to_string(),
        }
    }
}

/// An error that may hold one of the database's, so that a transaction that
/// failed by it can be run again.
pub trait HasDatabaseError: From<DatabaseError> {
    /// The database's error, if it is one.
    fn database_error(&self) -> Option<&DatabaseError>;
}

impl HasDatabaseError for DatabaseError {
    fn database_error(&self) -> Option<&DatabaseError> {
        Some(self)
    }
}

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unavailable(error),
            sqlx::Error::Database(database) => {
                let state = database
                    .try_downcast_ref::<PgDatabaseError>()
                    .map_or("", PgDatabaseError::code);
                match state {
                    // serialization_failure, deadlock_detected
                    "40001" | "40P01" => Self::Conflict(error),
                    // query_canceled, by statement_timeout; lock_not_available, by lock_timeout
                    "57014" | "55P03" => Self::Timeout(error),
                    // connection exceptions, insufficient resources (disk full
                    // among them), operator intervention
                    _ if ["08", "53", "57"]
                        .iter()
                        .any(|class| state.starts_with(class)) =>
                    {
                        Self::Unavailable(error)
                    }
                    _ => Self::Defect(error),
                }
            }
            _ => Self::Defect(error),
        }
    }
}

impl From<sqlx::migrate::MigrateError> for DatabaseError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        match error {
            sqlx::migrate::MigrateError::Execute(error) => error.into(),
            other => Self::Defect(sqlx::Error::Migrate(Box::new(other))),
        }
    }
}
