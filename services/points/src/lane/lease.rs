//! Leasing more of a budget for a lane's shard.
//!
//! A purchase that wants more of a budget than its shard has leased leaves the batch, with its
//! member's later ones. When the batch is committed, and nothing is locked, the lane leases
//! more: under the heads of the budget's home and of its own shard, the larger of what is wanted
//! and a part of what is left. When the pool has too little, all that lies with others is called
//! back, under all heads; then it is known that there is no more, and nobody asks again before
//! something may have come back.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use fealty_ledger::{BudgetName, Held, LeaseMoved, Said};
use fealty_postgres::{Database, DatabaseError, PgConnection, foundation, run};
use fealty_program::{ProgramVersion, text_digest};
use fealty_rules::Budget;
use fealty_server::{Programs, ServiceClock};
use fealty_types::{Clock as _, ProgramId, ShardId, TransactionPlace};
use futures::FutureExt as _;

use super::publish::Publisher;
use crate::shard::{
    Asked, Interrupted, ReadOn, ShardWork, Shards, Total, Written, budget_home, number,
    store::{head::lock_head, leases},
    totals,
};

/// For how long it is taken for granted that a budget has no more.
const SPENT_FOR: Duration = Duration::from_secs(1);
/// For how long those are refused who want what could not be leased: at first, and the longest.
/// It doubles each time, so that lanes have time for others where a head does not answer.
const FAILED_FOR: Duration = Duration::from_millis(100);
const FAILED_FOR_MAX: Duration = Duration::from_secs(30);
/// How long leasing may take: the lane waits for it, and whoever wants a head that is locked
/// for it.
const LEASING_MAX: Duration = Duration::from_secs(2);
/// Into how many parts of what is left, for each shard, a lease divides it.
const PARTS: i64 = 4;

/// More is wanted of a budget than a shard has.
#[derive(Clone, Debug)]
pub(super) struct Want {
    pub(super) applied: ProgramVersion,
    pub(super) budget: Budget,
    /// All that is wanted.
    pub(super) points: i64,
    /// The least that one purchase wants.
    pub(super) least: i64,
}

impl Want {
    pub(super) fn name(&self) -> BudgetName {
        (self.applied.program.id.clone(), self.budget.id.clone())
    }
}

/// Whether more may be leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MayLease {
    Yes,
    /// All that is left is there, or is too little.
    No,
    /// It could not be leased just now.
    Failing,
}

/// What heads are locked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// The home's, to tell that the budget is nearly used.
    Tell,
    /// The home's and that of the shard, to lease out of the pool.
    Lease,
    /// All, to call back first what lies with others.
    CallBack,
}

impl Purpose {
    /// How long it waits for each head: whoever leases holds heads that others wait for, and
    /// who only tells has time until the next look.
    fn waits(self) -> Duration {
        match self {
            Self::Tell => Duration::from_millis(20),
            Self::Lease | Self::CallBack => Duration::from_millis(500),
        }
    }
}

/// What is known of a budget of which more was wanted than there is.
#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Instant,
    /// The size of the budget then.
    size: i64,
    /// What was left, and with whom, if one shard has all of it.
    left: i64,
    holder: Option<ShardId>,
}

/// That a shard could not lease of a budget, and for how long nobody there asks again.
#[derive(Clone, Copy, Debug)]
struct Failed {
    at: Instant,
    pauses: Duration,
}

/// Leases for the lanes of an instance.
#[derive(Clone)]
pub(super) struct Leasing {
    database: Database,
    shards: Shards,
    programs: Programs,
    clock: ServiceClock,
    publisher: Publisher,
    seen: Arc<Mutex<HashMap<BudgetName, Seen>>>,
    failed: Arc<Mutex<HashMap<(BudgetName, ShardId), Failed>>>,
}

impl Leasing {
    /// Leases over connections that nobody who holds a lock waits for.
    pub(super) fn new(
        database: Database,
        shards: Shards,
        programs: Programs,
        clock: ServiceClock,
        publisher: Publisher,
    ) -> Self {
        Self {
            database,
            shards,
            programs,
            clock,
            publisher,
            seen: Arc::default(),
            failed: Arc::default(),
        }
    }

