//! Work on one shard: what was read of it, the engine over that, and the rows
//! that come of it.

use std::{collections::HashMap, sync::Arc};

use fealty_ledger::{
    Log, MemberBook, Named, ReadThrough, Received, Refusal, Request, SpendKey, Stop, Transaction,
    WalletBook,
    canonical::{self, Chain},
};
use fealty_postgres::{DatabaseError, PgConnection};
use fealty_types::{CurrencyId, MemberId, Position, ProgramId, ShardId, Timestamp};
use uuid::Uuid;

use super::{Interrupted, MARK_DISTANCE, Written};
use crate::{
    app::cache::CachedWallet,
    domain::request_key,
    store::{
        self,
        batch_read::{Asked, Found},
        batch_write::Rows,
        shards::Head,
    },
};

/// Lots read at first, and at each further need.
pub(in crate::app) const LOTS_FIRST: i64 = 32;
const LOTS_NEXT: i64 = 2_048;

/// Whether more may be read than the first statement did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::app) enum ReadOn {
    /// No: the shard may have moved on since.
    Never,
    /// Yes: its head is locked.
    Locked,
}

/// A member with its number, if it has one, and its wallets.
struct Slot {
    member_no: Option<i64>,
    book: MemberBook,
}

/// A shard at work.
pub(in crate::app) struct ShardWork {
    shard: ShardId,
    now: Timestamp,
    read_on: ReadOn,
    before: Head,
    slots: Vec<Slot>,
    log: Log,
    /// Slot of each transaction of the log.
    slot_of: Vec<usize>,
    /// Orders that were recorded by what was written here: key, position.
    pub(super) orders: Vec<(Uuid, i64)>,
}

impl ShardWork {
    /// Reads what is asked for. The members are those of `asked`.
    pub(in crate::app) async fn read(
        connection: &mut PgConnection,
        shard: ShardId,
        members: impl IntoIterator<Item = (ProgramId, MemberId)>,
        asked: &mut Asked,
        now: Timestamp,
        read_on: ReadOn,
    ) -> Result<(Self, Found), DatabaseError> {
        let mut slots: Vec<Slot> = members
            .into_iter()
            .map(|(program, member)| Slot {
                member_no: None,
                book: MemberBook::new(program, member),
            })
            .collect();
        asked.programs = slots.iter().map(|s| s.book.program.to_string()).collect();
        asked.members = slots.iter().map(|s| s.book.member.to_string()).collect();
        asked.spends.resize(slots.len(), false);
        if asked.lots_max == 0 {
            asked.lots_max = LOTS_FIRST;
        }
        let mut found = store::batch_read::read(connection, shard, asked, now).await?;
        for (member, member_no) in &found.member_nos {
            slots[*member].member_no = Some(*member_no);
        }
        fill(&mut slots, &mut found, asked.lots_max);
        let work = Self {
            shard,
            now,
            read_on,
            before: found.head.clone(),
            slots,
            log: Log::new(shard, found.head.position.next()),
            slot_of: Vec::new(),
            orders: Vec::new(),
        };
        Ok((work, found))
    }

    /// A member's book.
    pub(in crate::app) fn book(&self, slot: usize) -> &MemberBook {
        &self.slots[slot].book
    }

    /// What has been written to the log.
    pub(in crate::app) fn log(&self) -> &Log {
        &self.log
    }

    /// Does what a request asks; answers with its transaction's place, or why
    /// it is refused.
    pub(in crate::app) async fn execute(
        &mut self,
        connection: &mut PgConnection,
        slot: usize,
        request: &mut Request,
    ) -> Result<Result<Position, Refusal>, Interrupted> {
        if let Some(named @ (Named::Transaction(_) | Named::Lot(_))) = request.command.names() {
            self.read_named(connection, slot, request, named).await?;
        }
        self.drive(connection, slot, |book, now, log| {
            fealty_ledger::execute(book, request, now, log)
        })
        .await
    }

