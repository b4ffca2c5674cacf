//! A shard as its log makes it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_ledger::{
    AccountKey, AccountTotals, Cause, Command, Ended, Engine, Entry, Facts, Lot, MemberBook, Named,
    Notice, Received, Said, Transaction, WalletBook,
    canonical::{self, CHAIN_START, Chain},
};
use fealty_program::ProgramVersion;
use fealty_types::{
    CurrencyId, MemberId, Position, ProgramId, ShardId, TierId, Timestamp, shard_of,
};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{
    OTHER_TEXT, Programs, VerifyError, coming::Backfills, leases::Budgets, periods::Periods,
    referrals::Referrals,
};
use crate::{
    plan::tier_moment,
    shard::{currencies_of, key_of, recorded_key, store::log::Row},
};

/// Some of a log, in order, with the marks of the accounts among it.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) rows: VecDeque<Row>,
    pub(super) marks: VecDeque<(Position, AccountTotals)>,
}

impl Chunk {
    /// Its last position.
    pub(super) fn last(&self) -> Option<Position> {
        self.rows.back().map(|row| Position::new(row.position))
    }
}

/// Where a check came to.
pub(super) enum Stopped {
    /// To the end of the chunk.
    Done,
    /// To a difference.
    Different(VerifyError),
    /// To a transaction that names an earlier one, which is to be read.
    OriginalNeeded(Position, Chunk),
}

/// A member with its number and its wallets.
#[derive(BorshSerialize, BorshDeserialize)]
pub(super) struct Known {
    pub(super) number: i64,
    pub(super) book: MemberBook,
}

/// A version of a programme, as it began in a shard.
#[derive(Clone, Copy, BorshSerialize, BorshDeserialize)]
pub(super) struct Began {
    pub(super) version: u32,
    pub(super) position: Position,
    /// Of its text.
    pub(super) digest: [u8; 32],
}

/// A shard as its log makes it.
#[derive(BorshSerialize, BorshDeserialize)]
pub(super) struct Shard {
    pub(super) shard: ShardId,
    shards: u16,
    pub(super) position: Position,
    pub(super) chain: Chain,
    /// When the last transaction was written.
    pub(super) written_at: Timestamp,
    /// A hash over the columns beside the bodies, up to here.
    pub(super) columns: [u8; 32],
    pub(super) members: HashMap<(ProgramId, MemberId), Known>,
    pub(super) totals: AccountTotals,
    /// How many of the entries are transactions.
    pub(super) transactions: i64,
    /// The versions of programmes in force.
    pub(super) versions: BTreeMap<ProgramId, Began>,
    /// Accounts that changed since the last mark.
    unmarked: BTreeSet<AccountKey>,
    /// The marks, each with a hash of the accounts as they were marked there.
    pub(super) marks: BTreeMap<Position, [u8; 32]>,
    /// What recorded each order: the request's key, and where it stands.
    pub(super) orders: HashMap<[u8; 16], ([u8; 16], Position)>,
    /// All holds that were ever made, with their members' numbers.
    pub(super) holds: BTreeMap<Position, i64>,
    /// Members whose tier counted for something, the earliest moment at which it did, and
    /// where that stands.
    pub(super) tiers: HashMap<(ProgramId, MemberId), (Timestamp, Position)>,
    /// A sum over what was given to other members less what was received: 0
    /// over all shards, for every transfer has two sides that are the same.
    pub(super) gifts: u128,
    /// What the shard has of budgets, and how it came there.
    pub(super) budgets: Budgets,
    /// What it says of the ends of periods.
    pub(super) periods: Periods,
    /// Who claims to have been brought by whom.
    pub(super) referrals: Referrals,
    /// What it says of counters that count what was before they began.
    pub(super) backfills: Backfills,
    /// What the last request moved of its member's numbers.
    #[borsh(skip)]
    pub(super) moved: Vec<u64>,
    /// The transactions that the next one names.
    #[borsh(skip)]
    pub(super) originals: BTreeMap<Position, Transaction>,
}

impl Shard {
    /// Before its first entry; of so many shards.
    pub(super) fn new(shard: ShardId, shards: u16) -> Self {
        Self {
            shard,
            shards,
            position: Position::new(0),
            chain: CHAIN_START,
            written_at: Timestamp::EPOCH,
            columns: [0; 32],
            members: HashMap::new(),
            totals: AccountTotals::default(),
            transactions: 0,
            versions: BTreeMap::new(),
            unmarked: BTreeSet::new(),
            marks: BTreeMap::new(),
            orders: HashMap::new(),
            holds: BTreeMap::new(),
            tiers: HashMap::new(),
            gifts: 0,
            budgets: Budgets::default(),
            periods: Periods::default(),
            referrals: Referrals::default(),
            backfills: Backfills::default(),
            moved: Vec::new(),
            originals: BTreeMap::new(),
        }
    }

