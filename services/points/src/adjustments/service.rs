//! Proposing, approving and rejecting.

use std::sync::Arc;

use fealty_auth::{Caller, InReach};
use fealty_ledger::{Adjust, Command, Transaction};
use fealty_postgres::{DatabaseError, audit_log, run};
use fealty_server::audit_entry;
use fealty_types::{Clock as _, MemberId, ProgramId, Reference, ShardId, Subject, Timestamp};
use uuid::Uuid;

use super::{
    proposal::{Decision, Proposal, Proposed, State},
    store,
};
use crate::{
    error::Error,
    ledger::{Change, Ledger},
    plan::plan,
    shard::{Logged, request_key, store as shard_store},
};

/// A decision asked for.
pub(crate) struct Deciding {
    pub(crate) adjustment: Uuid,
    /// Why it is rejected.
    pub(crate) note: Reference,
}

/// Which proposals are wanted.
pub(crate) struct Wanted {
    pub(crate) member: Option<InReach<MemberId>>,
    pub(crate) states: Vec<State>,
    /// Proposed before this one.
    pub(crate) before: Option<(Timestamp, Uuid)>,
    pub(crate) limit: usize,
}

fn nothing() -> Reference {
    "".parse().expect("a reference may be empty")
}

/// The person behind a call.
fn person(caller: &Caller) -> Subject {
    caller.whom().unwrap_or(caller.subject()).clone()
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
        let now = self.ledger.clock.now();
        let proposal = Proposal {
            id: Uuid::now_v7(),
            program: (*program).clone(),
            member: (*member).clone(),
            proposed,
            state: State::Proposed,
            proposer: person(&caller),
            proposed_at: now,
            decision: None,
            position: None,
        };
        // What the programme would refuse is refused now.
        let applied = self.ledger.programs.newest(&program)?;
        let command = command(&proposal, &proposal.proposer)?;
        let metadata = &proposal.proposed.metadata;
        plan(&applied, (&request_id, metadata), &command, None, now)?;
        let shard = self.ledger.shards.of(&program, &member);
        let key = request_key(&program, &member, &request_id);
        let before: Result<Option<Proposal>, DatabaseError> = run!(
            self.ledger.database,
            "propose_adjustment",
            |connection| async {
                let before = store::propose(connection, shard, key, &proposal).await?;
                if before.is_none() {
                    let mut entry = audit_entry(&caller);
                    entry.program = Some(proposal.program.clone());
                    entry.member = Some(proposal.member.clone());
                    entry.reason = Some(proposal.proposed.reason.to_string());
                    audit_log::append(&mut *connection, &entry).await?;
                    caller.mark_recorded();
                }
                Ok(before)
            }
        );
        match before? {
            None => Ok((proposal, false)),
            Some(before) => match proposal.proposed.first_difference(&before.proposed) {
                Some(field) => Err(Error::RequestIdReused { field }),
                None => Ok((before, true)),
            },
        }
    }

    /// Approves a proposal, and makes the adjustment; answers also with its transaction
    /// and whether it was made already.
    pub(crate) async fn approve(
        &self,
        change: Change<Deciding>,
    ) -> Result<(Proposal, Arc<Transaction>, bool), Error> {
        let by = person(&change.caller);
        let shard = self.ledger.shards.of(&change.program, &change.member);
        let proposal = self.find(&change).await?;
        if proposal.proposer == by || proposal.proposer == *change.caller.subject() {
            return Err(Error::SecondPersonRequired(proposal.id));
        }
        if proposal.state == State::Approved && proposal.was_decided_by(&change.request_id, &by) {
            let made = self.made(shard, &proposal).await?.ok_or(Error::Defect)?;
            return Ok((proposal, made, true));
        }
        let decision = Decision {
            by: by.clone(),
            at: self.ledger.clock.now(),
            note: nothing(),
            request_id: Some(change.request_id.clone()),
        };
        let (pool, place) = (self.ledger.database.pool(), (shard, proposal.id));
        let open = [State::Proposed, State::Approving];
        let approving = State::Approving;
        let taken = store::decide(pool, place, &open, approving, Some(&decision), None).await?;
        if !taken {
            return Err(self.find(&change).await?.decided());
        }
        let adjust = Change {
            caller: change.caller.clone(),
            request_id: proposal.request_id(),
            metadata: proposal.proposed.metadata.clone(),
            program: change.program.clone(),
            member: change.member.clone(),
            named_shard: None,
            command: command(&proposal, &by)?,
        };
        let made = match self.ledger.submit(adjust).await {
            Ok(answer) => answer.transaction,
            // Another approver was faster, though it has not been noted yet.
            Err(Error::RequestIdReused { .. }) => {
                self.settle(shard, &proposal).await?;
                return Err(self.find(&change).await?.decided());
            }
            Err(refused @ (Error::Plan(_) | Error::Ledger { .. })) => {
                let proposed = State::Proposed;
                store::decide(pool, place, &[State::Approving], proposed, None, None).await?;
                return Err(refused);
            }
            // Whether it was made is not known: the same approval tells.
            Err(error) => return Err(error),
        };
        self.settle(shard, &proposal).await?;
        Ok((self.find(&change).await?, made, false))
    }

    /// Rejects a proposal; answers also whether it was rejected already.
    pub(crate) async fn reject(&self, change: Change<Deciding>) -> Result<(Proposal, bool), Error> {
        let by = person(&change.caller);
        let shard = self.ledger.shards.of(&change.program, &change.member);
        let proposal = self.find(&change).await?;
        if proposal.state == State::Rejected && proposal.was_decided_by(&change.request_id, &by) {
            return Ok((proposal, true));
        }
        let decision = Decision {
            by,
            at: self.ledger.clock.now(),
            note: change.command.note.clone(),
            request_id: Some(change.request_id.clone()),
        };
        let place = (shard, proposal.id);
        let rejected: Result<bool, DatabaseError> = run!(
            self.ledger.database,
            "reject_adjustment",
            |connection| async {
                let from = [State::Proposed];
                let to = State::Rejected;
                let done = store::decide(&mut *connection, place, &from, to, Some(&decision), None);
                if !done.await? {
                    return Ok(false);
                }
                let mut entry = audit_entry(&change.caller);
                entry.program = Some(proposal.program.clone());
                entry.member = Some(proposal.member.clone());
                entry.reason = Some(decision.note.to_string());
                audit_log::append(&mut *connection, &entry).await?;
                change.caller.mark_recorded();
                Ok(true)
            }
        );
        let now = self.find(&change).await?;
        if rejected? {
            Ok((now, false))
        } else {
            Err(now.decided())
        }
    }

    /// Some of a programme's proposals, newest first, and whether there are more.
    pub(crate) async fn list(
        &self,
        program: &InReach<ProgramId>,
        wanted: &Wanted,
    ) -> Result<(Vec<Proposal>, bool), Error> {
        self.ledger.programs.newest(program)?;
        let pool = self.ledger.database.pool();
        let member = wanted.member.as_deref();
        let more = wanted.limit + 1;
        let listed = store::list(pool, program, member, &wanted.states, wanted.before, more);
        let mut listed = listed.await?;
        let has_more = listed.len() > wanted.limit;
        listed.truncate(wanted.limit);
        Ok((listed, has_more))
    }

    /// The proposal that a decision is about.
    async fn find(&self, change: &Change<Deciding>) -> Result<Proposal, Error> {
        self.ledger.programs.newest(&change.program)?;
        let shard = self.ledger.shards.of(&change.program, &change.member);
        let member = (&*change.program, &*change.member);
        let id = change.command.adjustment;
        let found = store::read(self.ledger.database.pool(), shard, member, id).await?;
        found.ok_or(Error::AdjustmentNotFound(id))
    }

    /// The transaction that made a proposal, if it was made.
    async fn made(
        &self,
        shard: ShardId,
        proposal: &Proposal,
    ) -> Result<Option<Arc<Transaction>>, Error> {
        let key = request_key(&proposal.program, &proposal.member, &proposal.request_id());
        let pool = self.ledger.database.pool();
        let row = shard_store::log::by_request(pool, shard, key).await?;
        let logged = row.map(Logged::try_from).transpose()?;
        Ok(logged.map(|logged| logged.transaction.into()))
    }

    /// Notes what the log says of a proposal that is being approved: that it was made,
    /// and by whose approval.
    async fn settle(&self, shard: ShardId, proposal: &Proposal) -> Result<(), Error> {
        let Some(made) = self.made(shard, proposal).await? else {
            return Ok(());
        };
        let Some(Command::Adjust(adjust)) = made.command() else {
            return Err(Error::Defect);
        };
        let approver = adjust.approver.as_ref().map(Reference::as_str);
        let read = store::read(
            self.ledger.database.pool(),
            shard,
            (&proposal.program, &proposal.member),
            proposal.id,
        );
        let noted = read.await?.and_then(|noted| noted.decision);
        let by = approver.and_then(|approver| approver.parse().ok());
        let by: Subject = by.ok_or(Error::Defect)?;
        let decision = Decision {
            request_id: noted
                .filter(|noted| noted.by == by)
                .and_then(|noted| noted.request_id),
            by,
            at: made.effective_at,
            note: nothing(),
        };
        let pool = self.ledger.database.pool();
        let (from, to) = ([State::Approving], State::Approved);
        let place = (shard, proposal.id);
        let at = Some(made.position);
        store::decide(pool, place, &from, to, Some(&decision), at).await?;
        Ok(())
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