    /// Writes what another member gave.
    pub(in crate::app) async fn receive(
        &mut self,
        connection: &mut PgConnection,
        slot: usize,
        received: &Received,
    ) -> Result<Result<Position, Refusal>, Interrupted> {
        self.drive(connection, slot, |book, now, log| {
            fealty_ledger::receive(book, received, now, log)
        })
        .await
    }

    /// Writes what is due in a wallet.
    pub(in crate::app) async fn advance(
        &mut self,
        connection: &mut PgConnection,
        slot: usize,
        currency: &CurrencyId,
    ) -> Result<(), Interrupted> {
        let advanced = self.drive(connection, slot, |book, now, log| {
            fealty_ledger::advance(book, currency, now, log)
        });
        advanced.await.map(|_| ())
    }

    /// Calls the engine until it has what it needs.
    async fn drive(
        &mut self,
        connection: &mut PgConnection,
        slot: usize,
        mut step: impl FnMut(&mut MemberBook, Timestamp, &mut Log) -> Result<(), Stop>,
    ) -> Result<Result<Position, Refusal>, Interrupted> {
        loop {
            let stepped = step(&mut self.slots[slot].book, self.now, &mut self.log);
            self.slot_of.resize(self.log.written().len(), slot);
            match stepped {
                Ok(()) => return Ok(Ok(Position::new(self.log.next().get() - 1))),
                Err(Stop::Refused(refusal)) => return Ok(Err(refusal)),
                Err(Stop::LotsNeeded { currency }) => {
                    if self.read_on == ReadOn::Never {
                        return Err(Interrupted::NeedsLock);
                    }
                    self.read_lots(connection, slot, &currency).await?;
                }
            }
        }
    }

    /// Reads the next lots of a wallet; the first time also what is pending and
    /// held.
    async fn read_lots(
        &mut self,
        connection: &mut PgConnection,
        slot: usize,
        currency: &CurrencyId,
    ) -> Result<(), DatabaseError> {
        let slot = &mut self.slots[slot];
        let member_no = slot
            .member_no
            .expect("a wallet with unread lots has a stored member");
        let wallet = slot
            .book
            .wallets
            .get_mut(currency)
            .expect("the engine named a wallet");
        let after = match wallet.read_through() {
            ReadThrough::Key(key) => key,
            ReadThrough::Nothing => {
                return self.open(connection, member_no, currency).await;
            }
            ReadThrough::All => unreachable!("the engine has all lots"),
        };
        let lots = store::lots::spendable(
            &mut *connection,
            self.shard,
            member_no,
            currency,
            after,
            LOTS_NEXT,
        )
        .await?;
        let through = match lots.last() {
            Some(last) if i64::try_from(lots.len()) == Ok(LOTS_NEXT) => {
                ReadThrough::Key(key_of(last))
            }
            _ => ReadThrough::All,
        };
        wallet.add_read(lots, [], through);
        Ok(())
    }

    /// Reads a wallet's first lots, and what is pending and held in it.
    async fn open(
        &mut self,
        connection: &mut PgConnection,
        member_no: i64,
        currency: &CurrencyId,
    ) -> Result<(), DatabaseError> {
        let slot = self
            .slots
            .iter_mut()
            .find(|slot| slot.member_no == Some(member_no))
            .expect("the member is at work");
        let asked = Asked {
            programs: vec![slot.book.program.to_string()],
            members: vec![slot.book.member.to_string()],
            spends: vec![true],
            lots_max: LOTS_NEXT,
            ..Asked::default()
        };
        let found = store::batch_read::read(connection, self.shard, &asked, self.now).await?;
        let (mut lots, mut holds) = (Vec::new(), Vec::new());
        let mut in_order = Vec::new();
        let wanted = |wallet: &usize| found.wallets[*wallet].currency == *currency;
        for (wallet, ordered, lot) in &found.lots {
            if wanted(wallet) {
                in_order.extend(ordered.then(|| lot.clone()));
                lots.push(lot.clone());
            }
        }
        for (wallet, hold) in &found.holds {
            holds.extend(wanted(wallet).then(|| hold.clone()));
        }
        if let Some(wallet) = slot.book.wallets.get_mut(currency) {
            wallet.add_read(lots, holds, through(&in_order, LOTS_NEXT));
        }
        Ok(())
    }

