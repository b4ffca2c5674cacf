//! Proposing, approving and rejecting.

use std::sync::Arc;

use fealty_auth::{Caller, InReach};
use fealty_ledger::{Adjust, Command, Transaction};
use fealty_postgres::{
    DatabaseError, PgConnection,
    audit_log::{self, NewAuditEntry},
    run,
};
use fealty_program::ProgramVersion;
use fealty_server::audit_entry;
use fealty_types::{
    Clock as _, Metadata, Position, ProgramId, Reference, RequestId, ShardId, Subject, TierId,
    Timestamp,
};
use uuid::Uuid;

use super::{
    proposal::{Decision, Proposal, Proposed, State, Wanted},
    store,
};
use crate::{
    error::Error,
    lane::{entry, principal, same_request},
    ledger::{Change, Failure, Ledger},
    plan::{OfMember, plan, tier_moment},
    shard::{
        Answer, Asked, DUE_WITH_A_CHANGE, Driven, PersonalValues, ReadOn, ShardWork, Written,
        request_key,
        store::{batch_read, head::lock_head, personal},
        unsealed,
    },
};

/// A decision asked for.
pub(crate) struct Deciding {
    pub(crate) adjustment: Uuid,
    /// Why it is rejected.
    pub(crate) note: Reference,
}

/// A proposal that was approved.
pub(crate) struct Approved {
    pub(crate) proposal: Proposal,
    /// The transaction that made it.
    pub(crate) made: Arc<Transaction>,
    /// Whether it was made already.
    pub(crate) replayed: bool,
}

impl Approved {
    /// With what is personal, for who knows it.
    fn of(
        proposal: Proposal,
        transaction: Arc<Transaction>,
        replayed: bool,
        personal: Option<&PersonalValues>,
    ) -> Self {
        let answer = Answer {
            transaction,
            replayed,
        };
        Self {
            proposal,
            made: unsealed(answer, personal).transaction,
            replayed,
        }
    }
}

fn nothing() -> Reference {
    "".parse().expect("a reference may be empty")
}

/// The person behind a call.
fn person(caller: &Caller) -> Subject {
    caller.whom().unwrap_or(caller.subject()).clone()
}

/// Whether a caller acts in the name of the brand that bears an adjustment.
fn reaches(caller: &Caller, proposal: &Proposal) -> bool {
    let own = caller.brands();
    own.is_none_or(|own| own.contains(&proposal.proposed.brand))
}

/// Whether a caller may approve what somebody else proposed: by a token of its own, for
/// a service that acts for somebody is no second person.
fn is_second_person(caller: &Caller, proposal: &Proposal) -> bool {
    let first = [&proposal.proposer, &proposal.carrier];
    caller.whom().is_none() && !first.contains(&caller.subject())
}

/// What the audit log is told of a proposal, and of one that was rejected.
fn told(caller: &Caller, proposal: &Proposal, reason: &Reference) -> NewAuditEntry {
    NewAuditEntry {
        program: Some(proposal.program.clone()),
        member: Some(proposal.member.clone()),
        reason: Some(reason.to_string()),
        ..audit_entry(caller)
    }
}

/// Adjustments that two persons decide.
#[derive(Clone)]
pub(crate) struct Adjustments {
    pub(crate) ledger: Ledger,
}

