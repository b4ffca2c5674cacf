//! Ledgers with accruals in them, written by bare SQL: the engine's own
//! transactions in the service's own statement, without a service.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use fealty_ledger::{Accrue, Command, Log, MemberBook, Wallet, WalletBook, canonical};
use fealty_points::{
    domain::{plan, request_key},
    store::{
        self,
        batch_write::Rows,
        rows::{LotRow, MemberRow, TransactionRow, WalletRow},
        shards::Head,
    },
};
use fealty_postgres::{Database, foundation};
use fealty_program::Program;
use fealty_server::ProgramVersion;
use fealty_types::{
    Clock as _, CurrencyId, MemberId, ProgramId, ShardId, SystemClock, Timestamp, shard_of,
};
use tokio::{sync::Mutex, time::Instant};

use super::{PROGRAM, Scale, load::Measured, say};

/// Rows in one statement: of the measure, and where it need only be fast.
const MEASURED_LEN: usize = 200;
const FILL_LEN: usize = 2_000;

/// A member of a ledger that is being filled.
struct Member {
    id: MemberId,
    number: i64,
    wallet: Wallet,
}

/// A shard that is being filled.
struct Shard {
    id: ShardId,
    head: Head,
    members: Vec<Member>,
    next: usize,
    requests: u64,
}

/// A ledger.
pub(super) struct Ledger {
    database: Database,
    applied: ProgramVersion,
    shards: Vec<Arc<Mutex<Shard>>>,
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
        let database = Database::open(url, 4)?;
        foundation::migrate(&database, &fealty_points::MIGRATOR, None).await?;
        let program = Program::parse(PROGRAM)?;
        let id = program.program.id.clone();
        let stored = foundation::StoredProgram {
            version: 1,
            effective_at: SystemClock.now(),
            digest: program.digest.clone(),
            source: PROGRAM.to_owned(),
        };
        let mut connection = database.pool().acquire().await?;
        foundation::insert_program(&mut connection, &id, &stored).await?;
        let mut transaction = database.pool().begin().await?;
        store::shards::initialise(&mut transaction, shards).await?;
        transaction.commit().await?;
        let heads = store::shards::heads(database.pool()).await?;
        let mut members_of: Vec<Shard> = (0..=u8::MAX)
            .zip(heads)
            .map(|(shard, head)| Shard {
                id: ShardId::new(shard),
                head,
                members: Vec::new(),
                next: 0,
                requests: 0,
            })
            .collect();
        for number in 0..members {
            let member: MemberId = member_name(number).parse()?;
            let shard = shard_of(&id, &member, shards);
            members_of[usize::from(shard.get())].members.push(Member {
                id: member,
                number: 0,
                wallet: Wallet::default(),
            });
        }
        let shards = members_of
            .into_iter()
            .map(|shard| Arc::new(Mutex::new(shard)));
        Ok(Self {
            database,
            applied: ProgramVersion {
                version: 1,
                program: program.program,
            },
            shards: shards.collect(),
            members,
        })
    }

    /// Writes that many accruals, one member after the other.
    pub(super) async fn fill(&self, transactions: usize) -> anyhow::Result<()> {
        eprintln!("filling a ledger of {} members", self.members);
        let per_shard = transactions / self.shards.len();
        self.on_all_shards(FILL_LEN, move |shard, _| {
            usize::try_from(shard.requests).unwrap_or(usize::MAX) < per_shard
        })
        .await?;
        Ok(())
    }

    /// Measures bare SQL: the rows of accruals, in statements of 200.
    pub(super) async fn bare_insert(&self, scale: Scale) -> anyhow::Result<Measured> {
        let end = Instant::now() + scale.measure;
        let begun = Instant::now();
        let written = self
            .on_all_shards(MEASURED_LEN, move |_, _| Instant::now() < end)
            .await?;
        let mut times = vec![0; written];
        let measured = Measured::of("bare_insert", 8, begun.elapsed(), &mut times);
        say(&measured);
        Ok(measured)
    }

    /// Writes accruals to all shards as long as `goes_on` says.
    async fn on_all_shards(
        &self,
        len: usize,
        goes_on: impl Fn(&Shard, usize) -> bool + Clone + Send + 'static,
    ) -> anyhow::Result<usize> {
        let count = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = self
            .shards
            .iter()
            .map(|shard| {
                let (shard, database) = (Arc::clone(shard), self.database.clone());
                let (applied, goes_on) = (self.applied.clone(), goes_on.clone());
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    let mut shard = shard.lock().await;
                    while goes_on(&shard, count.load(Ordering::Relaxed)) {
                        let (rows, head) = shard.accrue(&applied, len)?;
                        let mut connection = database.pool().acquire().await?;
                        let before = shard.head.position;
                        let written = store::batch_write::write(
                            &mut connection,
                            shard.id,
                            before,
                            &head,
                            &rows,
                        );
                        anyhow::ensure!(written.await?, "nobody else writes here");
                        count.fetch_add(len, Ordering::Relaxed);
                        shard.head = head;
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        for task in tasks {
            task.await??;
        }
        Ok(count.load(Ordering::Relaxed))
    }
}

impl Shard {
    /// The rows of that many accruals, and the head after them.
    fn accrue(&mut self, applied: &ProgramVersion, len: usize) -> anyhow::Result<(Rows, Head)> {
        let program: &ProgramId = &applied.program.id;
        let currency: CurrencyId = "points".parse()?;
        let now: Timestamp = SystemClock.now();
        let mut head = self.head.clone();
        let mut log = Log::new(self.id, head.position.next());
        let mut rows = Rows::default();
        let mut changed: HashMap<usize, Wallet> = HashMap::new();
        for _ in 0..len {
            let index = self.next % self.members.len();
            self.next += 1;
            self.requests += 1;
            let member = &mut self.members[index];
            if member.number == 0 {
                head.members += 1;
                member.number = head.members;
                let row = MemberRow::new(member.number, program, &member.id);
                rows.members.push(row);
            }
            let mut book = MemberBook::new(program.clone(), member.id.clone());
            if member.wallet.sequence > 0 {
                let wallet = WalletBook::of(member.wallet);
                book.wallets.insert(currency.clone(), wallet);
            }
            let command = Command::Accrue(Accrue {
                brand: "shop".parse()?,
                currency: currency.clone(),
                points: fealty_types::Points::amount(100)?,
                activation: None,
                expires_at: None,
                reference: "".parse()?,
            });
            let request_id = format!("fill-{}", self.requests).parse()?;
            let request = plan(applied, &request_id, &command, None, now)?;
            fealty_ledger::execute(&mut book, &request, now, &mut log)?;
            let transaction = log.written().last().expect("it was just written");
            let body = canonical::encode(transaction);
            head.chain = canonical::chain(&head.chain, &body);
            head.position = transaction.position;
            rows.log.push(TransactionRow {
                position: transaction.position.get(),
                member_no: member.number,
                request_key: Some(request_key(program, &member.id, &request_id)),
                body,
                chain: head.chain.to_vec(),
            });
            rows.totals.add(transaction);
            let wallet = &book.wallets[&currency];
            for lot in wallet.changed_lots() {
                rows.new_lots.push(LotRow::new(member.number, lot));
            }
            member.wallet = *wallet.wallet();
            changed.insert(index, member.wallet);
        }
        for (index, wallet) in changed {
            let number = self.members[index].number;
            rows.wallets
                .extend(WalletRow::new(number, &currency, &wallet));
        }
        Ok((rows, head))
    }
}
