//! Every SQL statement of the rewards service, a file per group of tables.
//! Only `app` calls them.

pub mod redemptions;
pub mod stock;

use fealty_postgres::DatabaseError;

fn corrupt(what: &'static str) -> DatabaseError {
    DatabaseError::Defect(sqlx::Error::Protocol(format!("{what} cannot be read")))
}
