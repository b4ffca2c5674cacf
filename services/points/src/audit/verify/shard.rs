//! A shard as its log makes it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_ledger::{
    AccountKey, AccountTotals, Cause, Command, Due, Ended, Engine, Entry, Facts, Log, Lot,
    MemberBook, Moment, Named, Notice, Received, Request, Said, Stamp, TierEffect, Transaction,
    WalletBook,
    canonical::{self, CHAIN_START, Chain},
    given,
};
use fealty_program::ProgramVersion;
use fealty_types::{
    CurrencyId, MemberId, Position, ProgramId, ShardId, TierId, Timestamp, shard_of,
};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{OTHER_TEXT, Programs, VerifyError, leases::Budgets, periods::Periods};
use crate::{
    plan::{LeftOf, OfMember, plan, plan_return, tier_effects, tier_moment},
    shard::{currencies_of, has_plain, key_of, recorded_key, store::log::Row},
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
            return self.ends_written(notice, through, programs);
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
            Cause::Due(_) | Cause::Received(_) => return Ok(()),
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

    fn run_again(
        &mut self,
        transaction: &Transaction,
        programs: &Programs,
    ) -> Result<Transaction, VerifyError> {
        let (position, at) = (transaction.position, transaction.effective_at);
        let request = self.request(transaction, programs)?;
        let moves = request.iter().flat_map(|request| &request.counter_moves);
        self.moved = moves.map(|moved| moved.key).collect();
        let effects = self.effects(transaction, programs)?;
        let period_end = self.period_end(transaction, programs)?;
        let member = (transaction.program.clone(), transaction.member.clone());
        let waits = self.waits(transaction, programs)?;
        let known = self.members.get_mut(&member).expect("the member is known");
        let book = &mut known.book;
        for (currency, wallet) in &mut book.wallets {
            wallet.set_tiers_decide(waits.as_ref().is_none_or(|waits| waits.contains(currency)));
        }
        // When it was written and its nonce follow from nothing; all else does.
        let stamp = Stamp {
            written_at: transaction.written_at,
            seed: [0; 32],
        };
        let engine = Engine::numbered(transaction.engine).unwrap_or(Engine::NEWEST);
        let mut log = Log::new(self.shard, position, stamp).by(engine);
        let made = match (&request, &transaction.cause) {
            (Some(request), _) => fealty_ledger::apply(book, request, at, &mut log),
            (None, Cause::Received(received)) => {
                fealty_ledger::apply_received(book, received, at, &mut log)
            }
            (None, Cause::Ended(_)) => match &period_end {
                Some(end) => fealty_ledger::apply_end(book, end, at, &mut log),
                None => Ok(()),
            },
            (None, Cause::TierChanged(change)) => {
                // What was due before it stands before it, so this makes but one.
                fealty_ledger::change_tier(book, change, &effects, &mut log)
            }
            (None, cause) => match transaction.wallets.first() {
                Some(wallet) => {
                    let moment = moment(cause, at);
                    fealty_ledger::advance_step(book, &wallet.currency, moment, &mut log)
                        .map(|_| ())
                }
                None => Ok(()),
            },
        };
        let mut written: Vec<Transaction> = log.into_transactions().collect();
        match (&transaction.cause, &*written) {
            (Cause::Received(received), _) => {
                let sum = side(&transaction.member, received);
                self.gifts = self.gifts.wrapping_sub(sum);
            }
            (_, [written]) => {
                if let Some(Command::Gift(gift)) = written.command() {
                    let term_ends = request.as_ref().and_then(|request| request.term_ends);
                    let sum = side(&gift.to, &given(book, written, term_ends));
                    self.gifts = self.gifts.wrapping_add(sum);
                }
            }
            _ => {}
        }
        book.settle();
        match (made, written.pop()) {
            (Ok(()), Some(made)) if written.is_empty() => Ok(made),
            (Ok(()), _) => Err(self.difference(position, "nothing was due")),
            (Err(stop), _) => Err(self.difference(position, stop.to_string())),
        }
    }

    /// The request that made a transaction, planned again.
    fn request(
        &mut self,
        transaction: &Transaction,
        programs: &Programs,
    ) -> Result<Option<Request>, VerifyError> {
        let Cause::Request {
            request_id,
            command,
            metadata,
            asked_at,
            program_version,
            facts,
        } = &transaction.cause
        else {
            return Ok(None);
        };
        let position = transaction.position;
        let applied = self.applied(transaction, *program_version, programs)?;
        if has_plain(&applied.program.personal, metadata, command) {
            return Err(self.difference(position, "what is personal stands in the log"));
        }
        let now = asked_at.unwrap_or(transaction.effective_at);
        let member = (transaction.program.clone(), transaction.member.clone());
        let of_member = OfMember {
            tier: facts.as_ref().and_then(Facts::tier).cloned(),
            counters: self.members.get(&member).map(|known| &known.book.counters),
            left: LeftOf::Leases(
                self.budgets.leases(),
                &transaction.program,
                *program_version,
            ),
        };
        let mut request = plan(applied, (request_id, metadata), command, of_member, now)
            .map_err(|error| self.difference(position, error.to_string()))?;
        request.principal.clone_from(&transaction.principal);
        let named = request.command.names();
        if let Some(Named::Transaction(named)) = named {
            request.original = self.originals.remove(&named).map(Box::new);
        }
        self.plan_return(transaction, (applied, &mut request), programs)?;
        Ok(Some(request))
    }

    /// Plans a return again, by the purchase that it names.
    fn plan_return(
        &self,
        transaction: &Transaction,
        (applied, request): (&ProgramVersion, &mut Request),
        programs: &Programs,
    ) -> Result<(), VerifyError> {
        let Command::Return(asked) = &request.command else {
            return Ok(());
        };
        let of = asked.transaction;
        let named = request.original.as_ref();
        let Some(version) = named.and_then(|original| original.program_version()) else {
            return Ok(());
        };
        let position = transaction.position;
        let then = programs
            .get(&(transaction.program.clone(), version))
            .ok_or_else(|| self.difference(position, "its purchase's version is missing"))?;
        let member = (transaction.program.clone(), transaction.member.clone());
        let known = self.members.get(&member);
        let known = (
            known.and_then(|known| known.book.returned(of)),
            known.and_then(|known| known.book.reversal(of)),
        );
        plan_return(request, then, applied, known)
            .map_err(|error| self.difference(position, error.to_string()))
    }

    /// What a change of tier means.
    fn effects(
        &self,
        transaction: &Transaction,
        programs: &Programs,
    ) -> Result<Vec<TierEffect>, VerifyError> {
        let Cause::TierChanged(change) = &transaction.cause else {
            return Ok(Vec::new());
        };
        let applied = self.applied(transaction, change.program_version, programs)?;
        Ok(tier_effects(&applied.program, &change.tier, change.since))
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

/// The moment at which something fell due. What waited for members' tiers did so no
/// longer, and what came before it did not wait for it.
fn moment(cause: &Cause, at: Timestamp) -> Moment {
    let tiers_known = match cause {
        Cause::Due(Due::ExpireInactive) => at,
        _ => Timestamp::EPOCH,
    };
    Moment {
        now: at,
        tiers_known,
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
