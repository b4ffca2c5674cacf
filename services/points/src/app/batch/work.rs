//! Work on one shard: what was read of it, the engine over that, and the rows
//! that come of it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use fealty_ledger::{
    Hold, Log, Lot, MemberBook, Named, ReadThrough, Received, Refusal, Request, SpendKey, Stop,
    Transaction, WalletBook,
    canonical::{self, Chain},
};
use fealty_postgres::{DatabaseError, PgConnection};
use fealty_types::{CurrencyId, MemberId, Position, ProgramId, ShardId, Timestamp};
use uuid::Uuid;

use super::{
    Interrupted, MARK_DISTANCE, Written,
    memory::{Memory, Remembered},
};
use crate::{
    app::cache::CachedWallet,
    domain::request_key,
    store::{
        self,
        batch_read::{Seen, Wanted},
        batch_write::Rows,
        rows::{HoldRow, LotRow, MemberRow, OrderRow, ReversalRow, TransactionRow, WalletRow},
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

/// What work on a shard begins with, besides its members.
#[derive(Debug, Default)]
pub(in crate::app) struct Asked {
    /// Members whose wallets are spent from, by index.
    pub(in crate::app) spends: HashSet<usize>,
    /// Holds that are named: index of the member, position.
    pub(in crate::app) holds: Vec<(usize, Position)>,
    /// Keys of request ids.
    pub(in crate::app) requests: Vec<Uuid>,
}

/// A member with its number, if it has one, and its wallets.
struct Slot {
    member_no: Option<i64>,
    book: MemberBook,
}

impl Slot {
    /// Fills in what is remembered of the member, if it is.
    fn recall(&mut self, memory: &mut Memory) -> bool {
        let Some(known) = memory.recall(&self.book.program, &self.book.member) else {
            return false;
        };
        self.member_no = Some(known.member_no);
        for (currency, wallet) in &known.wallets {
            let wallets = &mut self.book.wallets;
            wallets.insert(currency.clone(), WalletBook::of(*wallet));
        }
        true
    }

    /// The member as it is now, if it has a number.
    fn into_remembered(self) -> Option<(ProgramId, MemberId, Remembered)> {
        let wallets = self.book.wallets.into_iter();
        let remembered = Remembered {
            member_no: self.member_no?,
            wallets: wallets.map(|(currency, book)| (currency, *book.wallet())).collect(),
        };
        Some((self.book.program, self.book.member, remembered))
    }
}

/// Reads some members with their wallets into their slots; answers with the
/// head and the requests that were seen before.
async fn read_slots(
    connection: &mut PgConnection,
    shard: ShardId,
    slots: &mut [Slot],
    wanted: &[usize],
    asked: &Asked,
) -> Result<(Head, HashMap<Uuid, Seen>), DatabaseError> {
    let books = || wanted.iter().map(|index| &slots[*index].book);
    let programs: Vec<&str> = books().map(|book| book.program.as_str()).collect();
    let members: Vec<&str> = books().map(|book| book.member.as_str()).collect();
    let requests = &asked.requests;
    let found =
        store::batch_read::members(connection, shard, &programs, &members, requests).await?;
    for (member, number) in found.numbers {
        slots[wanted[member]].member_no = Some(number);
    }
    for (member, currency, wallet) in found.wallets {
        let wallets = &mut slots[wanted[member]].book.wallets;
        wallets.insert(currency, WalletBook::of(wallet));
    }
    Ok((found.head, found.seen))
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
    /// Orders that were recorded by what was written here.
    pub(super) orders: Vec<OrderRow>,
}

impl ShardWork {
    /// Reads members with their wallets, opens those that are spent from or in
    /// which something is due, and answers with the requests that were seen
    /// before.
    pub(in crate::app) async fn read(
        connection: &mut PgConnection,
        shard: ShardId,
        members: impl IntoIterator<Item = (ProgramId, MemberId)>,
        asked: &Asked,
        now: Timestamp,
        read_on: ReadOn,
        mut memory: Option<&mut Memory>,
    ) -> Result<(Self, HashMap<Uuid, Seen>), Interrupted> {
        let mut slots: Vec<Slot> = members
            .into_iter()
            .map(|(program, member)| Slot {
                member_no: None,
                book: MemberBook::new(program, member),
            })
            .collect();
        let (head, seen) = loop {
            let mut unknown = Vec::new();
            for (index, slot) in slots.iter_mut().enumerate() {
                if !memory.as_deref_mut().is_some_and(|memory| slot.recall(memory)) {
                    unknown.push(index);
                }
            }
            let found = read_slots(connection, shard, &mut slots, &unknown, asked).await?;
            match memory.as_deref_mut() {
                // The shard is not as it is remembered.
                Some(memory) if unknown.len() < slots.len() && !memory.is_of(&found.0) => {
                    memory.forget();
                    for slot in &mut slots {
                        slot.member_no = None;
                        slot.book.wallets.clear();
                    }
                }
                _ => break found,
            }
        };
        let mut work = Self {
            shard,
            now,
            read_on,
            log: Log::new(shard, head.position.next()),
            before: head,
            slots,
            slot_of: Vec::new(),
            orders: Vec::new(),
        };
        work.open(connection, asked).await?;
        Ok((work, seen))
    }

    /// Opens the wallets that are spent from or in which something is due.
    async fn open(
        &mut self,
        connection: &mut PgConnection,
        asked: &Asked,
    ) -> Result<(), Interrupted> {
        let mut wanted = Wanted {
            lots_max: LOTS_FIRST,
            ..Wanted::default()
        };
        let mut wallets = Vec::new();
        for (index, slot) in self.slots.iter().enumerate() {
            let Some(member_no) = slot.member_no else {
                continue;
            };
            for (currency, wallet) in &slot.book.wallets {
                if asked.spends.contains(&index) || wallet.is_due(self.now) {
                    wanted.member_nos.push(member_no);
                    wanted.currencies.push(currency.to_string());
                    wallets.push((index, currency.clone()));
                }
            }
        }
        let mut hold_slots = Vec::new();
        for (slot, hold) in &asked.holds {
            if let Some(member_no) = self.slots[*slot].member_no {
                wanted.hold_member_nos.push(member_no);
                wanted.holds.push(hold.get());
                hold_slots.push(*slot);
            }
        }
        if wallets.is_empty() && hold_slots.is_empty() {
            return Ok(());
        }
        let opened = store::batch_read::open(connection, self.shard, &wanted).await?;
        if opened.position != self.before.position {
            return Err(Interrupted::Overtaken);
        }
        self.fill(&wallets, opened.lots, opened.holds, LOTS_FIRST);
        for (asked, currency, hold) in opened.named {
            let book = &mut self.slots[hold_slots[asked]].book;
            if let Some(wallet) = book.wallets.get_mut(&currency) {
                wallet.add_named([], [hold]);
            }
        }
        Ok(())
    }

    /// Puts lots and holds that were read into their wallets.
    fn fill(
        &mut self,
        wallets: &[(usize, CurrencyId)],
        read_lots: Vec<(usize, bool, Lot)>,
        read_holds: Vec<(usize, Hold)>,
        lots_max: i64,
    ) {
        let mut lots: Vec<Vec<Lot>> = wallets.iter().map(|_| Vec::new()).collect();
        let mut in_order: Vec<Vec<Lot>> = lots.clone();
        let mut holds: Vec<Vec<Hold>> = wallets.iter().map(|_| Vec::new()).collect();
        for (wallet, ordered, lot) in read_lots {
            if ordered {
                in_order[wallet].push(lot);
            } else {
                lots[wallet].push(lot);
            }
        }
        for (wallet, hold) in read_holds {
            holds[wallet].push(hold);
        }
        let parts = lots.into_iter().zip(in_order).zip(holds);
        for ((slot, currency), ((lots, in_order), holds)) in wallets.iter().zip(parts) {
            let through = through(&in_order, lots_max);
            if let Some(wallet) = self.slots[*slot].book.wallets.get_mut(currency) {
                wallet.add_read(lots.into_iter().chain(in_order), holds, through);
            }
        }
    }

    /// How many members it has.
    pub(in crate::app) fn len(&self) -> usize {
        self.slots.len()
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
        index: usize,
        currency: &CurrencyId,
    ) -> Result<(), DatabaseError> {
        let slot = &mut self.slots[index];
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
            ReadThrough::All => unreachable!("the engine has all lots"),
            ReadThrough::Nothing => {
                let wanted = Wanted {
                    member_nos: vec![member_no],
                    currencies: vec![currency.to_string()],
                    lots_max: LOTS_NEXT,
                    ..Wanted::default()
                };
                let opened = store::batch_read::open(connection, self.shard, &wanted).await?;
                let wallets = [(index, currency.clone())];
                self.fill(&wallets, opened.lots, opened.holds, LOTS_NEXT);
                return Ok(());
            }
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
        let through = through(&lots, LOTS_NEXT);
        wallet.add_read(lots, [], through);
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

    /// Writes all that changed, and remembers it; an instance that was overtaken
    /// writes nothing.
    pub(in crate::app) async fn write(
        mut self,
        connection: &mut PgConnection,
        read_on: ReadOn,
        memory: Option<&mut Memory>,
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
            let number = self.slots[*slot].member_no;
            rows.log.push(TransactionRow {
                position: transaction.position.get(),
                member_no: number.expect("whoever has a transaction has a number"),
                request_key: key,
                body,
                chain: head.chain.to_vec(),
            });
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
        let through = head.position;
        if let Some(memory) = memory {
            let seen = self.slots.into_iter();
            memory.remember(head, seen.filter_map(Slot::into_remembered));
        }
        let transactions = self.log.into_written().into_iter().map(Arc::new);
        Ok(Written {
            after,
            through,
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
                let book = &slot.book;
                let row = MemberRow::new(head.members, &book.program, &book.member);
                rows.members.push(row);
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
                let row = WalletRow::new(member_no, currency, wallet.wallet());
                rows.wallets.extend(row);
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
                    lots.push(LotRow::new(member_no, lot));
                }
                for hold in wallet.changed_holds() {
                    rows.holds.push(HoldRow::new(member_no, currency, hold));
                }
            }
            for (transaction, reversal) in slot.book.changed_reversals() {
                let row = ReversalRow::new(member_no, transaction, reversal);
                rows.reversals.push(row);
            }
        }
        (cached, changed)
    }
}

fn key_of(lot: &Lot) -> SpendKey {
    SpendKey {
        expires_at: lot
            .terms
            .expires_at
            .unwrap_or(fealty_ledger::LotTerms::NEVER),
        lot: lot.terms.lot,
    }
}

/// How far a slice reaches: to its last lot, or all the way if it is short.
fn through(slice: &[Lot], limit: i64) -> ReadThrough {
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
