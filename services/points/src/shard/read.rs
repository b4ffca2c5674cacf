//! What work on a shard reads: members, from memory or the database, and what
//! the engine needs of their wallets.

use std::collections::{BTreeSet, HashMap, HashSet};

use fealty_ledger::{
    Command, Counters, Log, Lot, MemberBook, Named, PendingKey, PendingThrough, PeriodEnd,
    ReadThrough, Request, Returned, SpendKey, Transaction, WalletBook,
};
use fealty_postgres::{DatabaseError, PgConnection};
use fealty_types::{CurrencyId, MemberId, Position, ProgramId, ShardId, Timestamp};
use uuid::Uuid;

use super::{
    memory::Memory,
    store::{
        self,
        batch_read::{self, Opened, Wanted},
        head::Head,
        rows::{AskedWallet, SeenRow},
        versions::BegunVersion,
    },
    work::{Asked, Interrupted, ReadOn, ShardWork, Slot},
};

/// How often members are recalled for one batch, before all of them are read.
const RECALLED_MAX: u32 = 2;
/// Lots read of a wallet in which something is due; most often it is the first.
const LOTS_DUE: i32 = 64;
/// Lots read at the most for a spend; one that needs more locks the head.
const LOTS_SPENT_MAX: i32 = 500;
/// Lots read at each further need.
const LOTS_NEXT: i32 = 2_048;

/// What was found besides members.
struct Found {
    head: Head,
    /// Requests that were seen before.
    seen: HashMap<Uuid, SeenRow>,
    /// The versions of programmes that are in force in the shard.
    versions: HashMap<ProgramId, BegunVersion>,
    /// Up to when the ends of their periods are written.
    ends: HashMap<ProgramId, Timestamp>,
}

/// Reads some members with their wallets into their slots; answers with what else
/// was found.
async fn read_slots(
    connection: &mut PgConnection,
    shard: ShardId,
    slots: &mut [Slot],
    wanted: &[usize],
    asked: &Asked,
) -> Result<Found, DatabaseError> {
    let books = || wanted.iter().map(|index| &slots[*index].book);
    let programs: Vec<&str> = books().map(|book| book.program.as_str()).collect();
    let members: Vec<&str> = books().map(|book| book.member.as_str()).collect();
    let of_members = slots.iter().map(|slot| slot.book.program.as_str());
    let of_others = asked.programs.iter().map(ProgramId::as_str);
    let of_all: BTreeSet<&str> = of_members.chain(of_others).collect();
    let versions: Vec<&str> = of_all.into_iter().collect();
    let (requests, members) = (&asked.requests, (&*programs, &*members));
    let found = store::batch_read::members(connection, shard, members, requests, &versions).await?;
    let mut slot_of = HashMap::new();
    for (member, number) in found.numbers {
        slots[wanted[member]].member_no = Some(number);
        slot_of.insert(number, wanted[member]);
    }
    for (member_no, currency, wallet) in found.wallets {
        let wallets = &mut slots[slot_of[&member_no]].book.wallets;
        wallets.insert(currency, WalletBook::of(wallet));
    }
    for (member_no, counters) in found.counters {
        slots[slot_of[&member_no]].book.counters = counters;
    }
    Ok(Found {
        head: found.head,
        seen: found.seen,
        versions: found.versions,
        ends: found.ends,
    })
}

impl ShardWork {
    /// Reads members with their wallets, opens those that are spent from or in
    /// which something is due, and answers with the requests that were seen
    /// before.
    pub(crate) async fn read(
        connection: &mut PgConnection,
        shard: ShardId,
        members: impl IntoIterator<Item = (ProgramId, MemberId)>,
        asked: &Asked,
        now: Timestamp,
        read_on: ReadOn,
        mut memory: Option<&mut Memory>,
    ) -> Result<(Self, HashMap<Uuid, SeenRow>), Interrupted> {
        let mut slots: Vec<Slot> = members
            .into_iter()
            .map(|(program, member)| Slot {
                member_no: None,
                book: MemberBook::new(program, member),
                backfilled: 0,
            })
            .collect();
        let mut trials = 0;
        let found = loop {
            trials += 1;
            let mut unknown = Vec::new();
            for (index, slot) in slots.iter_mut().enumerate() {
                let memory = memory.as_deref_mut().filter(|_| trials <= RECALLED_MAX);
                if !memory.is_some_and(|memory| slot.recall(memory)) {
                    unknown.push(index);
                }
            }
            let found = read_slots(connection, shard, &mut slots, &unknown, asked).await?;
            let Some(memory) = memory.as_deref_mut() else {
                break found;
            };
            let forgotten = memory.catch_up(connection, shard, &found.head).await?;
            let unknown: HashSet<usize> = unknown.into_iter().collect();
            let recalled = slots.iter().enumerate();
            let mut recalled = recalled.filter(|(index, _)| !unknown.contains(index));
            if !recalled.any(|(_, slot)| forgotten.has(slot.member_no)) {
                break found;
            }
            // Somebody else has written to a member who was recalled.
            for slot in &mut slots {
                slot.member_no = None;
                slot.backfilled = 0;
                slot.book.wallets.clear();
                slot.book.counters = Counters::default();
            }
        };
        let remembered = memory.as_deref().and_then(Memory::leases);
        let leases = match remembered.filter(|_| asked.leases) {
            Some(leases) => Some(leases.clone()),
            None if asked.leases => Some(store::leases::of_shard(&mut *connection, shard).await?),
            None => None,
        };
        let mut work = Self {
            shard,
            now,
            read_on,
            log: Log::new(shard, found.head.position.next(), found.head.stamp(now)),
            before: found.head,
            slots,
            slot_of: Vec::new(),
            versions: found.versions,
            ends: found.ends,
            orders: Vec::new(),
            leases,
            further_reads: 0,
        };
        work.open(connection, asked).await?;
        Ok((work, found.seen))
    }

