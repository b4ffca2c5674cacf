//! A shard's log, played again under other versions of its programme.
//!
//! Each entry makes what it made before do again: a request is planned and executed, what fell due
//! falls due, a period that ended ends. What comes of it is written to a log that nobody keeps.
//! `request` does requests, `asked` says their words anew where less is there than was, `ends` are
//! the ends of periods, `backfills` counters that count what was before, `places` where entries came
//! to stand.

mod asked;
mod backfills;
mod ends;
mod places;
mod request;

use std::collections::{HashMap, HashSet};

use fealty_ledger::{
    Cause, Due, Engine, Entry, Leases, Log, MemberBook, Moment, Notice, Received, Said, Stamp,
    Stop, TierChanged, Transaction,
};
use fealty_postgres::DatabaseError;
use fealty_program::{Program, ProgramVersion};
use fealty_types::{CurrencyId, MemberId, Position, ProgramId, ShardId, TierId, Timestamp};

use super::{between::Between, missed::Missed, tiers::Tiers};
use crate::{plan::tier_effects, shard::number};
use backfills::BackfillOfMember;
use ends::{EndsOfMember, PassedEnds};
use places::Places;
use request::Asked;

/// By which versions a log is played.
#[derive(Clone, Debug)]
pub(super) struct Versions {
    pub(super) program: ProgramId,
    /// Those that ever were in force, by number.
    pub(super) recorded: HashMap<u32, ProgramVersion>,
    /// The one that is tried, from `since` on; without one, those that were in force.
    pub(super) changed: Option<ProgramVersion>,
    /// From when on, by when entries were written; from the beginning, if nothing is said.
    pub(super) since: Option<Timestamp>,
    /// Whether budgets are drawn on as the shards had leased them; else as if all shards had
    /// one purse.
    pub(super) as_leased: bool,
    /// Whether the one that is tried was in force all the time.
    pub(super) is_unchanged: bool,
}

impl Versions {
    /// The version with a number.
    pub(super) fn numbered(&self, number: u32) -> Option<&ProgramVersion> {
        let changed = self.changed.as_ref();
        changed
            .filter(|changed| self::number(changed) == number)
            .or_else(|| self.recorded.get(&number))
    }

    /// Whether what was written at a moment is played by the version that is tried.
    pub(super) fn is_changed_at(&self, written_at: Timestamp) -> bool {
        self.changed.is_some() && self.since.is_none_or(|since| written_at >= since)
    }
}

/// A member, as far as it was played.
struct Known {
    book: MemberBook,
    ends: EndsOfMember,
    /// How many of the member's changes of tier have been written.
    tiers_written: usize,
    backfill: BackfillOfMember,
}

/// A shard's log, played again.
pub(super) struct Replay {
    shard: ShardId,
    versions: Versions,
    /// The versions in force one after the other, each with when it began.
    in_force: Vec<(Timestamp, Option<ProgramVersion>)>,
    has_changed: bool,
    /// Whether it is at what is tried, or, where nothing is changed, compared with that.
    is_tried: bool,
    members: HashMap<MemberId, Known>,
    leases: Leases,
    /// Up to when the log says that the ends of all are written.
    ended_through: Option<Timestamp>,
    passed: PassedEnds,
    places: Places,
    /// What later entries name, where it was recorded, and as it was played: also what waits for
    /// its activation.
    named: HashSet<Position>,
    originals: HashMap<Position, Transaction>,
    pub(super) tiers: Tiers,
    pub(super) missed: Missed,
}

impl Replay {
    /// Before the first entry of a shard. `named` are the places of what later entries name.
    pub(super) fn new(
        shard: ShardId,
        versions: Versions,
        named: HashSet<Position>,
        tiers: Tiers,
    ) -> Self {
        Self {
            shard,
            versions,
            in_force: Vec::new(),
            has_changed: false,
            is_tried: false,
            members: HashMap::new(),
            leases: Leases::default(),
            ended_through: None,
            passed: PassedEnds::default(),
            places: Places::default(),
            named,
            originals: HashMap::new(),
            tiers,
            missed: Missed::default(),
        }
    }

    /// All members that were played.
    pub(super) fn members(&self) -> impl Iterator<Item = &MemberId> {
        self.members.keys()
    }

