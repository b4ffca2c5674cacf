//! What an auditor asks.

use fealty_postgres::{DatabaseError, run};
use fealty_server::Rejection;
use fealty_types::{Cursor, ProgramId};

use super::App;
use crate::store::{self, accounts::Row, shards::Head};

impl App {
    /// The accounts of a programme, and where in the log they were read.
    pub async fn trial_balance(
        &self,
        program: &ProgramId,
    ) -> Result<(Vec<Row>, Cursor), Rejection> {
        self.programs.newest(program)?;
        let read: Result<_, DatabaseError> =
            run!(self.database, "trial_balance", |connection| async {
                store::shards::read_one_moment(connection).await?;
                let heads = store::shards::heads(&mut *connection).await?;
                let rows = store::accounts::of_program(connection, program).await?;
                Ok((rows, heads))
            });
        let (rows, heads) = read?;
        let cursor = Cursor::new(heads.iter().map(|head| head.position.get()).collect());
        Ok((rows, cursor))
    }

    /// The heads of all shards.
    pub async fn log_heads(&self) -> Result<Vec<Head>, Rejection> {
        Ok(store::shards::heads(self.database.pool()).await?)
    }
}
