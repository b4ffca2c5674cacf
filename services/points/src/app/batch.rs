//! One batch of a lane, inside its database transaction.
//!
//! Round trips, whatever the number of jobs: lock the head; find request ids
//! seen before; read members with their wallets; for purchases, tiers and order
//! numbers; for what spends or is due, lots and holds; then the engine, in
//! memory; then each table once, and the head. Only a wallet with very many
//! lots costs more.

use std::collections::{BTreeSet, HashMap, HashSet};

use fealty_ledger::{
    AccountTotals, Command, Log, Stop, Transaction,
    canonical::{self, Chain},
};
use fealty_postgres::{DatabaseError, PgConnection};
use fealty_types::{CurrencyId, MemberId, Position, ProgramId, ShardId, TierId, Timestamp};
use uuid::Uuid;

use super::{
    Answer,
    cache::CachedWallet,
    lane::{Done, Job, Work},
    reading::{LOTS_FIRST, LOTS_NEXT, Slot, Want, read_holds, read_members, read_on},
};
use crate::{
    domain::{order_key, plan, request_key, tier_moment},
    error::Error,
    store,
};

/// What a batch brought about, once it is committed.
pub(super) struct Outcome {
    /// For each job.
    pub(super) done: Vec<Done>,
    /// The head before.
    pub(super) after: Position,
    /// The head now.
    pub(super) through: Position,
    /// The wallets that changed.
    pub(super) wallets: Vec<CachedWallet>,
    /// Points by kind of account credited.
    pub(super) moved: HashMap<&'static str, u64>,
}

/// Runs a batch of jobs of one shard.
pub(super) async fn run(
    connection: &mut PgConnection,
    shard: ShardId,
    jobs: &[Job],
    now: Timestamp,
) -> Result<Outcome, DatabaseError> {
    let head = store::shards::lock_head(connection, shard).await?;
    let mut batch = Batch::read(connection, shard, jobs, now).await?;
    batch.claim_orders(connection, shard, jobs).await?;
    let mut log = Log::new(shard, head.position.next());
    let mut done = Vec::with_capacity(jobs.len());
    for (index, job) in jobs.iter().enumerate() {
        done.push(batch.job(connection, index, job, now, &mut log).await?);
    }
    let unused: Vec<Uuid> = batch.claimed.iter().copied().collect();
    if !unused.is_empty() {
        store::orders::give_back(connection, &unused).await?;
    }
    batch.write(connection, head, log, done).await
}

/// What a job comes to before it is written.
#[expect(
    clippy::large_enum_variant,
    reason = "one for each job of a batch, gone with it"
)]
enum Pending {
    /// The transaction at this position, in this batch, or its replay.
    Written { position: Position, replayed: bool },
    /// Done, whatever is written.
    Final(Done),
}

struct Batch {
    shard: ShardId,
    /// Slot of each job.
    slot_of: Vec<usize>,
    slots: Vec<Slot>,
    /// Key of each job's request.
    keys: Vec<Option<Uuid>>,
    /// Requests seen before this batch.
    seen: HashMap<Uuid, store::log::Row>,
    /// Requests done in this batch.
    written: HashMap<Uuid, Position>,
    /// Tier of each purchase, where it was told of one.
    tiers: HashMap<usize, TierId>,
    /// Order numbers claimed and not used yet.
    claimed: HashSet<Uuid>,
}

impl Batch {
    async fn read(
        connection: &mut PgConnection,
        shard: ShardId,
        jobs: &[Job],
        now: Timestamp,
    ) -> Result<Self, DatabaseError> {
        let mut index_of: HashMap<(&ProgramId, &MemberId), usize> = HashMap::new();
        let mut members = Vec::new();
        let mut slot_of = Vec::with_capacity(jobs.len());
        for job in jobs {
            let member = (&job.applied.program.id, &job.member);
            let slot = *index_of.entry(member).or_insert_with(|| {
                members.push((member.0.clone(), member.1.clone()));
                members.len() - 1
            });
            slot_of.push(slot);
        }
        let keys: Vec<Option<Uuid>> = jobs
            .iter()
            .map(|job| match &job.work {
                Work::Request { request_id, .. } => Some(request_key(
                    &job.applied.program.id,
                    &job.member,
                    request_id,
                )),
                Work::Advance { .. } => None,
            })
            .collect();
        let asked: BTreeSet<Uuid> = keys.iter().flatten().copied().collect();
        let asked: Vec<Uuid> = asked.into_iter().collect();
        let mut seen = HashMap::new();
        if !asked.is_empty() {
            for row in store::log::find_requests(connection, shard, &asked).await? {
                seen.extend(row.request_key.map(|key| (key, row)));
            }
        }
        let slots = read_members(connection, shard, members).await?;
        let mut batch = Self {
            shard,
            slot_of,
            slots,
            keys,
            seen,
            written: HashMap::new(),
            tiers: HashMap::new(),
            claimed: HashSet::new(),
        };
        batch.read_tiers(connection, jobs, now).await?;
        batch.read_wallets(connection, jobs, now).await?;
        Ok(batch)
    }

