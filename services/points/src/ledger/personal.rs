//! What is personal of a change: sealed on its way into the log, shown again to who reads.

use fealty_ledger::{Command, Transaction};
use fealty_postgres::{DatabaseError, PgConnection};
use fealty_program::ProgramVersion;
use fealty_types::{MemberId, Metadata, ProgramId, RequestId, ShardId};
use rand::RngCore as _;

use super::service::Ledger;
use crate::{
    error::Error,
    shard::{
        PersonalKey, PersonalValues, is_personal, request_key, seal, sealed_by, store::personal,
        unseal,
    },
};

impl Ledger {
    /// Puts hashes in the place of what a change has that the programme declares personal;
    /// answers with the values, if there are some.
    pub(super) async fn seal(
        &self,
        name: (&ProgramId, &MemberId),
        request: (&RequestId, &mut Metadata),
        command: &mut Command,
    ) -> Result<Option<PersonalValues>, Error> {
        let applied = self.programs.newest(name.0)?;
        if !is_personal(&applied.program.personal, request.1, command) {
            return Ok(None);
        }
        let pool = self.database.pool();
        let mut connection = pool.acquire().await.map_err(DatabaseError::from)?;
        let sealed = self.seal_in(&mut connection, &applied, name.1, request, command);
        Ok(sealed.await?)
    }

    /// The same in a transaction, by a version of the programme.
    pub(crate) async fn seal_in(
        &self,
        connection: &mut PgConnection,
        applied: &ProgramVersion,
        member: &MemberId,
        (request_id, metadata): (&RequestId, &mut Metadata),
        command: &mut Command,
    ) -> Result<Option<PersonalValues>, DatabaseError> {
        let (program, declared) = (&applied.program.id, &applied.program.personal);
        if !is_personal(declared, metadata, command) {
            return Ok(None);
        }
        let shard = self.shards.of(program, member);
        let key = personal_key(connection, shard, (program, member)).await?;
        let request_key = request_key(program, member, request_id);
        Ok(Some(seal(declared, (key, request_key), metadata, command)))
    }

    /// Shows what is personal of a member's transactions, if it is still there.
    pub(super) async fn unseal(&self, transactions: &mut [Transaction]) -> Result<(), Error> {
        let Some(first) = transactions.first() else {
            return Ok(());
        };
        let (program, member) = (first.program.clone(), first.member.clone());
        let requests: Vec<_> = transactions.iter().filter_map(sealed_by).collect();
        if requests.is_empty() {
            return Ok(());
        }
        let (shard, pool) = (self.shards.of(&program, &member), self.database.pool());
        let values = personal::of_requests(pool, shard, (&program, &member), &requests).await?;
        for transaction in transactions {
            let request = sealed_by(transaction);
            if let Some(values) = request.and_then(|request| values.get(&request)) {
                unseal(transaction, values);
            }
        }
        Ok(())
    }
}

/// The key that a member's values are hashed with.
async fn personal_key(
    connection: &mut PgConnection,
    shard: ShardId,
    name: (&ProgramId, &MemberId),
) -> Result<PersonalKey, DatabaseError> {
    loop {
        if let Some(key) = personal::key(&mut *connection, shard, name).await? {
            return Ok(key);
        }
        let mut key = PersonalKey::default();
        rand::rng().fill_bytes(&mut key);
        personal::give_key(&mut *connection, shard, name, &key).await?;
    }
}
