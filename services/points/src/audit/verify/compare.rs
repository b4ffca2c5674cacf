//! What a shard's log makes, compared with what is stored.

use std::collections::{BTreeMap, HashMap};

use fealty_ledger::{Hold, Lot, MemberBook, Returned, Reversal, Wallet, WalletBook};
use fealty_postgres::{Database, PgConnection};
use fealty_types::{CurrencyId, LotId, Position, ProgramId, ShardId, Timestamp};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{VerifyError, shard::Shard};
use crate::{
    audit::store as accounts,
    shard::{
        Shards, order_shard,
        store::{
            self, head::Head, orders::RecordedOrder, rows::VersionRow, versions::BegunVersion,
        },
    },
};

/// Orders looked up at a time.
const ORDERS_LEN: usize = 5_000;
/// Lots, and holds that have ended, read at a time.
const LOTS_LEN: i64 = 5_000;

impl Shard {
    pub(super) fn compare_members(
        &self,
        stored: &[(i64, String, String)],
        said: i64,
    ) -> Result<(), VerifyError> {
        let has = |(number, program, member): &(i64, String, String)| {
            let (Ok(program), Ok(member)) = (program.parse(), member.parse()) else {
                return false;
            };
            let known = self.members.get(&(program, member));
            known.is_some_and(|known| known.number == *number)
        };
        let as_many = stored.len() == self.members.len() && i64::try_from(stored.len()) == Ok(said);
        if as_many && stored.iter().all(has) {
            return Ok(());
        }
        Err(self.difference(self.position, "the members differ"))
    }

    pub(super) fn compare_versions(&self, stored: &[VersionRow]) -> Result<(), VerifyError> {
        let same = |row: &VersionRow| {
            let began = row.program.parse().ok();
            let began = began.and_then(|program: ProgramId| self.versions.get(&program));
            began.is_some_and(|began| {
                i64::from(began.version) == i64::from(row.version)
                    && began.position.get() == row.position
            })
        };
        let is_backfilled = |row: &VersionRow| {
            let program = row.program.parse().ok();
            let said = program.map(|program| self.backfilled_through(&program));
            said.map(i64::from) == Some(row.backfilled.into())
        };
        if !stored.iter().all(is_backfilled) {
            let what = "up to which version counters are worked out differs";
            return Err(self.difference(self.position, what));
        }
        if stored.len() == self.versions.len() && stored.iter().all(same) {
            return Ok(());
        }
        Err(self.difference(self.position, "the versions in force differ"))
    }

    /// Compares up to when the ends of periods are written, and which versions began when: by
    /// those they are evaluated again.
    fn compare_periods(
        &self,
        history: Vec<VersionRow>,
        ends: Vec<(ProgramId, Timestamp)>,
    ) -> Result<(), VerifyError> {
        self.check_nothing_owed()?;
        let ends: BTreeMap<ProgramId, Timestamp> = ends.into_iter().collect();
        if ends != self.periods.through {
            let what = "up to when the ends of periods are written differs";
            return Err(self.difference(self.position, what));
        }
        let mut stored: BTreeMap<ProgramId, Vec<BegunVersion>> = BTreeMap::new();
        for row in history {
            let (program, begun) = row.into_version()?;
            stored.entry(program).or_default().push(begun);
        }
        let same = |stored: &BegunVersion, made: &(u32, Position, Timestamp)| {
            // Of those that began before it was kept it is not known when.
            let is_kept = stored.begun_at != Timestamp::EPOCH;
            (stored.version, stored.position) == (made.0, made.1)
                && (!is_kept || stored.begun_at == made.2)
        };
        for (program, made) in &self.periods.begun {
            let (stored, begun) = (stored.remove(program).unwrap_or_default(), made.len());
            // So are all but the last of those.
            let is_whole = stored
                .first()
                .is_some_and(|first| first.begun_at != Timestamp::EPOCH);
            let made = &made[made.len().saturating_sub(stored.len())..];
            let all = stored.len() == made.len() && !(is_whole && made.len() != begun);
            if stored.is_empty() || !all || !stored.iter().zip(made).all(|(s, m)| same(s, m)) {
                let what = format!("the versions of {program} that began differ");
                return Err(self.difference(self.position, what));
            }
        }
        if stored.is_empty() {
            return Ok(());
        }
        let what = "versions are stored that never began";
        Err(self.difference(self.position, what))
    }