    pub(super) fn difference(&self, position: Position, what: impl Into<String>) -> VerifyError {
        VerifyError::Difference {
            shard: self.shard,
            position,
            what: what.into(),
        }
    }

    /// Checks a chunk, as far as that goes without reading more.
    pub(super) fn check(mut self, mut chunk: Chunk, programs: &Programs) -> (Self, Stopped) {
        while let Some(row) = chunk.rows.pop_front() {
            match self.check_row(&row, programs) {
                Ok(None) => {}
                Ok(Some(position)) => {
                    chunk.rows.push_front(row);
                    return (self, Stopped::OriginalNeeded(position, chunk));
                }
                Err(error) => return (self, Stopped::Different(error)),
            }
            if let Some((_, marked)) = chunk.marks.pop_front_if(|mark| mark.0 == self.position)
                && let Err(error) = self.check_mark(&marked)
            {
                return (self, Stopped::Different(error));
            }
        }
        (self, Stopped::Done)
    }

    /// Checks one entry: its place, its chain, its columns, and that what comes before
    /// it makes it again. Answers with the position of a transaction that must be read
    /// first.
    fn check_row(
        &mut self,
        row: &Row,
        programs: &Programs,
    ) -> Result<Option<Position>, VerifyError> {
        let position = self.position.next();
        if row.position != position.get() {
            return Err(self.difference(position, "the entry is missing"));
        }
        let chain = canonical::chain(&self.chain, &row.body);
        if row.chain != chain {
            return Err(self.difference(position, "the chain does not fit the entry"));
        }
        let entry = canonical::decode(&row.body)
            .map_err(|error| self.difference(position, error.to_string()))?;
        if entry.position() != position || entry.shard() != self.shard {
            return Err(self.difference(position, "the entry names another place"));
        }
        if Engine::numbered(entry.engine()).is_none() {
            let what = format!("engine {} made it, which is not known", entry.engine());
            return Err(self.difference(position, what));
        }
        if entry.written_at() < self.written_at {
            return Err(self.difference(position, "it was written before the one before it"));
        }
        // What was written before there were such bits has them all.
        let is_of_all = canonical::is_earlier(&row.body) && row.currencies == -1;
        if row.currencies != currencies_of(&entry) && !is_of_all {
            return Err(self.difference(position, "a column differs from the entry"));
        }
        match &entry {
            Entry::Notice(notice) => self.check_notice(row, notice, programs)?,
            Entry::Transaction(transaction) => {
                let needed = self.check_transaction(row, transaction, programs)?;
                if needed.is_some() {
                    return Ok(needed);
                }
            }
        }
        self.chain = chain;
        self.position = position;
        let columns = (row.member_no, row.request_key, row.currencies);
        self.columns = with_columns(self.columns, columns);
        self.written_at = entry.written_at();
        Ok(None)
    }

    /// Checks what a notice says.
    fn check_notice(
        &mut self,
        row: &Row,
        notice: &Notice,
        programs: &Programs,
    ) -> Result<(), VerifyError> {
        let position = notice.position;
        if row.member_no.is_some() || row.request_key.is_some() {
            return Err(self.difference(position, "a column differs from the notice"));
        }
        if let Said::EndsWritten { through } = notice.says {
            self.check_backfilled_before_ends(notice, through, programs)?;
            return self.ends_written(notice, through, programs);
        }
        if let Said::CountersBackfilled { version } = notice.says {
            return self.counters_backfilled(notice, version, programs);
        }
        let Said::VersionBegins { version, digest } = &notice.says else {
            let taken = self.budgets.notice(notice, self.shards, programs);
            return taken.map_err(|what| self.difference(position, what));
        };
        let before = self.versions.get(&notice.program);
        if before.is_some_and(|before| before.version >= *version) {
            return Err(self.difference(position, "a later version began before it"));
        }
        let applied = programs
            .get(&(notice.program.clone(), *version))
            .ok_or_else(|| self.difference(position, "the programme version is missing"))?;
        if applied.text_digest != *digest {
            return Err(self.difference(position, OTHER_TEXT));
        }
        let program = notice.program.clone();
        let earlier = before.map(|before| before.version);
        let name = (program.clone(), *version);
        self.backfills.begin(&name, earlier, programs);
        let began = Began {
            version: *version,
            position,
            digest: *digest,
        };
        self.versions.insert(program, began);
        self.note_version(notice, *version);
        Ok(())
    }

