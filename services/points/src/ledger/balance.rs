//! Balances: now, in the past, in the future.

use std::collections::BTreeMap;

use fealty_auth::InReach;
use fealty_ledger::{Transaction, Wallet, WalletAfter, canonical::Chain};
use fealty_postgres::{DatabaseError, PgConnection, foundation, run};
use fealty_program::Program;
use fealty_types::{
    Clock as _, CurrencyId, MemberId, Position, ProgramId, ShardId, Timestamp, TransactionPlace,
};

use futures::future::join_all;

use super::{
    past::{Search, Stretch},
    service::Ledger,
};
use crate::{
    error::Error,
    shard::{
        Asked, Interrupted, KnownWallet, ReadOn, ShardWork,
        store::{log, members},
    },
};

/// Transactions read in one step of a search that met others than the wallet's.
const SEARCH_LEN: i64 = 64;

/// How far the log of a shard reached, and wallets of it: as stored, and as they stand at the
/// moment that was asked for.
type WalletsRead = ((Position, Chain), Vec<(Wallet, Wallet)>);

/// A wallet as it was read.
#[derive(Clone, Debug)]
pub(crate) struct BalanceRead {
    /// The wallet, with what is due taken into account.
    pub(crate) wallet: Wallet,
    /// The last transaction in it that is written.
    pub(crate) position: Option<Position>,
    /// Whether it came from the cache.
    pub(crate) cached: bool,
}

impl BalanceRead {
    /// Of a wallet that was not there yet.
    fn nothing() -> Self {
        Self {
            wallet: Wallet::default(),
            position: None,
            cached: false,
        }
    }

    /// Of a wallet as a transaction left it.
    fn after(transaction: &Transaction, after: &WalletAfter) -> Self {
        Self {
            wallet: Wallet {
                buckets: after.buckets,
                sequence: after.sequence,
                last_position: Some(transaction.position),
                last_at: Some(transaction.effective_at),
                next_due: None,
                inactive_at: after.inactive_at,
                inactivity: after.inactivity,
                // Whom it was owed to then is not looked for.
                debts: Vec::new(),
                earned: 0,
                redeemed: 0,
            },
            position: Some(transaction.position),
            cached: false,
        }
    }
}

/// The moment whose balance is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Moment {
    /// The present.
    Now,
    /// A past time.
    Past(Timestamp),
    /// After a transaction.
    After(TransactionPlace),
    /// A future time.
    Future(Timestamp),
}

/// Where a balance is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// From the cache, where it has it.
    Cache,
    /// From the database.
    Database,
}

impl Ledger {
    /// Reads a wallet as it stands now; one that does not exist is empty.
    pub(crate) async fn balance(
        &self,
        program: &InReach<ProgramId>,
        member: &InReach<MemberId>,
        currency: &CurrencyId,
        (source, min_position): (Source, Option<TransactionPlace>),
    ) -> Result<BalanceRead, Error> {
        let shard = self.shards.of(program, member);
        let applied = self.with_currency(program, currency)?;
        let tiers_decide = || applied.program.keeps_by_tier(currency);
        self.end_before_read(shard, &applied, member).await;
        let now = self.clock.now();
        // The cache knows a wallet's last transaction: what came before it is in there.
        let has_it = |wallet: &Wallet| {
            min_position.is_none_or(|min| wallet.last_position >= Some(min.position))
        };
        if source == Source::Cache
            && let Some(wallet) = self.cache.get(program, member, currency).await
            && !wallet.is_due(tiers_decide(), now)
            && has_it(&wallet)
        {
            return Ok(BalanceRead {
                position: wallet.last_position,
                wallet,
                cached: true,
            });
        }
        self.stored_balance(shard, program, member, currency, now, source)
            .await
    }

    /// Reads a wallet from the database.
    async fn stored_balance(
        &self,
        shard: ShardId,
        program: &ProgramId,
        member: &MemberId,
        currency: &CurrencyId,
        at: Timestamp,
        source: Source,
    ) -> Result<BalanceRead, Error> {
        let members = [member];
        let read = self.stored_balances(shard, program, &members, currency, at, source);
        Ok(read.await?.remove(0))
    }

    /// Reads wallets of members of one shard from the database, and caches them
    /// where that is wanted.
    async fn stored_balances(
        &self,
        shard: ShardId,
        program: &ProgramId,
        members: &[&MemberId],
        currency: &CurrencyId,
        at: Timestamp,
        source: Source,
    ) -> Result<Vec<BalanceRead>, Error> {
        let (head, read) = self
            .read_wallets(shard, program, members, currency, at)
            .await?;
        if source == Source::Cache {
            let known = members
                .iter()
                .zip(&read)
                .filter(|(_, (stored, _))| stored.sequence > 0);
            let cached: Vec<KnownWallet> = known
                .map(|(member, (stored, _))| KnownWallet {
                    program: program.clone(),
                    member: (*member).clone(),
                    currency: currency.clone(),
                    wallet: stored.clone(),
                })
                .collect();
            if !cached.is_empty() {
                self.cache.put_read(shard, head, &cached).await;
            }
        }
        let balances = read.into_iter().map(|(stored, wallet)| BalanceRead {
            wallet,
            position: stored.last_position,
            cached: false,
        });
        Ok(balances.collect())
    }