impl Adjustments {
    /// Keeps a proposal, once, however often it is sent; answers also whether it was
    /// there already.
    pub(crate) async fn propose(
        &self,
        change: Change<Proposed>,
    ) -> Result<(Proposal, bool), Error> {
        let Change {
            caller,
            request_id,
            program,
            member,
            command: proposed,
            ..
        } = change;
        let applied = self.ledger.programs.newest(&program)?;
        let shard = self.ledger.shards.of(&program, &member);
        let key = request_key(&program, &member, &request_id);
        let same = |before: Proposal| match proposed.first_difference(&before.proposed) {
            Some(field) => Err(Error::RequestIdReused { field }),
            None => Ok((before, true)),
        };
        let known = store::by_request(self.ledger.database.pool(), shard, key).await?;
        if let Some(known) = known {
            return same(known);
        }
        let now = self.ledger.clock.now();
        let proposal = Proposal {
            id: Uuid::now_v7(),
            program: (*program).clone(),
            member: (*member).clone(),
            proposed: proposed.clone(),
            state: State::Proposed,
            proposer: person(&caller),
            carrier: caller.subject().clone(),
            proposed_at: now,
            decision: None,
            position: None,
        };
        // What the programme would refuse is refused now.
        let command = command(&proposal, &proposal.proposer)?;
        let metadata = &proposal.proposed.metadata;
        let asked = (&request_id, metadata);
        plan(&applied, asked, &command, OfMember::default(), now)?;
        let before: Result<Option<Proposal>, DatabaseError> = run!(
            self.ledger.database,
            "propose_adjustment",
            |connection| async {
                let before = store::propose(connection, shard, key, &proposal).await?;
                if before.is_none() {
                    let entry = told(&caller, &proposal, &proposal.proposed.reason);
                    audit_log::append(&mut *connection, &entry).await?;
                    caller.mark_recorded();
                }
                Ok(before)
            }
        );
        before?.map_or(Ok((proposal, false)), same)
    }

    /// Approves a proposal, and makes the adjustment; answers also with its transaction
    /// and whether it was made already.
    pub(crate) async fn approve(&self, change: Change<Deciding>) -> Result<Approved, Error> {
        let applied = self.ledger.programs.newest(&change.program)?;
        let shard = self.ledger.shards.of(&change.program, &change.member);
        let ended = self.ledger.clock.now();
        let member = &change.member;
        self.ledger
            .end_before_write(shard, &applied, member)
            .await?;
        let mut done = self.approve_once(shard, (&change, ended)).await;
        if let Err(Failure::VersionPassed) = done {
            self.ledger.programs.refresh().await?;
            done = self.approve_once(shard, (&change, ended)).await;
        }
        let (approved, written) = done.map_err(Error::from)?;
        if let Some(written) = &written {
            self.ledger.publisher.publish(shard, written).await;
        }
        Ok(approved)
    }

    /// Approves a proposal, if the version of the programme that is known here is in
    /// force.
    async fn approve_once(
        &self,
        shard: ShardId,
        (change, ended): (&Change<Deciding>, Timestamp),
    ) -> Result<(Approved, Option<Written>), Failure> {
        run!(
            self.ledger.database,
            "approve_adjustment",
            |connection| async { self.approve_in(connection, shard, (change, ended)).await }
        )
    }

