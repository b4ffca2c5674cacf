//! Rules for the ends of periods: what they may read, so that an end that is evaluated late,
//! or once more, comes to the same.

use std::collections::BTreeMap;

use fealty_types::{CounterId, CurrencyId};

use super::{Builder, CapSource, Fault, Faults, FormulaSource, On, Over, RuleSource, slots::key};
use crate::{
    CounterName,
    calendar::{Calendar, Every},
    cel::{Bool, NumberName, WalletPart},
    decimal::Ratio,
    near::hint,
    rule::{Adds, Cap, Formula, KeptEnd, Reads, Rule, Slot},
    subject::Subject,
    window::Window,
};

/// The highest part of a counter, as a factor.
const PART_MAX: i64 = 1_000;

/// What a rule may not have that is asked of periods' ends, or may have only there.
pub(super) fn check(source: &RuleSource<'_>, faults: &mut Faults) {
    let is_of_ends = matches!(
        source.formula,
        FormulaSource::Share { .. } | FormulaSource::Convert { .. }
    );
    let field = match source.formula {
        FormulaSource::Convert { .. } => "convert",
        _ => "earn",
    };
    let On::End(_) = source.on else {
        if is_of_ends {
            let message = "is for rules `on: end_of.month`, or of another period";
            faults.push(Fault::new(field, message));
        }
        return;
    };
    if !is_of_ends && !matches!(source.formula, FormulaSource::Fixed { .. }) {
        let message = "at a period's end nothing is bought: say `fixed`, or `of` a counter, or \
                           `convert`";
        faults.push(Fault::new("earn", message));
    }
    let has_not = [
        ("lines", source.lines.is_some(), "has no lines"),
        ("group", source.group.is_some(), "stands in no group"),
        ("budget", source.budget.is_some(), "draws on no budget"),
    ];
    for (field, _, what) in has_not.into_iter().filter(|(_, is_there, _)| *is_there) {
        faults.push(Fault::new(
            field,
            format!("a rule of a period's end {what}"),
        ));
    }
    let since = |cap: &CapSource| matches!(cap.over, Some(Over::Since(_)));
    if source.caps.iter().any(since) {
        let message = "a rule of a period's end has no caps since an activity";
        faults.push(Fault::new("caps", message));
    }
}

impl Builder {
    /// The slots that read the wallet of a rule's currency, where it names that.
    pub(super) fn wallet_slots(
        &mut self,
        source: &RuleSource<'_>,
        currency: Option<&CurrencyId>,
    ) -> Option<[u16; 4]> {
        let mut texts = source.when.into_iter().chain(match &source.formula {
            FormulaSource::Fixed { times, .. } => *times,
            _ => None,
        });
        let converts = matches!(source.formula, FormulaSource::Convert { .. });
        if !matches!(source.on, On::End(_))
            || !(converts || texts.any(|text| text.contains("wallet")))
        {
            return None;
        }
        let currency = currency?;
        Some(WalletPart::ALL.map(|part| self.wallet_slot(currency, part)))
    }

    pub(super) fn wallet_slot(&mut self, currency: &CurrencyId, part: WalletPart) -> u16 {
        let mut known = self.wallets.iter();
        if let Some(at) = known.position(|known| (&known.0, known.1) == (currency, part)) {
            let reads = Reads::Wallet(u16::try_from(at).unwrap_or(u16::MAX));
            let known = self.slots.iter().position(|slot| slot.reads == reads);
            return known
                .and_then(|at| u16::try_from(at).ok())
                .unwrap_or(u16::MAX);
        }
        let number = u16::try_from(self.wallets.len()).unwrap_or(u16::MAX);
        self.wallets.push((currency.clone(), part));
        self.slot(Slot {
            key: key(&["wallet", currency.as_str(), part.name()]),
            window: Window::Ever,
            once_per_day: false,
            reads: Reads::Wallet(number),
        })
    }

