//! Every SQL statement of the tiers service, a file per group of tables. Only
//! `app` calls them.

pub mod changes;
pub mod purchases;
pub mod statuses;

use fealty_postgres::DatabaseError;

fn corrupt(what: &'static str) -> DatabaseError {
    DatabaseError::Defect(sqlx::Error::Protocol(format!("{what} cannot be read")))
}
