//! What is personal of a change: sealed on its way into the log, shown again to who reads.

use fealty_ledger::{Command, Transaction};
use fealty_postgres::{DatabaseError, PgConnection};
use fealty_program::ProgramVersion;
use fealty_types::{MemberId, Metadata, ProgramId, RequestId, ShardId};
use rand::RngCore as _;

use super::service::Ledger;
use crate::{
    error::Error,
    lane::same_request,
    shard::{
        Answer, PersonalKey, PersonalValues, is_personal, request_key, seal, sealed_by,
        store::{self, personal},
        unseal,
    },
};

impl Ledger {
    /// Puts hashes in the place of what a change has that a version of the programme
    /// declares personal; answers with the values, if there are some.
    pub(super) async fn seal(
        &self,
        applied: &ProgramVersion,
        member: &MemberId,
        request: (&RequestId, &mut Metadata),
        command: &mut Command,
    ) -> Result<Option<PersonalValues>, Error> {
        if !is_personal(&applied.program.personal, request.1, command) {
            return Ok(None);
        }
        let pool = self.database.pool();
        let mut connection = pool.acquire().await.map_err(DatabaseError::from)?;
        let sealed = self.seal_in(&mut connection, applied, member, request, command);
        Ok(sealed.await?)
    }

    /// The answer to a request that differs from the one before by its hashes alone: what
    /// is personal was declared otherwise then.
    pub(super) async fn replayed(
        &self,
        (program, member): (&ProgramId, &MemberId),
        request: (&RequestId, &Metadata),
        command: &Command,
    ) -> Result<Option<Answer>, Error> {
        let shard = self.shards.of(program, member);
        let key = request_key(program, member, request.0);
        let before = store::log::by_request(self.database.pool(), shard, key).await?;
        let Some(before) = before else {
            return Ok(None);
        };
        let mut before = before.transaction()?;
        self.unseal(std::slice::from_mut(&mut before)).await?;
        let same = same_request(request, command, &before).is_ok();
        Ok(same.then(|| Answer {
            transaction: before.into(),
            replayed: true,
        }))
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