    fn is_new(&self, index: usize) -> bool {
        self.keys[index].is_none_or(|key| !self.seen.contains_key(&key))
    }

    async fn read_tiers(
        &mut self,
        connection: &mut PgConnection,
        jobs: &[Job],
        now: Timestamp,
    ) -> Result<(), DatabaseError> {
        let (mut programs, mut members, mut moments) = (Vec::new(), Vec::new(), Vec::new());
        let mut index_of = Vec::new();
        for (index, job) in jobs.iter().enumerate() {
            let Some(Command::Purchase(purchase)) = command(job).filter(|_| self.is_new(index))
            else {
                continue;
            };
            if job.applied.program.tiers.is_none() {
                continue;
            }
            programs.push(job.applied.program.id.to_string());
            members.push(job.member.to_string());
            moments.push(tier_moment(&job.applied.program, purchase, now));
            index_of.push(index);
        }
        if !index_of.is_empty() {
            for (found, tier) in
                store::tiers::at(connection, self.shard, &programs, &members, &moments).await?
            {
                self.tiers.insert(index_of[found], tier);
            }
        }
        Ok(())
    }

    /// Reads the lots of wallets that are spent from, or in which something is
    /// due.
    async fn read_wallets(
        &mut self,
        connection: &mut PgConnection,
        jobs: &[Job],
        now: Timestamp,
    ) -> Result<(), DatabaseError> {
        let new = || {
            jobs.iter()
                .enumerate()
                .filter(|(index, _)| self.is_new(*index))
        };
        let mut wanted: HashSet<(usize, CurrencyId)> = HashSet::new();
        let mut holds = Vec::new();
        for (index, job) in new() {
            let slot = self.slot_of[index];
            let spent = command(job).and_then(Command::spends);
            wanted.extend(spent.map(|currency| (slot, currency.clone())));
            holds.extend(
                command(job)
                    .and_then(Command::hold)
                    .map(|hold| (slot, hold)),
            );
        }
        if !holds.is_empty() {
            wanted.extend(read_holds(connection, self.shard, &mut self.slots, &holds).await?);
        }
        let mut wants = Vec::new();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let Some(member_no) = slot.member_no else {
                continue;
            };
            for (currency, wallet) in &mut slot.book.wallets {
                if wallet.is_due(now) || wanted.contains(&(index, currency.clone())) {
                    wants.push(Want {
                        member_no,
                        currency: currency.clone(),
                        wallet,
                    });
                }
            }
        }
        read_on(connection, self.shard, wants, LOTS_FIRST).await
    }

    async fn claim_orders(
        &mut self,
        connection: &mut PgConnection,
        shard: ShardId,
        jobs: &[Job],
    ) -> Result<(), DatabaseError> {
        let orders: BTreeSet<Uuid> = jobs
            .iter()
            .enumerate()
            .filter(|(index, _)| self.is_new(*index))
            .filter_map(|(_, job)| order(job))
            .collect();
        if !orders.is_empty() {
            let orders: Vec<Uuid> = orders.into_iter().collect();
            self.claimed = store::orders::claim(connection, shard, &orders)
                .await?
                .into_iter()
                .collect();
        }
        Ok(())
    }

    async fn job(
        &mut self,
        connection: &mut PgConnection,
        index: usize,
        job: &Job,
        now: Timestamp,
        log: &mut Log,
    ) -> Result<Pending, DatabaseError> {
        let (request_id, command) = match &job.work {
            Work::Request {
                request_id,
                command,
            } => (request_id, command),
            Work::Advance { currency } => {
                self.advance(connection, index, currency, now, log).await?;
                return Ok(Pending::Final(Ok(None)));
            }
        };
        if let Some(before) = self.replay(index, job, command, log)? {
            return Ok(before);
        }
        let order = order(job);
        if let (Some(order), Command::Purchase(purchase)) = (order, command)
            && !self.claimed.contains(&order)
        {
            return Ok(Pending::Final(Err(Error::OrderAlreadyRecorded {
                brand: purchase.brand.clone(),
                order_number: purchase.order_number.clone(),
            })));
        }
        let tier = self.tiers.get(&index).cloned();
        let request = match plan(&job.applied, request_id, command, tier, now) {
            Ok(request) => request,
            Err(error) => return Ok(Pending::Final(Err(error))),
        };
        loop {
            let slot = &mut self.slots[self.slot_of[index]];
            match fealty_ledger::execute(&mut slot.book, &request, now, log) {
                Ok(()) => break,
                Err(Stop::Refused(refusal)) => return Ok(Pending::Final(Err(refusal.into()))),
                Err(Stop::LotsNeeded { currency }) => {
                    self.read_more(connection, index, &currency).await?;
                }
            }
        }
        let position = Position::new(log.next().get() - 1);
        if let Some(key) = self.keys[index] {
            self.written.insert(key, position);
        }
        if let Some(order) = order {
            self.claimed.remove(&order);
        }
        Ok(Pending::Written {
            position,
            replayed: false,
        })
    }

    /// The answer to a request that was there before, in the log or in this
    /// batch.
    fn replay(
        &self,
        index: usize,
        job: &Job,
        command: &Command,
        log: &Log,
    ) -> Result<Option<Pending>, DatabaseError> {
        let Some(key) = self.keys[index] else {
            return Ok(None);
        };
        if let Some(row) = self.seen.get(&key) {
            let transaction = decode(&row.body)?;
            let chain = chain_of(&row.chain)?;
            let difference = difference(job, command, &transaction);
            return Ok(Some(Pending::Final(match difference {
                Some(field) => Err(Error::RequestIdReused { field }),
                None => Ok(Some(Answer {
                    transaction,
                    chain,
                    replayed: true,
                })),
            })));
        }
        let Some(position) = self.written.get(&key) else {
            return Ok(None);
        };
        let written = log
            .written()
            .iter()
            .find(|written| written.position == *position);
        let written = written.expect("what was written in this batch is in its log");
        Ok(Some(match difference(job, command, written) {
            Some(field) => Pending::Final(Err(Error::RequestIdReused { field })),
            None => Pending::Written {
                position: *position,
                replayed: true,
            },
        }))
    }

    async fn advance(
        &mut self,
        connection: &mut PgConnection,
        index: usize,
        currency: &CurrencyId,
        now: Timestamp,
        log: &mut Log,
    ) -> Result<(), DatabaseError> {
        loop {
            let slot = &mut self.slots[self.slot_of[index]];
            match fealty_ledger::advance(&mut slot.book, currency, now, log) {
                Ok(()) | Err(Stop::Refused(_)) => return Ok(()),
                Err(Stop::LotsNeeded { currency }) => {
                    self.read_more(connection, index, &currency).await?;
                }
            }
        }
    }

    async fn read_more(
        &mut self,
        connection: &mut PgConnection,
        index: usize,
        currency: &CurrencyId,
    ) -> Result<(), DatabaseError> {
        let slot = &mut self.slots[self.slot_of[index]];
        let member_no = slot
            .member_no
            .expect("a wallet with unread lots has a stored member");
        let wallet = slot
            .book
            .wallets
            .get_mut(currency)
            .expect("the engine named a wallet");
        let want = Want {
            member_no,
            currency: currency.clone(),
            wallet,
        };
        read_on(connection, self.shard, vec![want], LOTS_NEXT).await
    }

    async fn write(
        mut self,
        connection: &mut PgConnection,
        mut head: store::shards::Head,
        log: Log,
        pending: Vec<Pending>,
    ) -> Result<Outcome, DatabaseError> {
        let after = head.position;
        let numbers = self.number_members(connection, &mut head, &log).await?;
        let mut rows = store::log::NewRows::default();
        let mut chains: Vec<Chain> = Vec::with_capacity(log.written().len());
        let mut totals = AccountTotals::default();
        let mut moved: HashMap<&'static str, u64> = HashMap::new();
        for transaction in log.written() {
            let body = canonical::encode(transaction);
            head.chain = canonical::chain(&head.chain, &body);
            head.position = transaction.position;
            chains.push(head.chain);
            rows.positions.push(transaction.position.get());
            rows.member_nos
                .push(numbers[&(transaction.program.clone(), transaction.member.clone())]);
            rows.request_keys
                .push(transaction.request_id().map(|request_id| {
                    request_key(&transaction.program, &transaction.member, request_id)
                }));
            rows.bodies.push(body);
            rows.chains.push(head.chain.to_vec());
            totals.add(transaction);
            for transfer in &transaction.transfers {
                *moved.entry(transfer.credit.kind()).or_default() +=
                    transfer.amount.get().unsigned_abs();
            }
        }
        if !log.written().is_empty() {
            store::log::append(connection, self.shard, &rows).await?;
            if totals.rows().next().is_some() {
                store::accounts::add(connection, self.shard, &totals).await?;
            }
        }
        let wallets = self.write_wallets(connection, after).await?;
        if !log.written().is_empty() {
            store::shards::move_head(connection, self.shard, &head).await?;
        }
        let answer = |position: Position, replayed: bool| {
            let index = usize::try_from(position.get() - after.get() - 1).expect("of this batch");
            Answer {
                transaction: log.written()[index].clone(),
                chain: chains[index],
                replayed,
            }
        };
        let done = pending.into_iter().map(|pending| match pending {
            Pending::Final(done) => done,
            Pending::Written { position, replayed } => Ok(Some(answer(position, replayed))),
        });
        Ok(Outcome {
            done: done.collect(),
            after,
            through: head.position,
            wallets,
            moved,
        })
    }

    /// Gives members that have their first transaction a number.
    async fn number_members(
        &mut self,
        connection: &mut PgConnection,
        head: &mut store::shards::Head,
        log: &Log,
    ) -> Result<HashMap<(ProgramId, MemberId), i64>, DatabaseError> {
        let active: HashSet<(&ProgramId, &MemberId)> = log
            .written()
            .iter()
            .map(|written| (&written.program, &written.member))
            .collect();
        let (mut new, mut programs, mut members) = (Vec::new(), Vec::new(), Vec::new());
        for slot in &mut self.slots {
            if slot.member_no.is_none() && active.contains(&(&slot.book.program, &slot.book.member))
            {
                head.members += 1;
                slot.member_no = Some(head.members);
                new.push(head.members);
                programs.push(slot.book.program.to_string());
                members.push(slot.book.member.to_string());
            }
        }
        if !new.is_empty() {
            store::members::insert(connection, self.shard, &new, &programs, &members).await?;
        }
        let numbered = self.slots.iter().filter_map(|slot| {
            Some((
                (slot.book.program.clone(), slot.book.member.clone()),
                slot.member_no?,
            ))
        });
        Ok(numbered.collect())
    }

    async fn write_wallets(
        &self,
        connection: &mut PgConnection,
        after: Position,
    ) -> Result<Vec<CachedWallet>, DatabaseError> {
        let mut wallets = store::wallets::Rows::default();
        let mut new_lots = store::lots::Rows::default();
        let mut known_lots = store::lots::Rows::default();
        let mut cached = Vec::new();
        for slot in &self.slots {
            let Some(member_no) = slot.member_no else {
                continue;
            };
            for (currency, wallet) in &slot.book.wallets {
                if !wallet.is_changed() {
                    continue;
                }
                wallets.push(member_no, currency, wallet.wallet());
                cached.push(CachedWallet {
                    program: slot.book.program.clone(),
                    member: slot.book.member.clone(),
                    currency: currency.clone(),
                    wallet: *wallet.wallet(),
                });
                for lot in wallet.changed_lots() {
                    let is_new = lot.terms.lot.position() > after;
                    let rows = if is_new {
                        &mut new_lots
                    } else {
                        &mut known_lots
                    };
                    rows.push(member_no, lot);
                }
                for hold in wallet.changed_holds() {
                    store::holds::write(connection, self.shard, member_no, currency, hold).await?;
                }
            }
        }
        if !wallets.is_empty() {
            store::wallets::write(connection, self.shard, &wallets).await?;
        }
        if !new_lots.is_empty() {
            store::lots::insert(connection, self.shard, &new_lots).await?;
        }
        if !known_lots.is_empty() {
            store::lots::update(connection, self.shard, &known_lots).await?;
        }
        Ok(cached)
    }
}