    /// Plays an entry; answers with what comes of it.
    pub(super) fn entry(
        &mut self,
        entry: &Entry,
        between: &mut Between,
    ) -> Result<Vec<Transaction>, DatabaseError> {
        let since = self.versions.since;
        self.is_tried = since.is_none_or(|since| entry.written_at() >= since);
        match entry {
            Entry::Notice(notice) if notice.program == self.versions.program => {
                self.notice(entry, notice)?;
                Ok(Vec::new())
            }
            Entry::Transaction(transaction) if transaction.program == self.versions.program => {
                self.transaction(transaction, between)
            }
            Entry::Notice(_) | Entry::Transaction(_) => Ok(Vec::new()),
        }
    }

    fn notice(&mut self, entry: &Entry, notice: &Notice) -> Result<(), DatabaseError> {
        match notice.says {
            Said::VersionBegins { version, .. } => self.begin(version, notice.written_at),
            Said::EndsWritten { through } => {
                self.ended_through = Some(through);
                Ok(())
            }
            // What it says follows from what stands before it.
            Said::CountersBackfilled { .. } => Ok(()),
            Said::LeaseMoved(_) | Said::LeaseReceived(_) | Said::BudgetWarned { .. } => {
                self.fold(entry)
            }
        }
    }

    /// A version begins, if it does so here too.
    fn begin(&mut self, version: u32, at: Timestamp) -> Result<(), DatabaseError> {
        if self.versions.is_changed_at(at) {
            self.change(at);
            return Ok(());
        }
        let applied = self.versions.recorded.get(&version).cloned();
        let missing = DatabaseError::Broken("a version that was in force cannot be read");
        self.in_force.push((at, Some(applied.ok_or(missing)?)));
        self.passed.look_again();
        Ok(())
    }

    /// From here on the version counts that is tried.
    fn change(&mut self, at: Timestamp) {
        if self.has_changed || !self.versions.is_changed_at(at) {
            return;
        }
        self.has_changed = true;
        let began = if self.in_force.is_empty() {
            at
        } else {
            self.versions.since.unwrap_or(at)
        };
        if let Some(changed) = &self.versions.changed {
            self.tiers.now_under(changed, began);
        }
        self.in_force.push((began, self.versions.changed.clone()));
        self.passed.look_again();
    }

    /// The version in force; before one began in the shard, where somebody was given points by a
    /// member of another, the newest.
    fn applied(&self) -> Result<ProgramVersion, DatabaseError> {
        let last = self.in_force.last();
        let applied = last.and_then(|(_, applied)| applied.as_ref());
        let newest = || {
            let recorded = self.versions.recorded.values();
            let recorded = recorded.max_by_key(|recorded| recorded.version);
            self.versions.changed.as_ref().or(recorded)
        };
        let applied = applied.or_else(newest).cloned();
        applied.ok_or(DatabaseError::Broken("a programme has no version"))
    }

    /// Whether budgets are drawn on as if all shards had one purse.
    fn has_one_purse(&self) -> bool {
        self.is_tried && !self.versions.as_leased
    }

    /// Takes in what the shard has of budgets, where that counts.
    fn fold(&mut self, entry: &Entry) -> Result<(), DatabaseError> {
        if self.has_one_purse() {
            return Ok(());
        }
        let folded = self.leases.fold(entry);
        self.leases.settle();
        folded.map_err(|_| DatabaseError::Broken("a budget is overdrawn"))
    }

    fn transaction(
        &mut self,
        recorded: &Transaction,
        between: &mut Between,
    ) -> Result<Vec<Transaction>, DatabaseError> {
        self.change(recorded.written_at);
        let applied = self.applied()?;
        let mut known = self.known(&recorded.member);
        let mut log = self.log(recorded.written_at, recorded.position);
        if let Some(engine) = Engine::numbered(recorded.engine) {
            log = log.by(engine);
        }
        let played = self.play(recorded, (&applied, &mut known), &mut log, between);
        known.book.settle();
        self.members.insert(recorded.member.clone(), known);
        played?;
        let made: Vec<Transaction> = log.into_transactions().collect();
        self.taken_in(recorded, made, between)
    }

