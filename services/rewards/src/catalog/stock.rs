//! Stock, from the day that a programme is applied.

use fealty_postgres::PgConnection;
use fealty_program::Program;
use fealty_server::{OnApply, ProgramsError, async_trait};

use super::store;

/// Opens the stock of a programme's rewards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenStock;

#[async_trait]
impl OnApply for OpenStock {
    async fn apply(
        &self,
        connection: &mut PgConnection,
        _: Option<&Program>,
        after: &Program,
    ) -> Result<(), ProgramsError> {
        for id in after.rewards.keys() {
            store::open(connection, &after.id, id).await?;
        }
        Ok(())
    }
}
