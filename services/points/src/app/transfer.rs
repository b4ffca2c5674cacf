//! Points from one member to another: two logs, or one, written together.
//!
//! It does not go through the lanes: it locks the heads of both shards, in
//! their order, reads, and writes both sides in one database transaction. A
//! lane that meets a moved head reads again.

use std::collections::HashMap;

use fealty_ledger::{Command, TransferOut, given};
use fealty_postgres::{DatabaseError, HasDatabaseError, PgConnection, run};
use fealty_server::Rejection;
use fealty_types::{
    Clock as _, MemberId, Position, ProgramId, RequestId, ShardId, Timestamp, TransactionName,
};

use super::{
    Answer, App,
    batch::{Asked, Interrupted, ReadOn, ShardWork, Written, chain_of, decode, same_request},
};
use crate::{
    domain::{plan, request_key},
    error::Error,
    store,
};

/// What a transfer brought about.
#[derive(Debug)]
pub struct Transferred {
    /// The giver's side.
    pub answer: Answer,
    /// The recipient's transaction.
    pub recipient: TransactionName,
}

/// Why a transfer was not made.
enum Failure {
    Refused(Error),
    Database(DatabaseError),
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

impl From<Interrupted> for Failure {
    fn from(interrupted: Interrupted) -> Self {
        match interrupted {
            Interrupted::Database(error) => Self::Database(error),
            Interrupted::Overtaken | Interrupted::NeedsLock => {
                let what = "a locked head was moved".to_owned();
                Self::Database(DatabaseError::Defect(sqlx::Error::Protocol(what)))
            }
        }
    }
}

impl HasDatabaseError for Failure {
    fn database_error(&self) -> Option<&DatabaseError> {
        match self {
            Self::Database(error) => Some(error),
            Self::Refused(_) => None,
        }
    }
}

/// One side's member and shard.
struct Side {
    shard: ShardId,
    member: MemberId,
}

impl App {
    /// Gives points to another member, once, however often it is asked.
    pub async fn transfer(
        &self,
        program: &ProgramId,
        member: MemberId,
        request_id: RequestId,
        transfer: TransferOut,
    ) -> Result<Transferred, Rejection> {
        self.programs.newest(program)?;
        let giver = Side {
            shard: self.shard(program, &member),
            member,
        };
        let taker = Side {
            shard: self.shard(program, &transfer.to),
            member: transfer.to.clone(),
        };
        let command = Command::TransferOut(transfer);
        let now = self.clock.now();
        let done: Result<(Vec<(ShardId, Written)>, Transferred), Failure> =
            run!(self.database, "transfer", |connection| async {
                self.transfer_in(
                    connection,
                    program,
                    [&giver, &taker],
                    &request_id,
                    &command,
                    now,
                )
                .await
            });
        match done {
            Ok((written, transferred)) => {
                for (shard, written) in written {
                    self.publish(shard, &written).await;
                }
                Ok(transferred)
            }
            Err(Failure::Refused(error)) => Err(error.rejection(giver.shard)),
            Err(Failure::Database(error)) => Err(error.into()),
        }
    }

    async fn transfer_in(
        &self,
        connection: &mut PgConnection,
        program: &ProgramId,
        [giver, taker]: [&Side; 2],
        request_id: &RequestId,
        command: &Command,
        now: Timestamp,
    ) -> Result<(Vec<(ShardId, Written)>, Transferred), Failure> {
        let mut shards = vec![giver.shard, taker.shard];
        shards.sort_unstable();
        shards.dedup();
        for shard in &shards {
            store::shards::lock_head(connection, *shard).await?;
        }
        let key = request_key(program, &giver.member, request_id);
        let mut works = HashMap::new();
        let mut seen = None;
        for shard in &shards {
            let sides = [giver, taker].into_iter().filter(|s| s.shard == *shard);
            let members: Vec<(ProgramId, MemberId)> = sides
                .map(|side| (program.clone(), side.member.clone()))
                .collect();
            let mut asked = Asked {
                spends: (0..members.len()).collect(),
                ..Asked::default()
            };
            if *shard == giver.shard {
                asked.requests.push(key);
            }
            let read = ShardWork::read(
                connection,
                *shard,
                members,
                &asked,
                now,
                ReadOn::Locked,
                None,
            );
            let (work, mut before) = read.await?;
            seen = seen.or_else(|| before.remove(&key));
            works.insert(*shard, work);
        }
        if let Some(seen) = seen {
            let transaction = decode(&seen.body)?;
            same_request(request_id, command, &transaction).map_err(Failure::Refused)?;
            let recipient = self.find_recipient(connection, taker, &transaction).await?;
            let answer = Answer {
                chain: chain_of(&seen.chain)?,
                transaction: transaction.into(),
                replayed: true,
            };
            return Ok((Vec::new(), Transferred { answer, recipient }));
        }
        let applied = self
            .programs
            .newest(program)
            .map_err(|_| Failure::Refused(Error::Defect))?;
        let mut request =
            plan(&applied, request_id, command, None, now).map_err(Failure::Refused)?;
        let same_shard = giver.shard == taker.shard;
        let work = works.get_mut(&giver.shard).expect("it was read");
        let position = work
            .execute(connection, 0, &mut request)
            .await?
            .map_err(|refusal| Failure::Refused(refusal.into()))?;
        let transfer = work.log().at(position).expect("it was just written");
        let received = given(work.book(0), transfer);
        let work = works.get_mut(&taker.shard).expect("it was read");
        let slot = usize::from(same_shard);
        // A refusal here undoes the whole: nothing of either side is written.
        let arrived = work
            .receive(connection, slot, &received)
            .await?
            .map_err(|refusal| Failure::Refused(refusal.into()))?;
        let mut written = Vec::new();
        for shard in shards {
            let work = works.remove(&shard).expect("it was read");
            written.push((shard, work.write(connection, ReadOn::Locked, None).await?));
        }
        let of_giver = written.iter().find(|(shard, _)| *shard == giver.shard);
        let answer = of_giver.expect("it was written").1.answer(position, false);
        let recipient = TransactionName {
            shard: taker.shard,
            position: arrived,
        };
        Ok((written, Transferred { answer, recipient }))
    }

    /// The other side of a transfer that was made before.
    async fn find_recipient(
        &self,
        connection: &mut PgConnection,
        taker: &Side,
        transfer: &fealty_ledger::Transaction,
    ) -> Result<TransactionName, DatabaseError> {
        let (shard, member) = (taker.shard, &taker.member);
        let number =
            store::members::number(&mut *connection, shard, &transfer.program, member).await?;
        let mut before = Position::new(i64::MAX);
        while let Some(number) = number {
            let rows = store::log::page(&mut *connection, shard, number, before, 500).await?;
            let Some(last) = rows.last() else { break };
            before = Position::new(last.position);
            for row in &rows {
                let known = decode(&row.body)?;
                if let fealty_ledger::Cause::Received(received) = &known.cause
                    && received.transfer == transfer.name()
                {
                    return Ok(known.name());
                }
            }
        }
        Err(DatabaseError::Defect(sqlx::Error::Protocol(
            "a transfer has no other side".to_owned(),
        )))
    }
}