    async fn approve_in(
        &self,
        connection: &mut PgConnection,
        shard: ShardId,
        (change, ended): (&Change<Deciding>, Timestamp),
    ) -> Result<(Approved, Option<Written>), Failure> {
        let (refused, caller) = (Failure::Refused, &change.caller);
        // The head first, as everybody who writes to the shard.
        lock_head(connection, shard).await?;
        let mut proposal = self.lock(connection, shard, change).await?;
        if !is_second_person(caller, &proposal) {
            return Err(refused(Error::SecondPersonRequired(proposal.id)));
        }
        let by = caller.subject().clone();
        let mut command = command(&proposal, &by).map_err(refused)?;
        let mut metadata = proposal.proposed.metadata.clone();
        let request = (&change.request_id, &mut metadata);
        let applied = self.ledger.programs.newest(&change.program);
        let applied = applied.map_err(|_| refused(Error::Defect))?;
        let sealed =
            self.ledger
                .seal_in(connection, &applied, &change.member, request, &mut command);
        let personal = sealed.await?;
        let request = (&change.request_id, &metadata);
        let key = request_key(&change.program, &change.member, &change.request_id);
        let mut asked = Asked {
            requests: vec![key],
            ..Asked::default()
        };
        asked.command(0, &command);
        let now = self.ledger.clock.now();
        let member = (proposal.program.clone(), proposal.member.clone());
        let locked = ReadOn::Locked;
        let read = ShardWork::read(connection, shard, [member], &asked, now, locked, None);
        let (mut work, mut seen) = read.await?;
        if let Some(seen) = seen.remove(&key) {
            let made = seen.transaction()?;
            same_request(request, &command, &made).map_err(refused)?;
            if proposal.position != Some(made.position) {
                return Err(refused(proposal.decided()));
            }
            let approved = Approved::of(proposal, made.into(), true, personal.as_ref());
            return Ok((approved, None));
        }
        if proposal.state != State::Proposed {
            return Err(refused(proposal.decided()));
        }
        let position = self
            .execute(
                connection,
                &mut work,
                (change, &applied),
                (request.1, &command),
                (ended, now),
            )
            .await?;
        let made = work.log().at(position).expect("it was just written");
        let entry = entry(caller, self.ledger.shards.ids(), made, None);
        let placement = self.ledger.shards.placement();
        let written = work
            .write(connection, placement, ReadOn::Locked, None)
            .await?;
        let decision = approval(by, now, &change.request_id);
        let (place, to) = ((shard, proposal.id), State::Approved);
        store::decide(&mut *connection, place, to, &decision, Some(position)).await?;
        let name = (&proposal.program, &proposal.member);
        personal::keep(connection, shard, name, personal.as_ref()).await?;
        audit_log::append(&mut *connection, &entry).await?;
        caller.mark_recorded();
        proposal.state = to;
        proposal.position = Some(position);
        proposal.decision = Some(decision);
        let made = written.answer(position, false).transaction;
        let approved = Approved::of(proposal, made, false, personal.as_ref());
        Ok((approved, Some(written)))
    }

    /// Makes the adjustment in the member's books.
    async fn execute(
        &self,
        connection: &mut PgConnection,
        work: &mut ShardWork,
        (change, applied): (&Change<Deciding>, &ProgramVersion),
        (metadata, command): (&Metadata, &Command),
        (ended, now): (Timestamp, Timestamp),
    ) -> Result<Position, Failure> {
        self.ledger
            .none_ended_since(connection, work, &change.program, (ended, now))
            .await?;
        let refused = |error: Error| Failure::Refused(error);
        let request = (&change.request_id, metadata);
        let tier = self.tier(connection, work.shard(), (change, applied), command, now);
        let of_member = OfMember::with(tier.await?);
        let planned = plan(applied, request, command, of_member, now);
        let mut planned = planned.map_err(|error| refused(error.into()))?;
        planned.principal = Some(principal(&change.caller));
        work.allow_due(DUE_WITH_A_CHANGE);
        let executed = work.execute(connection, 0, applied, &mut planned).await?;
        let (shards, shard) = (self.ledger.shards, work.shard());
        match executed {
            Driven::Done(position) => Ok(position),
            Driven::Refused(refusal) => Err(refused(Error::refused(shards, shard, refusal))),
            Driven::MoreIsDue => Err(refused(Error::Unavailable)),
        }
    }

    /// The tier that decides how long points live, if one does.
    async fn tier(
        &self,
        connection: &mut PgConnection,
        shard: ShardId,
        (change, applied): (&Change<Deciding>, &ProgramVersion),
        command: &Command,
        now: Timestamp,
    ) -> Result<Option<TierId>, DatabaseError> {
        let Some(moment) = tier_moment(&applied.program, command, now) else {
            return Ok(None);
        };
        let mut asked = batch_read::AskedTiers::default();
        let (program, member) = (change.program.to_string(), change.member.to_string());
        asked.push(program, member, moment);
        let tiers = batch_read::tiers(connection, shard, &asked).await?;
        Ok(tiers.into_iter().next().map(|(_, tier)| tier))
    }

