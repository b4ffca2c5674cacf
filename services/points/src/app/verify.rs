//! Proof: walks each log, checks its chain, runs the rules and the engine over
//! it again, and compares what that gives with what is stored.
//!
//! It reads the database alone, at one moment, and needs no service to run.

use std::collections::{BTreeMap, HashMap};

use fealty_ledger::{
    AccountTotals, Cause, Command, Log, MemberBook, Request, Transaction,
    canonical::{self, CHAIN_START, Chain},
};
use fealty_postgres::{Database, DatabaseError, PgConnection, foundation, run};
use fealty_program::Program;
use fealty_server::ProgramVersion;
use fealty_types::{CurrencyId, MemberId, Position, ProgramId, ShardId, Timestamp, shard_of};

use crate::{
    domain::{plan, request_key},
    store,
};

/// Transactions read at a time.
const READ_LEN: i64 = 2_000;

/// What is wrong, and where.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A difference.
    #[error("shard {shard}, position {position}: {what}")]
    Difference {
        /// The shard.
        shard: ShardId,
        /// The position in its log; the head's where the state differs.
        position: Position,
        /// What differs.
        what: String,
    },
    /// The database could not be read.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl fealty_postgres::HasDatabaseError for VerifyError {
    fn database_error(&self) -> Option<&DatabaseError> {
        match self {
            Self::Database(error) => Some(error),
            Self::Difference { .. } => None,
        }
    }
}

/// What was verified.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verified {
    /// Shards.
    pub shards: usize,
    /// Transactions.
    pub transactions: i64,
    /// Wallets.
    pub wallets: usize,
    /// Lots with points left.
    pub lots: usize,
    /// Whether the accounts' debits equal their credits.
    pub debits_equal_credits: bool,
}

/// Verifies a points database. `progress` hears how many transactions have
/// been walked, and how many there are.
pub async fn verify(
    database: &Database,
    progress: impl Fn(i64, i64) + Send + Sync,
) -> Result<Verified, VerifyError> {
    run!(database, "verify", |connection| async {
        store::shards::read_one_moment(connection).await?;
        let heads = store::shards::heads(&mut *connection).await?;
        let all = heads.iter().map(|head| head.position.get()).sum();
        let mut verified = Verified {
            shards: heads.len(),
            ..Verified::default()
        };
        let mut programs = HashMap::new();
        let (mut debits, mut credits) = (0, 0);
        for (number, head) in (0..=u8::MAX).zip(&heads) {
            let mut shard = Shard::new(ShardId::new(number), heads.len());
            shard
                .walk(connection, head, &mut programs, &|walked| {
                    progress(verified.transactions + walked, all);
                })
                .await?;
            shard.compare(connection, head).await?;
            verified.transactions += head.position.get();
            verified.wallets += shard
                .books
                .values()
                .map(|book| book.wallets.len())
                .sum::<usize>();
            verified.lots += shard.lots().count();
            for (_, _, _, debited, credited) in shard.totals.rows() {
                debits += debited;
                credits += credited;
            }
        }
        verified.debits_equal_credits = debits == credits;
        Ok(verified)
    })
}

type Programs = HashMap<(ProgramId, i64), ProgramVersion>;

/// A shard as its log makes it.
struct Shard {
    shard: ShardId,
    shards: usize,
    chain: Chain,
    position: Position,
    books: BTreeMap<(ProgramId, MemberId), MemberBook>,
    /// Numbers of the members, in the order of their first transactions.
    numbers: HashMap<(ProgramId, MemberId), i64>,
    totals: AccountTotals,
    /// What fell due before a request and has yet to be met in the log.
    log: Log,
}

impl Shard {
    fn new(shard: ShardId, shards: usize) -> Self {
        Self {
            shard,
            shards,
            chain: CHAIN_START,
            position: Position::new(0),
            books: BTreeMap::new(),
            numbers: HashMap::new(),
            totals: AccountTotals::default(),
            log: Log::new(shard, Position::FIRST),
        }
    }

    fn difference(&self, position: Position, what: impl Into<String>) -> VerifyError {
        VerifyError::Difference {
            shard: self.shard,
            position,
            what: what.into(),
        }
    }