    /// Opens the wallets that are spent from or in which something is due, as far
    /// as is needed.
    async fn open(
        &mut self,
        connection: &mut PgConnection,
        asked: &Asked,
    ) -> Result<(), Interrupted> {
        let mut wanted = Wanted::default();
        for (index, slot) in self.slots.iter().enumerate() {
            let Some(member_no) = slot.member_no else {
                continue;
            };
            for (currency, wallet) in &slot.book.wallets {
                let spend = asked.spends.get(&(index, currency.clone()));
                let due = wallet.is_due(self.now);
                if due || spend.is_some() {
                    wanted.wallets.push(AskedWallet {
                        member_no,
                        currency: currency.to_string(),
                        points: spend
                            .filter(|_| !due)
                            .map_or(i64::MAX, |spend| spend.points),
                        lots_max: if due { LOTS_DUE } else { LOTS_SPENT_MAX },
                        due,
                        holds: spend.is_some_and(|spend| spend.holds),
                    });
                }
            }
        }
        for (slot, hold) in &asked.holds {
            if let Some(member_no) = self.slots[*slot].member_no {
                wanted.hold_member_nos.push(member_no);
                wanted.holds.push(hold.get());
            }
        }
        if wanted.wallets.is_empty() && wanted.holds.is_empty() {
            return Ok(());
        }
        let opened = store::batch_read::open(connection, self.shard, &wanted).await?;
        if opened.position != self.before.position {
            return Err(Interrupted::Overtaken);
        }
        self.fill(&wanted.wallets, opened);
        Ok(())
    }

    /// Puts lots and holds that were read into their wallets.
    fn fill(&mut self, asked: &[AskedWallet], opened: Opened) {
        let mut spendable: HashMap<(i64, CurrencyId), Vec<Lot>> = HashMap::new();
        for (member_no, lot) in opened.spendable {
            let wallet = (member_no, lot.terms.currency.clone());
            spendable.entry(wallet).or_default().push(lot);
        }
        let mut books: HashMap<i64, &mut MemberBook> = HashMap::new();
        for slot in &mut self.slots {
            books.extend(slot.member_no.map(|number| (number, &mut slot.book)));
        }
        let mut pending: HashMap<(i64, CurrencyId), Vec<PendingKey>> = HashMap::new();
        for (member_no, lot) in opened.others {
            if lot.pending {
                let wallet = (member_no, lot.terms.currency.clone());
                pending
                    .entry(wallet)
                    .or_default()
                    .push(PendingKey::of(&lot));
            }
            let book = books.get_mut(&member_no);
            if let Some(wallet) = book.and_then(|book| book.wallets.get_mut(&lot.terms.currency)) {
                wallet.add_named([lot], []);
            }
        }
        for (member_no, currency, hold) in opened.holds {
            let book = books.get_mut(&member_no);
            if let Some(wallet) = book.and_then(|book| book.wallets.get_mut(&currency)) {
                wallet.add_named([], [hold]);
            }
        }
        for asked in asked {
            let Some(book) = books.get_mut(&asked.member_no) else {
                continue;
            };
            let wallets = book.wallets.iter_mut();
            let wallet = wallets
                .into_iter()
                .find(|(currency, _)| currency.as_str() == asked.currency);
            let Some((currency, wallet)) = wallet else {
                continue;
            };
            let lots = spendable.remove(&(asked.member_no, currency.clone()));
            let lots = lots.unwrap_or_default();
            let through = through(&lots, asked);
            if asked.due {
                wallet.add_read(lots, [], through);
                let pending = pending.remove(&(asked.member_no, currency.clone()));
                let pending = pending.unwrap_or_default();
                let last = pending.iter().max().copied();
                wallet.add_pending([], pending_through(pending.len(), last));
            } else {
                wallet.add_spendable(lots, through);
            }
        }
    }

