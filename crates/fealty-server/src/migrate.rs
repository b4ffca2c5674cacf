//! Bringing a service's tables up to date.

use fealty_postgres::{Database, DatabaseError, Schema, foundation};

use crate::config::DatabaseSection;

/// Connections while the tables are brought up to date.
const CONNECTIONS_MAX: u32 = 2;

/// Brings a service's tables up to date, as their owner, and gives the
/// configured service role what it needs.
pub async fn migrate(section: &DatabaseSection, schema: &Schema) -> Result<(), DatabaseError> {
    let database = Database::open_as_owner(&section.url, CONNECTIONS_MAX)?;
    foundation::migrate(&database, schema, section.service_role.as_deref()).await
}
