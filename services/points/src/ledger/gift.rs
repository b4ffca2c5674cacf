//! A gift: points from one member to another. Two logs, or one, written together.
//!
//! It does not go through the lanes: it locks the heads of both shards, in
//! their order, reads, and writes both sides in one database transaction. A
//! lane that meets a moved head reads again.

use std::collections::{BTreeMap, BTreeSet};

use fealty_auth::Caller;
use fealty_ledger::{Command, Gift, given};
use fealty_postgres::{DatabaseError, PgConnection, audit_log, run};
use fealty_program::ProgramVersion;
use fealty_server::ServiceClock;
use fealty_types::{
    Clock as _, MemberId, Metadata, Position, ProgramId, RequestId, ShardId, Timestamp,
    TransactionPlace,
};
use uuid::Uuid;

use super::{
    failure::Failure,
    service::{Change, Ledger},
};
use crate::{
    error::Error,
    lane::{self, principal, same_request},
    plan::{OfMember, plan},
    shard::{
        Answer, Asked, DUE_WITH_A_CHANGE, Driven, PersonalValues, ReadOn, ShardWork, Shards,
        Written, received, request_key,
        store::{self, head::lock_head, rows::SeenRow},
        unsealed,
    },
};

/// What a gift brought about.
#[derive(Debug)]
pub(crate) struct Given {
    /// The giver's side.
    pub(crate) answer: Answer,
    /// The recipient's transaction.
    pub(crate) recipient: TransactionPlace,
}

/// Who asks for a gift, and how.
#[derive(Clone, Copy)]
struct Asking<'a> {
    caller: &'a Caller,
    request: (&'a RequestId, &'a Metadata),
    command: &'a Command,
    personal: Option<&'a PersonalValues>,
    /// The version of the programme that says what is personal, and by which it is planned.
    applied: &'a ProgramVersion,
    /// Up to when the ends of both sides' periods are written.
    ended: Timestamp,
}

/// One side's member and shard.
struct Side {
    shard: ShardId,
    member: MemberId,
}

impl Side {
    /// Where what was done stands.
    fn place(&self, shards: Shards, done: Driven) -> Result<Position, Failure> {
        match done {
            Driven::Done(position) => Ok(position),
            Driven::Refused(refusal) => Err(Failure::Refused(Error::refused(
                shards, self.shard, refusal,
            ))),
            Driven::MoreIsDue => Err(Failure::Refused(Error::Unavailable)),
        }
    }
}

