//! Work on one shard: what was read of it (`read`), the engine over that,
//! and the rows that come of it (`write`).

use std::collections::HashMap;

use fealty_ledger::{
    Backfill, Command, Entry, Leases, Log, MemberBook, Moment, Named, PeriodEnd, Received, Refusal,
    Request, Said, Stop, TierChanged, TierEffect, WalletBook, canonical::Chain,
};
use fealty_postgres::{DatabaseError, HasDatabaseError, PgConnection};
use fealty_program::{Program, ProgramVersion};
use fealty_types::{CurrencyId, MemberId, Position, ProgramId, ShardId, Timestamp};
use uuid::Uuid;

use super::{
    memory::{Memory, Remembered},
    orders::Claimed,
    store::{head::Head, rows::OrderRow, versions::BegunVersion},
};

/// Whether more may be read than the first statement did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadOn {
    /// No: the shard may have moved on since.
    Never,
    /// Yes: its head is locked.
    Locked,
}

/// Why work on a shard did not come to its end.
pub(crate) enum Interrupted {
    /// Another instance moved the head.
    Overtaken,
    /// More must be read, under the lock of the head.
    NeedsLock,
    /// Another batch has recorded or claimed some of these orders, or their node
    /// does not answer.
    OrdersTaken(Claimed),
    /// A later version of this programme has begun in the shard than the one at hand, or
    /// the one at hand is not what is stored.
    VersionPassed(ProgramId),
    /// The database failed.
    Database(DatabaseError),
}

impl HasDatabaseError for Interrupted {
    fn database_error(&self) -> Option<&DatabaseError> {
        match self {
            Self::Database(error) => Some(error),
            Self::Overtaken | Self::NeedsLock | Self::OrdersTaken(_) | Self::VersionPassed(_) => {
                None
            }
        }
    }
}

impl Interrupted {
    /// Why work that only reads, in a snapshot, came to no end: nobody moves anything there.
    pub(crate) fn in_snapshot(self) -> DatabaseError {
        match self {
            Self::Database(error) => error,
            _ => DatabaseError::Broken("a snapshot has moved"),
        }
    }
}

impl From<DatabaseError> for Interrupted {
    fn from(error: DatabaseError) -> Self {
        Self::Database(error)
    }
}

/// What became of a step of the engine.
pub(crate) enum Driven {
    /// It is done; where it stands.
    Done(Position),
    /// It is refused.
    Refused(Refusal),
    /// Some of what was due before it is written, and more is due: it is to be asked again.
    MoreIsDue,
}

/// Lots that what is due before a change may alter where the change is written with the rest
/// of a transaction or not at all: with more, it is refused for now, and the sweeper goes on.
pub(crate) const DUE_WITH_A_CHANGE: usize = 1_000;

/// What one more reading of lots counts for, in lots that are changed.
const LOTS_PER_READ: usize = 100;

/// How many lots that fall due are kept in memory where none of it is to be written.
const FORESEEN_AT_ONCE: usize = 2_048;

/// What is spent of a wallet.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    /// Points, all together.
    pub(crate) points: i64,
    /// Whether some are set aside: then its open holds are counted.
    pub(crate) holds: bool,
}

/// What work on a shard begins with, besides its members.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// What is spent, by the member's index and the currency.
    pub(crate) spends: HashMap<(usize, CurrencyId), Spent>,
    /// Holds that are named: index of the member, position.
    pub(crate) holds: Vec<(usize, Position)>,
    /// Keys of request ids.
    pub(crate) requests: Vec<Uuid>,
    /// Programmes of which it is asked how far the shard is, besides those of its members.
    pub(crate) programs: Vec<ProgramId>,
    /// Whether something may be drawn on budgets, or come back to them.
    pub(crate) leases: bool,
}

impl Asked {
    /// Asks for what a member's command spends or names.
    pub(crate) fn command(&mut self, member: usize, command: &Command) {
        self.holds
            .extend(command.holds().map(|hold| (member, hold)));
        if let Some(spend) = command.spends() {
            let wallet = (member, spend.currency.clone());
            let spent = self.spends.entry(wallet).or_default();
            spent.points = spent.points.saturating_add(spend.points.get());
            spent.holds |= matches!(command, Command::Hold(_));
        }
    }
}

