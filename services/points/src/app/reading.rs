//! Reading wallets as far as the engine needs them.

use fealty_ledger::{MemberBook, ReadThrough, SpendKey, WalletBook};
use fealty_postgres::{DatabaseError, PgConnection};
use fealty_types::{CurrencyId, LotId, MemberId, Position, ProgramId, ShardId};

use crate::store;

/// Lots read at first, and at each further need.
pub(super) const LOTS_FIRST: i64 = 64;
pub(super) const LOTS_NEXT: i64 = 1_024;

/// A member with its number, if it has one, and its wallets.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) member_no: Option<i64>,
    pub(super) book: MemberBook,
}

/// Reads members and their wallets' rows.
pub(super) async fn read_members(
    connection: &mut PgConnection,
    shard: ShardId,
    members: impl IntoIterator<Item = (ProgramId, MemberId)>,
) -> Result<Vec<Slot>, DatabaseError> {
    let mut slots: Vec<Slot> = members
        .into_iter()
        .map(|(program, member)| Slot {
            member_no: None,
            book: MemberBook::new(program, member),
        })
        .collect();
    let programs: Vec<String> = slots
        .iter()
        .map(|slot| slot.book.program.to_string())
        .collect();
    let members: Vec<String> = slots
        .iter()
        .map(|slot| slot.book.member.to_string())
        .collect();
    for found in store::members::find(connection, shard, &programs, &members).await? {
        let slot = &mut slots[found.index];
        slot.member_no = Some(found.member_no);
        if let Some((currency, wallet)) = found.wallet {
            slot.book.wallets.insert(currency, WalletBook::of(wallet));
        }
    }
    Ok(slots)
}

/// A wallet to read on in.
pub(super) struct Want<'a> {
    pub(super) member_no: i64,
    pub(super) currency: CurrencyId,
    pub(super) wallet: &'a mut WalletBook,
}

/// Reads the next lots of wallets, at most `limit` of each; the first time
/// also what is pending and held.
pub(super) async fn read_on(
    connection: &mut PgConnection,
    shard: ShardId,
    mut wants: Vec<Want<'_>>,
    limit: i64,
) -> Result<(), DatabaseError> {
    wants.retain(|want| want.wallet.read_through() != ReadThrough::All);
    if wants.is_empty() {
        return Ok(());
    }
    let mut wanted = store::lots::Wanted::default();
    for want in &wants {
        wanted.member_nos.push(want.member_no);
        wanted.currencies.push(want.currency.to_string());
        wanted.after.push(match want.wallet.read_through() {
            ReadThrough::Key(key) => Some(key),
            ReadThrough::Nothing | ReadThrough::All => None,
        });
    }
    let mut lots: Vec<Vec<fealty_ledger::Lot>> = wants.iter().map(|_| Vec::new()).collect();
    for (index, lot) in store::lots::spendable(connection, shard, &wanted, limit).await? {
        lots[index].push(lot);
    }
    let through: Vec<ReadThrough> = lots.iter().map(|lots| read_through(lots, limit)).collect();
    let first_time = |want: &Want<'_>| want.wallet.read_through() == ReadThrough::Nothing;
    let buckets = |want: &Want<'_>| want.wallet.wallet().buckets;
    if wants
        .iter()
        .any(|want| first_time(want) && !buckets(want).pending.is_zero())
    {
        for (index, lot) in store::lots::pending(connection, shard, &wanted).await? {
            lots[index].push(lot);
        }
    }
    let mut holds: Vec<Vec<fealty_ledger::Hold>> = wants.iter().map(|_| Vec::new()).collect();
    if wants
        .iter()
        .any(|want| first_time(want) && !buckets(want).held.is_zero())
    {
        let open = store::holds::open(connection, shard, &wanted.member_nos, &wanted.currencies);
        let open = open.await?;
        let named: Vec<(usize, LotId)> = open
            .iter()
            .flat_map(|(index, hold)| hold.lots.iter().map(|part| (*index, part.lot)))
            .collect();
        let mut names: Vec<i64> = named.iter().map(|(_, lot)| lot.get()).collect();
        names.sort_unstable();
        names.dedup();
        for lot in store::lots::named(connection, shard, &names).await? {
            let index = named
                .iter()
                .find(|(_, name)| *name == lot.terms.lot)
                .map(|(index, _)| *index);
            lots[index.expect("only these were asked for")].push(lot);
        }
        for (index, hold) in open {
            holds[index].push(hold);
        }
    }
    for (((want, lots), holds), through) in wants.iter_mut().zip(lots).zip(holds).zip(through) {
        want.wallet.add_read(lots, holds, through);
    }
    Ok(())
}

/// How far a slice reaches: to its last lot, or all the way if it is short.
fn read_through(slice: &[fealty_ledger::Lot], limit: i64) -> ReadThrough {
    match slice.last() {
        Some(last) if i64::try_from(slice.len()) == Ok(limit) => ReadThrough::Key(SpendKey {
            expires_at: last.terms.expires_at.unwrap_or_else(SpendKey::never),
            earned_at: last.terms.earned_at,
            lot: last.terms.lot,
        }),
        _ => ReadThrough::All,
    }
}

/// Reads holds by name into the wallets they belong to, ended ones too, so
/// that an ended hold is told from one that never was.
pub(super) async fn read_holds(
    connection: &mut PgConnection,
    shard: ShardId,
    slots: &mut [Slot],
    named: &[(usize, Position)],
) -> Result<Vec<(usize, CurrencyId)>, DatabaseError> {
    let known = |slot: &usize| slots[*slot].member_no;
    let asked: Vec<(usize, i64, i64)> = named
        .iter()
        .filter_map(|(slot, hold)| Some((*slot, known(slot)?, hold.get())))
        .collect();
    let member_nos: Vec<i64> = asked.iter().map(|(_, member_no, _)| *member_no).collect();
    let holds: Vec<i64> = asked.iter().map(|(_, _, hold)| *hold).collect();
    let mut touched = Vec::new();
    for (index, currency, hold) in
        store::holds::named(connection, shard, &member_nos, &holds).await?
    {
        let slot = asked[index].0;
        if let Some(wallet) = slots[slot].book.wallets.get_mut(&currency) {
            // An open one comes with the wallet's other holds and their lots.
            if hold.lots.is_empty() {
                wallet.add_read([], [hold], wallet.read_through());
            }
            touched.push((slot, currency));
        }
    }
    Ok(touched)
}