    /// Checks a transaction: its columns, and that the engine makes it again. Answers
    /// with the position of a transaction that must be read first.
    fn check_transaction(
        &mut self,
        row: &Row,
        transaction: &Transaction,
        programs: &Programs,
    ) -> Result<Option<Position>, VerifyError> {
        let position = transaction.position;
        if let Some(Named::Transaction(named)) = transaction.command().and_then(Command::names)
            && !self.originals.contains_key(&named)
        {
            return Ok(Some(named));
        }
        if let Some(needed) = self.needed_for_end(transaction) {
            return Ok(Some(needed));
        }
        let (program, member) = (&transaction.program, &transaction.member);
        let key = key_of(transaction);
        // What was received has a key since engine 2.
        let keyless = matches!(transaction.cause, Cause::Received(_))
            && transaction.engine == Engine::FIRST.number()
            && row.request_key.is_none();
        let name = (program.clone(), member.clone());
        let next = i64::try_from(self.members.len()).unwrap_or(i64::MAX) + 1;
        let known = self.members.get(&name).map(|known| known.number);
        if known.is_none() && shard_of(program, member, self.shards) != self.shard {
            return Err(self.difference(position, "the member belongs to another shard"));
        }
        let number = known.unwrap_or_else(|| {
            let book = MemberBook::new(program.clone(), member.clone());
            self.members.insert(name, Known { number: next, book });
            next
        });
        if row.member_no != Some(number) || (row.request_key != key && !keyless) {
            return Err(self.difference(position, "a column differs from the transaction"));
        }
        self.check_owed(transaction)?;
        self.check_written(transaction)?;
        self.check_time(transaction, programs)?;
        let comes_back = self.comes_back(transaction);
        let mut again = self.run_again(transaction, programs)?;
        again.nonce = transaction.nonce;
        if again != *transaction {
            let what = format!("the engine makes another {} of it", transaction.kind());
            return Err(self.difference(position, what));
        }
        if !transaction.draws().is_empty() {
            let taken = self.budgets.draw(transaction);
            taken.map_err(|error| self.difference(position, error.to_string()))?;
        }
        self.originals.clear();
        self.note_ends(transaction, programs);
        self.note_backfills(transaction, comes_back.as_ref(), programs);
        self.note(transaction, number, programs)?;
        for key in self.totals.add(transaction) {
            self.unmarked.insert(key);
        }
        self.transactions += 1;
        Ok(None)
    }

    /// Notes what other tables must have of a transaction.
    fn note(
        &mut self,
        transaction: &Transaction,
        number: i64,
        programs: &Programs,
    ) -> Result<(), VerifyError> {
        let (program, position) = (&transaction.program, transaction.position);
        let (command, facts, asked_at, program_version) = match &transaction.cause {
            Cause::Request {
                command,
                facts,
                asked_at,
                program_version,
                ..
            } => (command, facts, asked_at, program_version),
            Cause::TierChanged(change) => {
                self.note_tier(transaction, change.since);
                return Ok(());
            }
            Cause::Ended(ended) => {
                if let Some(tier) = &ended.facts.tier {
                    self.note_tier_at_end(transaction, (ended, tier), programs);
                }
                return Ok(());
            }
            Cause::Due(_) | Cause::Received(_) | Cause::Backfilled(_) => return Ok(()),
        };
        if matches!(command, Command::Hold(_)) {
            self.holds.insert(position, number);
        }
        let tier = facts.as_ref().and_then(Facts::tier);
        let recorded = recorded_key(program, command, facts.as_ref());
        if let Some((order, key)) = recorded.zip(key_of(transaction)) {
            let order = order.into_bytes();
            let before = self.orders.insert(order, (key.into_bytes(), position));
            if let Some((_, before)) = before {
                let what = format!("its receipt or activity had earned before, at {before}");
                return Err(self.difference(position, what));
            }
        }
        let Some(applied) = programs.get(&(program.clone(), *program_version)) else {
            return Ok(());
        };
        let taken = self.referrals.take((transaction, number), &applied.program);
        taken.map_err(|what| self.difference(position, what))?;
        let now = asked_at.unwrap_or(transaction.effective_at);
        let lowest = applied.program.tiers.as_ref();
        let lowest = lowest.and_then(|scheme| Some(&scheme.levels.first()?.tier));
        // Everybody has the lowest, without being told.
        let told = tier.is_some() && tier != lowest;
        if let Some(moment) = tier_moment(&applied.program, command, now).filter(|_| told) {
            self.note_tier(transaction, moment);
        }
        Ok(())
    }

