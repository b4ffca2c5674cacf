//! What work on a shard reads: members, from memory or the database, and what
//! the engine needs of their wallets.

use std::collections::HashMap;

use fealty_ledger::{
    Hold, Log, Lot, MemberBook, Named, ReadThrough, Request, SpendKey, Transaction, WalletBook,
};
use fealty_postgres::{DatabaseError, PgConnection};
use fealty_types::{CurrencyId, MemberId, ProgramId, ShardId, Timestamp};
use uuid::Uuid;

use super::{
    memory::Memory,
    store::{
        self,
        batch_read::{Seen, Wanted},
        head::Head,
    },
    work::{Asked, Interrupted, ReadOn, ShardWork, Slot, decode},
};

/// Lots read at first, and at each further need.
const LOTS_FIRST: i64 = 32;
const LOTS_NEXT: i64 = 2_048;

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
                if !memory
                    .as_deref_mut()
                    .is_some_and(|memory| slot.recall(memory))
                {
                    unknown.push(index);
                }
            }
            let found = read_slots(connection, shard, &mut slots, &unknown, asked).await?;
            let holds = memory
                .as_deref_mut()
                .is_none_or(|memory| memory.holds_at(&found.0));
            if holds || unknown.len() == slots.len() {
                break found;
            }
            // The shard is not as it was remembered: all are read.
            for slot in &mut slots {
                slot.member_no = None;
                slot.book.wallets.clear();
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

    /// Reads the next lots of a wallet; the first time also what is pending and
    /// held.
    pub(super) async fn read_lots(
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
