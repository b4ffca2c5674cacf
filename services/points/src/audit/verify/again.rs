//! A transaction made again: planned by the programme, and done by the engine that made it.

use fealty_ledger::{
    Cause, Command, Due, Engine, Facts, Log, Moment, Named, Request, Stamp, TierEffect,
    Transaction, given,
};
use fealty_program::ProgramVersion;
use fealty_types::Timestamp;

use super::{
    Programs, VerifyError,
    shard::{Shard, side},
};
use crate::{
    plan::{LeftOf, OfMember, plan, plan_return, tier_effects},
    shard::has_plain,
};

impl Shard {
    /// Makes a transaction again, over the books as they were before it.
    pub(super) fn run_again(
        &mut self,
        transaction: &Transaction,
        programs: &Programs,
    ) -> Result<Transaction, VerifyError> {
        let (position, at) = (transaction.position, transaction.effective_at);
        let backfill = self.backfill(transaction, programs)?;
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
            (None, Cause::Backfilled(_)) => match &backfill {
                Some(backfill) => fealty_ledger::apply_backfill(book, backfill, at, &mut log),
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