/// A member with its number, if it has one, and its wallets.
pub(super) struct Slot {
    pub(super) member_no: Option<i64>,
    pub(super) book: MemberBook,
    /// Up to which version its counters are known to be worked out by the log.
    pub(super) backfilled: u32,
}

impl Slot {
    /// Fills in what is remembered of the member, if it is.
    pub(super) fn recall(&mut self, memory: &mut Memory) -> bool {
        let Some(known) = memory.recall(&self.book.program, &self.book.member) else {
            return false;
        };
        self.member_no = Some(known.member_no);
        self.backfilled = known.backfilled;
        for (currency, wallet) in &known.wallets {
            let wallets = &mut self.book.wallets;
            wallets.insert(currency.clone(), WalletBook::of(wallet.clone()));
        }
        self.book.counters.clone_from(&known.counters);
        true
    }

    /// The member as it is now, if it has a number, with the wallets that are
    /// stored.
    pub(super) fn into_remembered(mut self) -> Option<(ProgramId, MemberId, Remembered)> {
        self.book.settle();
        let wallets = self.book.wallets.into_iter();
        let wallets = wallets.map(|(currency, book)| (currency, book.wallet().clone()));
        let remembered = Remembered {
            member_no: self.member_no?,
            wallets: wallets.filter(|(_, wallet)| wallet.sequence > 0).collect(),
            counters: self.book.counters,
            backfilled: self.backfilled,
        };
        Some((self.book.program, self.book.member, remembered))
    }
}

/// A shard at work.
pub(crate) struct ShardWork {
    pub(super) shard: ShardId,
    pub(super) now: Timestamp,
    pub(super) read_on: ReadOn,
    pub(super) before: Head,
    pub(super) slots: Vec<Slot>,
    pub(super) log: Log,
    /// Slot of each entry of the log; none for a notice.
    pub(super) slot_of: Vec<Option<usize>>,
    /// The version that requests of each programme are planned by in the shard.
    pub(super) versions: HashMap<ProgramId, BegunVersion>,
    /// Up to when the ends of each programme's periods are written.
    pub(super) ends: HashMap<ProgramId, Timestamp>,
    /// Orders that were recorded by what was written here.
    pub(super) orders: Vec<OrderRow>,
    /// What the shard has of budgets, if that was read.
    pub(super) leases: Option<Leases>,
    /// How often lots were read beyond what all began with.
    pub(super) further_reads: usize,
}

impl ShardWork {
    /// Bounds what falls due from here on: so many lots are changed, or a few hundred more.
    pub(crate) fn allow_due(&mut self, lots: usize) {
        self.log.allow_due(lots);
    }

    /// How much of that is left, and how many lots were read beyond what all began with,
    /// in lots that are changed.
    pub(crate) fn due_left(&self) -> (usize, usize) {
        (self.log.due_left(), self.further_reads * LOTS_PER_READ)
    }

    /// Whether more may be read.
    pub(crate) fn read_on(&self) -> ReadOn {
        self.read_on
    }

    /// Whose books they are.
    pub(crate) fn shard(&self) -> ShardId {
        self.shard
    }

    /// Records an order, for the transaction that was just written for it.
    pub(crate) fn record_order(&mut self, order: OrderRow) {
        self.orders.push(order);
    }

    /// The orders that are recorded.
    pub(crate) fn orders(&self) -> &[OrderRow] {
        &self.orders
    }

    /// How far the log reached when it was read.
    pub(crate) fn head_before(&self) -> (Position, Chain) {
        (self.before.position, self.before.chain)
    }

    /// How many members it has.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// A member's book.
    pub(crate) fn book(&self, slot: usize) -> &MemberBook {
        &self.slots[slot].book
    }

    /// What the shard has of budgets, if that was read.
    pub(crate) fn leases(&self) -> Option<&Leases> {
        self.leases.as_ref()
    }

    /// Says something that belongs to no member; answers with where it stands.
    pub(crate) fn announce(
        &mut self,
        program: &ProgramId,
        says: Said,
    ) -> Result<Position, DatabaseError> {
        let position = self.log.next();
        self.log.announce(program, says);
        self.take_in(None)?;
        Ok(position)
    }

