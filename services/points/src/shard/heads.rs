//! How far the logs reach.

use fealty_postgres::{Database, DatabaseError, Heads};
use fealty_types::Cursor;

use super::store;

/// Reads how far the logs of all shards reach, and tells who waits for more.
pub(crate) async fn look_at_heads(
    database: &Database,
    heads: &Heads,
) -> Result<Cursor, DatabaseError> {
    let cursor = Cursor::new(store::head::positions(database.pool()).await?);
    heads.reached_all(&cursor);
    Ok(cursor)
}