    /// Rejects a proposal; answers also whether it was rejected already.
    pub(crate) async fn reject(&self, change: Change<Deciding>) -> Result<(Proposal, bool), Error> {
        let applied = self.ledger.programs.newest(&change.program)?;
        // The audit log keeps what it is told.
        let reason = if applied.program.personal.notes {
            nothing()
        } else {
            change.command.note.clone()
        };
        let shard = self.ledger.shards.of(&change.program, &change.member);
        let by = person(&change.caller);
        let done: Result<(Proposal, bool), Failure> = run!(
            self.ledger.database,
            "reject_adjustment",
            |connection| async {
                let mut proposal = self.lock(connection, shard, &change).await?;
                if proposal.state == State::Rejected
                    && proposal.was_decided_by(&change.request_id, &by)
                {
                    return Ok((proposal, true));
                }
                if proposal.state != State::Proposed {
                    return Err(Failure::Refused(proposal.decided()));
                }
                let decision = Decision {
                    by: by.clone(),
                    at: self.ledger.clock.now(),
                    note: change.command.note.clone(),
                    request_id: Some(change.request_id.clone()),
                };
                let (place, to) = ((shard, proposal.id), State::Rejected);
                store::decide(&mut *connection, place, to, &decision, None).await?;
                let entry = told(&change.caller, &proposal, &reason);
                audit_log::append(&mut *connection, &entry).await?;
                change.caller.mark_recorded();
                proposal.state = to;
                proposal.decision = Some(decision);
                Ok((proposal, false))
            }
        );
        Ok(done?)
    }

    /// The proposal that a decision is about; another brand's is as one that is not
    /// there.
    async fn lock(
        &self,
        connection: &mut PgConnection,
        shard: ShardId,
        change: &Change<Deciding>,
    ) -> Result<Proposal, Failure> {
        let id = change.command.adjustment;
        let member = (&*change.program, &*change.member);
        let found = store::lock(connection, shard, member, id).await?;
        let found = found.filter(|found| reaches(&change.caller, found));
        found.ok_or(Failure::Refused(Error::AdjustmentNotFound(id)))
    }

    /// Some of a programme's proposals that concern the caller, newest first, and the
    /// last of the page if there are more.
    pub(crate) async fn list(
        &self,
        caller: &Caller,
        program: &InReach<ProgramId>,
        wanted: &Wanted,
    ) -> Result<(Vec<Proposal>, Option<(Timestamp, Uuid)>), Error> {
        self.ledger.programs.newest(program)?;
        let pool = self.ledger.database.pool();
        let more = wanted.limit + 1;
        let listed = store::list(pool, program, wanted, caller.brands(), more);
        let mut listed = listed.await?;
        let has_more = listed.len() > wanted.limit;
        listed.truncate(wanted.limit);
        let next = listed.last().filter(|_| has_more);
        let next = next.map(|last| (last.proposed_at, last.id));
        Ok((listed, next))
    }
}

/// The command that makes a proposal, approved by somebody.
fn command(proposal: &Proposal, approver: &Subject) -> Result<Command, Error> {
    let named = |subject: &Subject| -> Result<Reference, Error> {
        subject.as_str().parse().map_err(|_| Error::Defect)
    };
    let proposed = &proposal.proposed;
    Ok(Command::Adjust(Adjust {
        brand: proposed.brand.clone(),
        currency: proposed.currency.clone(),
        points: proposed.points,
        gives: proposed.gives,
        reason: proposed.reason.clone(),
        actor: named(&proposal.proposer)?,
        approver: Some(named(approver)?),
        note: proposed.note.clone(),
    }))
}

/// The decision of somebody who approves.
fn approval(by: Subject, at: Timestamp, request_id: &RequestId) -> Decision {
    Decision {
        by,
        at,
        note: nothing(),
        request_id: Some(request_id.clone()),
    }
}