    /// Takes in what has been written to the log since this was last called, for a slot.
    fn take_in(&mut self, slot: Option<usize>) -> Result<(), DatabaseError> {
        let new = &self.log.written()[self.slot_of.len()..];
        if let Some(leases) = &mut self.leases {
            for entry in new {
                let folded = leases.fold(entry);
                folded.map_err(|_| DatabaseError::Broken("a budget is overdrawn"))?;
            }
        } else if new.iter().any(draws) {
            return Err(DatabaseError::Broken("budgets were not read"));
        }
        self.slot_of.resize(self.log.written().len(), slot);
        Ok(())
    }

    /// What has been written to the log.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Does what is due in a wallet before a period ends.
    pub(crate) async fn advance_to_end(
        &mut self,
        connection: &mut PgConnection,
        slot: usize,
        (program, currency): (&Program, &CurrencyId),
        moment: (Timestamp, Timestamp),
    ) -> Result<Driven, Interrupted> {
        let_tiers_decide(program, &mut self.slots[slot].book);
        let advanced = self.drive(connection, slot, |book, _, log| {
            fealty_ledger::advance_to_end(book, currency, moment, log)
        });
        advanced.await
    }

    /// Writes what the end of a period comes to for a member.
    pub(crate) async fn apply_end(
        &mut self,
        connection: &mut PgConnection,
        slot: usize,
        (end, at): (&PeriodEnd, Timestamp),
    ) -> Result<Driven, Interrupted> {
        let applied = self.drive(connection, slot, |book, _, log| {
            fealty_ledger::apply_end(book, end, at, log)
        });
        applied.await
    }

    /// Writes what counters come to for a member by the log.
    pub(crate) async fn apply_backfill(
        &mut self,
        connection: &mut PgConnection,
        slot: usize,
        backfill: &Backfill,
    ) -> Result<Driven, Interrupted> {
        let applied = self.drive(connection, slot, |book, now, log| {
            fealty_ledger::apply_backfill(book, backfill, now, log)
        });
        applied.await
    }

    /// Up to which version a member's counters are known to be worked out by the log.
    pub(crate) fn backfilled(&self, slot: usize) -> u32 {
        self.slots[slot].backfilled
    }

    /// Notes that they are, by what is stored or written here.
    pub(crate) fn note_backfilled(&mut self, slot: usize, version: u32) {
        self.slots[slot].backfilled = version;
    }

    /// The number of a slot's member, if it has one already.
    pub(crate) fn member_no(&self, slot: usize) -> Option<i64> {
        self.slots[slot].member_no
    }

    /// Does what a request asks that was planned by a version of its programme; answers
    /// with its transaction's place, or why it is refused.
    pub(crate) async fn execute(
        &mut self,
        connection: &mut PgConnection,
        slot: usize,
        applied: &ProgramVersion,
        request: &mut Request,
    ) -> Result<Driven, Interrupted> {
        let begun = self.begin_version(connection, applied).await?;
        let_tiers_decide(&applied.program, &mut self.slots[slot].book);
        if request.original.is_none() {
            self.read_what_is_named(connection, slot, request).await?;
        }
        let executed = self.drive(connection, slot, |book, now, log| {
            fealty_ledger::execute(book, request, now, log)
        });
        let executed = executed.await?;
        if let (Driven::Refused(_) | Driven::MoreIsDue, Some(begun)) = (&executed, begun) {
            self.withdraw_version(&applied.program.id, &begun);
        }
        Ok(executed)
    }

    /// Reads the transaction or lot that a request names, if it does; else it is read when
    /// the request is executed.
    pub(crate) async fn read_what_is_named(
        &mut self,
        connection: &mut PgConnection,
        slot: usize,
        request: &mut Request,
    ) -> Result<(), Interrupted> {
        match request.command.names() {
            Some(named @ (Named::Transaction(_) | Named::Lot(_))) => {
                self.read_named(connection, slot, request, named).await
            }
            Some(Named::Hold(_)) | None => Ok(()),
        }
    }

