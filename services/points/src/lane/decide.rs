//! The jobs of a batch, one after the other: seen before, refused, or done; `backfill` is what
//! counters come to by the log, `budgets` what a purchase wants of those that its shard has too
//! little of, `referral` who may claim to be brought by another, `tier` what changes of a member's
//! tier mean.

mod backfill;
mod budgets;
mod planned;
mod referral;
mod replay;
mod same;
mod tier;

use std::collections::{HashMap, HashSet};

use fealty_auth::Caller;
use fealty_ledger::{Lot, Request, Transaction};
use fealty_postgres::{DatabaseError, PgConnection, audit_log::NewAuditEntry, foundation};
use fealty_server::Programs;
use fealty_types::{MemberId, Position, ProgramId, ShardId, Timestamp};
use uuid::Uuid;

use budgets::{Budgets, More};
use same::recorded_before;
pub(crate) use same::same_request;

use super::{
    backfills::Backfills,
    ends::{Ends, EndsOfBatch, Late},
    job::{Done, Job, Work},
    lease::{Leasing, Want},
    recorded::{entry, is_recorded, lot_before, principal},
    tiers::{AskedTiers, Tiers},
};
use crate::{
    error::Error,
    shard::{
        Asked, Driven, Interrupted, Memory, ReadOn, ShardWork, Shards, order_shard, request_key,
        store::{
            self,
            rows::{OrderRow, SeenRow},
            stored,
        },
    },
};

/// What a job comes to before it is written.
pub(super) enum Pending {
    /// The transaction at this position, in this batch, or its replay.
    Written { position: Position, replayed: bool },
    /// Done, whatever is written.
    Final(Done),
    /// Left to a later batch: this one has enough to do.
    Postponed,
    /// Left to a later batch, for which more of a budget is leased.
    LeftForMore,
}

/// Lots that what is due before one request may change: then it is to be sent again.
const DUE_PER_REQUEST: usize = 5_000;
/// Lots that one wallet which the sweeper found may change in a batch.
const DUE_PER_WALLET: usize = 1_000;
/// Lots that what is due may change in a batch; further jobs are left to the next.
const DUE_PER_BATCH: usize = 2_000;
/// The same for wallets that the sweeper found, where callers wait for the batch.
const DUE_BESIDE_CALLERS: usize = 250;

/// What is known of a batch's orders and programmes before it is decided.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Recorded by others.
    pub(super) recorded: HashSet<Uuid>,
    /// Nothing can be said of them for now: their node does not answer, or others
    /// claim them again and again.
    pub(super) unreachable: HashSet<Uuid>,
    /// Programmes whose stored version was looked for anew.
    pub(super) versions_looked_for: HashSet<ProgramId>,
    /// Programmes whose version in force is not to be had here.
    pub(super) unplanned: HashSet<ProgramId>,
}

/// What jobs are decided with.
type Means<'a> = (&'a Programs, &'a Leasing, (&'a Ends, &'a Backfills));

/// The jobs of a batch.
pub(super) struct Jobs {
    work: ShardWork,
    shards: Shards,
    programs: Programs,
    budgets: Budgets,
    ends: EndsOfBatch,
    backfills: Backfills,
    /// Members of whom something is left: what comes later waits for it.
    parked: HashSet<usize>,
    now: Timestamp,
    /// Slot of each job's member.
    slot_of: Vec<usize>,
    /// Key of each job's request.
    keys: Vec<Option<Uuid>>,
    /// Requests seen before this batch.
    seen: HashMap<Uuid, SeenRow>,
    /// Requests done in this batch.
    done: HashMap<Uuid, Position>,
    /// Tiers that the jobs asked for.
    tiers: Tiers,
    /// Orders recorded before, and in this batch.
    orders: HashSet<Uuid>,
    /// Orders that nothing can be said of for now.
    unreachable: HashSet<Uuid>,
    /// Programmes whose version in force is not to be had here.
    unplanned: HashSet<ProgramId>,
    /// Programmes whose version at hand is the newest stored.
    newest: HashSet<ProgramId>,
    pending: Vec<Pending>,
    /// Lots that were changed by what was due.
    due_done: usize,
    /// Whether callers wait for the batch.
    has_callers: bool,
    /// What the audit log is told of it.
    recorded: Vec<NewAuditEntry>,
}