    async fn walk(
        &mut self,
        connection: &mut PgConnection,
        head: &store::shards::Head,
        programs: &mut Programs,
        progress: &(dyn Fn(i64) + Send + Sync),
    ) -> Result<(), VerifyError> {
        loop {
            let rows =
                store::log::read(&mut *connection, self.shard, self.position, READ_LEN).await?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                self.check(connection, row, programs).await?;
            }
            progress(self.position.get());
        }
        if self.position != head.position {
            let what = format!("the log ends here, the head says {}", head.position);
            return Err(self.difference(self.position.next(), what));
        }
        if self.chain != head.chain {
            return Err(self.difference(self.position, "the head has another chain value"));
        }
        Ok(())
    }

    /// Checks one transaction: its place, its chain, its columns, and that the
    /// engine makes it again.
    async fn check(
        &mut self,
        connection: &mut PgConnection,
        row: store::log::Row,
        programs: &mut Programs,
    ) -> Result<(), VerifyError> {
        let position = self.position.next();
        if row.position != position.get() {
            return Err(self.difference(position, "the transaction is missing"));
        }
        let chain = canonical::chain(&self.chain, &row.body);
        if row.chain != chain {
            return Err(self.difference(position, "the chain does not fit the transaction"));
        }
        let transaction = canonical::decode(&row.body)
            .map_err(|error| self.difference(position, error.to_string()))?;
        if transaction.position != position || transaction.shard != self.shard {
            return Err(self.difference(position, "the transaction names another place"));
        }
        let member = (transaction.program.clone(), transaction.member.clone());
        let shards = u16::try_from(self.shards).unwrap_or(u16::MAX);
        if shard_of(&member.0, &member.1, shards) != self.shard {
            return Err(self.difference(position, "the member belongs to another shard"));
        }
        let next_number = i64::try_from(self.numbers.len()).unwrap_or(i64::MAX) + 1;
        let number = *self.numbers.entry(member.clone()).or_insert(next_number);
        let key = transaction
            .request_id()
            .map(|id| request_key(&member.0, &member.1, id));
        if row.member_no != number || row.request_key != key {
            return Err(self.difference(position, "a column differs from the transaction"));
        }
        let again = self.run_again(connection, &transaction, programs).await?;
        if again != transaction {
            let what = format!("the engine makes another {} of it", transaction.kind());
            return Err(self.difference(position, what));
        }
        self.totals.add(&transaction);
        self.chain = chain;
        self.position = position;
        Ok(())
    }

    async fn run_again(
        &mut self,
        connection: &mut PgConnection,
        transaction: &Transaction,
        programs: &mut Programs,
    ) -> Result<Transaction, VerifyError> {
        let (position, at) = (transaction.position, transaction.effective_at);
        let request = match &transaction.cause {
            Cause::Due(_) => None,
            Cause::Request {
                request_id,
                command,
                facts,
            } => Some(match planned_by(transaction) {
                Some((version, now)) => {
                    let applied =
                        program(connection, programs, &transaction.program, version).await?;
                    let Some(applied) = applied else {
                        return Err(self.difference(position, "its programme version is missing"));
                    };
                    let tier = facts.as_ref().and_then(|facts| facts.tier.clone());
                    plan(&applied, request_id, command, tier, now)
                        .map_err(|error| self.difference(position, error.to_string()))?
                }
                None => Request {
                    request_id: request_id.clone(),
                    command: command.clone(),
                    facts: None,
                    grants: Vec::new(),
                },
            }),
        };
        let member = (transaction.program.clone(), transaction.member.clone());
        let book = self
            .books
            .entry(member.clone())
            .or_insert_with(|| MemberBook::new(member.0.clone(), member.1.clone()));
        self.log = Log::new(self.shard, position);
        let made = match request {
            Some(request) => fealty_ledger::apply(book, &request, at, &mut self.log),
            None => match transaction.wallets.first() {
                Some(wallet) => {
                    fealty_ledger::advance_step(book, &wallet.currency, at, &mut self.log)
                        .map(|_| ())
                }
                None => Ok(()),
            },
        };
        for wallet in book.wallets.values_mut() {
            wallet.settle();
        }
        match (made, self.log.written()) {
            (Ok(()), [made]) => Ok(made.clone()),
            (Ok(()), _) => Err(self.difference(position, "nothing was due")),
            (Err(stop), _) => Err(self.difference(position, stop.to_string())),
        }
    }

    /// Compares what the log makes with what is stored.
    async fn compare(
        &mut self,
        connection: &mut PgConnection,
        head: &store::shards::Head,
    ) -> Result<(), VerifyError> {
        let end = self.position;
        let members = store::members::all(connection, self.shard).await?;
        if members.len() != self.numbers.len()
            || i64::try_from(members.len()) != Ok(head.members)
            || members
                .iter()
                .any(|(number, program, member)| !self.has_number(*number, program, member))
        {
            return Err(self.difference(end, "the members differ"));
        }
        self.compare_wallets(connection).await?;
        self.compare_lots_and_holds(connection).await?;
        let stored = store::accounts::of_shard(connection, self.shard).await?;
        let mut made: Vec<store::accounts::Row> = self
            .totals
            .rows()
            .map(
                |(program, currency, account, debits, credits)| store::accounts::Row {
                    program: program.to_string(),
                    currency: currency.to_string(),
                    kind: account.kind().to_owned(),
                    brand: account.brand().map(ToString::to_string).unwrap_or_default(),
                    debits,
                    credits,
                },
            )
            .collect();
        made.sort();
        if stored != made {
            return Err(self.difference(end, "the accounts differ"));
        }
        Ok(())
    }

    fn has_number(&self, number: i64, program: &str, member: &str) -> bool {
        let (Ok(program), Ok(member)) = (program.parse(), member.parse()) else {
            return false;
        };
        self.numbers.get(&(program, member)) == Some(&number)
    }

    async fn compare_wallets(&self, connection: &mut PgConnection) -> Result<(), VerifyError> {
        let stored: HashMap<(i64, CurrencyId), fealty_ledger::Wallet> =
            store::wallets::all(connection, self.shard)
                .await?
                .into_iter()
                .map(|(number, currency, wallet)| ((number, currency), wallet))
                .collect();
        let mut wallets = 0;
        for (member, book) in &self.books {
            for (currency, wallet) in &book.wallets {
                wallets += 1;
                let made = wallet.wallet();
                let same = stored
                    .get(&(self.numbers[member], currency.clone()))
                    .is_some_and(|stored| {
                        // When to look next may be earlier than need be, never later.
                        let first_due = wallet.first_due(currency).ok().flatten();
                        let due_in_time = match (stored.next_due, first_due) {
                            (_, None) => true,
                            (None, Some(_)) => false,
                            (Some(stored), Some(first)) => stored <= first,
                        };
                        let made = fealty_ledger::Wallet {
                            next_due: stored.next_due,
                            ..*made
                        };
                        *stored == made && due_in_time
                    });
                if !same {
                    let at = made.last_position.unwrap_or(self.position);
                    let what = format!("the wallet of {} in {currency} differs", member.1);
                    return Err(self.difference(at, what));
                }
            }
        }
        if wallets != stored.len() {
            return Err(self.difference(self.position, "there are wallets the log does not make"));
        }
        Ok(())
    }

    fn lots(&self) -> impl Iterator<Item = (i64, &fealty_ledger::Lot)> {
        self.books.iter().flat_map(|(member, book)| {
            let number = self.numbers[member];
            let lots = book
                .wallets
                .values()
                .flat_map(fealty_ledger::WalletBook::lots);
            lots.filter(|lot| !lot.remaining.is_zero() || !lot.held.is_zero())
                .map(move |lot| (number, lot))
        })
    }

    async fn compare_lots_and_holds(
        &self,
        connection: &mut PgConnection,
    ) -> Result<(), VerifyError> {
        let stored = store::lots::open(connection, self.shard).await?;
        let by_name: HashMap<i64, &(i64, fealty_ledger::Lot)> = stored
            .iter()
            .map(|row| (row.1.terms.lot.get(), row))
            .collect();
        let mut lots = 0;
        for (number, lot) in self.lots() {
            lots += 1;
            let same = by_name
                .get(&lot.terms.lot.get())
                .is_some_and(|(stored_number, stored)| *stored_number == number && stored == lot);
            if !same {
                return Err(self.difference(lot.terms.lot.position(), "a lot that it made differs"));
            }
        }
        if lots != stored.len() {
            return Err(self.difference(self.position, "there are lots the log does not make"));
        }
        let stored = store::holds::all_open(connection, self.shard).await?;
        let mut open = 0;
        for (member, book) in &self.books {
            for (currency, wallet) in &book.wallets {
                for hold in wallet.holds().filter(|hold| !hold.lots.is_empty()) {
                    open += 1;
                    let same = stored.iter().any(|(number, stored_currency, stored)| {
                        *number == self.numbers[member]
                            && stored_currency == currency.as_str()
                            && stored == hold
                    });
                    if !same {
                        return Err(self.difference(hold.position, "the hold that it made differs"));
                    }
                }
            }
        }
        if open != stored.len() {
            return Err(self.difference(self.position, "there are holds the log does not make"));
        }
        Ok(())
    }
}