    /// Whether a purchase of a shard that wants so many points of a budget may hope for more
    /// than the shard has.
    pub(super) fn may_lease(
        &self,
        shard: ShardId,
        program: &ProgramId,
        (budget, wanted, has_asked): (&Budget, i64, bool),
    ) -> MayLease {
        let name = (program.clone(), budget.id.clone());
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // Who has asked waits for no newer answer, however slow all is.
        let is_known = |seen: &&Seen| {
            seen.size == budget.points && (has_asked || seen.at.elapsed() < SPENT_FOR)
        };
        let least = if budget.partial { 1 } else { wanted };
        let is_all = |seen: &Seen| seen.left < least || seen.holder == Some(shard);
        if seen.get(&name).filter(is_known).is_some_and(is_all) {
            return MayLease::No;
        }
        drop(seen);
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = failed.get(&(name, shard));
        if failed.is_some_and(|failed| failed.at.elapsed() < failed.pauses) {
            return MayLease::Failing;
        }
        MayLease::Yes
    }

    /// Something may have come back to a budget.
    pub(super) fn forget(&self, name: &BudgetName) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.remove(name);
    }

    fn note(&self, want: &Want, left: i64, holder: Option<ShardId>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = Seen {
            at: Instant::now(),
            size: want.budget.points,
            left,
            holder,
        };
        seen.insert(want.name(), noted);
    }

    /// Leases what is wanted for a shard, as far as there is any; answers whether that could be
    /// found out.
    pub(super) async fn lease(&self, shard: ShardId, want: &Want) -> bool {
        let leasing = AssertUnwindSafe(self.lease_or_not(shard, want)).catch_unwind();
        let leased = tokio::time::timeout(LEASING_MAX, leasing).await;
        let (program, budget) = want.name();
        let key = (want.name(), shard);
        match leased {
            Ok(Ok(Ok(()))) => {
                let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                failed.remove(&key);
                return true;
            }
            Ok(Ok(Err(Interrupted::VersionPassed(_)))) => {
                // The purchases are planned anew, by the version that is newest then.
                let refreshed = self.programs.refresh().await.is_ok();
                let newest = self.programs.newest(&program).map(|newest| newest.version);
                if refreshed && newest.is_ok_and(|newest| newest > want.applied.version) {
                    return true;
                }
                let what = "the version by which a budget is leased is not to be had";
                tracing::warn!(%shard, %program, %budget, what);
            }
            Ok(Ok(Err(Interrupted::Database(error)))) => {
                let error = &error as &(dyn std::error::Error + 'static);
                tracing::warn!(%shard, %program, %budget, error, "a budget could not be leased");
            }
            Ok(Ok(Err(_))) => {
                tracing::error!(%shard, %program, %budget, "a locked head was moved");
            }
            Ok(Err(_)) => {
                tracing::error!(%shard, %program, %budget, "a defect of ours: nothing is leased");
            }
            Err(_) => {
                tracing::warn!(%shard, %program, %budget, "leasing a budget took too long");
            }
        }
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let before = failed.get(&key).map(|failed| failed.pauses);
        let pauses = before.map_or(FAILED_FOR, |before| (2 * before).min(FAILED_FOR_MAX));
        let at = Instant::now();
        failed.insert(key, Failed { at, pauses });
        false
    }

    async fn lease_or_not(&self, shard: ShardId, want: &Want) -> Result<(), Interrupted> {
        let (program, size) = (&want.applied.program.id, want.budget.points);
        let held = leases::of_program(self.database.pool(), program).await?;
        let known = totals(&held);
        let total = known.get(&want.budget.id).copied().unwrap_or_default();
        let own = held
            .iter()
            .find(|(budget, of, _)| *budget == want.budget.id && *of == shard);
        let own = own.map(|(.., held)| held.lease).unwrap_or_default();
        let is_confirmed = own.version == number(&want.applied);
        let here = if is_confirmed { own.lying } else { 0 };
        let left = total.left(size);
        if left <= here || (!want.budget.partial && want.least > left) {
            self.note(want, left, (left <= here).then_some(shard));
            if is_to_be_told(&want.budget, total.used(), total.warned) {
                let told = self.lease_under(Purpose::Tell, (shard, want), total).await;
                if told.is_err() {
                    // Whoever looks next tells it.
                    tracing::debug!(%shard, "it was not told that a budget is nearly used");
                }
            }
            return Ok(());
        }
        let need = want.points.saturating_sub(own.lying).max(0);
        for purpose in [Purpose::Lease, Purpose::CallBack] {
            let may_do = size.saturating_sub(total.leased) >= need;
            if purpose == Purpose::Lease && !may_do {
                continue;
            }
            if self.lease_under(purpose, (shard, want), total).await? {
                self.forget(&want.name());
                return Ok(());
            }
        }
        Ok(())
    }

    /// Leases under the locks of heads; answers whether it was all that was wanted.
    async fn lease_under(
        &self,
        purpose: Purpose,
        (shard, want): (ShardId, &Want),
        total: Total,
    ) -> Result<bool, Interrupted> {
        let (program, budget) = want.name();
        let moving = Moving {
            home: budget_home(&program, &budget, self.shards.count()),
            shard,
            want,
            shards: self.shards,
        };
        let heads: BTreeSet<ShardId> = match purpose {
            Purpose::Tell => BTreeSet::from([moving.home]),
            Purpose::Lease => BTreeSet::from([moving.home, shard]),
            Purpose::CallBack => self.shards.all().collect(),
        };
        let leased: Result<_, Interrupted> = run!(self.database, "lease", |connection| async {
            leases::wait_no_longer(&mut *connection, purpose.waits()).await?;
            let mut works = self.lock(connection, &heads, &want.applied).await?;
            let is_enough = moving.lease(&mut works, (purpose, total))?;
            let left = moving.held(&works, shard).lease.lying;
            let mut written = Vec::new();
            for (of, work) in works {
                let locked = ReadOn::Locked;
                let work = work.write(connection, self.shards.placement(), locked, None);
                written.push((of, work.await?));
            }
            Ok((is_enough, left, written))
        });
        let (is_enough, left, written): (bool, i64, Vec<(ShardId, Written)>) = leased?;
        for (of, written) in &written {
            self.publisher.publish(*of, written).await;
        }
        if !is_enough && purpose == Purpose::CallBack {
            self.note(want, left, Some(shard));
        }
        Ok(is_enough)
    }

    /// Locks heads in their order, and reads what their shards have of budgets. What is
    /// leased stays for ever in the logs, so what is stored of the version is looked at first.
    async fn lock(
        &self,
        connection: &mut PgConnection,
        heads: &BTreeSet<ShardId>,
        applied: &ProgramVersion,
    ) -> Result<BTreeMap<ShardId, ShardWork>, Interrupted> {
        for shard in heads {
            lock_head(connection, *shard).await?;
        }
        let program = &applied.program.id;
        let stored = foundation::program(&mut *connection, program, Some(applied.version)).await?;
        let digest = applied.text_digest;
        if stored.is_none_or(|stored| text_digest(&stored.source) != digest) {
            return Err(Interrupted::VersionPassed(program.clone()));
        }
        let now = self.clock.now();
        let asked = Asked {
            leases: true,
            ..Asked::default()
        };
        let mut works = BTreeMap::new();
        for shard in heads {
            let locked = ReadOn::Locked;
            let read = ShardWork::read(connection, *shard, [], &asked, now, locked, None);
            works.insert(*shard, read.await?.0);
        }
        Ok(works)
    }
}