impl Jobs {
    /// Reads what the jobs name.
    pub(super) async fn read(
        connection: &mut PgConnection,
        (shards, shard, (programs, leasing, (ends, backfills))): (Shards, ShardId, Means<'_>),
        jobs: &[Job],
        now: Timestamp,
        read_on: ReadOn,
        memory: Option<&mut Memory>,
        known: &Known,
    ) -> Result<Self, Interrupted> {
        let mut asked = Asked::default();
        let mut index_of: HashMap<(&ProgramId, &MemberId), usize> = HashMap::new();
        let mut members = Vec::new();
        let mut slot_of = Vec::with_capacity(jobs.len());
        let mut keys = Vec::with_capacity(jobs.len());
        let mut tiers = AskedTiers::default();
        for (index, job) in jobs.iter().enumerate() {
            let member = (&job.applied.program.id, &job.member);
            let slot = *index_of.entry(member).or_insert_with(|| {
                members.push((member.0.clone(), member.1.clone()));
                members.len() - 1
            });
            slot_of.push(slot);
            tiers.job(index, job, now);
            let Work::Request {
                request_id,
                command,
                ..
            } = &job.work
            else {
                keys.push(None);
                continue;
            };
            let key = request_key(member.0, member.1, request_id);
            keys.push(Some(key));
            asked.requests.push(key);
            asked.command(slot, command);
            asked.leases |= budgets::may_draw(job, command);
        }
        asked.requests.sort_unstable();
        asked.requests.dedup();
        let (work, seen) =
            ShardWork::read(connection, shard, members, &asked, now, read_on, memory).await?;
        let tiers = tiers.read(connection, shard, now, read_on).await?;
        let ends = EndsOfBatch::read(connection, (ends, programs), &work, now).await?;
        Ok(Self {
            work,
            shards,
            programs: programs.clone(),
            budgets: Budgets::new(leasing.clone()),
            ends,
            backfills: backfills.clone(),
            parked: HashSet::new(),
            now,
            slot_of,
            keys,
            seen,
            done: HashMap::new(),
            tiers,
            orders: known.recorded.clone(),
            unreachable: known.unreachable.clone(),
            unplanned: known.unplanned.clone(),
            newest: HashSet::new(),
            pending: Vec::with_capacity(jobs.len()),
            due_done: 0,
            has_callers: jobs.iter().any(|job| !job.is_due()),
            recorded: Vec::new(),
        })
    }

    /// Decides the next job, or leaves it to a later batch.
    pub(super) async fn decide(
        &mut self,
        connection: &mut PgConnection,
        index: usize,
        job: &Job,
    ) -> Result<(), Interrupted> {
        let pending = match self.replay(index, job)? {
            Some(pending) => pending,
            None if !self.has_room(job) || self.parked.contains(&self.slot_of[index]) => {
                self.postpone(connection, index, job).await?
            }
            None => {
                let allowed = match &job.work {
                    Work::Request { .. } => DUE_PER_REQUEST,
                    Work::Advance { .. } | Work::ChangeTier | Work::EndPeriods { .. } => {
                        DUE_PER_WALLET
                    }
                };
                self.work.allow_due(allowed);
                let (_, reads_before) = self.work.due_left();
                let before = self.work.log().written().len();
                let pending = self.perform(connection, index, job).await?;
                let (left, reads) = self.work.due_left();
                self.due_done += allowed.saturating_sub(left) + (reads - reads_before);
                if job.is_due() {
                    self.due_done += self.work.log().written().len() - before;
                }
                pending
            }
        };
        self.pending.push(pending);
        Ok(())
    }

    /// Whether a job may still be done in this batch.
    fn has_room(&self, job: &Job) -> bool {
        let most = if job.is_due() && self.has_callers {
            DUE_BESIDE_CALLERS
        } else {
            DUE_PER_BATCH
        };
        self.due_done < most
    }

    /// Leaves a job to a later batch.
    async fn postpone(
        &mut self,
        connection: &mut PgConnection,
        index: usize,
        job: &Job,
    ) -> Result<Pending, Interrupted> {
        let changes = self.tiers.changes.remove(&index).unwrap_or_default();
        self.put_back(connection, job, &changes).await?;
        Ok(Pending::Postponed)
    }

    async fn perform(
        &mut self,
        connection: &mut PgConnection,
        index: usize,
        job: &Job,
    ) -> Result<Pending, Interrupted> {
        let are_unknown = self.ends.are_unknown(&job.applied.program.id);
        if are_unknown || !self.backfill(connection, index, job).await? {
            // What changes of tier mean stays due.
            self.postpone(connection, index, job).await?;
            return Ok(Pending::Final(Err(Error::Unavailable)));
        }
        let moment = job.moment(self.now);
        let (work, slot) = (&mut self.work, self.slot_of[index]);
        // The ends of periods come before whatever else is done for the member.
        let ended = self.ends.write(work, connection, slot, moment).await?;
        let done = match &job.work {
            _ if matches!(ended, Driven::MoreIsDue) && job.is_due() => {
                self.postpone(connection, index, job).await?
            }
            _ if matches!(ended, Driven::MoreIsDue) => Pending::Final(Err(Error::Unavailable)),
            Work::EndPeriods { .. } => Pending::Final(Ok(None)),
            Work::Request { .. } => return self.execute(connection, index, job).await,
            Work::Advance { currency, .. } => {
                let program = &job.applied.program;
                work.advance(connection, slot, program, currency, moment)
                    .await?;
                Pending::Final(Ok(None))
            }
            Work::ChangeTier => self.change_tier(connection, index, job).await?,
        };
        Ok(done)
    }

    /// Plans a request and does it.
    async fn execute(
        &mut self,
        connection: &mut PgConnection,
        index: usize,
        job: &Job,
    ) -> Result<Pending, Interrupted> {
        let Work::Request {
            caller,
            request_id,
            metadata,
            command,
            personal,
            ..
        } = &job.work
        else {
            return Err(DatabaseError::Broken("a job without a request").into());
        };
        let slot = self.slot_of[index];
        let order = job.order();
        if let Err(error) = self.may_be_planned(connection, job, order).await? {
            return Ok(Pending::Final(Err(error)));
        }
        let asked = (request_id, metadata);
        let mut request = match self.plan(index, job, asked, command) {
            Ok(request) => request,
            Err(error) => return Ok(Pending::Final(Err(error.into()))),
        };
        request.principal = Some(principal(caller));
        if let Err(error) = self.look_back(connection, slot, job, &mut request).await? {
            return Ok(Pending::Final(Err(error)));
        }
        if let Some(pending) = self.waits_for_more(slot, job, &request) {
            return Ok(pending);
        }
        let records = is_recorded(caller, command);
        let lot = if records {
            let member = (&job.applied.program.id, &job.member);
            lot_before(connection, self.work.shard(), member, command).await?
        } else {
            None
        };
        let executed = self
            .work
            .execute(connection, slot, &job.applied, &mut request);
        let position = match executed.await? {
            Driven::Done(position) => position,
            // What was due is written as far as it was; whoever asks again finds less of it.
            Driven::MoreIsDue => return Ok(Pending::Final(Err(Error::Unavailable))),
            Driven::Refused(refusal) => {
                let error = Error::refused(self.shards, self.work.shard(), refusal);
                return Ok(Pending::Final(Err(error)));
            }
        };
        let name = (&job.applied.program.id, &job.member);
        let shard = self.work.shard();
        store::personal::keep(connection, shard, name, personal.as_ref()).await?;
        self.follow_up(connection, slot, job, (position, &request))
            .await?;
        if records {
            self.record(caller, position, lot.as_ref());
        }
        self.done
            .extend(self.keys[index].map(|key| (key, position)));
        if let (Some(order_key), Some(request_key)) = (order, self.keys[index]) {
            self.orders.insert(order_key);
            self.work.record_order(OrderRow {
                shard: stored(order_shard(order_key, self.shards)),
                order_key,
                request_key,
            });
        }
        Ok(Pending::Written {
            position,
            replayed: false,
        })
    }

    /// Notes claims, and what came back to budgets, and writes again the ends of the periods in which
    /// something was that came late.
    async fn follow_up(
        &mut self,
        connection: &mut PgConnection,
        slot: usize,
        job: &Job,
        (position, request): (Position, &Request),
    ) -> Result<(), Interrupted> {
        self.note_claim(connection, job, (&request.command, position))
            .await?;
        let written = self.work.log().at(position);
        self.budgets.note_what_came_back(written);
        let Some(at) = written.and_then(Transaction::happened_at) else {
            return Ok(());
        };
        let late = Late {
            applied: &job.applied,
            at,
            keys: request
                .counter_moves
                .iter()
                .map(|moved| moved.key)
                .collect(),
        };
        let (work, moment) = (&mut self.work, job.moment(self.now));
        let corrected = self.ends.correct(work, connection, slot, (&late, moment));
        corrected.await
    }

    /// Has a purchase wait that wants more of a budget, with what its member asks later.
    fn waits_for_more(&mut self, slot: usize, job: &Job, request: &Request) -> Option<Pending> {
        match self.budgets.want_more(self.work.shard(), job, request) {
            More::GoesOn => None,
            More::Waits => {
                self.parked.insert(slot);
                Some(Pending::LeftForMore)
            }
            More::Unknown => Some(Pending::Final(Err(Error::Unavailable))),
        }
    }

    /// Has the batch planned anew, if its version of the programme is not the newest stored.
    async fn insist_on_newest(
        &mut self,
        connection: &mut PgConnection,
        job: &Job,
    ) -> Result<(), Interrupted> {
        let program = &job.applied.program.id;
        if !self.newest.contains(program) {
            let newest = foundation::newest_version(&mut *connection, program).await?;
            if newest != Some(job.applied.version) {
                return Err(Interrupted::VersionPassed(program.clone()));
            }
            self.newest.insert(program.clone());
        }
        Ok(())
    }

    /// Whether its programme's version is at hand and is the one by which it was sealed,
    /// its order is nobody else's, and it is no claim of somebody who is not new.
    async fn may_be_planned(
        &mut self,
        connection: &mut PgConnection,
        job: &Job,
        order: Option<Uuid>,
    ) -> Result<Result<(), Error>, Interrupted> {
        let Work::Request {
            command,
            only_version,
            declared,
            ..
        } = &job.work
        else {
            return Ok(Ok(()));
        };
        let unreachable = order.is_some_and(|order| self.unreachable.contains(&order));
        // Where another version declares other things personal, who asks again has them
        // sealed by that.
        let sealed_otherwise = *declared != job.applied.program.personal;
        let unplanned = self.unplanned.contains(&job.applied.program.id);
        if unreachable || unplanned || sealed_otherwise {
            return Ok(Err(Error::Unavailable));
        }
        let actual = job.applied.version;
        if let Some(expected) = only_version.filter(|&expected| expected != actual) {
            self.insist_on_newest(connection, job).await?;
            return Ok(Err(Error::VersionMoved { expected, actual }));
        }
        if order.is_some_and(|order| self.orders.contains(&order)) {
            return Ok(recorded_before(command));
        }
        Ok(self.may_claim(connection, job, command).await?)
    }

    /// Has the audit log told of what was just written.
    fn record(&mut self, caller: &Caller, position: Position, lot: Option<&Lot>) {
        let written = self.work.log().at(position).expect("it was just written");
        let told = entry(caller, self.shards.ids(), written, lot);
        self.recorded.push(told);
        caller.mark_recorded();
    }

    /// What comes of them.
    pub(super) fn finish(self) -> Decided {
        Decided {
            work: self.work,
            pending: self.pending,
            recorded: self.recorded,
            wants: self.budgets.into_wants(),
        }
    }
}

/// What comes of the jobs of a batch.
pub(super) struct Decided {
    /// What is to be written.
    pub(super) work: ShardWork,
    /// What each job comes to.
    pub(super) pending: Vec<Pending>,
    /// What the audit log is told.
    pub(super) recorded: Vec<NewAuditEntry>,
    /// What is wanted of budgets for those that are left to a later batch.
    pub(super) wants: Vec<Want>,
}