    /// A part of what a counter stands at.
    pub(super) fn share(
        &self,
        (of, by, steps): (&CounterId, Option<&CounterId>, &[(String, Ratio)]),
        names: &BTreeMap<CounterId, CounterName>,
        faults: &mut Faults,
    ) -> Option<Formula> {
        let named = |id: &CounterId, field, faults: &mut Faults| {
            let known = names.get(id).copied();
            if known.is_none() {
                let hint = hint(id.as_str(), names.keys().map(CounterId::as_str));
                faults.push(Fault::new(
                    field,
                    format!("there is no counter `{id}`{hint}"),
                ));
            }
            known
        };
        let counter = named(of, "earn.of", faults)?;
        if counter.is_money {
            let message = format!("`{of}` adds money: `of` is a counter of points, or of numbers");
            faults.push(Fault::new("earn.of", message));
        }
        let by = match by {
            Some(by) => Some(named(by, "earn.steps.by", faults)?),
            None => None,
        };
        let decimals = match by {
            Some(by) if by.is_money => self.foundation.decimals,
            _ => 0,
        };
        let mut checked = Vec::with_capacity(steps.len());
        for (from, part) in steps {
            let units = Ratio::parse(from).and_then(|ratio| ratio.in_units(decimals));
            let Some(units) = units else {
                let message = if decimals > 0 || by.is_some_and(|by| by.is_money) {
                    format!(
                        "`{from}` must be an amount with at most {decimals} digits after the point"
                    )
                } else {
                    format!("`{from}` must be a whole number")
                };
                faults.push(Fault::new("earn.steps.factors", message));
                continue;
            };
            if part.numerator == 0 || part.numerator / part.denominator >= PART_MAX {
                let message = format!("a factor must be above 0 and below {PART_MAX}");
                faults.push(Fault::new("earn.steps.factors", message));
            }
            checked.push((units, *part));
        }
        checked.sort_unstable_by_key(|(from, _)| *from);
        if checked.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            let message = "each step must begin once";
            faults.push(Fault::new("earn.steps.factors", message));
        }
        Some(Formula::Share {
            of: counter.number,
            by: by.map(|by| by.number),
            steps: checked.into(),
        })
    }

    /// What is kept of a rule for the end of a period, if it is for one.
    pub(super) fn kept_end(
        &mut self,
        (source, on): (&RuleSource<'_>, Subject),
        (when, formula, caps): (&Bool, &Formula, &[Cap]),
    ) -> Result<Option<KeptEnd>, Faults> {
        let Subject::End(every) = on else {
            return Ok(None);
        };
        let mut faults = Vec::new();
        let Read {
            counters,
            slots: mut reads,
            is_of_wallet,
            reads_tier,
        } = read(when, formula);
        for (field, counter) in counters {
            let counter = &self.counters[usize::from(counter)];
            let slot = &self.slots[usize::from(counter.slot)];
            if !ends_with(&self.foundation.calendar, slot.window, every) {
                let message = format!(
                    "`{}` does not end with the {}: it must count over `every` period that does",
                    counter.id,
                    every.name(),
                );
                faults.push(Fault::new(field, message));
            }
            reads.push(counter.slot);
        }
        if reads.is_empty() {
            let message = "reads no counter and nothing of the wallet: it would give to everybody";
            faults.push(Fault::new("when", message));
        }
        if matches!(formula, Formula::Convert { .. }) {
            if !caps.is_empty() {
                faults.push(Fault::new("caps", "a rule that converts has no caps"));
            }
            let is_same = |rule: &Rule| {
                let converts = matches!(rule.formula, Formula::Convert { .. });
                converts && rule.on == on && Some(&rule.currency) == source.currency.as_ref()
            };
            if let Some(other) = self.rules.iter().find(|rule| is_same(rule)) {
                let message = format!("`{}` converts the same points at the same end", other.id);
                faults.push(Fault::new("convert", message));
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        reads.sort_unstable();
        reads.dedup();
        let given = self.slot_of_ends(every, Some(source.id.as_str()));
        if !self.ends.contains_key(&every) {
            let ended = self.slot_of_ends(every, None);
            self.ends.insert(every, ended);
        }
        Ok(Some(KeptEnd {
            given,
            reads: reads.into(),
            is_of_wallet,
            reads_tier,
        }))
    }

    /// The slot in which it stands what a rule gave for a period, or how often the end of one
    /// was written.
    fn slot_of_ends(&mut self, every: Every, rule: Option<&str>) -> u16 {
        let over = self.named(Window::Every(every));
        self.slot(Slot {
            key: match rule {
                Some(rule) => key(&["end", rule, &over]),
                None => key(&["ended", &over]),
            },
            window: Window::Every(every),
            once_per_day: false,
            reads: Reads::OwnDate,
        })
    }

    /// Counters of points that count what rules of periods' ends give, and that such rules
    /// read: they would never come to an end.
    pub(super) fn circles(&self) -> Vec<(CounterId, Fault)> {
        let of_ends = |number: &u16| self.rules[usize::from(*number)].end.is_some();
        let read = self.rules.iter().filter_map(|rule| rule.end.as_ref());
        let read: Vec<u16> = read.flat_map(|end| end.reads.iter().copied()).collect();
        let circles = self.counters.iter().filter(|counter| match &counter.adds {
            Adds::Points { rules } => read.contains(&counter.slot) && rules.iter().any(of_ends),
            _ => false,
        });
        let circles = circles.map(|counter| {
            let message = "counts what a rule of a period's end gives, and such a rule reads it";
            (counter.id.clone(), Fault::new("rules", message))
        });
        circles.collect()
    }
}

/// What a rule for the end of a period reads.
struct Read {
    /// Counters, with the field that names each.
    counters: Vec<(&'static str, u16)>,
    /// Slots that read the wallet.
    slots: Vec<u16>,
    is_of_wallet: bool,
    reads_tier: bool,
}

fn read(when: &Bool, formula: &Formula) -> Read {
    let mut read = Read {
        counters: Vec::new(),
        slots: Vec::new(),
        is_of_wallet: false,
        reads_tier: when.reads_tier(),
    };
    let mut heard = |name: NumberName| match name {
        NumberName::Counter(counter) => read.counters.push(("when", counter)),
        NumberName::Wallet(slot) => read.slots.push(slot),
        _ => {}
    };
    when.each_number(&mut heard);
    match formula {
        Formula::Fixed {
            times: Some(times), ..
        } => {
            times.each_number(&mut heard);
            read.reads_tier |= times.reads_tier();
        }
        Formula::Share { of, by, .. } => {
            read.counters.push(("earn.of", *of));
            let by = by.map(|by| ("earn.steps.by", by));
            read.counters.extend(by);
        }
        Formula::Convert { available, .. } => read.slots.push(*available),
        _ => {}
    }
    read.is_of_wallet = !read.slots.is_empty();
    read
}

/// Whether a window comes to the same at a period's end whenever that is asked.
fn ends_with(calendar: &Calendar, window: Window, every: Every) -> bool {
    let is_of_months = |starts: (i8, i8)| starts.1 == 1;
    let by_months = |every| match every {
        Every::Month => true,
        Every::Quarter => is_of_months(calendar.quarter_starts),
        Every::Year => is_of_months(calendar.year_starts),
        Every::Day | Every::Week => false,
    };
    match window {
        Window::Every(of) => match of {
            _ if of == every => true,
            Every::Day => true,
            Every::Month => by_months(every),
            Every::Quarter => {
                let ((month, day), (of_year, day_of_year)) =
                    (calendar.quarter_starts, calendar.year_starts);
                every == Every::Year && day == day_of_year && (month - of_year) % 3 == 0
            }
            Every::Week | Every::Year => false,
        },
        // What comes late is in the windows of later ends too.
        Window::LastDays(_)
        | Window::LastMonthsByDay(_)
        | Window::LastMonths(_)
        | Window::InARow(_)
        | Window::Ever
        | Window::Since => false,
    }
}
