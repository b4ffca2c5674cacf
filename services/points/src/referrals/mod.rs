//! Members who bring others: codes, claims, and what both sides are given.
//!
//! A claim, and what each side is given, is an activity in the log of the member whose it is
//! (`fealty_program::ReferralStep`), so rules, caps, budgets, counters and explanations take
//! it as they take any other. The two sides are two requests, each once by the activity's own
//! id, so a crash between them leaves the second to be sent again.

mod claim;
mod follow;
pub(crate) mod grpc;

use std::sync::Arc;

use fealty_auth::{Caller, Identity, Programs, Role};
use fealty_types::Ids;

use crate::ledger::Ledger;

/// Codes and claims.
#[derive(Clone)]
pub(crate) struct Referrals {
    ledger: Ledger,
    /// Who asks for what both sides are given.
    itself: Caller,
}

impl Referrals {
    pub(crate) fn new(ledger: Ledger) -> Self {
        let itself = Identity {
            subject: "fealty-referrals".parse().expect("a subject"),
            roles: [Role::Service].into_iter().collect(),
            programs: Programs::All,
            brands: None,
            member: None,
            token_id: None,
            key_id: None,
            expires_at_s: i64::MAX,
            is_anybody: false,
        };
        Self {
            ledger,
            itself: Caller::new(Arc::new(itself), None),
        }
    }

    /// The ids that callers are given.
    fn ids(&self) -> Ids {
        self.ledger.shards.ids()
    }
}