    pub(super) fn compare_wallets(
        &self,
        stored: &[(i64, CurrencyId, Wallet)],
    ) -> Result<(), VerifyError> {
        let stored: HashMap<(i64, &CurrencyId), &Wallet> = stored
            .iter()
            .map(|(number, currency, wallet)| ((*number, currency), wallet))
            .collect();
        let mut wallets = 0;
        for known in self.members.values() {
            for (currency, wallet) in &known.book.wallets {
                wallets += 1;
                let made = wallet.wallet();
                let same = stored.get(&(known.number, currency)).is_some_and(|stored| {
                    // When to look next may be earlier than need be, never later.
                    let first_due = wallet.first_due(currency).ok().flatten();
                    let due_in_time = match (stored.next_due, first_due) {
                        (_, None) => true,
                        (None, Some(_)) => false,
                        (Some(stored), Some(first)) => stored <= first,
                    };
                    let made = Wallet {
                        next_due: stored.next_due,
                        ..made.clone()
                    };
                    **stored == made && due_in_time
                });
                if !same {
                    let at = made.last_position.unwrap_or(self.position);
                    let member = &known.book.member;
                    let what = format!("the wallet of {member} in {currency} differs");
                    return Err(self.difference(at, what));
                }
            }
        }
        if wallets != stored.len() {
            return Err(self.difference(self.position, "there are wallets the log does not make"));
        }
        Ok(())
    }

    pub(super) fn compare_lot(
        &self,
        by_number: &HashMap<i64, &MemberBook>,
        number: i64,
        stored: &Lot,
    ) -> Result<(), VerifyError> {
        let made = by_number
            .get(&number)
            .and_then(|book| book.wallets.get(&stored.terms.currency))
            .and_then(|wallet| wallet.lot(stored.terms.lot));
        if made == Some(stored) {
            return Ok(());
        }
        let at = stored.terms.lot.position();
        Err(self.difference(at, "a lot that it made differs"))
    }

    pub(super) fn compare_holds(
        &self,
        by_number: &HashMap<i64, &MemberBook>,
        stored: &[(i64, CurrencyId, Hold)],
    ) -> Result<(), VerifyError> {
        for (number, currency, hold) in stored {
            let book = by_number.get(number);
            let same = book.is_some_and(|book| {
                let wallet = book.wallets.get(currency);
                wallet.is_some_and(|wallet| wallet.holds().any(|made| made == hold))
            });
            if !same {
                return Err(self.difference(hold.position, "the hold that it made differs"));
            }
        }
        let wallets = self.wallets().map(|(_, _, wallet)| wallet);
        let open = wallets
            .flat_map(WalletBook::holds)
            .filter(|hold| !hold.lots.is_empty());
        if open.count() != stored.len() {
            return Err(self.difference(self.position, "there are holds that are not stored"));
        }
        Ok(())
    }

    /// What counted must have been told. What was told besides, and by whom, only the tiers
    /// service's own log shows.
    pub(super) fn compare_tiers(
        &self,
        stored: &[(String, String, Timestamp)],
    ) -> Result<(), VerifyError> {
        let first: HashMap<(&str, &str), Timestamp> = stored
            .iter()
            .map(|(program, member, first)| ((program.as_str(), member.as_str()), *first))
            .collect();
        for ((program, member), (moment, position)) in &self.tiers {
            let told = first.get(&(program.as_str(), member.as_str()));
            if told.is_none_or(|told| told > moment) {
                let what = "a tier counted for it of which nothing is stored";
                return Err(self.difference(*position, what));
            }
        }
        Ok(())
    }

    fn compare_returns(
        &self,
        by_number: &HashMap<i64, &MemberBook>,
        stored: &[(i64, Position, Returned)],
    ) -> Result<(), VerifyError> {
        for (number, position, returned) in stored {
            let book = by_number.get(number);
            let made = book.and_then(|book| book.returned(*position));
            if !made.is_some_and(|made| made.is_stored_as(returned)) {
                let what = "what has come back of it differs";
                return Err(self.difference(*position, what));
            }
        }
        let made = self.members.values();
        if made.flat_map(|known| known.book.returns()).count() != stored.len() {
            return Err(self.difference(self.position, "there are returns not stored"));
        }
        Ok(())
    }