    /// The member, as far as it was played.
    fn known(&mut self, member: &MemberId) -> Known {
        let known = self.members.remove(member);
        known.unwrap_or_else(|| Known {
            book: MemberBook::new(self.versions.program.clone(), member.clone()),
            ends: EndsOfMember::from(self.passed.last()),
            tiers_written: 0,
            backfill: BackfillOfMember::default(),
        })
    }

    /// A log that goes on where the last entry stood.
    fn log(&self, written_at: Timestamp, at: Position) -> Log {
        let stamp = Stamp {
            written_at,
            seed: [0; 32],
        };
        Log::new(self.shard, self.places.next(at), stamp)
    }

    /// Notes where what was made stands, and what budgets gave for it.
    fn taken_in(
        &mut self,
        recorded: &Transaction,
        made: Vec<Transaction>,
        between: &mut Between,
    ) -> Result<Vec<Transaction>, DatabaseError> {
        let is_request = |made: &&Transaction| made.request_id().is_some();
        let same = made.iter().find(is_request);
        let last = made.last().map(|made| made.position);
        self.places.reach_all(last);
        if recorded.request_id().is_some() {
            let made = same.map(|made| made.position);
            self.places.note(recorded.position, made);
        }
        let is_named = |made: &&Transaction| {
            let mut lots = made.lots.iter();
            let waits = lots.any(|lot| lot.activates_at.is_some() || lot.activates_on.is_some());
            waits || self.named.contains(&recorded.position)
        };
        if let Some(made) = same.filter(is_named) {
            self.originals.insert(recorded.position, made.clone());
        }
        for made in &made {
            if !made.draws().is_empty() {
                between.budgets.draw(made.draws());
                self.fold(&Entry::Transaction(made.clone()))?;
            }
        }
        Ok(made)
    }

    fn play(
        &mut self,
        recorded: &Transaction,
        (applied, known): (&ProgramVersion, &mut Known),
        log: &mut Log,
        between: &mut Between,
    ) -> Result<(), DatabaseError> {
        let at = recorded.effective_at;
        match &recorded.cause {
            Cause::Request {
                request_id,
                command,
                metadata,
                asked_at,
                program_version,
                facts,
            } => {
                let asked = Asked {
                    request_id,
                    command,
                    metadata,
                    now: asked_at.unwrap_or(at),
                    program_version: *program_version,
                    facts: facts.as_ref(),
                };
                self.write_ends(known, asked.now.into(), None, log)?;
                self.write_tiers(known, (applied, asked.now), log)?;
                let comes_back = self.comes_back(known, asked.command);
                self.request((recorded.place(), &asked), (applied, known), log, between)?;
                self.count_what_was_before(known, comes_back.as_ref(), log);
                Ok(())
            }
            Cause::Due(due) => {
                let Some(wallet) = recorded.wallets.first() else {
                    return Ok(());
                };
                let tiers_known = match due {
                    Due::ExpireInactive => at,
                    _ => Timestamp::EPOCH,
                };
                let moment = Moment {
                    now: at,
                    tiers_known,
                };
                self.write_ends(known, at.into(), None, log)?;
                let_tiers_decide(None, &mut known.book);
                let stepped =
                    fealty_ledger::advance_step(&mut known.book, &wallet.currency, moment, log);
                stepped.map(|_| ()).map_err(|_| stopped())
            }
            Cause::Received(received) => {
                self.write_ends(known, at.into(), None, log)?;
                let_tiers_decide(Some(&applied.program), &mut known.book);
                self.receive(known, (received, at), log, between)
            }
            Cause::TierChanged(change) => {
                if self.tiers.are_told() || !self.is_tried {
                    let change = (&change.tier, change.since);
                    change_tier(known, applied, change, log)?;
                }
                Ok(())
            }
            Cause::Backfilled(backfilled) => {
                self.backfilled_as_recorded(known, (backfilled, at), log)
            }
            Cause::Ended(ended) => {
                let moment = Moment {
                    now: recorded.written_at,
                    tiers_known: ended.ends_at,
                };
                self.write_ends(known, moment, Some(ended), log)
            }
        }
    }

