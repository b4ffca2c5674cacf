//! Requests of a log that is played: planned by another version, and done as far as points reach.

use fealty_ledger::{Command, Facts, Log, MemberBook, Named, Request, Stop, Transaction};
use fealty_postgres::DatabaseError;
use fealty_program::ProgramVersion;
use fealty_types::{
    MemberId, Metadata, Points, Position, RequestId, TierId, Timestamp, TransactionPlace,
};

use super::{
    Known, Replay,
    asked::{self, Reduced, reduced},
    let_tiers_decide, stopped,
};
use crate::{
    plan::{LeftOf, OfMember, PlanError, plan, plan_return, tier_moment},
    shard::number,
    simulation::{between::Between, missed::Missed},
};

/// How often a request is asked for what is there.
const TRIES: usize = 3;

/// A request of the log.
pub(super) struct Asked<'a> {
    pub(super) request_id: &'a RequestId,
    pub(super) command: &'a Command,
    pub(super) metadata: &'a Metadata,
    pub(super) now: Timestamp,
    pub(super) program_version: u32,
    pub(super) facts: Option<&'a Facts>,
}

impl Replay {
    pub(super) fn request(
        &mut self,
        (place, asked): (TransactionPlace, &Asked<'_>),
        (applied, known): (&ProgramVersion, &mut Known),
        log: &mut Log,
        between: &mut Between,
    ) -> Result<(), DatabaseError> {
        if matches!(asked.command, Command::Gift(_)) {
            between.gifts.insert(place, None);
        }
        let named = match asked.command.names() {
            Some(Named::Transaction(named)) => Some(named),
            _ => None,
        };
        let mut command = self.places.named_in(asked.command);
        self.missed.holds += asked::without_lost_holds(&mut command, &known.book);
        let tier = self.tier(asked, applied, &known.book.member);
        let mut request = None;
        for _ in 0..TRIES {
            let of_member = OfMember {
                tier: tier.clone(),
                counters: Some(&known.book.counters),
                left: if self.has_one_purse() {
                    LeftOf::All(between.budgets.left())
                } else {
                    LeftOf::Leases(&self.leases, &self.versions.program, number(applied))
                },
            };
            let of_request = (asked.request_id, asked.metadata);
            let planned = plan(applied, of_request, &command, of_member, asked.now);
            let planned = planned.and_then(|mut planned| {
                planned.original = named.and_then(|named| self.original(named));
                self.plan_return(&mut planned, applied, &known.book)?;
                Ok(planned)
            });
            let planned = match planned {
                Ok(planned) => planned,
                Err(error) => {
                    self.missed.refused(&error);
                    return Ok(());
                }
            };
            let_tiers_decide(Some(&applied.program), &mut known.book);
            match fealty_ledger::execute(&mut known.book, &planned, asked.now, log) {
                Ok(()) => {
                    request = Some(planned);
                    break;
                }
                Err(Stop::Refused(refusal)) => match reduced(&mut command, &refusal) {
                    Reduced::By(short) => self.missed.short(&command, &known.book, short),
                    Reduced::Nothing(short) => {
                        self.missed.short(&command, &known.book, short);
                        return Ok(());
                    }
                    Reduced::Not => {
                        self.missed.refused(&refusal);
                        return Ok(());
                    }
                },
                Err(_) => return Err(stopped()),
            }
        }
        let Some(request) = request else {
            return Ok(());
        };
        if matches!(asked.command, Command::Gift(_))
            && let Some(made) = log.transactions().next_back()
        {
            let given = fealty_ledger::given(&known.book, made, request.term_ends);
            between.gifts.insert(place, Some(given));
        }
        self.correct(known, (&request, asked.now), log)?;
        self.judge(asked, (applied, known), log)
    }

    fn original(&self, named: Position) -> Option<Box<Transaction>> {
        self.originals.get(&named).cloned().map(Box::new)
    }

    /// Plans a return by the version that its purchase was played by.
    fn plan_return(
        &self,
        request: &mut Request,
        applied: &ProgramVersion,
        book: &MemberBook,
    ) -> Result<(), PlanError> {
        let Command::Return(asked) = &request.command else {
            return Ok(());
        };
        let of = asked.transaction;
        let version = request.original.as_ref();
        let version = version.and_then(|original| original.program_version());
        let Some(then) = version.and_then(|number| self.versions.numbered(number)) else {
            return Ok(());
        };
        plan_return(
            request,
            then,
            applied,
            (book.returned(of), book.reversal(of)),
        )
    }

    /// The tier that counts for a request.
    fn tier(
        &mut self,
        asked: &Asked<'_>,
        applied: &ProgramVersion,
        member: &MemberId,
    ) -> Option<TierId> {
        let moment_by =
            |version: &ProgramVersion| tier_moment(&version.program, asked.command, asked.now);
        let moment = moment_by(applied)?;
        if self.tiers.are_told() || !self.is_tried {
            let then = self.versions.recorded.get(&asked.program_version);
            if then.and_then(moment_by) == Some(moment)
                && let Some(tier) = asked.facts.and_then(Facts::tier)
            {
                return Some(tier.clone());
            }
            if then.is_some_and(|then| then.program.tiers.is_none()) {
                self.missed.tiers += 1;
            }
        }
        self.tiers.at(member, moment)
    }

    /// Tells who judges tiers of what was spent, or came back.
    fn judge(
        &mut self,
        asked: &Asked<'_>,
        (applied, known): (&ProgramVersion, &mut Known),
        log: &mut Log,
    ) -> Result<(), DatabaseError> {
        if self.tiers.are_told() {
            return Ok(());
        }
        let spent = match (asked.command, asked.facts) {
            (Command::Purchase(purchase), _) => {
                let at = purchase.purchased_at.unwrap_or(asked.now);
                Some((at, purchase.amount.minor_units()))
            }
            (Command::Return(_), Some(facts)) => facts
                .of_return()
                .map(|facts| (facts.purchased_at, -facts.part.minor_units)),
            _ => None,
        };
        if let Some(spent) = spent {
            self.tiers.spent(&known.book.member, spent, asked.now);
            self.write_tiers(known, (applied, asked.now), log)?;
        }
        Ok(())
    }
}

impl Missed {
    /// Notes that points were not there.
    fn short(&mut self, command: &Command, book: &MemberBook, short: Points) {
        if short.is_zero() {
            return;
        }
        self.spends += 1;
        let currency = match (command.spends(), command.names()) {
            (Some(spend), _) => Some(spend.currency),
            (None, Some(Named::Hold(hold))) => book.wallet_of_hold(hold),
            _ => None,
        };
        if let Some(currency) = currency {
            *self.points.entry(currency.clone()).or_default() += short.get();
        }
    }
}
