//! What a rule gives, compiled.

use std::collections::BTreeMap;

use fealty_types::CounterId;

use super::{Builder, Fault, Faults, FormulaSource, RuleSource, exact::can_be_reckoned, scope};
use crate::{
    CounterName, Scope,
    cel::{CelError, Checker, Number, WalletPart},
    decimal::Ratio,
    near::hint,
    rule::{Formula, MultipliedOf},
    subject::Subject,
};

/// How often something is given, if that is right.
fn whole(times: Result<(Number, bool), CelError>, faults: &mut Faults) -> Option<Number> {
    match times {
        Ok((_, true)) => {
            let message = "must be a whole number, not money";
            faults.push(Fault::new("earn.times", message));
            None
        }
        Ok((times, false)) => Some(times),
        Err(error) => {
            faults.push(Fault::of("earn.times", error));
            None
        }
    }
}

impl Builder {
    /// What a rule gives.
    pub(super) fn formula(
        &mut self,
        (source, on): (&RuleSource<'_>, Subject),
        (base, wallet): (Option<usize>, Option<[u16; 4]>),
        names: &BTreeMap<CounterId, CounterName>,
        faults: &mut Faults,
    ) -> Option<Formula> {
        match &source.formula {
            FormulaSource::Share { of, by, steps } => {
                self.share((of, by.as_ref(), steps), names, faults)
            }
            FormulaSource::Convert { each, minor_units } => Some(Formula::Convert {
                each: each.get(),
                minor_units: *minor_units,
                available: self.wallet_slot(source.currency.as_ref()?, WalletPart::Available),
            }),
            FormulaSource::Rate { rates, net } => Some(Formula::Rate {
                rates: rates.clone().into(),
                net: *net,
            }),
            FormulaSource::Bands { counter, bands } => {
                if source.lines.is_some() {
                    let message = "the counter of the bands says which lines count";
                    faults.push(Fault::new("lines", message));
                }
                let Some(known) = names.get(counter).filter(|known| !known.of_points) else {
                    let hint = hint(counter.as_str(), names.keys().map(CounterId::as_str));
                    let message = format!("there is no counter of events `{counter}`{hint}");
                    faults.push(Fault::new("earn.bands.by", message));
                    return None;
                };
                if !known.is_money {
                    let message =
                        format!("`{counter}` must add money, such as line.earning_amount");
                    faults.push(Fault::new("earn.bands.by", message));
                }
                Some(Formula::Bands {
                    counter: known.number,
                    bands: bands.clone().into(),
                })
            }
            FormulaSource::Fixed { points, times } => {
                let scope = Scope {
                    picked: on == Subject::Purchase,
                    wallet,
                    ..scope(&self.foundation, (&self.activities, on), names)
                };
                let times = times.and_then(|times| {
                    let times = Checker::figure(times, scope, &mut self.texts);
                    whole(times, faults)
                });
                Some(Formula::Fixed {
                    points: *points,
                    times,
                })
            }
            FormulaSource::Multiply {
                factors,
                of,
                compound,
                ..
            } => {
                let base = base?;
                self.check_multiplier(source, base, (factors, *of, *compound), faults);
                Some(Formula::Multiply {
                    base: u16::try_from(base).ok()?,
                    factors: factors.clone().into(),
                    of: *of,
                    compound: *compound,
                })
            }
        }
    }

    /// Whether a multiplier and its base go together, and can be reckoned exactly.
    fn check_multiplier(
        &self,
        source: &RuleSource<'_>,
        base: usize,
        (factors, of, compound): (&[Ratio], MultipliedOf, bool),
        faults: &mut Faults,
    ) {
        let rule = &self.rules[base];
        if source
            .currency
            .as_ref()
            .is_some_and(|currency| *currency != rule.currency)
        {
            faults.push(Fault::new(
                "earn.currency",
                "is that of the rule that it multiplies",
            ));
        }
        if source.lines.is_some() && !matches!(rule.formula, Formula::Rate { .. }) {
            let message = "only of a rule with a rate can some lines be multiplied";
            faults.push(Fault::new("lines", message));
        }
        if of == MultipliedOf::Rounded && (source.lines.is_some() || compound) {
            let message = "`rounded` multiplies all that the base gave: without `lines`, and not \
                           `compound`";
            faults.push(Fault::new("earn.of", message));
        }
        let over_it = self.rules.iter().filter_map(|other| match &other.formula {
            Formula::Multiply {
                base: of,
                factors,
                compound,
                ..
            } if usize::from(*of) == base => Some((&**factors, *compound)),
            _ => None,
        });
        if !can_be_reckoned(rule, over_it.chain([(factors, compound)])) {
            let message = "the figures of the rule and of all that multiply it have too many \
                           digits to be reckoned exactly";
            faults.push(Fault::new("earn.by", message));
        }
    }
}
