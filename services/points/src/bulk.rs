//! Accruals in bulk, without a service: the engine's own transactions in the
//! service's own statement, into a shard that nobody else writes to. For filling
//! a ledger before it is served, and for measuring what bare SQL takes.

use std::collections::HashMap;

use anyhow::{Context as _, ensure};
use fealty_ledger::{Accrue, Command, Log, MemberBook, Said, Wallet, WalletBook};
use fealty_postgres::{Database, to_pg};
use fealty_program::ProgramVersion;
use fealty_types::{
    BrandId, CurrencyId, MemberId, Metadata, Points, ProgramId, ShardId, Timestamp, shard_of,
};

use crate::{
    plan::{OfMember, plan},
    shard::{
        Placement, Shards, number, request_key,
        store::{
            batch_write::{Outcome, Rows, at_once},
            head::{self, Head},
            rows::{LotRow, MemberRow, VersionRow, WalletRow},
        },
    },
};

/// What every accrual in bulk gives.
#[derive(Clone, Debug)]
pub struct BulkAccrual {
    /// The brand that issues the points.
    pub brand: BrandId,
    /// Their currency.
    pub currency: CurrencyId,
    /// How many.
    pub points: Points,
}

struct Member {
    id: MemberId,
    number: i64,
    wallet: Wallet,
}

/// A shard that is filled with accruals.
pub struct BulkShard {
    id: ShardId,
    head: Head,
    applied: ProgramVersion,
    accrual: BulkAccrual,
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
        accrual: &BulkAccrual,
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
                accrual: accrual.clone(),
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
                wallet: Wallet::default(),
            });
        }
        Ok(opened)
    }

    /// Accruals written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.requests
    }

    /// Writes that many accruals in one statement, one member after the other.
    pub async fn accrue(
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

    /// The rows of that many accruals, and the head after them.
    fn rows(&mut self, len: usize, now: Timestamp) -> anyhow::Result<(Rows, Head)> {
        let program: &ProgramId = &self.applied.program.id;
        let currency = &self.accrual.currency;
        let mut head = self.head.clone();
        let mut log = Log::new(self.id, head.position.next(), head.stamp(now));
        let mut rows = Rows::default();
        let mut changed: HashMap<usize, Wallet> = HashMap::new();
        if head.position.get() == 0 {
            begin(&self.applied, &mut log, &mut head, &mut rows)?;
        }
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
                let wallet = WalletBook::of(member.wallet.clone());
                book.wallets.insert(currency.clone(), wallet);
            }
            let command = Command::Accrue(Accrue {
                brand: self.accrual.brand.clone(),
                currency: currency.clone(),
                points: self.accrual.points,
                earned_at: None,
                activation: None,
                expires_at: None,
                reference: "".parse()?,
            });
            let request_id = format!("fill-{}", self.requests).parse()?;
            let request = plan(
                &self.applied,
                (&request_id, &Metadata::default()),
                &command,
                OfMember::default(),
                now,
            )?;
            fealty_ledger::execute(&mut book, &request, now, &mut log)?;
            let entry = log.written().last().context("nothing was written")?;
            let key = request_key(program, &member.id, &request_id);
            rows.log
                .push(head.append(entry, Some(member.number), Some(key)));
            rows.totals
                .add(entry.transaction().context("an accrual is no notice")?);
            let wallet = &book.wallets[currency];
            for lot in wallet.changed_lots() {
                rows.new_lots.push(LotRow::new(member.number, lot));
            }
            member.wallet = wallet.wallet().clone();
            changed.insert(index, member.wallet.clone());
        }
        for (index, wallet) in changed {
            let number = self.members[index].number;
            rows.wallets
                .extend(WalletRow::new(number, currency, &wallet));
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
    });
    Ok(())
}
