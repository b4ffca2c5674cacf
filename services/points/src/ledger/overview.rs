//! All of a member's wallets at once: what an app shows first.

use std::collections::BTreeMap;

use fealty_auth::InReach;
use fealty_ledger::{Inactivity, Lot, LotTerms, Wallet, WalletBook};
use fealty_postgres::{DatabaseError, PgConnection, StoredRow, foundation, from_pg, run};
use fealty_program::Program;
use fealty_types::{Clock as _, CurrencyId, EventName, MemberId, ProgramId, ShardId, Timestamp};

use super::service::Ledger;
use crate::{
    error::Error,
    shard::{
        Asked, Driven, Interrupted, ReadOn, ShardWork,
        store::{self, lots::Stretch},
    },
};

/// Deadlines of each kind that a wallet's overview names; the rest are summed.
const DEADLINES_MAX: usize = 50;

/// Lots that may have fallen due in a wallet and are not written: with more, the sweeper is
/// waited for.
const DUE_MAX: usize = 10_000;

/// A wallet, and when something becomes of its points.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Overview {
    /// The wallet as it stands now.
    pub(crate) wallet: Wallet,
    /// Points that can be spent, by when they are gone, soonest first.
    pub(crate) expiries: Vec<(Timestamp, i64)>,
    /// Such points that are gone later than those.
    pub(crate) expiring_later: i64,
    /// Points that go with inactivity, if nothing else happens at the wallet's own date.
    pub(crate) with_inactivity: i64,
    /// Points that never expire.
    pub(crate) never_expiring: i64,
    /// Points that wait, by when they become available, or for what.
    pub(crate) pending: Vec<(Waiting, i64)>,
    /// Such points that wait longer than those.
    pub(crate) pending_later: i64,
}

/// What points wait for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Waiting {
    /// A moment.
    Until(Timestamp),
    /// Something that happens.
    For(EventName),
}

impl Overview {
    /// Adds points of which the same becomes at the same moment.
    fn add(&mut self, stretch: &Stretch) -> Result<(), DatabaseError> {
        let row = StoredRow::of("lots", &stretch.currency);
        let points = stretch.points;
        if points == 0 {
            return Ok(());
        }
        match (stretch.pending, stretch.rest) {
            (true, true) => self.pending_later += points,
            (false, true) => self.expiring_later += points,
            (true, false) => {
                let at = row.check("activates_at", stretch.activates_at.map(from_pg))?;
                let event = stretch.activates_on.as_deref();
                let event = event.map(|event| row.parse("activates_on", event));
                let waiting = event.transpose()?.map_or(Waiting::Until(at), Waiting::For);
                self.pending_later += put(&mut self.pending, waiting, points);
            }
            (false, false) => {
                let at = row.check("expires_at", stretch.expires_at.map(from_pg))?;
                if LotTerms::is_with_activity(at) {
                    let not_before = LotTerms::not_before_of(at);
                    let (inactive_at, inactivity) =
                        (self.wallet.inactive_at, self.wallet.inactivity);
                    let later = not_before.filter(|_| inactivity != Inactivity::Waived);
                    match later.filter(|later| inactive_at < Some(*later)) {
                        Some(later) => {
                            self.expiring_later += put(&mut self.expiries, later, points);
                        }
                        None => self.with_inactivity += points,
                    }
                } else if at == LotTerms::NEVER {
                    self.never_expiring += points;
                } else {
                    self.expiring_later += put(&mut self.expiries, at, points);
                }
            }
        }
        Ok(())
    }
}

/// Adds points to the rows, which are in order and only so many; answers with the points
/// for which there is no room.
fn put<K: Ord>(rows: &mut Vec<(K, i64)>, key: K, points: i64) -> i64 {
    match rows.binary_search_by(|(known, _)| known.cmp(&key)) {
        Ok(index) => rows[index].1 += points,
        Err(index) => rows.insert(index, (key, points)),
    }
    if rows.len() > DEADLINES_MAX {
        rows.pop().map_or(0, |(_, left)| left)
    } else {
        0
    }
}

impl Ledger {
    /// Reads a wallet for each of the programme's currencies, all at one moment.
    pub(crate) async fn overview(
        &self,
        program: &InReach<ProgramId>,
        member: &InReach<MemberId>,
    ) -> Result<BTreeMap<CurrencyId, Overview>, Error> {
        let applied = self.programs.newest(program)?;
        let shard = self.shards.of(program, member);
        self.end_before_read(shard, &applied, member).await;
        let now = self.clock.now();
        let member = ((**program).clone(), (**member).clone());
        let read: Result<BTreeMap<CurrencyId, Overview>, DatabaseError> =
            run!(self.database, "overview", |connection| async {
                foundation::read_one_moment(connection).await?;
                read(connection, shard, &applied.program, member.clone(), now).await
            });
        let mut known = read?;
        let currencies = applied.program.currencies.keys();
        let all = currencies.map(|currency| {
            let overview = known.remove(currency).unwrap_or_default();
            (currency.clone(), overview)
        });
        Ok(all.collect())
    }
}

async fn read(
    connection: &mut PgConnection,
    shard: ShardId,
    terms: &Program,
    (program, member): (ProgramId, MemberId),
    now: Timestamp,
) -> Result<BTreeMap<CurrencyId, Overview>, DatabaseError> {
    let number = store::members::number(&mut *connection, shard, &program, &member).await?;
    let Some(number) = number else {
        return Ok(BTreeMap::new());
    };
    let (asked, members) = (Asked::default(), [(program, member)]);
    let work = ShardWork::read(
        connection,
        shard,
        members,
        &asked,
        now,
        ReadOn::Locked,
        None,
    );
    let (mut work, _) = work.await.map_err(Interrupted::in_snapshot)?;
    let currencies: Vec<CurrencyId> = work.book(0).wallets.keys().cloned().collect();
    let mut all = BTreeMap::new();
    for currency in currencies {
        work.allow_due(DUE_MAX);
        let advanced = work
            .advance(connection, 0, terms, &currency, now.into())
            .await;
        if let Driven::MoreIsDue = advanced.map_err(Interrupted::in_snapshot)? {
            return Err(DatabaseError::Contended("very much is due in the wallet"));
        }
        let wallet = work.book(0).wallets[&currency].wallet().clone();
        let overview = Overview {
            wallet,
            ..Overview::default()
        };
        all.insert(currency, overview);
    }
    // What is due has changed these, though it is not written yet.
    let wallets = work.book(0).wallets.values();
    let changed: Vec<&Lot> = wallets.flat_map(WalletBook::changed_lots).collect();
    let ids: Vec<i64> = changed.iter().map(|lot| lot.terms.lot.get()).collect();
    let max = i64::try_from(DEADLINES_MAX).unwrap_or(i64::MAX);
    let mut stretches = store::lots::stretches(&mut *connection, shard, number, &ids, max).await?;
    stretches.extend(changed.into_iter().map(Stretch::of));
    for stretch in stretches {
        let currency = StoredRow::of("lots", number).parse("currency", &stretch.currency)?;
        let overview: &mut Overview = all.entry(currency).or_default();
        overview.add(&stretch)?;
    }
    Ok(all)
}