/// Points of a budget on their way.
struct Moving<'a> {
    home: ShardId,
    /// Whose lease is to grow.
    shard: ShardId,
    want: &'a Want,
    shards: Shards,
}

impl Moving<'_> {
    fn held(&self, works: &BTreeMap<ShardId, ShardWork>, shard: ShardId) -> Held {
        let (program, budget) = self.want.name();
        let leases = works.get(&shard).and_then(ShardWork::leases);
        leases
            .map(|leases| leases.of(&program, &budget))
            .unwrap_or_default()
    }

    /// Leases what is wanted, as far as there is any; answers whether it is enough.
    fn lease(
        &self,
        works: &mut BTreeMap<ShardId, ShardWork>,
        (purpose, total): (Purpose, Total),
    ) -> Result<bool, Interrupted> {
        let size = self.want.budget.points;
        let pool = self.held(works, self.home).pool;
        if pool.version > number(&self.want.applied) {
            return Err(Interrupted::VersionPassed(self.want.name().0));
        }
        if purpose == Purpose::Tell {
            self.warn(works, total.used())?;
            return Ok(false);
        }
        if purpose == Purpose::CallBack {
            self.call_back(works)?;
        }
        let own = self.held(works, self.shard).lease;
        let leased = self.held(works, self.home).pool.leased;
        let free = size.saturating_sub(leased);
        // What lies there is not enough by itself, or is to be confirmed.
        let need = self.want.points.saturating_sub(own.lying).max(0);
        let part = free / (PARTS * i64::from(self.shards.count()));
        let gets = if free >= need {
            need.max(part).min(free)
        } else if purpose == Purpose::CallBack {
            free.max(-own.lying)
        } else {
            // Others have it: that takes all heads.
            return Ok(false);
        };
        if gets != 0 || own.version != number(&self.want.applied) {
            self.shift(works, self.shard, gets)?;
        }
        self.warn(works, total.used())?;
        Ok(free >= need)
    }

    /// Calls back what lies with others until the pool has enough, of each the half at the
    /// least, so that the next who wants finds some in the pool.
    fn call_back(&self, works: &mut BTreeMap<ShardId, ShardWork>) -> Result<(), DatabaseError> {
        let own = self.held(works, self.shard).lease.lying;
        let need = self.want.points.saturating_sub(own).max(0);
        let leased = self.held(works, self.home).pool.leased;
        let free = self.want.budget.points.saturating_sub(leased);
        let mut missing = need.saturating_sub(free);
        let all: Vec<ShardId> = works.keys().copied().collect();
        for other in all.into_iter().filter(|other| *other != self.shard) {
            let lying = self.held(works, other).lease.lying;
            let back = lying.min(missing.max(lying - lying / 2));
            if back > 0 && missing > 0 {
                self.shift(works, other, -back)?;
                missing = missing.saturating_sub(back);
            }
        }
        Ok(())
    }

    /// Moves points from the pool into a shard's lease, or back.
    fn shift(
        &self,
        works: &mut BTreeMap<ShardId, ShardWork>,
        shard: ShardId,
        points: i64,
    ) -> Result<(), DatabaseError> {
        let (program, budget) = self.want.name();
        let limit = self.want.budget.points;
        let leased = self.held(works, self.home).pool.leased;
        let version = number(&self.want.applied);
        // Who is called back keeps the confirmation that he has by the same version.
        let was_confirmed = self.held(works, shard).lease.version == version;
        let moved = LeaseMoved {
            budget,
            shard,
            points,
            limit,
            version,
            confirms: (shard == self.shard || was_confirmed)
                && leased.saturating_add(points) <= limit,
        };
        let position = of(works, self.home)?.announce(&program, Said::LeaseMoved(moved.clone()))?;
        if shard != self.home {
            let received = moved.received(TransactionPlace {
                shard: self.home,
                position,
            });
            of(works, shard)?.announce(&program, Said::LeaseReceived(received))?;
        }
        Ok(())
    }

    /// Tells once that a budget is nearly used.
    fn warn(
        &self,
        works: &mut BTreeMap<ShardId, ShardWork>,
        used: i64,
    ) -> Result<(), DatabaseError> {
        let warned = self.held(works, self.home).pool.warned;
        if is_to_be_told(&self.want.budget, used, warned) {
            let (program, budget) = self.want.name();
            let warned = Said::BudgetWarned {
                budget,
                used,
                limit: self.want.budget.points,
            };
            of(works, self.home)?.announce(&program, warned)?;
        }
        Ok(())
    }
}

/// Whether so much of a budget is used that it is to be told, and was not yet.
fn is_to_be_told(budget: &Budget, used: i64, warned: i64) -> bool {
    let is_nearly =
        |percent: u8| i128::from(used) * 100 >= i128::from(budget.points) * i128::from(percent);
    warned != budget.points && budget.warn_at.is_some_and(is_nearly)
}

fn of(
    works: &mut BTreeMap<ShardId, ShardWork>,
    shard: ShardId,
) -> Result<&mut ShardWork, DatabaseError> {
    works
        .get_mut(&shard)
        .ok_or(DatabaseError::Broken("a head that is not locked"))
}
