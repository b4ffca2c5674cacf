//! A purchase: what was paid in points is spent, and what it earns is given, in one
//! transaction. An activity is the same without money.

use std::collections::BTreeSet;

use fealty_types::CurrencyId;

use super::{Draft, grant::lots_of, keep_active, spend::open_hold};
use crate::{Log, MemberBook, Purchase, Refusal, Request, Stop};

impl Draft {
    pub(super) fn purchase(
        &mut self,
        book: &mut MemberBook,
        request: &Request,
        purchase: &Purchase,
        log: &Log,
    ) -> Result<(), Stop> {
        // First all is looked at, so that a refusal changes nothing. What is spent makes no
        // room for what is given: the wallet must take that before.
        self.lots = lots_of(book, &request.grants, log)?;
        let holds: Vec<_> = request.command.holds().collect();
        for (index, hold) in holds.iter().enumerate() {
            let (_, wallet) = open_hold(book, *hold)?;
            let of_another = wallet.holds[hold].brand != purchase.brand;
            if of_another || holds[..index].contains(hold) {
                return Err(Refusal::HoldNotFound { hold: *hold }.into());
            }
        }
        let mut touched: BTreeSet<CurrencyId> = BTreeSet::new();
        for hold in holds {
            let (currency, wallet) = open_hold(book, hold)?;
            let points = wallet.holds[&hold].remaining();
            self.spend_held(wallet, &currency, hold, points);
            keep_active(wallet, &request.activity, &currency);
            touched.insert(currency);
        }
        touched.extend(self.give_of(book, request));
        for currency in &touched {
            if let Some(wallet) = book.wallets.get_mut(currency) {
                self.touch(wallet, currency);
            }
        }
        book.counters
            .apply(&request.counter_moves, &request.forgotten);
        Ok(())
    }

    /// Gives what an activity earns.
    pub(super) fn activity(
        &mut self,
        book: &mut MemberBook,
        request: &Request,
        log: &Log,
    ) -> Result<(), Stop> {
        self.grant(book, request, log)?;
        book.counters
            .apply(&request.counter_moves, &request.forgotten);
        Ok(())
    }
}