    /// Writes what another member gave.
    fn receive(
        &mut self,
        known: &mut Known,
        (received, at): (&Received, Timestamp),
        log: &mut Log,
        between: &mut Between,
    ) -> Result<(), DatabaseError> {
        // Where the giver was not played yet, it is taken as it was recorded.
        let given = match between.gifts.remove(&received.gift) {
            Some(None) => return Ok(()),
            Some(Some(given)) => given,
            None => received.clone(),
        };
        match fealty_ledger::receive(&mut known.book, &given, at, log) {
            Ok(()) => Ok(()),
            Err(Stop::Refused(refusal)) => {
                self.missed.refused(&refusal);
                Ok(())
            }
            Err(_) => Err(stopped()),
        }
    }

    /// Writes what the member's tiers mean for its wallets that the log does not say.
    fn write_tiers(
        &mut self,
        known: &mut Known,
        (applied, now): (&ProgramVersion, Timestamp),
        log: &mut Log,
    ) -> Result<(), DatabaseError> {
        let waives = |version: &ProgramVersion| version.program.waivers().next().is_some();
        let mut recorded = self.versions.recorded.values();
        if self.log_says_tiers() || !(waives(applied) || recorded.any(waives)) {
            return Ok(());
        }
        let changes = self.tiers.changes(&known.book.member, now);
        for (since, tier) in changes.iter().skip(known.tiers_written) {
            change_tier(known, applied, (tier, *since), log)?;
        }
        known.tiers_written = known.tiers_written.max(changes.len());
        Ok(())
    }

    /// Whether the log says what members' tiers mean for their wallets: of the versions that were
    /// in force it does.
    fn log_says_tiers(&self) -> bool {
        !self.is_tried || self.versions.is_unchanged
    }

    /// Has everything come that is due by a moment, for all members.
    pub(super) fn finish(&mut self, now: Timestamp) -> Result<Vec<Transaction>, DatabaseError> {
        let since = self.versions.since;
        self.is_tried = since.is_none_or(|since| now >= since);
        self.change(now);
        let applied = self.applied()?;
        let mut members: Vec<MemberId> = self.members.keys().cloned().collect();
        members.sort_unstable();
        let mut made = Vec::new();
        for member in members {
            let mut known = self.known(&member);
            let mut log = self.log(now, Position::new(0));
            let moment = Moment {
                now,
                tiers_known: now,
            };
            self.write_ends(&mut known, moment, None, &mut log)?;
            self.write_tiers(&mut known, (&applied, now), &mut log)?;
            let_tiers_decide(Some(&applied.program), &mut known.book);
            let currencies: Vec<CurrencyId> = known.book.wallets.keys().cloned().collect();
            for currency in currencies {
                let advanced = fealty_ledger::advance(&mut known.book, &currency, moment, &mut log);
                advanced.map_err(|_| stopped())?;
            }
            known.book.settle();
            self.members.insert(member, known);
            let last = log.next().get() - 1;
            self.places.reach_all(Some(Position::new(last)));
            made.extend(log.into_transactions());
        }
        Ok(made)
    }
}

/// Writes what a change of tier means.
fn change_tier(
    known: &mut Known,
    applied: &ProgramVersion,
    (tier, since): (&TierId, Timestamp),
    log: &mut Log,
) -> Result<(), DatabaseError> {
    let change = TierChanged {
        tier: tier.clone(),
        since,
        program_version: number(applied),
    };
    let effects = tier_effects(&applied.program, tier, since);
    let_tiers_decide(Some(&applied.program), &mut known.book);
    match fealty_ledger::change_tier(&mut known.book, &change, &effects, log) {
        Ok(()) | Err(Stop::Refused(_)) => Ok(()),
        Err(_) => Err(stopped()),
    }
}

/// Says of a member's wallets whether tiers decide if their points go with inactivity. What
/// fell due may have waited for them.
fn let_tiers_decide(program: Option<&Program>, book: &mut MemberBook) {
    for (currency, wallet) in &mut book.wallets {
        let decide = program.is_none_or(|program| program.keeps_by_tier(currency));
        wallet.set_tiers_decide(decide);
    }
}

/// All lots are in memory, and as much may be written as there is.
fn stopped() -> DatabaseError {
    DatabaseError::Broken("a log that is in memory asks for more")
}