impl Ledger {
    /// Gives points to another member, once, however often it is asked.
    pub(crate) async fn give(&self, change: Change<Gift>) -> Result<Given, Error> {
        let Change {
            caller,
            request_id,
            metadata,
            program,
            member,
            command: gift,
            ..
        } = change;
        let (program, member) = (&*program, member.into_inner());
        let giver = Side {
            shard: self.shards.of(program, &member),
            member,
        };
        let taker = Side {
            shard: self.shards.of(program, &gift.to),
            member: gift.to.clone(),
        };
        let command = Command::Gift(gift);
        let asked = (&caller, (&request_id, &metadata), &command);
        let mut done = self.give_sealed(asked, program, [&giver, &taker]).await?;
        if let Err(Failure::VersionPassed) = done {
            self.programs.refresh().await?;
            done = self.give_sealed(asked, program, [&giver, &taker]).await?;
        }
        match done {
            Ok((written, given)) => {
                for (shard, written) in written {
                    self.publisher.publish(shard, &written).await;
                }
                Ok(given)
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// Makes a gift by the version of the programme that is known here, with hashes in the
    /// place of what that declares personal.
    async fn give_sealed(
        &self,
        (caller, (request_id, metadata), command): (&Caller, (&RequestId, &Metadata), &Command),
        program: &ProgramId,
        sides: [&Side; 2],
    ) -> Result<Result<(Vec<(ShardId, Written)>, Given), Failure>, Error> {
        let applied = self.programs.newest(program)?;
        let ended = self.clock.now();
        for side in sides {
            self.end_before_write(side.shard, &applied, &side.member)
                .await?;
        }
        let (mut metadata, mut command) = (metadata.clone(), command.clone());
        let (member, request) = (&sides[0].member, (request_id, &mut metadata));
        let personal = self.seal(&applied, member, request, &mut command).await?;
        let asked = Asking {
            caller,
            request: (request_id, &metadata),
            command: &command,
            personal: personal.as_ref(),
            applied: &applied,
            ended,
        };
        let done = match self.given_before(asked, program, sides).await {
            Ok(None) => self.give_once(asked, program, sides).await,
            Ok(Some(given)) => Ok((Vec::new(), given)),
            Err(failure) => Err(failure),
        };
        Ok(done.map(|(written, given)| {
            let answer = unsealed(given.answer, personal.as_ref());
            (written, Given { answer, ..given })
        }))
    }

    /// The gift that the request made before, if it did: no lock is needed to say so.
    async fn given_before(
        &self,
        asked: Asking<'_>,
        program: &ProgramId,
        [giver, taker]: [&Side; 2],
    ) -> Result<Option<Given>, Failure> {
        let key = request_key(program, &giver.member, asked.request.0);
        let seen = store::log::by_request(self.database.pool(), giver.shard, key).await?;
        let Some(seen) = seen else {
            return Ok(None);
        };
        let transaction = seen.transaction()?;
        same_request(asked.request, asked.command, &transaction).map_err(Failure::Refused)?;
        let pool = self.database.pool();
        let mut connection = pool.acquire().await.map_err(DatabaseError::from)?;
        let member = (program, &taker.member);
        let gift = transaction.place();
        let found = received(&mut connection, taker.shard, member, gift).await?;
        // A copy of the logs may be of two moments where they lie on several nodes.
        let Some(found) = found else {
            return Ok(None);
        };
        let answer = Answer {
            transaction: transaction.into(),
            replayed: true,
        };
        Ok(Some(Given {
            answer,
            recipient: found.place(),
        }))
    }

    /// Makes a gift, if the version of the programme that is known here is in force.
    async fn give_once(
        &self,
        asked: Asking<'_>,
        program: &ProgramId,
        sides: [&Side; 2],
    ) -> Result<(Vec<(ShardId, Written)>, Given), Failure> {
        run!(self.database, "gift", |connection| async {
            self.give_in(connection, asked, program, sides).await
        })
    }

    /// Makes a gift in a transaction.
    async fn give_in(
        &self,
        connection: &mut PgConnection,
        Asking {
            caller,
            request,
            command,
            personal,
            applied,
            ended,
        }: Asking<'_>,
        program: &ProgramId,
        [giver, taker]: [&Side; 2],
    ) -> Result<(Vec<(ShardId, Written)>, Given), Failure> {
        let key = request_key(program, &giver.member, request.0);
        let sides = [giver, taker];
        let locked = lock_sides(connection, program, sides, (key, command), &self.clock);
        let (mut works, seen, now) = locked.await?;
        if let Some(seen) = seen {
            let transaction = seen.transaction()?;
            same_request(request, command, &transaction).map_err(Failure::Refused)?;
            let member = (program, &taker.member);
            let found = received(connection, taker.shard, member, transaction.place()).await?;
            let broken = DatabaseError::Broken("a gift has no other side");
            let recipient = found.ok_or(broken)?.place();
            let answer = Answer {
                transaction: transaction.into(),
                replayed: true,
            };
            return Ok((Vec::new(), Given { answer, recipient }));
        }
        for work in works.values() {
            self.none_ended_since(connection, work, program, (ended, now))
                .await?;
        }
        let mut planned = plan(applied, request, command, OfMember::default(), now)
            .map_err(|error| Failure::Refused(error.into()))?;
        planned.principal = Some(principal(caller));
        let same_shard = giver.shard == taker.shard;
        // The recipient's side is planned by no version: the points keep their terms.
        let work = works.get_mut(&giver.shard).expect("it was read");
        work.allow_due(DUE_WITH_A_CHANGE);
        let done = work.execute(connection, 0, applied, &mut planned).await?;
        let position = giver.place(self.shards, done)?;
        let written_gift = work.log().at(position).expect("it was just written");
        let gift = given(work.book(0), written_gift, planned.term_ends);
        let records = lane::is_recorded(caller, command);
        let recorded = records.then(|| lane::entry(caller, self.shards.ids(), written_gift, None));
        let work = works.get_mut(&taker.shard).expect("it was read");
        let slot = usize::from(same_shard);
        work.allow_due(DUE_WITH_A_CHANGE);
        // A refusal here undoes the whole: nothing of either side is written.
        let done = work.receive(connection, slot, &applied.program, &gift);
        let arrived = taker.place(self.shards, done.await?)?;
        let mut written = Vec::new();
        for (shard, work) in works {
            let locked = ReadOn::Locked;
            let work = work.write(connection, self.shards.placement(), locked, None);
            written.push((shard, work.await?));
        }
        let name = (program, &giver.member);
        store::personal::keep(connection, giver.shard, name, personal).await?;
        if let Some(entry) = &recorded {
            audit_log::append(&mut *connection, entry).await?;
            caller.mark_recorded();
        }
        let of_giver = written.iter().find(|(shard, _)| *shard == giver.shard);
        let answer = of_giver.expect("it was written").1.answer(position, false);
        let recipient = TransactionPlace {
            shard: taker.shard,
            position: arrived,
        };
        Ok((written, Given { answer, recipient }))
    }
}

/// Locks the shards of both sides in their order, and reads them; answers also
/// with the giver's transaction, if the request was there before, and the time.
async fn lock_sides(
    connection: &mut PgConnection,
    program: &ProgramId,
    [giver, taker]: [&Side; 2],
    (key, command): (Uuid, &Command),
    clock: &ServiceClock,
) -> Result<(BTreeMap<ShardId, ShardWork>, Option<SeenRow>, Timestamp), Failure> {
    let shards = BTreeSet::from([giver.shard, taker.shard]);
    for shard in &shards {
        lock_head(connection, *shard).await?;
    }
    // Read once nobody else writes: what is written is stamped with it.
    let now = clock.now();
    let (mut works, mut seen) = (BTreeMap::new(), None);
    for shard in shards {
        let sides = [giver, taker].into_iter().filter(|s| s.shard == shard);
        let members: Vec<(ProgramId, MemberId)> = sides
            .map(|side| (program.clone(), side.member.clone()))
            .collect();
        let mut asked = Asked::default();
        if shard == giver.shard {
            asked.requests.push(key);
            asked.command(0, command);
        }
        let locked = ReadOn::Locked;
        let read = ShardWork::read(connection, shard, members, &asked, now, locked, None);
        let (work, mut before) = read.await?;
        seen = seen.or_else(|| before.remove(&key));
        works.insert(shard, work);
    }
    Ok((works, seen, now))
}
