//! What an event earns.
//!
//! The order is: counters; which rules apply, and to which lines; bases, and of a group
//! the one that gives; multipliers and fixed bonuses, in the order of the file; caps;
//! budgets; counters of points. Integers throughout: the same input gives the same points on
//! every machine, so that anyone can recompute them.

use fealty_types::{Points, RuleId};

use crate::{
    cel::Eval as _,
    event::{Event, Ready},
    outcome::{Given, Move, Outcome},
    rule::{Adds, Counter, Formula, Pick, Rule, Rules},
    slot::{Inputs, Slots},
    steps::{
        base::Base,
        budgets::Draws,
        caps::{self, Capped},
        select::Selections,
    },
    subject::Subject,
    trace::{Trace, Verdict},
};

/// A rule gave more points than there can be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule `{rule}` gives more than 10^15 points")]
pub struct TooManyPoints {
    /// The rule.
    pub rule: RuleId,
}

/// A rule that applies.
struct Applies {
    number: u16,
    /// How often, for an edge may be reached more than once.
    fires: i64,
}

/// A rule's points before its caps.
struct Raw {
    number: u16,
    fires: i64,
    points: i128,
}

/// Evaluates a version's rules for an event; `trace` hears what becomes of them.
pub fn evaluate<T: Trace>(
    rules: &Rules,
    event: &Event<'_>,
    inputs: &dyn Inputs,
    trace: &mut T,
) -> Result<Outcome, TooManyPoints> {
    let slots = Slots::new(rules, inputs);
    let evaluation = Evaluation::new(rules, event, &slots);
    let mut moves = Vec::new();
    if event.counts {
        evaluation.count(&mut moves);
    }
    let applies = evaluation.applying(trace);
    let raw = evaluation.raw(&applies, trace);
    let mut draws = Draws::new(rules);
    let given = evaluation.give(&raw, trace, (&mut draws, &mut moves))?;
    drop(evaluation);
    Ok(Outcome {
        given,
        moves,
        read: slots.into_read(),
        unmet: draws.unmet(),
    })
}

/// An evaluation under way.
pub(crate) struct Evaluation<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) ready: Ready<'a>,
    selections: Selections,
}

impl<'a> Evaluation<'a> {
    pub(crate) fn new(rules: &'a Rules, event: &'a Event<'a>, slots: &'a Slots<'a>) -> Self {
        Self {
            rules,
            ready: Ready::new(rules, event, slots),
            selections: Selections::new(rules),
        }
    }
}