    /// Notes the tier that counted at the end of a period; everybody has the lowest, without
    /// being told.
    fn note_tier_at_end(
        &mut self,
        transaction: &Transaction,
        (ended, tier): (&Ended, &TierId),
        programs: &Programs,
    ) {
        let version = (transaction.program.clone(), ended.program_version);
        let scheme = programs.get(&version);
        let scheme = scheme.and_then(|applied| applied.program.tiers.as_ref());
        if scheme.is_some_and(|scheme| scheme.levels.first().map(|level| &level.tier) != Some(tier))
        {
            self.note_tier(transaction, ended.facts.purchased_at);
        }
    }

    /// Notes that a tier counted for a transaction which the member had at a moment.
    fn note_tier(&mut self, transaction: &Transaction, moment: Timestamp) {
        let member = (transaction.program.clone(), transaction.member.clone());
        let counted = (moment, transaction.position);
        let known = self.tiers.entry(member).or_insert(counted);
        *known = (*known).min(counted);
    }

    /// The version of its programme that a transaction names, if that is in force.
    pub(super) fn applied<'a>(
        &self,
        transaction: &Transaction,
        version: u32,
        programs: &'a Programs,
    ) -> Result<&'a ProgramVersion, VerifyError> {
        let position = transaction.position;
        let in_force = self.versions.get(&transaction.program);
        if in_force.is_none_or(|began| began.version != version) {
            return Err(self.difference(position, "another programme version is in force"));
        }
        programs
            .get(&(transaction.program.clone(), version))
            .ok_or_else(|| self.difference(position, "its programme version is missing"))
    }

    /// The accounts that changed since the mark before, as they are now.
    fn check_mark(&mut self, marked: &AccountTotals) -> Result<(), VerifyError> {
        let mut expected = AccountTotals::default();
        for key in std::mem::take(&mut self.unmarked) {
            if let Some(sums) = self.totals.of(&key) {
                expected.add_sums(key, sums);
            }
        }
        if expected != *marked {
            return Err(self.difference(self.position, "the accounts' mark differs"));
        }
        self.marks.insert(self.position, hash_of(marked));
        Ok(())
    }

    /// All wallets: the member's number, the currency, the wallet.
    pub(super) fn wallets(&self) -> impl Iterator<Item = (i64, &CurrencyId, &WalletBook)> {
        self.members.values().flat_map(|known| {
            let wallets = known.book.wallets.iter();
            wallets.map(|(currency, wallet)| (known.number, currency, wallet))
        })
    }

    /// All lots, open or not.
    pub(super) fn lots(&self) -> impl Iterator<Item = &Lot> {
        self.wallets().flat_map(|(_, _, wallet)| wallet.lots())
    }

    /// Lots with points left or held.
    pub(super) fn open_lots(&self) -> impl Iterator<Item = &Lot> {
        self.lots()
            .filter(|lot| !lot.remaining.is_zero() || !lot.held.is_zero())
    }

    /// The members' books by number.
    pub(super) fn by_number(&self) -> HashMap<i64, &MemberBook> {
        let books = self.members.values();
        books.map(|known| (known.number, &known.book)).collect()
    }
}

/// The hash over the columns beside the bodies, with those of the next row.
pub(super) fn with_columns(
    before: [u8; 32],
    (member_no, request_key, currencies): (Option<i64>, Option<Uuid>, i16),
) -> [u8; 32] {
    let columns = (
        before,
        member_no,
        request_key.map(Uuid::into_bytes),
        currencies,
    );
    let bytes = borsh::to_vec(&columns).expect("writing to memory does not fail");
    Sha256::digest(bytes).into()
}

/// By what marked accounts are known again.
pub(super) fn hash_of(marked: &AccountTotals) -> [u8; 32] {
    let bytes = borsh::to_vec(marked).expect("writing to memory does not fail");
    Sha256::digest(bytes).into()
}

/// A number for one side of a gift: the same for both.
pub(super) fn side(to: &MemberId, received: &Received) -> u128 {
    let bytes = borsh::to_vec(&(to, received)).expect("writing to memory does not fail");
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    let mut number = [0; 16];
    number.copy_from_slice(&digest[..16]);
    u128::from_le_bytes(number)
}
