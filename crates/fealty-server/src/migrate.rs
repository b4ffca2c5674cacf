//! Bringing a service's tables up to date.

use std::time::Duration;

use fealty_postgres::{Database, DatabaseError, Limits, Schema, foundation};
use secrecy::ExposeSecret as _;

use crate::config::DatabaseSection;

/// Connections while the tables are brought up to date.
const CONNECTIONS_MAX: u32 = 2;

impl DatabaseSection {
    /// Opens the database with a number of connections.
    pub async fn open(&self, connections_max: u32) -> Result<Database, DatabaseError> {
        let limits = Limits {
            statement: Duration::from_millis(self.statement_timeout_ms),
            ..Limits::default()
        };
        Database::open_within(self.url.expose_secret(), connections_max, limits).await
    }

    /// Brings a service's tables up to date, as their owner, and gives the
    /// configured service role what it needs.
    pub async fn bring_up_to_date(&self, schema: &Schema) -> Result<(), DatabaseError> {
        let database = Database::open_as_owner(self.url.expose_secret(), CONNECTIONS_MAX).await?;
        foundation::migrate(&database, schema, self.service_role.as_deref()).await
    }

    /// Brings the tables up to date if that is configured; else checks that
    /// somebody has.
    pub async fn prepare(&self, schema: &Schema) -> Result<(), foundation::SchemaError> {
        if self.migrate {
            return Ok(self.bring_up_to_date(schema).await?);
        }
        let database = self.open(1).await?;
        foundation::check_schema(&database, schema).await
    }
}
