//! Positions: what one brand issued and another accepted, expired or adjusted.

use std::collections::BTreeMap;

use fealty_auth::InReach;
use fealty_ledger::{Account, AccountTotals};
use fealty_server::Start;
use fealty_types::{BrandId, CurrencyId, Cursor, ProgramId, Timestamp};

use crate::{audit::Audit, error::Error};

/// Whose points moved at whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Between {
    pub(crate) currency: CurrencyId,
    /// The brand that issued the points.
    pub(crate) issuer: BrandId,
    /// The brand at which they moved.
    pub(crate) acceptor: BrandId,
}

/// Points that moved, in the currency's smallest unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) issued: i128,
    /// Another brand's points, taken for its own.
    pub(crate) taken_back: i128,
    pub(crate) redeemed: i128,
    pub(crate) restored: i128,
    pub(crate) expired: i128,
    pub(crate) adjusted: i128,
}

/// Answers partners.
#[derive(Clone)]
pub(crate) struct Settlement {
    audit: Audit,
}

impl Settlement {
    pub(crate) fn new(audit: Audit) -> Self {
        Self { audit }
    }

    /// What the service's clock reads.
    pub(crate) fn now(&self) -> Timestamp {
        self.audit.now()
    }

    /// What moved between two places, and where the second is; an empty start
    /// is the beginning, an empty end is now. Who speaks for some brands sees what
    /// concerns these.
    pub(crate) async fn positions(
        &self,
        program: &InReach<ProgramId>,
        start: &Start,
        end: &Start,
        own: Option<&[BrandId]>,
    ) -> Result<(BTreeMap<Between, Position>, Cursor), Error> {
        let (start, end) = (self.audit.place(start).await?, self.audit.place(end).await?);
        let (moved, end) = self.audit.movements(program, &start, &end).await?;
        let mut positions = positions(&moved);
        let is_own = |brand: &BrandId| own.is_none_or(|own| own.contains(brand));
        positions.retain(|between, _| is_own(&between.issuer) || is_own(&between.acceptor));
        Ok((positions, end))
    }
}

/// Positions from what was moved, by account and issuer.
fn positions(moved: &AccountTotals) -> BTreeMap<Between, Position> {
    let mut positions: BTreeMap<Between, Position> = BTreeMap::new();
    for (key, sums) in moved.rows() {
        let Some(acceptor) = key.account.brand() else {
            continue;
        };
        let (debits, credits) = (sums.debits, sums.credits);
        if debits == 0 && credits == 0 {
            continue;
        }
        let between = Between {
            currency: key.currency.clone(),
            issuer: key.issuer.clone(),
            acceptor: acceptor.clone(),
        };
        let position = positions.entry(between).or_default();
        match &key.account {
            Account::Issued(brand) | Account::Adjusted(brand) if *brand != key.issuer => {
                position.taken_back += credits - debits;
            }
            Account::Issued(_) => position.issued += debits - credits,
            Account::Redeemed(_) => {
                position.redeemed += credits;
                position.restored += debits;
            }
            Account::Expired(_) => position.expired += credits - debits,
            Account::Adjusted(_) => position.adjusted += debits - credits,
            Account::Wallet(_) | Account::Gift => {}
        }
    }
    positions
}