impl Evaluation<'_> {
    /// Moves the counters of events.
    fn count(&self, moves: &mut Vec<Move>) {
        let ready = &self.ready;
        let subject = ready.event.subject;
        if let Subject::Activity(of_type) = subject
            && let Some(days) = self.rules.activities[usize::from(of_type)].days
        {
            self.shift(days, 1, moves);
        }
        for (number, counter) in (0_u16..).zip(&self.rules.counters) {
            let added = self.added(counter);
            ready.slots.add(number, added);
            self.shift(counter.slot, added, moves);
        }
    }

    /// What the event adds to a counter of events.
    pub(crate) fn added(&self, counter: &Counter) -> i64 {
        let ready = &self.ready;
        let subject = ready.event.subject;
        match &counter.adds {
            Adds::Purchase { when, add } if subject == Subject::Purchase && ready.holds(when) => {
                ready.figure(add).max(0)
            }
            Adds::Activity { of, when, add }
                if subject == Subject::Activity(*of) && ready.holds(when) =>
            {
                ready.figure(add).max(0)
            }
            Adds::Line { when, add } if subject == Subject::Purchase => {
                let mut added = 0_i64;
                for at in 0..ready.lines.len() {
                    ready.at.set(at);
                    if ready.holds(when) {
                        added = added.saturating_add(ready.figure(add).max(0));
                    }
                }
                added
            }
            Adds::Purchase { .. }
            | Adds::Line { .. }
            | Adds::Activity { .. }
            | Adds::Points { .. } => 0,
        }
    }

    /// Notes that a slot moves.
    pub(crate) fn shift(&self, number: u16, by: i64, moves: &mut Vec<Move>) {
        if by == 0 {
            return;
        }
        let slot = &self.rules.slots[usize::from(number)];
        let by = if slot.once_per_day { 1 } else { by };
        let date = self.rules.calendar.date_of(self.ready.event.at);
        moves.push(Move {
            slot: number,
            bucket: slot.bucket(&self.rules.calendar, date),
            by,
        });
    }

    /// The rules that the event may meet, in the order of the file.
    pub(crate) fn candidates(&self, all: bool) -> Vec<u16> {
        let subject = self.ready.event.subject;
        if let Subject::End(_) = subject {
            let numbered = (0_u16..).zip(&self.rules.rules);
            let of_end = numbered.filter(|(_, rule)| rule.on == subject);
            return of_end.map(|(number, _)| number).collect();
        }
        if let Subject::Activity(of_type) = subject {
            return self.rules.activities[usize::from(of_type)].rules.clone();
        }
        if all {
            let numbered = (0_u16..).zip(&self.rules.rules);
            let of_purchases = numbered.filter(|(_, rule)| rule.on == subject);
            return of_purchases.map(|(number, _)| number).collect();
        }
        let index = &self.rules.index;
        let mut found = index.others().to_vec();
        self.ready
            .keys(|name, text| index.find(name, text, &mut found));
        found.sort_unstable();
        found.dedup();
        found
    }

    fn applying<T: Trace>(&self, trace: &mut T) -> Vec<Applies> {
        let mut applies = Vec::new();
        for number in self.candidates(T::ALL) {
            match self.applies(&self.rules.rules[usize::from(number)]) {
                Ok(fires) => applies.push(Applies { number, fires }),
                Err(verdict) => trace.tell(number, verdict),
            }
        }
        applies
    }

    /// How often a rule applies, or why it does not.
    fn applies(&self, rule: &Rule) -> Result<i64, Verdict> {
        let (ready, event) = (&self.ready, self.ready.event);
        if rule.funded_by.is_none() && !event.issues.contains(&rule.currency) {
            return Err(Verdict::NotIssued);
        }
        if rule.from.is_some_and(|from| event.at < from) {
            return Err(Verdict::NotBegun);
        }
        if rule.until.is_some_and(|until| event.at >= until) {
            return Err(Verdict::Over);
        }
        // What may be given otherwise of what is left after a return, by the numbers of now.
        for slot in rule.reads.iter().flatten() {
            ready.slots.get(*slot);
        }
        let picked = self.selections.picked(self.rules, ready, rule.lines);
        if picked.count == 0 {
            return Err(Verdict::NoLines);
        }
        ready.picked.set(picked);
        if !ready.holds(&rule.when) {
            return Err(Verdict::ConditionNotMet);
        }
        let is_bands = matches!(rule.formula, Formula::Bands { .. });
        let budget = rule.budget.map(|at| &self.rules.budgets[usize::from(at)]);
        let ends = budget.and_then(|budget| budget.terms.until);
        if ends.is_some_and(|until| event.at >= until) {
            return Err(Verdict::BudgetOver);
        }
        let needs_counts = is_bands || rule.edge.is_some() || caps::is_kept(rule);
        if needs_counts && !event.counts {
            return Err(Verdict::TooLate);
        }
        match rule.edge {
            None => Ok(1),
            Some(edge) => match caps::fires(self.rules, ready.slots, edge) {
                0 => Err(Verdict::EdgeNotReached),
                fires => Ok(fires),
            },
        }
    }

    /// What the rules that apply give before their caps, in the order of the file.
    fn raw<T: Trace>(&self, applies: &[Applies], trace: &mut T) -> Vec<Raw> {
        let mut bases = self.bases(applies, trace);
        let mut raw = Vec::with_capacity(applies.len());
        for Applies { number, fires } in applies {
            let rule = &self.rules.rules[usize::from(*number)];
            let points = match &rule.formula {
                Formula::Rate { .. } | Formula::Bands { .. } => {
                    let base = bases.iter().find(|base| base.rule == *number);
                    base.map(|base| base.rounded)
                }
                Formula::Fixed { points, times } => {
                    self.see(rule);
                    let times = times
                        .as_ref()
                        .map_or(1, |times| self.ready.figure(times).max(0));
                    let once = i128::from(points.get()) * i128::from(times);
                    Some(once.saturating_mul((*fires).into()))
                }
                Formula::Multiply { base, factors, .. } => {
                    let found = bases.iter_mut().find(|known| known.rule == *base);
                    let factor = self.of_tier(factors);
                    let given = found.zip(factor).map(|(found, factor)| {
                        found.multiply(&self.ready, &self.selections, rule, factor)
                    });
                    if given.is_none() {
                        trace.tell(*number, Verdict::BaseGaveNothing);
                    }
                    given
                }
                // They are of the ends of periods.
                Formula::Share { .. } | Formula::Convert { .. } => None,
            };
            raw.extend(points.map(|points| Raw {
                number: *number,
                fires: *fires,
                points,
            }));
        }
        raw
    }

    /// Has expressions see what is a rule's own.
    fn see(&self, rule: &Rule) {
        let picked = self.selections.picked(self.rules, &self.ready, rule.lines);
        self.ready.picked.set(picked);
    }

    /// The bases that give: of a group, one.
    fn bases<T: Trace>(&self, applies: &[Applies], trace: &mut T) -> Vec<Base> {
        let mut bases: Vec<Base> = Vec::new();
        let mut lost: Vec<(u16, u16)> = Vec::new();
        for Applies { number, fires } in applies {
            let rule = &self.rules.rules[usize::from(*number)];
            let base = match &rule.formula {
                Formula::Rate { rates, net } => match self.of_tier(rates) {
                    Some(rate) => Base::rate(
                        (*number, rule),
                        &self.ready,
                        &self.selections,
                        (*rate, *net),
                    ),
                    None => continue,
                },
                Formula::Bands { counter, bands } => {
                    let before = self.ready.slots.counter(self.rules, *counter);
                    let after = self.ready.slots.counter_after(self.rules, *counter);
                    Base::bands((*number, rule), bands, (before, after))
                }
                Formula::Fixed { .. }
                | Formula::Multiply { .. }
                | Formula::Share { .. }
                | Formula::Convert { .. } => continue,
            };
            let Some(group) = rule.group else {
                bases.push(base);
                continue;
            };
            let capped = |base: &Base| {
                let rule = &self.rules.rules[usize::from(base.rule)];
                caps::capped(rule, self.ready.slots, (base.rounded, *fires)).points
            };
            let of_group =
                |known: &Base| self.rules.rules[usize::from(known.rule)].group == Some(group);
            match bases.iter().position(of_group) {
                None => bases.push(base),
                Some(at) => {
                    let best = self.rules.groups[usize::from(group)].pick == Pick::Best;
                    let wins = best && capped(&base) > capped(&bases[at]);
                    let loser = if wins {
                        std::mem::replace(&mut bases[at], base)
                    } else {
                        base
                    };
                    lost.push((loser.rule, group));
                }
            }
        }
        for (rule, group) in lost {
            let of_group =
                |base: &&Base| self.rules.rules[usize::from(base.rule)].group == Some(group);
            if let Some(other) = bases.iter().find(of_group).map(|base| base.rule) {
                trace.tell(rule, Verdict::OutOfGroup { other });
            }
        }
        bases
    }

    /// What a list has for the member's tier; for one that is not among them, the last.
    fn of_tier<'t, V>(&self, by_rank: &'t [V]) -> Option<&'t V> {
        let rank = self.ready.event.tier_rank;
        let of_tier = rank.and_then(|rank| by_rank.get(usize::from(rank)));
        of_tier.or_else(|| by_rank.last())
    }

    /// Caps and budgets, and what moves with what is given.
    fn give<T: Trace>(
        &self,
        raw: &[Raw],
        trace: &mut T,
        (draws, moves): (&mut Draws<'_>, &mut Vec<Move>),
    ) -> Result<Vec<Given>, TooManyPoints> {
        let mut given = Vec::with_capacity(raw.len());
        for raw in raw {
            let rule = &self.rules.rules[usize::from(raw.number)];
            let uncapped = i64::try_from(raw.points).unwrap_or(i64::MAX);
            let Capped { points, fires, by } =
                caps::capped(rule, self.ready.slots, (raw.points, raw.fires));
            let too_many = || TooManyPoints {
                rule: rule.id.clone(),
            };
            let capped = i64::try_from(points).map_err(|_| too_many())?;
            Points::new(capped).map_err(|_| too_many())?;
            let whole = draws.draw(rule, self.ready.slots, capped);
            let points = Points::new(whole).map_err(|_| too_many())?;
            let is_short = whole < capped;
            trace.tell(raw.number, verdict(whole, uncapped, (by, is_short)));
            if let Some(edge) = rule.edge {
                self.shift(edge.standing, raw.fires, moves);
            }
            if points.is_zero() {
                continue;
            }
            for (slot, by) in caps::uses(rule, whole, fires) {
                self.shift(slot, by, moves);
            }
            given.push(Given {
                rule: raw.number,
                points,
            });
        }
        for (slot, by) in draws.moves() {
            self.shift(slot, by, moves);
        }
        if self.ready.event.counts {
            let given = given.iter();
            let given = given.map(|given| (given.rule, given.points.get()));
            self.count_points(&given.collect::<Vec<_>>(), moves);
        }
        Ok(given)
    }

    /// Moves the counters of points, by what rules gave.
    pub(crate) fn count_points(&self, given: &[(u16, i64)], moves: &mut Vec<Move>) {
        for counter in &self.rules.counters {
            if let Adds::Points { rules } = &counter.adds {
                let of_rules = given.iter().filter(|(rule, _)| rules.contains(rule));
                let points = of_rules.map(|(_, points)| *points);
                self.shift(counter.slot, points.fold(0, i64::saturating_add), moves);
            }
        }
    }
}

fn verdict(points: i64, uncapped: i64, (by, is_short): (Option<u16>, bool)) -> Verdict {
    match by {
        _ if points > 0 => Verdict::Gave { points, uncapped },
        _ if is_short => Verdict::BudgetSpent { uncapped },
        Some(cap) if uncapped > 0 => Verdict::CapReached { cap, uncapped },
        _ => Verdict::RoundedAway,
    }
}