    /// Reads a wallet as stored, and as it stands at `at`, all at one moment.
    async fn read_wallet(
        &self,
        shard: ShardId,
        program: &ProgramId,
        member: &MemberId,
        currency: &CurrencyId,
        at: Timestamp,
    ) -> Result<(Wallet, Wallet), Error> {
        let members = [member];
        let read = self.read_wallets(shard, program, &members, currency, at);
        Ok(read.await?.1.remove(0))
    }

    /// Reads wallets of members of one shard, as stored, and as they stand at
    /// `at`, all at one moment; answers also with how far the log reached then.
    async fn read_wallets(
        &self,
        shard: ShardId,
        program: &ProgramId,
        members: &[&MemberId],
        currency: &CurrencyId,
        at: Timestamp,
    ) -> Result<WalletsRead, Error> {
        let members = || {
            members
                .iter()
                .map(|member| (program.clone(), (*member).clone()))
        };
        let applied = self.programs.newest(program)?;
        let pool = self.database.pool();
        let mut connection = pool.acquire().await.map_err(DatabaseError::from)?;
        // One statement tells all, but for a wallet in which much is due.
        let read = advanced(
            &mut connection,
            shard,
            members(),
            (&applied.program, currency),
            at,
            ReadOn::Never,
        );
        match read.await {
            Ok(read) => return Ok(read),
            Err(Interrupted::Database(error)) => return Err(error.into()),
            Err(_) => drop(connection),
        }
        let read: Result<WalletsRead, DatabaseError> =
            run!(self.database, "balance", |connection| async {
                foundation::read_one_moment(connection).await?;
                let read = advanced(
                    connection,
                    shard,
                    members(),
                    (&applied.program, currency),
                    at,
                    ReadOn::Locked,
                );
                read.await.map_err(Interrupted::in_snapshot)
            });
        Ok(read?)
    }

    /// Reads many wallets of one currency, in the order of `members`.
    pub(crate) async fn balances(
        &self,
        program: &InReach<ProgramId>,
        members: &[InReach<MemberId>],
        currency: &CurrencyId,
        source: Source,
    ) -> Result<Vec<BalanceRead>, Error> {
        let applied = self.with_currency(program, currency)?;
        let tiers_decide = applied.program.keeps_by_tier(currency);
        let ended = members.iter().map(|member| async {
            let shard = self.shards.of(program, member);
            self.end_before_read(shard, &applied, member).await;
        });
        join_all(ended).await;
        let now = self.clock.now();
        let cached = if source == Source::Database {
            members.iter().map(|_| None).collect()
        } else {
            let members: Vec<&MemberId> = members.iter().map(|member| &**member).collect();
            self.cache.get_many(program, &members, currency).await
        };
        let mut balances: Vec<Option<BalanceRead>> = cached
            .into_iter()
            .map(|cached| {
                let wallet = cached.filter(|wallet| !wallet.is_due(tiers_decide, now))?;
                Some(BalanceRead {
                    position: wallet.last_position,
                    wallet,
                    cached: true,
                })
            })
            .collect();
        // What is missing is read shard by shard.
        let mut missing: BTreeMap<ShardId, Vec<usize>> = BTreeMap::new();
        for (index, member) in members.iter().enumerate() {
            if balances[index].is_none() {
                let shard = self.shards.of(program, member);
                missing.entry(shard).or_default().push(index);
            }
        }
        for (shard, indexes) in missing {
            let asked: Vec<&MemberId> = indexes.iter().map(|index| &*members[*index]).collect();
            let read = self
                .stored_balances(shard, program, &asked, currency, now, source)
                .await?;
            for (index, read) in indexes.into_iter().zip(read) {
                balances[index] = Some(read);
            }
        }
        let balances = balances.into_iter().flatten().collect();
        Ok(balances)
    }