/// The version of the programme that gave the points of a transaction, and the
/// time it was planned at; nothing where the programme gave none.
fn planned_by(transaction: &Transaction) -> Option<(i64, Timestamp)> {
    let Cause::Request { command, facts, .. } = &transaction.cause else {
        return None;
    };
    match (command, facts) {
        (Command::Purchase(purchase), Some(facts)) => {
            // One that named no time was planned when it was made.
            let now = match purchase.purchased_at {
                Some(_) => transaction.effective_at,
                None => facts.purchased_at,
            };
            Some((facts.program_version, now))
        }
        (Command::Accrue(_), _) => transaction
            .lots
            .first()
            .map(|lot| (lot.program_version, lot.earned_at)),
        _ => None,
    }
}

/// A version of a programme.
async fn program(
    connection: &mut PgConnection,
    programs: &mut Programs,
    id: &ProgramId,
    version: i64,
) -> Result<Option<ProgramVersion>, DatabaseError> {
    let key = (id.clone(), version);
    if let Some(known) = programs.get(&key) {
        return Ok(Some(known.clone()));
    }
    let stored = foundation::program(connection, id, Some(version)).await?;
    let applied = stored.and_then(|stored| {
        let program = Program::parse(&stored.source).ok()?.program;
        Some(ProgramVersion {
            version: stored.version,
            program,
        })
    });
    if let Some(applied) = &applied {
        programs.insert(key, applied.clone());
    }
    Ok(applied)
}