fn command(job: &Job) -> Option<&Command> {
    match &job.work {
        Work::Request { command, .. } => Some(command),
        Work::Advance { .. } => None,
    }
}

fn order(job: &Job) -> Option<Uuid> {
    match command(job)? {
        Command::Purchase(purchase) => Some(order_key(
            &job.applied.program.id,
            &purchase.brand,
            &purchase.order_number,
        )),
        _ => None,
    }
}

/// The first field in which a request differs from the one that was there
/// under its id.
fn difference(job: &Job, command: &Command, before: &Transaction) -> Option<&'static str> {
    let fealty_ledger::Cause::Request {
        request_id,
        command: stored,
        ..
    } = &before.cause
    else {
        return Some("method");
    };
    // Other ids with the same key do not happen; were it so, this refuses.
    let same = match &job.work {
        Work::Request {
            request_id: asked, ..
        } => asked == request_id,
        Work::Advance { .. } => false,
    };
    if same {
        command.first_difference(stored)
    } else {
        Some("request_id")
    }
}

pub(super) fn decode(body: &[u8]) -> Result<Transaction, DatabaseError> {
    canonical::decode(body)
        .map_err(|error| DatabaseError::Defect(sqlx::Error::Decode(Box::new(error))))
}

pub(super) fn chain_of(stored: &[u8]) -> Result<Chain, DatabaseError> {
    stored.try_into().map_err(|_| {
        DatabaseError::Defect(sqlx::Error::Protocol(
            "a chain value is not 32 bytes".to_owned(),
        ))
    })
}