    /// Reads the transaction or lot that a command names, with what belongs to
    /// it.
    async fn read_named(
        &mut self,
        connection: &mut PgConnection,
        slot: usize,
        request: &mut Request,
        named: Named,
    ) -> Result<(), Interrupted> {
        if self.read_on == ReadOn::Never {
            return Err(Interrupted::NeedsLock);
        }
        if let Named::Transaction(position) = named {
            let original = match self.log.at(position) {
                Some(written) => Some(written.clone()),
                None => store::log::at(&mut *connection, self.shard, position)
                    .await?
                    .map(|row| decode(&row.body))
                    .transpose()?,
            };
            let book = &mut self.slots[slot].book;
            let own = |t: &Transaction| t.program == book.program && t.member == book.member;
            request.original = original.filter(own).map(Box::new);
            if request.original.is_some()
                && let Some(reversal) =
                    store::reversals::of(&mut *connection, self.shard, position).await?
            {
                book.add_reversal(position, reversal);
            }
        }
        let names: Vec<i64> = request.named_lots().iter().map(|lot| lot.get()).collect();
        let slot = &mut self.slots[slot];
        let Some(member_no) = slot.member_no else {
            return Ok(());
        };
        let lots = store::lots::named(connection, self.shard, member_no, &names).await?;
        for lot in lots {
            if let Some(wallet) = slot.book.wallets.get_mut(&lot.terms.currency) {
                wallet.add_named([lot], []);
            }
        }
        Ok(())
    }

    /// Writes all that changed; an instance that was overtaken writes nothing.
    pub(in crate::app) async fn write(
        mut self,
        connection: &mut PgConnection,
        read_on: ReadOn,
    ) -> Result<Written, Interrupted> {
        let mut head = self.before.clone();
        let after = head.position;
        let mut rows = Rows::default();
        self.number_members(&mut head, &mut rows);
        let mut moved: HashMap<&'static str, u64> = HashMap::new();
        let mut chains = Vec::with_capacity(self.log.written().len());
        for (transaction, slot) in self.log.written().iter().zip(&self.slot_of) {
            let body = canonical::encode(transaction);
            head.chain = canonical::chain(&head.chain, &body);
            head.position = transaction.position;
            chains.push(head.chain);
            let member = (&transaction.program, &transaction.member);
            let key = transaction
                .request_id()
                .map(|request_id| request_key(member.0, member.1, request_id));
            rows.log.positions.push(transaction.position.get());
            let number = self.slots[*slot].member_no;
            let number = number.expect("whoever has a transaction has a number");
            rows.log.member_nos.push(number);
            rows.log.request_keys.push(key);
            rows.log.bodies.push(body);
            rows.log.chains.push(head.chain.to_vec());
            rows.totals.add(transaction);
            for transfer in &transaction.transfers {
                *moved.entry(transfer.credit.kind()).or_default() +=
                    transfer.amount.get().unsigned_abs();
            }
        }
        rows.orders = std::mem::take(&mut self.orders);
        rows.orders.sort_unstable();
        let (wallets, changed) = self.wallet_rows(after, &mut rows);
        let marks = head.position.get() / MARK_DISTANCE > after.get() / MARK_DISTANCE;
        if marks && read_on == ReadOn::Never {
            return Err(Interrupted::NeedsLock);
        }
        if changed || !chains.is_empty() {
            let written =
                store::batch_write::write(connection, self.shard, after, &head, &rows).await?;
            if !written {
                return Err(Interrupted::Overtaken);
            }
            if marks {
                store::accounts::mark(connection, self.shard, head.position).await?;
            }
        }
        let transactions = self.log.into_written().into_iter().map(Arc::new);
        Ok(Written {
            after,
            through: head.position,
            transactions: transactions.zip(chains).collect(),
            wallets,
            moved,
        })
    }

    /// Gives members that have their first transaction a number.
    fn number_members(&mut self, head: &mut Head, rows: &mut Rows) {
        for index in &self.slot_of {
            let slot = &mut self.slots[*index];
            if slot.member_no.is_none() {
                head.members += 1;
                slot.member_no = Some(head.members);
                rows.members.numbers.push(head.members);
                rows.members.programs.push(slot.book.program.to_string());
                rows.members.members.push(slot.book.member.to_string());
            }
        }
    }

