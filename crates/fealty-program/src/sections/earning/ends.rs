//! Rules for the ends of periods, all together.

use std::collections::BTreeMap;

use fealty_rules::{Every, Rule, Subject};
use fealty_types::CurrencyId;

use super::Earning;
use crate::{Currency, Expiry, TierScheme, faults::Check};

/// Whether the member's tier at the end of a kind of period decides something of what it gives.
pub(crate) fn waits_for_tiers(
    earning: &Earning,
    (currencies, tiers): (&BTreeMap<CurrencyId, Currency>, Option<&TierScheme>),
    every: Every,
) -> bool {
    let of_currency = |rule: &Rule| {
        let currency = currencies.get(&rule.currency);
        currency.and_then(|currency| currency.expiry.as_ref())
    };
    let rules = earning.rules.rules().iter().zip(&earning.terms);
    let mut gives = rules.filter(|(rule, _)| rule.on == Subject::End(every) && !rule.converts());
    let by_tier = gives.any(|(rule, terms)| {
        let expiry = terms.expiry.as_ref().or_else(|| of_currency(rule));
        expiry.is_some_and(names_tiers)
    });
    tiers.is_some() && (by_tier || earning.rules.end_reads_tier(every))
}

fn names_tiers(expiry: &Expiry) -> bool {
    matches!(expiry, Expiry::After { by_tier, .. } if !by_tier.is_empty())
}

/// Members' tiers are known later than a period ends, and by then the wallet has moved on: what
/// comes before at the same instant, which shorter periods do, cannot wait for the one where the
/// other is read.
pub(crate) fn check(
    earning: &Earning,
    of: (&BTreeMap<CurrencyId, Currency>, Option<&TierScheme>),
    check: &mut Check,
) {
    let mut waiting: Option<Every> = None;
    for every in earning.rules.ends() {
        if waits_for_tiers(earning, of, every) {
            waiting = waiting.or(Some(every));
        }
        let Some(waiting) = waiting else {
            continue;
        };
        let rules = earning.rules.rules().iter();
        let of_end = rules.filter(|rule| rule.on == Subject::End(every));
        for rule in of_end.filter(|rule| rule.is_of_wallet()) {
            let message = format!(
                "reads the wallet, and what is given at the end of the {} goes by the member's \
                 tier, which is known later: by then the wallet has moved on",
                waiting.name()
            );
            let field = if rule.converts() { "convert" } else { "when" };
            check.wrong(format!("earning.{}.{field}", rule.id), message);
        }
    }
}