    pub(super) fn compare_reversals(
        &self,
        by_number: &HashMap<i64, &MemberBook>,
        stored: &[(i64, Position, Reversal)],
    ) -> Result<(), VerifyError> {
        for (number, position, reversal) in stored {
            let book = by_number.get(number);
            if book.and_then(|book| book.reversal(*position)) != Some(reversal) {
                let what = "what has been reversed of it differs";
                return Err(self.difference(*position, what));
            }
        }
        let made = self.members.values();
        if made.flat_map(|known| known.book.reversals()).count() != stored.len() {
            return Err(self.difference(self.position, "there are reversals not stored"));
        }
        Ok(())
    }
}

/// Compares what the log makes with what is stored.
pub(super) async fn compare(
    connection: &mut PgConnection,
    shard: &Shard,
    (head, shards): (&Head, Shards),
) -> Result<(), VerifyError> {
    let members = store::members::all(connection, shard.shard).await?;
    shard.compare_members(&members, head.members)?;
    drop(members);
    let versions = store::versions::of_shard(&mut *connection, shard.shard).await?;
    shard.compare_versions(&versions)?;
    let history = store::versions::history(&mut *connection, shard.shard, None).await?;
    let ends = store::ends::of_shard(&mut *connection, shard.shard).await?;
    shard.compare_periods(history, ends)?;
    let wallets = store::wallets::all(connection, shard.shard).await?;
    shard.compare_wallets(&wallets)?;
    drop(wallets);
    let (mut after, mut stored) = (LotId::from_stored(i64::MIN), 0);
    let by_number = shard.by_number();
    loop {
        let lots = store::lots::of_shard(connection, shard.shard, after, LOTS_LEN).await?;
        let Some((_, last)) = lots.last() else { break };
        after = last.terms.lot;
        stored += lots.len();
        for (number, lot) in &lots {
            shard.compare_lot(&by_number, *number, lot)?;
        }
    }
    if stored != shard.lots().count() {
        return Err(shard.difference(shard.position, "there are lots that are not stored"));
    }
    let holds = store::holds::all_open(connection, shard.shard).await?;
    shard.compare_holds(&by_number, &holds)?;
    compare_ended_holds(connection, shard, &holds).await?;
    compare_counters(connection, shard).await?;
    compare_orders(connection, shard, shards).await?;
    let tiers = store::members::first_tiers(connection, shard.shard).await?;
    shard.compare_tiers(&tiers)?;
    let reversals = store::reversals::of_shard(connection, shard.shard).await?;
    shard.compare_reversals(&by_number, &reversals)?;
    let returns = store::returns::of_shard(connection, shard.shard).await?;
    shard.compare_returns(&by_number, &returns)?;
    let leases = store::leases::of_shard(&mut *connection, shard.shard).await?;
    if leases != *shard.budgets.leases() {
        return Err(shard.difference(shard.position, "what it has of budgets differs"));
    }
    let referrals = store::referrals::of_shard(&mut *connection, shard.shard).await?;
    let of = (shard.shard, shards.ids());
    let compared = shard.referrals.compare(of, referrals);
    compared.map_err(|(at, what)| shard.difference(at, what))?;
    let accounts = accounts::of_shard(connection, shard.shard).await?;
    if accounts != shard.totals {
        return Err(shard.difference(shard.position, "the accounts differ"));
    }
    Ok(())
}

/// Compares members' numbers.
async fn compare_counters(connection: &mut PgConnection, shard: &Shard) -> Result<(), VerifyError> {
    let by_number = shard.by_number();
    let (mut after, mut stored) = (0, 0);
    loop {
        let some = store::counters::after(connection, shard.shard, after, LOTS_LEN).await?;
        let Some((last, _)) = some.last() else {
            break;
        };
        after = *last;
        for (number, counters) in &some {
            let made = by_number.get(number);
            if !made.is_some_and(|book| book.counters.are_same(counters)) {
                let member =
                    made.map_or_else(|| number.to_string(), |book| book.member.to_string());
                let what = format!("the counters of {member} differ");
                return Err(shard.difference(shard.position, what));
            }
            stored += usize::from(!counters.is_empty());
        }
    }
    let made = by_number.values().filter(|book| !book.counters.is_empty());
    if made.count() != stored {
        return Err(shard.difference(shard.position, "there are counters that are not stored"));
    }
    Ok(())
}

