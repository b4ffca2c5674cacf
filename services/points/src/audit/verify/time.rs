//! Whether time went as it must: not backwards, and with all that was due.

use std::collections::BTreeSet;

use fealty_ledger::{Cause, Transaction};
use fealty_types::CurrencyId;

use super::{Programs, VerifyError, shard::Shard};

impl Shard {
    /// Checks that what a transaction says of its time agrees with when it was written. A
    /// batch is stamped with the clock that its requests are done by, unless the log was
    /// written later; so where the stamp moves on, it is the request's own time.
    pub(super) fn check_written(&self, transaction: &Transaction) -> Result<(), VerifyError> {
        let (at, written_at) = (transaction.effective_at, transaction.written_at);
        let different = |what| Err(self.difference(transaction.position, what));
        if at > written_at {
            return different("it took effect after it was written");
        }
        let Cause::Request { asked_at, .. } = &transaction.cause else {
            return Ok(());
        };
        if asked_at.is_some_and(|asked_at| asked_at >= at) {
            return different("it was asked for after it took effect");
        }
        if written_at > self.written_at && asked_at.unwrap_or(at) != written_at {
            return different("it was written at another time than it was asked for");
        }
        Ok(())
    }

    /// Checks that time does not run backwards in a wallet, and that all that was due before
    /// a request stands before it.
    pub(super) fn check_time(
        &mut self,
        transaction: &Transaction,
        programs: &Programs,
    ) -> Result<(), VerifyError> {
        let (position, at) = (transaction.position, transaction.effective_at);
        let waits = self.waits(transaction, programs)?;
        // At the instant at which a period ends, points expire after its end.
        let before = match &transaction.cause {
            Cause::Request { .. } | Cause::Received(_) | Cause::Backfilled(_) => Some(at),
            Cause::Ended(ended) if ended.again => Some(at),
            Cause::Ended(ended) => Some(ended.facts.purchased_at),
            Cause::Due(_) | Cause::TierChanged(_) => None,
        };
        let member = (transaction.program.clone(), transaction.member.clone());
        let known = self.members.get_mut(&member).expect("the member is known");
        for after in &transaction.wallets {
            let currency = &after.currency;
            let Some(wallet) = known.book.wallets.get_mut(currency) else {
                continue;
            };
            if wallet.wallet().last_at > Some(at) {
                let what = "it took effect before the one before it in its wallet";
                return Err(self.difference(position, what));
            }
            wallet.set_tiers_decide(waits.as_ref().is_none_or(|waits| waits.contains(currency)));
            match wallet.is_due_by(currency, before.unwrap_or(at)) {
                Ok(true) if before.is_some() => {
                    let what = "something was due before it, and is left out";
                    return Err(self.difference(position, what));
                }
                Ok(_) => {}
                Err(stop) => return Err(self.difference(position, stop.to_string())),
            }
        }
        Ok(())
    }

    /// The currencies of which tiers decide whether points go with inactivity, by the
    /// version that a transaction names; `None` where it names none. What fell due may
    /// have waited for them.
    pub(super) fn waits(
        &self,
        transaction: &Transaction,
        programs: &Programs,
    ) -> Result<Option<BTreeSet<CurrencyId>>, VerifyError> {
        let version = match &transaction.cause {
            Cause::Request {
                program_version, ..
            } => *program_version,
            Cause::TierChanged(change) => change.program_version,
            Cause::Due(_) | Cause::Received(_) | Cause::Ended(_) | Cause::Backfilled(_) => {
                return Ok(None);
            }
        };
        let applied = self.applied(transaction, version, programs)?;
        let waivers = applied.program.waivers();
        Ok(Some(
            waivers.map(|(currency, _)| currency.clone()).collect(),
        ))
    }
}
