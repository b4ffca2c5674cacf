//! Postgres as the services use it: one pool, one way to open a transaction,
//! one place that reads SQLSTATEs.

pub mod audit_log;
mod database;
mod error;
pub mod foundation;
mod heads;
mod pool;
pub mod scheduled;
mod time;

#[doc(hidden)]
pub use database::Attempts;
pub use database::{Database, Limits};
pub use error::{DatabaseError, HasDatabaseError, StoredRow};
pub use foundation::Schema;
pub use heads::Heads;
pub use pool::Pool;
pub use sqlx::{PgConnection, migrate::Migrator};
pub use time::{PgTime, from_pg, to_pg};
