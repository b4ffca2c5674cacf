//! What a member's tier means for its wallets.

use fealty_ledger::{Inactivity, TierEffect};
use fealty_program::{InactivityTerms, Program};
use fealty_types::{TierId, Timestamp};

/// What it means for each of a programme's currencies that a member is in `tier` from
/// `since` on.
pub(crate) fn tier_effects(program: &Program, tier: &TierId, since: Timestamp) -> Vec<TierEffect> {
    let currencies = program.currencies.keys();
    let effects = currencies.map(|currency| {
        let terms = program.inactivity_in_tier(currency, Some(tier), since);
        let (inactivity, not_before) = match terms {
            InactivityTerms::Counts { not_before } => (Inactivity::Counts, not_before),
            InactivityTerms::Waived => (Inactivity::Waived, since),
        };
        TierEffect {
            currency: currency.clone(),
            inactivity,
            not_before,
        }
    });
    effects.collect()
}
