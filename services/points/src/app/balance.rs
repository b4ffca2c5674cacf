//! Balances.

use fealty_ledger::{Log, Stop, Wallet, WalletBook};
use fealty_postgres::{DatabaseError, PgConnection, run};
use fealty_server::Rejection;
use fealty_types::{Clock as _, CurrencyId, MemberId, Position, ProgramId, ShardId, Timestamp};

use super::{
    App,
    cache::CachedWallet,
    reading::{LOTS_FIRST, LOTS_NEXT, Slot, Want, read_members, read_on},
};
use crate::{error::Error, store};

/// A wallet as it was read.
#[derive(Clone, Copy, Debug)]
pub struct BalanceRead {
    /// The wallet, with what is due taken into account.
    pub wallet: Wallet,
    /// The last transaction in it that is written.
    pub position: Option<Position>,
    /// Whether it came from the cache.
    pub cached: bool,
}

impl App {
    /// Reads a wallet as it stands now; one that does not exist is empty.
    pub async fn balance(
        &self,
        program: &ProgramId,
        member: &MemberId,
        currency: &CurrencyId,
        strong: bool,
    ) -> Result<BalanceRead, Rejection> {
        let applied = self.programs.newest(program)?;
        let shard = self.shard(program, member);
        if !applied.program.currencies.contains_key(currency) {
            return Err(Error::CurrencyNotFound(currency.clone()).rejection(shard));
        }
        let now = self.clock.now();
        if !strong
            && let Some(wallet) = self.cache.get(program, member, currency).await
            && wallet.next_due.is_none_or(|due| due > now)
        {
            return Ok(BalanceRead {
                wallet,
                position: wallet.last_position,
                cached: true,
            });
        }
        let read: Result<(Wallet, Wallet), DatabaseError> =
            run!(self.database, "balance", |connection| async {
                read_wallet(connection, shard, program, member, currency, now).await
            });
        let (stored, wallet) = read?;
        if !strong && stored.sequence > 0 {
            let cached = CachedWallet {
                program: program.clone(),
                member: member.clone(),
                currency: currency.clone(),
                wallet: stored,
            };
            // No stretch of the log: the entry alone, if it is newer.
            let nowhere = Position::new(-1);
            self.cache.put(shard, nowhere, nowhere, &[cached]).await;
        }
        Ok(BalanceRead {
            wallet,
            position: stored.last_position,
            cached: false,
        })
    }
}

/// Reads a wallet as stored, and as it stands at `now`, all at one moment.
async fn read_wallet(
    connection: &mut PgConnection,
    shard: ShardId,
    program: &ProgramId,
    member: &MemberId,
    currency: &CurrencyId,
    now: Timestamp,
) -> Result<(Wallet, Wallet), DatabaseError> {
    store::shards::read_one_moment(connection).await?;
    let mut slots = read_members(connection, shard, [(program.clone(), member.clone())]).await?;
    let mut slot = slots.pop().expect("one member was asked for");
    let stored = slot
        .book
        .wallets
        .get(currency)
        .map_or_else(Wallet::default, |w| *w.wallet());
    if stored.next_due.is_none_or(|due| due > now) {
        return Ok((stored, stored));
    }
    let mut limit = LOTS_FIRST;
    let mut scratch = Log::new(shard, Position::FIRST);
    loop {
        read_lots(connection, shard, &mut slot, currency, limit).await?;
        match fealty_ledger::advance(&mut slot.book, currency, now, &mut scratch) {
            Err(Stop::LotsNeeded { .. }) => limit = LOTS_NEXT,
            Ok(()) | Err(Stop::Refused(_)) => break,
        }
    }
    let advanced = slot
        .book
        .wallets
        .get(currency)
        .map_or(stored, |wallet| *wallet.wallet());
    Ok((stored, advanced))
}

async fn read_lots(
    connection: &mut PgConnection,
    shard: ShardId,
    slot: &mut Slot,
    currency: &CurrencyId,
    limit: i64,
) -> Result<(), DatabaseError> {
    let wallet: Option<&mut WalletBook> = slot.book.wallets.get_mut(currency);
    if let (Some(wallet), Some(member_no)) = (wallet, slot.member_no) {
        let want = Want {
            member_no,
            currency: currency.clone(),
            wallet,
        };
        read_on(connection, shard, vec![want], limit).await?;
    }
    Ok(())
}