    /// Writes what another member gave.
    pub(crate) async fn receive(
        &mut self,
        connection: &mut PgConnection,
        slot: usize,
        program: &Program,
        received: &Received,
    ) -> Result<Driven, Interrupted> {
        let_tiers_decide(program, &mut self.slots[slot].book);
        self.drive(connection, slot, |book, now, log| {
            fealty_ledger::receive(book, received, now, log)
        })
        .await
    }

    /// Writes what is due in a wallet by a moment, where the programme says whether that
    /// waits for members' tiers.
    pub(crate) async fn advance(
        &mut self,
        connection: &mut PgConnection,
        slot: usize,
        program: &Program,
        currency: &CurrencyId,
        moment: Moment,
    ) -> Result<Driven, Interrupted> {
        let_tiers_decide(program, &mut self.slots[slot].book);
        let advanced = self.drive(connection, slot, |book, _, log| {
            fealty_ledger::advance(book, currency, moment, log)
        });
        advanced.await
    }

    /// Finds out what a wallet comes to at a moment, none of which is to be written; however
    /// much falls due until then, little of it is kept.
    pub(crate) async fn foresee(
        &mut self,
        connection: &mut PgConnection,
        slot: usize,
        program: &Program,
        currency: &CurrencyId,
        moment: Moment,
    ) -> Result<(), Interrupted> {
        let_tiers_decide(program, &mut self.slots[slot].book);
        loop {
            self.log.allow_due(FORESEEN_AT_ONCE);
            let advanced = self.drive(connection, slot, |book, _, log| {
                fealty_ledger::advance(book, currency, moment, log)
            });
            let advanced = advanced.await?;
            self.log.forget_written();
            self.slot_of.clear();
            if let Some(wallet) = self.slots[slot].book.wallets.get_mut(currency) {
                wallet.forget_closed();
            }
            if !matches!(advanced, Driven::MoreIsDue) {
                return Ok(());
            }
        }
    }

    /// Writes what a member's tier means for its wallets, if that is another thing than
    /// what holds.
    pub(crate) async fn change_tier(
        &mut self,
        connection: &mut PgConnection,
        slot: usize,
        applied: &ProgramVersion,
        (change, effects): (&TierChanged, &[TierEffect]),
    ) -> Result<Driven, Interrupted> {
        self.begin_version(connection, applied).await?;
        let_tiers_decide(&applied.program, &mut self.slots[slot].book);
        let changed = self.drive(connection, slot, |book, _, log| {
            fealty_ledger::change_tier(book, change, effects, log)
        });
        changed.await
    }

    /// Calls the engine until it has what it needs.
    async fn drive(
        &mut self,
        connection: &mut PgConnection,
        slot: usize,
        mut step: impl FnMut(&mut MemberBook, Timestamp, &mut Log) -> Result<(), Stop>,
    ) -> Result<Driven, Interrupted> {
        loop {
            let stepped = step(&mut self.slots[slot].book, self.now, &mut self.log);
            self.take_in(Some(slot))?;
            match stepped {
                Ok(()) => return Ok(Driven::Done(Position::new(self.log.next().get() - 1))),
                Err(Stop::Refused(refusal)) => return Ok(Driven::Refused(refusal)),
                Err(Stop::MoreIsDue) => return Ok(Driven::MoreIsDue),
                Err(Stop::LotsNeeded { currency }) => {
                    if self.read_on == ReadOn::Never {
                        return Err(Interrupted::NeedsLock);
                    }
                    self.further_reads += 1;
                    self.read_lots(connection, slot, &currency).await?;
                }
            }
        }
    }
}

/// Whether an entry draws on budgets.
fn draws(entry: &Entry) -> bool {
    let transaction = entry.transaction();
    transaction.is_some_and(|transaction| !transaction.draws().is_empty())
}

/// The number of a version, as the log has it.
pub(crate) fn number(applied: &ProgramVersion) -> u32 {
    u32::try_from(applied.version).unwrap_or(u32::MAX)
}

/// Says of a member's wallets whether tiers decide if their points go with inactivity.
fn let_tiers_decide(program: &Program, book: &mut MemberBook) {
    for (currency, wallet) in &mut book.wallets {
        wallet.set_tiers_decide(program.keeps_by_tier(currency));
    }
}
