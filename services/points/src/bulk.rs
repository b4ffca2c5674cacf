//! Accruals and purchases in bulk, without a service: the engine's own transactions in the
//! service's own statement, into a shard that nobody else writes to. For filling
//! a ledger before it is served, and for measuring what bare SQL takes.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use fealty_ledger::{
    Accrue, Command, Counters, Log, MemberBook, Purchase, Said, Wallet, WalletBook,
};
use fealty_postgres::{Database, to_pg};
use fealty_program::ProgramVersion;
use fealty_types::{
    Attributes, BrandId, CurrencyId, MemberId, Metadata, Money, Points, ProgramId, ShardId,
    Timestamp, shard_of,
};

use crate::{
    plan::{OfMember, plan},
    shard::{
        Placement, Shards, number, request_key,
        store::{
            batch_write::{Outcome, Rows, at_once},
            head::{self, Head},
            rows::{CountersRow, LotRow, MemberRow, VersionRow, WalletRow},
        },
    },
};

/// What is written in bulk, each time the same.
#[derive(Clone, Debug)]
pub enum Bulk {
    /// Accruals.
    Accruals {
        /// The brand that issues the points.
        brand: BrandId,
        /// Their currency.
        currency: CurrencyId,
        /// How many.
        points: Points,
    },
    /// Purchases without lines.
    Purchases {
        /// The brand where they are.
        brand: BrandId,
        /// What each comes to.
        amount: Money,
    },
}

impl Bulk {
    /// The command with a name of its own.
    fn command(&self, name: &str) -> anyhow::Result<Command> {
        Ok(match self {
            Self::Accruals {
                brand,
                currency,
                points,
            } => Command::Accrue(Accrue {
                brand: brand.clone(),
                currency: currency.clone(),
                points: *points,
                earned_at: None,
                activation: None,
                expires_at: None,
                reference: "".parse()?,
            }),
            Self::Purchases { brand, amount } => Command::Purchase(Purchase {
                brand: brand.clone(),
                order_number: name.parse()?,
                amount: *amount,
                purchased_at: None,
                channel: None,
                store: None,
                terminal: None,
                lines: Vec::new(),
                tenders: Vec::new(),
                attributes: Attributes::default(),
                tier: None,
            }),
        })
    }
}

struct Member {
    id: MemberId,
    number: i64,
    wallets: BTreeMap<CurrencyId, Wallet>,
    counters: Counters,
}

/// A shard that is filled.
pub struct BulkShard {
    id: ShardId,
    head: Head,
    applied: ProgramVersion,
    bulk: Bulk,
    members: Vec<Member>,
    next: usize,
    requests: u64,
}

impl BulkShard {
    /// Gives an empty database its shards, and the members to them.
    pub async fn open_all(
        database: &Database,
        shards: u16,
        applied: &ProgramVersion,
        bulk: &Bulk,
        members: impl Iterator<Item = MemberId>,
    ) -> anyhow::Result<Vec<Self>> {
        let made = Shards::open(database, shards, Placement::OneNode).await?;
        ensure!(made.count() == shards, "the database has shards already");
        let mut heads = Vec::new();
        for shard in made.all() {
            heads.push((shard, head::head(database.pool(), shard).await?));
        }
        let mut opened: Vec<Self> = heads
            .into_iter()
            .map(|(id, head)| Self {
                id,
                head,
                applied: applied.clone(),
                bulk: bulk.clone(),
                members: Vec::new(),
                next: 0,
                requests: 0,
            })
            .collect();
        for id in members {
            let shard = shard_of(&applied.program.id, &id, shards);
            opened[usize::from(shard.get())].members.push(Member {
                id,
                number: 0,
                wallets: BTreeMap::new(),
                counters: Counters::default(),
            });
        }
        Ok(opened)
    }

    /// What was written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.requests
    }

    /// Writes so many in one statement, one member after the other.
    pub async fn write(
        &mut self,
        database: &Database,
        len: usize,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let (rows, head) = self.rows(len, now)?;
        let mut connection = database.pool().acquire().await?;
        let written = at_once(&mut connection, self.id, &self.head, &head, &rows);
        ensure!(
            written.await? == Outcome::Written,
            "somebody else writes here"
        );
        self.head = head;
        Ok(())
    }

    /// The rows of so many, and the head after them.
    fn rows(&mut self, len: usize, now: Timestamp) -> anyhow::Result<(Rows, Head)> {
        let program: &ProgramId = &self.applied.program.id;
        let mut head = self.head.clone();
        let mut log = Log::new(self.id, head.position.next(), head.stamp(now));
        let mut rows = Rows::default();
        let mut changed: BTreeSet<usize> = BTreeSet::new();
        if head.position.get() == 0 {
            begin(&self.applied, &mut log, &mut head, &mut rows)?;
        }
        for _ in 0..len {
            let index = self.next % self.members.len();
            self.next += 1;
            self.requests += 1;
            changed.insert(index);
            let member = &mut self.members[index];
            if member.number == 0 {
                head.members += 1;
                member.number = head.members;
                let row = MemberRow::new(member.number, program, &member.id);
                rows.members.push(row);
            }
            let mut book = MemberBook::new(program.clone(), member.id.clone());
            for (currency, wallet) in &member.wallets {
                let wallet = WalletBook::of(wallet.clone());
                book.wallets.insert(currency.clone(), wallet);
            }
            book.counters = std::mem::take(&mut member.counters);
            let name = format!("fill-{}-{}", self.id, self.requests);
            let command = self.bulk.command(&name)?;
            let request_id = name.parse()?;
            let of_member = OfMember {
                counters: Some(&book.counters),
                ..OfMember::default()
            };
            let named = (&request_id, &Metadata::default());
            let request = plan(&self.applied, named, &command, of_member, now)?;
            fealty_ledger::execute(&mut book, &request, now, &mut log)?;
            let entry = log.written().last().context("nothing was written")?;
            let key = request_key(program, &member.id, &request_id);
            rows.log
                .push(head.append(entry, Some(member.number), Some(key)));
            rows.totals
                .add(entry.transaction().context("a change is no notice")?);
            for (currency, wallet) in &book.wallets {
                for lot in wallet.changed_lots() {
                    rows.new_lots.push(LotRow::new(member.number, lot));
                }
                let wallet = wallet.wallet().clone();
                member.wallets.insert(currency.clone(), wallet);
            }
            member.counters = book.counters;
        }
        for index in changed {
            let member = &self.members[index];
            for (currency, wallet) in &member.wallets {
                rows.wallets
                    .extend(WalletRow::new(member.number, currency, wallet));
            }
            if !member.counters.is_empty() {
                let row = CountersRow::new(member.number, &member.counters);
                rows.counters.push(row);
            }
        }
        Ok((rows, head))
    }
}

/// Begins a version of the programme in an empty log.
fn begin(
    applied: &ProgramVersion,
    log: &mut Log,
    head: &mut Head,
    rows: &mut Rows,
) -> anyhow::Result<()> {
    let (program, version) = (&applied.program.id, number(applied));
    let digest = applied.text_digest;
    log.announce(program, Said::VersionBegins { version, digest });
    let began = log.written().last().context("nothing was written")?;
    rows.log.push(head.append(began, None, None));
    rows.versions.push(VersionRow {
        program: program.to_string(),
        version: i32::try_from(version)?,
        position: head.position.get(),
        begun_at: to_pg(began.written_at()),
        backfilled: 0,
    });
    Ok(())
}