/// Compares the holds that have ended: a hold that is not there is one of which nobody
/// knows what became.
async fn compare_ended_holds(
    connection: &mut PgConnection,
    shard: &Shard,
    open: &[(i64, CurrencyId, Hold)],
) -> Result<(), VerifyError> {
    let (mut after, mut stored) = (Position::new(0), open.len());
    loop {
        let ended = store::holds::ended(connection, shard.shard, after, LOTS_LEN).await?;
        let Some((last, ..)) = ended.last() else {
            break;
        };
        after = *last;
        stored += ended.len();
        for (hold, number, is_empty) in &ended {
            let is_open = open
                .binary_search_by_key(hold, |open| open.2.position)
                .is_ok();
            if shard.holds.get(hold) != Some(number) || !is_empty || is_open {
                return Err(shard.difference(*hold, "the hold that it made differs"));
            }
        }
    }
    if stored != shard.holds.len() {
        return Err(shard.difference(shard.position, "there are holds that are not stored"));
    }
    Ok(())
}

/// Each purchase's order must be recorded: else its receipt earns again.
async fn compare_orders(
    connection: &mut PgConnection,
    shard: &Shard,
    shards: Shards,
) -> Result<(), VerifyError> {
    let mut by_shard: BTreeMap<ShardId, Vec<Uuid>> = BTreeMap::new();
    for key in shard.orders.keys() {
        let order = Uuid::from_bytes(*key);
        let recorded_in = by_shard.entry(order_shard(order, shards)).or_default();
        recorded_in.push(order);
    }
    for (recorded_in, orders) in by_shard {
        for some in orders.chunks(ORDERS_LEN) {
            let found = store::orders::requests_of(&mut *connection, recorded_in, some).await?;
            let found: HashMap<Uuid, Uuid> = found.into_iter().collect();
            for order in some {
                let (request, position) = shard.orders[order.as_bytes()];
                if found.get(order) != Some(&Uuid::from_bytes(request)) {
                    let what = "its order is not recorded for it: the receipt could earn again";
                    return Err(shard.difference(position, what));
                }
            }
        }
    }
    Ok(())
}

/// The orders of purchases, each with its request, as numbers that nobody can choose.
#[derive(Default)]
pub(super) struct OrdersMade(Vec<u64>);

impl OrdersMade {
    fn number(order: Uuid, request: Uuid) -> u64 {
        let digest = Sha256::new().chain_update(order).chain_update(request);
        let [first, ..] = *digest.finalize().as_chunks::<8>().0 else {
            return 0;
        };
        u64::from_le_bytes(first)
    }

    /// Adds those of a shard.
    pub(super) fn add(&mut self, shard: &Shard) {
        let orders = shard.orders.iter().map(|(order, (request, _))| {
            Self::number(Uuid::from_bytes(*order), Uuid::from_bytes(*request))
        });
        self.0.extend(orders);
    }
}

/// An order that no purchase was made of would keep its receipt from ever earning. What is
/// beyond the heads up to which the shards were walked was written since.
pub(super) async fn no_order_without_purchase(
    database: &Database,
    (shards, heads): (Shards, &[Position]),
    OrdersMade(mut made): OrdersMade,
) -> Result<(), VerifyError> {
    made.sort_unstable();
    let is_beyond = |order: &RecordedOrder| {
        let head = usize::try_from(order.shard).ok().and_then(|s| heads.get(s));
        order.position > head.map(|head| head.get())
    };
    let is_made = |order: &RecordedOrder| {
        let number = OrdersMade::number(order.order, order.request);
        order.position.is_some() && made.binary_search(&number).is_ok()
    };
    let mut after = Uuid::nil();
    loop {
        let limit = i64::try_from(ORDERS_LEN).unwrap_or(i64::MAX);
        let orders = store::orders::with_transactions(database.pool(), after, limit).await?;
        let Some(last) = orders.last() else {
            return Ok(());
        };
        after = last.order;
        let mut orders = orders.iter();
        if let Some(stray) = orders.find(|order| !is_beyond(order) && !is_made(order)) {
            return Err(VerifyError::OrderWithoutPurchase {
                shard: order_shard(stray.order, shards),
                order: stray.order,
            });
        }
    }
}