    /// Reads a wallet as it stood, or will stand, at another moment.
    pub(crate) async fn balance_at(
        &self,
        program: &InReach<ProgramId>,
        member: &InReach<MemberId>,
        currency: &CurrencyId,
        moment: Moment,
    ) -> Result<BalanceRead, Error> {
        let shard = self.shards.of(program, member);
        let applied = self.with_currency(program, currency)?;
        self.end_before_read(shard, &applied, member).await;
        let at = match moment {
            Moment::Now => {
                return self
                    .balance(program, member, currency, (Source::Database, None))
                    .await;
            }
            Moment::Future(at) => {
                return self
                    .stored_balance(shard, program, member, currency, at, Source::Database)
                    .await;
            }
            Moment::After(place) => {
                let found = self.after(shard, (program, member, currency), place);
                let unknown = || Error::TransactionNotFound(self.shards.ids().transaction(place));
                let (transaction, after) = found.await?.ok_or_else(unknown)?;
                return Ok(BalanceRead::after(&transaction, &after));
            }
            Moment::Past(at) => at,
        };
        let (stored, wallet) = self
            .read_wallet(shard, program, member, currency, at)
            .await?;
        // Nothing was written since: what was due by then is known.
        if stored.last_at.is_none_or(|last| last <= at) {
            return Ok(BalanceRead {
                wallet,
                position: stored.last_position,
                cached: false,
            });
        }
        let last = stored.last_position.unwrap_or(Position::new(0));
        let found = self.find_past(shard, (program, member, currency), at, last);
        let found = found.await?;
        Ok(
            found.map_or_else(BalanceRead::nothing, |(transaction, after)| {
                BalanceRead::after(&transaction, &after)
            }),
        )
    }

    /// The wallet after a transaction, if that is one of the wallet's.
    async fn after(
        &self,
        shard: ShardId,
        (program, member, currency): (&ProgramId, &MemberId, &CurrencyId),
        place: TransactionPlace,
    ) -> Result<Option<(Transaction, WalletAfter)>, DatabaseError> {
        let pool = self.database.pool();
        let number = members::number(pool, shard, program, member).await?;
        let Some(number) = number.filter(|_| place.shard == shard) else {
            return Ok(None);
        };
        let stretch = Stretch {
            after: Position::new(place.position.get() - 1),
            through: place.position,
        };
        self.last_of_wallet(shard, number, currency, stretch).await
    }

    /// The last transaction of a wallet that was in effect by a time, where its last of all
    /// is known.
    async fn find_past(
        &self,
        shard: ShardId,
        (program, member, currency): (&ProgramId, &MemberId, &CurrencyId),
        by: Timestamp,
        last: Position,
    ) -> Result<Option<(Transaction, WalletAfter)>, DatabaseError> {
        let pool = self.database.pool();
        let Some(number) = members::number(pool, shard, program, member).await? else {
            return Ok(None);
        };
        let mut search = Search::new(by, last);
        let mut best = None;
        while let Some(stretch) = search.next() {
            let found = self.last_of_wallet(shard, number, currency, stretch);
            let found = found.await?;
            let place = |(transaction, _): &(Transaction, WalletAfter)| {
                (transaction.position, transaction.effective_at)
            };
            if search.found(stretch, found.as_ref().map(place)) {
                best = found;
            }
        }
        Ok(best)
    }

    /// The last transaction of a wallet in a stretch of its member's log.
    async fn last_of_wallet(
        &self,
        shard: ShardId,
        member_no: i64,
        currency: &CurrencyId,
        mut stretch: Stretch,
    ) -> Result<Option<(Transaction, WalletAfter)>, DatabaseError> {
        let mut limit = 1;
        loop {
            let pool = self.database.pool();
            let rows =
                log::touching(pool, (shard, member_no), currency, stretch.ends(), limit).await?;
            let Some(last) = rows.last() else {
                return Ok(None);
            };
            stretch.through = Position::new(last.position - 1);
            for row in &rows {
                let transaction = row.transaction()?;
                let of_wallet = |after: &&WalletAfter| after.currency == *currency;
                if let Some(after) = transaction.wallets.iter().find(of_wallet).cloned() {
                    return Ok(Some((transaction, after)));
                }
            }
            // The others are of another currency with the same bit.
            limit = SEARCH_LEN;
        }
    }
}

async fn advanced(
    connection: &mut PgConnection,
    shard: ShardId,
    members: impl Iterator<Item = (ProgramId, MemberId)>,
    (program, currency): (&Program, &CurrencyId),
    at: Timestamp,
    read_on: ReadOn,
) -> Result<WalletsRead, Interrupted> {
    let asked = Asked::default();
    let (mut work, _) =
        ShardWork::read(connection, shard, members, &asked, at, read_on, None).await?;
    let wallet = |work: &ShardWork, slot| {
        let wallet = work.book(slot).wallets.get(currency);
        wallet.map_or_else(Wallet::default, |wallet| wallet.wallet().clone())
    };
    let mut read = Vec::with_capacity(work.len());
    for slot in 0..work.len() {
        let stored = wallet(&work, slot);
        if stored.is_due(program.keeps_by_tier(currency), at) {
            work.foresee(connection, slot, program, currency, at.into())
                .await?;
        }
        read.push((stored, wallet(&work, slot)));
    }
    Ok((work.head_before(), read))
}
