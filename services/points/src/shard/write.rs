//! What work on a shard writes: the rows of all that changed.

use std::{collections::HashMap, sync::Arc};

use fealty_ledger::{Leases, Transaction, Wallet, canonical::Chain};
use fealty_postgres::PgConnection;
use fealty_types::{CurrencyId, MemberId, Position, ProgramId};

use super::{
    keys::key_of,
    memory::Memory,
    orders::Claimed,
    placement::Placement,
    store::{
        self,
        batch_write::{Outcome, Rows, at_once, in_turn},
        head::Head,
        rows::{
            CountersRow, HoldRow, LeaseRow, LotRow, MemberRow, ReturnRow, ReversalRow, WalletRow,
        },
    },
    work::{Interrupted, ReadOn, ShardWork, Slot},
};

/// How far apart the marks of the accounts' totals are at the least.
pub(crate) const MARK_DISTANCE: i64 = 1_000;

/// What a request brought about.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Its transaction.
    pub(crate) transaction: Arc<Transaction>,
    /// Whether it was there already, from the same request sent before.
    pub(crate) replayed: bool,
}

/// A wallet as it stands, and whose it is.
#[derive(Clone, Debug)]
pub(crate) struct KnownWallet {
    pub(crate) program: ProgramId,
    pub(crate) member: MemberId,
    pub(crate) currency: CurrencyId,
    pub(crate) wallet: Wallet,
}

/// What was written to a shard.
pub(crate) struct Written {
    /// The head before, and the chain there.
    pub(crate) after: (Position, Chain),
    /// The head now, and the chain there.
    pub(crate) through: (Position, Chain),
    /// The transactions, in order.
    pub(crate) transactions: Vec<Arc<Transaction>>,
    /// The wallets that changed.
    pub(crate) wallets: Vec<KnownWallet>,
    /// Points by kind of account credited.
    pub(crate) moved: HashMap<&'static str, u64>,
}

impl Written {
    /// The answer that the transaction at a position is.
    pub(crate) fn answer(&self, position: Position, replayed: bool) -> Answer {
        let of_batch = &self.transactions;
        let found = of_batch.binary_search_by_key(&position, |written| written.position);
        Answer {
            transaction: Arc::clone(&of_batch[found.expect("of this batch")]),
            replayed,
        }
    }
}

impl ShardWork {
    /// Writes all that changed, and remembers it; an instance that was overtaken
    /// writes nothing.
    pub(crate) async fn write(
        mut self,
        connection: &mut PgConnection,
        placement: Placement,
        read_on: ReadOn,
        memory: Option<&mut Memory>,
    ) -> Result<Written, Interrupted> {
        let mut head = self.before.clone();
        let after = head.position;
        let mut rows = Rows::default();
        self.number_members(&mut head, &mut rows);
        let moved = self.log_rows(&mut head, &mut rows);
        if placement == Placement::OneNode {
            rows.orders = std::mem::take(&mut self.orders);
            rows.orders.sort_unstable();
        }
        rows.versions = self.begun();
        let leases = self.leases.iter().flat_map(Leases::changed);
        rows.leases = leases
            .map(|(name, held)| LeaseRow::new(name, held))
            .collect();
        let (wallets, changed) = self.wallet_rows(after, &mut rows);
        let marks = head.position.get() / MARK_DISTANCE > after.get() / MARK_DISTANCE;
        let said = self.said_of_all();
        let needs_lock = marks || !rows.returns.is_empty() || !said.is_empty();
        if needs_lock && read_on == ReadOn::Never {
            return Err(Interrupted::NeedsLock);
        }
        if changed || !rows.log.is_empty() {
            let (shard, before) = (self.shard, &self.before);
            let outcome = match placement {
                Placement::OneNode => at_once(connection, shard, before, &head, &rows).await?,
                Placement::Distributed => in_turn(connection, shard, before, &head, &rows).await?,
            };
            match outcome {
                Outcome::Written => {}
                Outcome::Overtaken => return Err(Interrupted::Overtaken),
                Outcome::OrderTaken => {
                    let taken = rows.orders;
                    let claimed = Claimed {
                        taken,
                        ..Claimed::default()
                    };
                    return Err(Interrupted::OrdersTaken(claimed));
                }
            }
            if !rows.returns.is_empty() {
                store::returns::put(connection, self.shard, &rows.returns).await?;
            }
            said.put(connection, self.shard).await?;
            if marks {
                store::marks::mark(connection, self.shard, head.position).await?;
            }
        }
        let (through, chain) = (head.position, head.chain);
        if let Some(memory) = memory {
            let seen = self.slots.into_iter();
            let seen = seen.filter_map(Slot::into_remembered);
            memory.remember(head, self.leases.take(), seen);
        }
        let transactions = self.log.into_transactions().map(Arc::new);
        Ok(Written {
            after: (after, self.before.chain),
            through: (through, chain),
            transactions: transactions.collect(),
            wallets,
            moved,
        })
    }

    /// The rows of the log, with the head after them; answers with the points by kind
    /// of account credited.
    fn log_rows(&self, head: &mut Head, rows: &mut Rows) -> HashMap<&'static str, u64> {
        let mut moved: HashMap<&'static str, u64> = HashMap::new();
        for (entry, slot) in self.log.written().iter().zip(&self.slot_of) {
            let transaction = entry.transaction();
            let key = transaction.and_then(key_of);
            let number = slot.and_then(|slot| self.slots[slot].member_no);
            rows.log.push(head.append(entry, number, key));
            let Some(transaction) = transaction else {
                continue;
            };
            rows.totals.add(transaction);
            for transfer in &transaction.transfers {
                *moved.entry(transfer.credit.kind()).or_default() +=
                    transfer.amount.get().unsigned_abs();
            }
        }
        moved
    }

    /// Gives members that have their first transaction a number.
    fn number_members(&mut self, head: &mut Head, rows: &mut Rows) {
        for index in self.slot_of.iter().flatten() {
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

    fn wallet_rows(&self, after: Position, rows: &mut Rows) -> (Vec<KnownWallet>, bool) {
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
                cached.push(KnownWallet {
                    program: slot.book.program.clone(),
                    member: slot.book.member.clone(),
                    currency: currency.clone(),
                    wallet: wallet.wallet().clone(),
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
            if slot.book.counters.is_changed() {
                let row = CountersRow::new(member_no, &slot.book.counters);
                rows.counters.push(row);
            }
            for (transaction, reversal) in slot.book.changed_reversals() {
                let row = ReversalRow::new(member_no, transaction, reversal);
                rows.reversals.push(row);
            }
            for (transaction, returned) in slot.book.changed_returns() {
                let row = ReturnRow::new(member_no, transaction, returned);
                rows.returns.push(row);
            }
        }
        (cached, changed)
    }
}