    /// Reads the next lots of a wallet; where something is due in it, or there are
    /// no more of those, also what is pending and held.
    pub(super) async fn read_lots(
        &mut self,
        connection: &mut PgConnection,
        index: usize,
        currency: &CurrencyId,
    ) -> Result<(), DatabaseError> {
        let now = self.now;
        let slot = &mut self.slots[index];
        let member_no = slot
            .member_no
            .expect("a wallet with unread lots has a stored member");
        let wallet = slot
            .book
            .wallets
            .get_mut(currency)
            .expect("the engine named a wallet");
        let all_pending = wallet.pending_through() == PendingThrough::All;
        if wallet.read_through() == ReadThrough::All && wallet.due_is_read() && all_pending {
            return Err(DatabaseError::Broken(
                "a wallet has more than its lots have",
            ));
        }
        if wallet.due_is_read()
            && let PendingThrough::Key(after) = wallet.pending_through()
        {
            let (shard, max) = (self.shard, batch_read::PENDING_MAX);
            let lots =
                store::lots::pending(&mut *connection, shard, member_no, currency, after, max);
            let lots = lots.await?;
            let last = lots.iter().map(PendingKey::of).max();
            let through = pending_through(lots.len(), last);
            wallet.add_pending(lots, through);
            if wallet.read_through() == ReadThrough::All {
                return Ok(());
            }
        }
        if let ReadThrough::Key(after) = wallet.read_through()
            && (wallet.due_is_read() || !wallet.is_due(now))
        {
            let shard = self.shard;
            let lots = store::lots::spendable(
                &mut *connection,
                shard,
                member_no,
                currency,
                after,
                LOTS_NEXT.into(),
            )
            .await?;
            let through = slice_through(&lots, LOTS_NEXT);
            wallet.add_spendable(lots, through);
            return Ok(());
        }
        let wanted = Wanted {
            wallets: vec![AskedWallet {
                member_no,
                currency: currency.to_string(),
                points: i64::MAX,
                lots_max: LOTS_NEXT,
                due: true,
                holds: true,
            }],
            ..Wanted::default()
        };
        let opened = store::batch_read::open(connection, self.shard, &wanted).await?;
        self.fill(&wanted.wallets, opened);
        Ok(())
    }

    /// Reads what the end of a period may take points back of, under the lock of the head.
    pub(crate) async fn read_for_end(
        &mut self,
        connection: &mut PgConnection,
        slot: usize,
        end: &PeriodEnd,
    ) -> Result<(), DatabaseError> {
        let shard = self.shard;
        let slot = &mut self.slots[slot];
        for before in &end.before {
            let reversal = store::reversals::of(&mut *connection, shard, before.position).await?;
            if let Some(reversal) = reversal {
                slot.book.add_reversal(before.position, reversal);
            }
        }
        let Some(member_no) = slot.member_no else {
            return Ok(());
        };
        let names: Vec<i64> = end.named_lots().iter().map(|lot| lot.get()).collect();
        for lot in store::lots::named(connection, shard, member_no, &names).await? {
            if let Some(wallet) = slot.book.wallets.get_mut(&lot.terms.currency) {
                wallet.add_named([lot], []);
            }
        }
        Ok(())
    }

    /// Reads the transaction or lot that a command names, with what belongs to
    /// it.
    pub(super) async fn read_named(
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
                None => store::log::transaction_at(&mut *connection, self.shard, position)
                    .await?
                    .map(|row| row.transaction())
                    .transpose()?,
            };
            let book = &mut self.slots[slot].book;
            let own = |t: &Transaction| t.program == book.program && t.member == book.member;
            request.original = original.filter(own).map(Box::new);
            if request.original.is_some() {
                let shard = self.shard;
                let reversal = store::reversals::of(&mut *connection, shard, position).await?;
                if let Some(reversal) = reversal {
                    book.add_reversal(position, reversal);
                }
            }
            if let (Command::Return(_), Some(_)) = (&request.command, &request.original) {
                let shard = self.shard;
                let returned = store::returns::of(&mut *connection, shard, position).await?;
                let mut returned: HashMap<Position, Returned> = returned
                    .map(|returned| (position, returned))
                    .into_iter()
                    .collect();
                if let Some(member_no) = self.slots[slot].member_no {
                    let of = (shard, member_no);
                    store::returns::fill_in_parts(&mut *connection, of, &mut returned).await?;
                }
                for (position, returned) in returned {
                    self.slots[slot].book.add_returned(position, returned);
                }
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
}

/// How far pending lots reach of which so many were read.
fn pending_through(len: usize, last: Option<PendingKey>) -> PendingThrough {
    match last {
        Some(last) if i64::try_from(len) == Ok(batch_read::PENDING_MAX) => {
            PendingThrough::Key(last)
        }
        _ => PendingThrough::All,
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
fn slice_through(slice: &[Lot], len_max: i32) -> ReadThrough {
    match slice.iter().map(key_of).max() {
        Some(last) if i32::try_from(slice.len()) == Ok(len_max) => ReadThrough::Key(last),
        _ => ReadThrough::All,
    }
}

/// How far the lots of a wallet reach that were read by what was asked.
fn through(lots: &[Lot], asked: &AskedWallet) -> ReadThrough {
    let points: i64 = lots.iter().map(|lot| lot.remaining.get()).sum();
    match lots.iter().map(key_of).max() {
        Some(last) if points >= asked.points => ReadThrough::Key(last),
        _ => slice_through(lots, asked.lots_max),
    }
}