    fn wallet_rows(&self, after: Position, rows: &mut Rows) -> (Vec<CachedWallet>, bool) {
        let mut cached = Vec::new();
        let mut changed = false;
        for slot in &self.slots {
            let Some(member_no) = slot.member_no else {
                continue;
            };
            for (currency, wallet) in &slot.book.wallets {
                if !wallet.is_changed() {
                    continue;
                }
                changed = true;
                rows.wallets.push(member_no, currency, wallet.wallet());
                cached.push(CachedWallet {
                    program: slot.book.program.clone(),
                    member: slot.book.member.clone(),
                    currency: currency.clone(),
                    wallet: *wallet.wallet(),
                });
                for lot in wallet.changed_lots() {
                    let is_new = lot.terms.lot.position() > after;
                    let lots = if is_new {
                        &mut rows.new_lots
                    } else {
                        &mut rows.known_lots
                    };
                    lots.push(member_no, lot);
                }
                for hold in wallet.changed_holds() {
                    rows.holds.push(member_no, currency, hold);
                }
            }
            for (transaction, reversal) in slot.book.changed_reversals() {
                rows.reversals.push(member_no, transaction, reversal);
            }
        }
        (cached, changed)
    }
}

/// Puts what was found into the members' books.
fn fill(slots: &mut [Slot], found: &mut Found, lots_max: i64) {
    let mut lots: Vec<Vec<fealty_ledger::Lot>> = found.wallets.iter().map(|_| Vec::new()).collect();
    let mut in_order: Vec<Vec<fealty_ledger::Lot>> = lots.clone();
    let mut holds: Vec<Vec<fealty_ledger::Hold>> =
        found.wallets.iter().map(|_| Vec::new()).collect();
    for (wallet, ordered, lot) in found.lots.drain(..) {
        if ordered {
            in_order[wallet].push(lot);
        } else {
            lots[wallet].push(lot);
        }
    }
    for (wallet, hold) in found.holds.drain(..) {
        holds[wallet].push(hold);
    }
    let parts = lots.into_iter().zip(in_order).zip(holds);
    for (read, ((lots, in_order), holds)) in found.wallets.drain(..).zip(parts) {
        let mut wallet = WalletBook::of(read.wallet);
        if read.opened {
            let through = through(&in_order, lots_max);
            wallet.add_read(lots.into_iter().chain(in_order), holds, through);
        }
        let book = &mut slots[read.member].book;
        book.wallets.insert(read.currency, wallet);
    }
    for (member, currency, hold) in found.named_holds.drain(..) {
        if let Some(wallet) = slots[member].book.wallets.get_mut(&currency) {
            wallet.add_named([], [hold]);
        }
    }
}

fn key_of(lot: &fealty_ledger::Lot) -> SpendKey {
    SpendKey {
        expires_at: lot
            .terms
            .expires_at
            .unwrap_or(fealty_ledger::LotTerms::NEVER),
        lot: lot.terms.lot,
    }
}

/// How far a slice reaches: to its last lot, or all the way if it is short.
fn through(slice: &[fealty_ledger::Lot], limit: i64) -> ReadThrough {
    match slice.iter().map(key_of).max() {
        Some(last) if i64::try_from(slice.len()) == Ok(limit) => ReadThrough::Key(last),
        _ => ReadThrough::All,
    }
}

/// A transaction's canonical bytes as stored.
pub(in crate::app) fn decode(body: &[u8]) -> Result<Transaction, DatabaseError> {
    canonical::decode(body)
        .map_err(|error| DatabaseError::Defect(sqlx::Error::Decode(Box::new(error))))
}

/// A chain value as stored.
pub(in crate::app) fn chain_of(stored: &[u8]) -> Result<Chain, DatabaseError> {
    stored.try_into().map_err(|_| {
        DatabaseError::Defect(sqlx::Error::Protocol(
            "a chain value is not 32 bytes".to_owned(),
        ))
    })
}
