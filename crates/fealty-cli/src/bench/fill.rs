//! Ledgers with accruals or purchases in them, written in bulk, without a service.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use fealty_points::bulk::{Bulk, BulkShard};
use fealty_postgres::{Database, foundation};
use fealty_program::Program;
use fealty_types::{Clock as _, MemberId, Money, Points, SystemClock};
use tokio::{sync::Mutex, time::Instant};

use super::{PROGRAM, Scale, measured::Measured, say};

/// Rows in one statement: of the measure, and where it need only be fast.
const MEASURED_LEN: usize = 200;
const FILL_LEN: usize = 2_000;

/// A ledger.
pub(super) struct Ledger {
    database: Database,
    shards: Vec<Arc<Mutex<BulkShard>>>,
    /// How many members it has.
    pub(super) members: usize,
}

/// The name of a member.
pub(super) fn member_name(number: usize) -> String {
    format!("member-{number}")
}

impl Ledger {
    /// An empty ledger of that many shards with the bench's programme, for that
    /// many members.
    pub(super) async fn open(url: &str, shards: u16, members: usize) -> anyhow::Result<Self> {
        let bulk = Bulk::Accruals {
            brand: "shop".parse()?,
            currency: "points".parse()?,
            points: Points::amount(100)?,
        };
        Self::open_of(url, (shards, members), PROGRAM, &bulk).await
    }

    /// The same for purchases of so many minor units, by another programme.
    pub(super) async fn of_purchases(
        url: &str,
        shards: u16,
        members: usize,
        (source, minor_units): (&str, i64),
    ) -> anyhow::Result<Self> {
        let bulk = Bulk::Purchases {
            brand: "shop".parse()?,
            amount: Money::new("EUR".parse()?, minor_units)?,
        };
        Self::open_of(url, (shards, members), source, &bulk).await
    }

    async fn open_of(
        url: &str,
        (shards, members): (u16, usize),
        source: &str,
        bulk: &Bulk,
    ) -> anyhow::Result<Self> {
        let database = Database::open(url, 4).await?;
        foundation::migrate(&database, &fealty_points::SCHEMA, None).await?;
        let program = Program::parse(source)?;
        let stored = foundation::StoredProgram {
            version: 1,
            effective_at: SystemClock.now(),
            digest: program.digest.clone(),
            source: source.to_owned(),
            actor: "bench".to_owned(),
            note: String::new(),
        };
        let mut connection = database.pool().acquire().await?;
        foundation::insert_program(&mut connection, &program.program.id, &stored).await?;
        drop(connection);
        let applied = program.numbered(1);
        let ids = (0..members)
            .map(|number| member_name(number).parse())
            .collect::<Result<Vec<MemberId>, _>>()?;
        let ids = ids.into_iter();
        let opened = BulkShard::open_all(&database, shards, &applied, bulk, ids).await?;
        let shards = opened.into_iter().map(|shard| Arc::new(Mutex::new(shard)));
        Ok(Self {
            database,
            shards: shards.collect(),
            members,
        })
    }

    /// Writes so many, one member after the other.
    pub(super) async fn fill(&self, transactions: usize) -> anyhow::Result<()> {
        self.fill_of(transactions, Duration::ZERO).await
    }

    /// The same, of so long ago.
    pub(super) async fn fill_of(&self, transactions: usize, ago: Duration) -> anyhow::Result<()> {
        eprintln!("filling a ledger of {} members", self.members);
        let per_shard = u64::try_from(transactions / self.shards.len())?;
        self.on_all_shards(FILL_LEN, ago, move |shard| shard.written() < per_shard)
            .await?;
        Ok(())
    }

    /// Measures bare SQL: the rows of accruals, in statements of 200.
    pub(super) async fn bare_insert(&self, scale: Scale) -> anyhow::Result<Measured> {
        let end = Instant::now() + scale.measure;
        let begun = Instant::now();
        let written = self
            .on_all_shards(MEASURED_LEN, Duration::ZERO, move |_| Instant::now() < end)
            .await?;
        let mut times = vec![0; written];
        let measured = Measured::of("bare_insert", 8, begun.elapsed(), &mut times);
        say(&measured);
        Ok(measured)
    }

    /// Writes those of so long ago to all shards as long as `goes_on` says.
    async fn on_all_shards(
        &self,
        len: usize,
        ago: Duration,
        goes_on: impl Fn(&BulkShard) -> bool + Clone + Send + 'static,
    ) -> anyhow::Result<usize> {
        let count = Arc::new(AtomicUsize::new(0));
        let mut tasks = Vec::new();
        for shard in &self.shards {
            let (shard, database) = (Arc::clone(shard), self.database.clone());
            let (count, goes_on) = (Arc::clone(&count), goes_on.clone());
            tasks.push(tokio::spawn(async move {
                let mut shard = shard.lock().await;
                while goes_on(&shard) {
                    let now = SystemClock.now();
                    let then = now.checked_sub(ago).unwrap_or(now);
                    shard.write(&database, len, then).await?;
                    count.fetch_add(len, Ordering::Relaxed);
                }
                anyhow::Ok(())
            }));
        }
        for task in tasks {
            task.await??;
        }
        Ok(count.load(Ordering::Relaxed))
    }
}
