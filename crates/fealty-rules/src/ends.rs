//! What the end of a period comes to for a member.
//!
//! It is evaluated as if at the period's last instant: once when the period is over, and again
//! for what comes late. Each time the rules say what they give for the period in all, and what
//! they have given before is set against it; so an end that is evaluated again with nothing new
//! moves nothing. What a rule may read of counters comes to the same whenever that is asked
//! (`build::ends`). Of the wallet that is not so: rules that read it are evaluated once.

use std::time::Duration;

use fealty_types::{CurrencyId, Timestamp};

use crate::{
    calendar::{self, Calendar, Every},
    cel::Eval as _,
    evaluate::{Evaluation, TooManyPoints},
    event::Event,
    outcome::{Move, SlotValue},
    rule::{Cap, Formula, KeptEnd, Limit, Rule, Rules},
    slot::{Book, Inputs, Slots},
    subject::Subject,
    trace::{Trace, Verdict},
};

/// The end of a period of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct End {
    /// When: the first instant after it.
    pub at: Timestamp,
    /// What kind of period. At one instant shorter ones end first.
    pub every: Every,
}

/// What the end of a period comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndOutcome {
    /// What becomes of the rules, in the order of the file: those for which something changes.
    pub results: Vec<EndResult>,
    /// What moves.
    pub moves: Vec<Move>,
    /// The slots that were read and are not at nothing.
    pub read: Vec<(u16, SlotValue)>,
    /// How often it was written before.
    pub written_before: u16,
}

/// What becomes of a rule at the end of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndResult {
    /// Its number.
    pub rule: u16,
    /// Points that it had given for the period, or converted.
    pub before: i64,
    /// Those that it gives in all.
    pub points: i64,
    /// What the points are worth that it converts, in minor units.
    pub converts: Option<i64>,
}

impl End {
    /// The end of the period in which a moment lies.
    #[must_use]
    pub fn after(calendar: &Calendar, every: Every, moment: Timestamp) -> Self {
        let first = calendar.first_day(every, calendar.date_of(moment));
        let next = calendar.next(every, first);
        Self {
            at: calendar::start_of(next, &calendar.zone),
            every,
        }
    }

    /// The ends of all periods in which a moment lies, up to another moment, in order.
    #[must_use]
    pub fn all_after(calendar: &Calendar, moment: Timestamp, through: Timestamp) -> Vec<Self> {
        let ends = Every::ALL.map(|every| Self::after(calendar, every, moment));
        let mut ends: Vec<Self> = ends.into_iter().filter(|end| end.at <= through).collect();
        ends.sort_unstable();
        ends
    }

    /// The last instant of the period.
    #[must_use]
    pub fn last_instant(self) -> Timestamp {
        let microsecond = Duration::from_micros(1);
        self.at.checked_sub(microsecond).unwrap_or(self.at)
    }
}

impl Rules {
    /// The kinds of periods for whose ends there are rules.
    pub fn ends(&self) -> impl Iterator<Item = Every> {
        self.ends.keys().copied()
    }

    /// The first ends for which there are rules, after a moment and up to another, in order.
    #[must_use]
    pub fn ends_between(&self, after: Timestamp, through: Timestamp, max: usize) -> Vec<End> {
        let mut ends = Vec::new();
        for every in self.ends() {
            let mut end = End::after(&self.calendar, every, after);
            for _ in 0..max {
                if end.at > through {
                    break;
                }
                ends.push(end);
                end = End::after(&self.calendar, every, end.at);
            }
        }
        ends.sort_unstable();
        ends.truncate(max);
        ends
    }

    /// When the next period ends for whose end there are rules, after a moment.
    #[must_use]
    pub fn next_end(&self, after: Timestamp) -> Option<Timestamp> {
        let ends = self.ends();
        let ends = ends.map(|every| End::after(&self.calendar, every, after).at);
        ends.min()
    }

    /// The ends of longer periods at the same instant, for which there are rules.
    pub fn longer_ends(&self, end: End) -> impl Iterator<Item = End> {
        let longer = self.ends().filter(move |every| *every > end.every);
        let ends = longer.map(move |every| End::after(&self.calendar, every, end.last_instant()));
        ends.filter(move |longer| longer.at == end.at)
    }

    fn of_end(&self, every: Every) -> impl Iterator<Item = (&Rule, &KeptEnd)> {
        let of_end = move |rule: &&Rule| rule.on == Subject::End(every);
        let rules = self.rules.iter().filter(of_end);
        rules.filter_map(|rule| Some((rule, rule.end.as_ref()?)))
    }

    /// The currencies of the rules for the end of a kind of period.
    pub fn currencies_of_end(&self, every: Every) -> impl Iterator<Item = &CurrencyId> {
        self.of_end(every).map(|(rule, _)| &rule.currency)
    }

    /// Whether a rule for the end of a kind of period reads the member's tier.
    #[must_use]
    pub fn end_reads_tier(&self, every: Every) -> bool {
        self.of_end(every).any(|(_, end)| end.reads_tier)
    }

    /// The currencies of the wallets that rules for the end of a kind of period read.
    pub fn wallets_of_end(&self, every: Every) -> impl Iterator<Item = &CurrencyId> {
        let of_wallet = self.of_end(every).filter(|(_, end)| end.is_of_wallet);
        of_wallet.map(|(rule, _)| &rule.currency)
    }

    /// Whether the rules for an end read one of the numbers that something moved at a moment
    /// in the period.
    #[must_use]
    pub fn end_reads(&self, end: End, (moment, keys): (Timestamp, &[u64])) -> bool {
        let reads = self.of_end(end.every).flat_map(|(_, end)| &end.reads);
        let read: Vec<u64> = reads.filter_map(|slot| self.key_of(*slot)).collect();
        // By another calendar the period may be another one.
        keys.iter().any(|key| read.contains(key))
            && End::after(&self.calendar, end.every, moment) == end
    }

    /// Whether there is anything that an end may come to something for, or that it came to
    /// before.
    #[must_use]
    pub fn may_end(&self, end: End, book: &impl Book) -> bool {
        let inputs = crate::slot::Stored {
            rules: self,
            book,
            subject: Subject::End(end.every),
            at: end.last_instant(),
        };
        let is_some = |slot: &u16| inputs.slot(*slot).before != 0;
        self.of_end(end.every)
            .any(|(_, kept)| kept.reads.iter().chain([&kept.given]).any(is_some))
    }

    /// How often the end of a period was written before.
    #[must_use]
    pub fn end_written_before(&self, end: End, book: &impl Book) -> u16 {
        let Some(slot) = self.ends.get(&end.every) else {
            return 0;
        };
        let inputs = crate::slot::Stored {
            rules: self,
            book,
            subject: Subject::End(end.every),
            at: end.last_instant(),
        };
        u16::try_from(inputs.slot(*slot).before).unwrap_or(u16::MAX)
    }

    /// What moves when the end of a period is written.
    #[must_use]
    pub fn end_written(&self, end: End) -> Option<Move> {
        let slot = *self.ends.get(&end.every)?;
        let date = self.calendar.date_of(end.last_instant());
        Some(Move {
            slot,
            bucket: self.slots[usize::from(slot)].bucket(&self.calendar, date),
            by: 1,
        })
    }
}

/// Evaluates a version's rules for the end of a period; `trace` hears what becomes of them.
pub fn evaluate_end<T: Trace>(
    rules: &Rules,
    event: &Event<'_>,
    inputs: &dyn Inputs,
    trace: &mut T,
) -> Result<EndOutcome, TooManyPoints> {
    let slots = Slots::new(rules, inputs);
    let evaluation = Evaluation::new(rules, event, &slots);
    let mut outcome = EndOutcome::default();
    if let Subject::End(every) = event.subject
        && let Some(ended) = rules.ends.get(&every)
    {
        outcome.written_before = u16::try_from(slots.get(*ended).before).unwrap_or(u16::MAX);
    }
    for number in evaluation.candidates(true) {
        let rule = &rules.rules[usize::from(number)];
        let Some(kept) = &rule.end else {
            continue;
        };
        let before = slots.get(kept.given).before;
        let (points, verdict) = match evaluation.at_end(rule, kept) {
            Err(verdict @ (Verdict::TooLate | Verdict::EndedBefore)) => (before, verdict),
            Err(verdict) => (0, verdict),
            Ok(raw) => {
                let uncapped = i64::try_from(raw).unwrap_or(i64::MAX);
                let (points, cap) = capped(rule, &slots, (raw, before));
                let points = i64::try_from(points).ok().filter(|points| *points <= MAX);
                let points = points.ok_or_else(|| too_many(rule))?;
                let verdict = match cap {
                    _ if points > 0 => Verdict::Gave { points, uncapped },
                    Some(cap) if uncapped > 0 => Verdict::CapReached { cap, uncapped },
                    _ => Verdict::RoundedAway,
                };
                (points, verdict)
            }
        };
        trace.tell(number, verdict);
        if points == before {
            continue;
        }
        let moved = (before, points);
        evaluation.move_end((rule, kept), moved, &mut outcome.moves);
        let converts = match rule.formula {
            Formula::Convert {
                each, minor_units, ..
            } => {
                let value = (points / each).checked_mul(minor_units);
                Some(value.ok_or_else(|| too_many(rule))?)
            }
            _ => None,
        };
        outcome.results.push(EndResult {
            rule: number,
            before,
            points,
            converts,
        });
    }
    let given = outcome.results.iter();
    let given = given.filter(|result| result.converts.is_none());
    let given = given.map(|result| (result.rule, result.points - result.before));
    evaluation.count_points(&given.collect::<Vec<_>>(), &mut outcome.moves);
    drop(evaluation);
    outcome.read = slots.into_read();
    Ok(outcome)
}

fn too_many(rule: &Rule) -> TooManyPoints {
    TooManyPoints {
        rule: rule.id.clone(),
    }
}

/// Points that there can be.
const MAX: i64 = fealty_types::Points::MAX.get();

/// What is left of a rule's points, and which cap took some; what it has given before for the
/// same period makes no room smaller.
fn capped(rule: &Rule, slots: &Slots<'_>, (points, before): (i128, i64)) -> (i128, Option<u16>) {
    let (mut left, mut by) = (points, None);
    for (number, cap) in (0_u16..).zip(&rule.caps) {
        let used = |own: i64| match cap {
            Cap::PerEvent(_) => 0,
            Cap::PerMember(_, slot) => slots.get(*slot).before.saturating_sub(own),
        };
        let (Cap::PerEvent(limit) | Cap::PerMember(limit, _)) = cap;
        // What was given stays, though others have used more since by a higher limit.
        let room = match limit {
            Limit::Points(most) => i128::from(most.saturating_sub(used(before)).max(before)),
            Limit::Times(most) if used(i64::from(before > 0)) < *most => continue,
            Limit::Times(_) => i128::from(before),
        };
        if room < left {
            (left, by) = (room, Some(number));
        }
    }
    (left, by)
}

impl Evaluation<'_> {
    /// Moves what is kept of a rule that gives so many points instead of others.
    fn move_end(
        &self,
        (rule, kept): (&Rule, &KeptEnd),
        (before, points): (i64, i64),
        moves: &mut Vec<Move>,
    ) {
        self.shift(kept.given, points - before, moves);
        for cap in &rule.caps {
            let (Cap::PerMember(limit, slot), by) = (cap, points - before) else {
                continue;
            };
            let by = match limit {
                Limit::Points(_) => by,
                Limit::Times(_) => i64::from(points > 0) - i64::from(before > 0),
            };
            self.shift(*slot, by, moves);
        }
    }

    /// What a rule gives for the period before its caps, or why it gives nothing.
    fn at_end(&self, rule: &Rule, kept: &KeptEnd) -> Result<i128, Verdict> {
        let (ready, event) = (&self.ready, self.ready.event);
        if kept.is_of_wallet && event.again {
            return Err(Verdict::EndedBefore);
        }
        if !event.counts {
            return Err(Verdict::TooLate);
        }
        if rule.from.is_some_and(|from| event.at < from) {
            return Err(Verdict::NotBegun);
        }
        if rule.until.is_some_and(|until| event.at >= until) {
            return Err(Verdict::Over);
        }
        let nothing = |slot: &u16| ready.slots.get(*slot).before == 0;
        if kept.reads.iter().all(nothing) {
            return Err(Verdict::NothingCounted);
        }
        if !ready.holds(&rule.when) {
            return Err(Verdict::ConditionNotMet);
        }
        Ok(match &rule.formula {
            Formula::Fixed { points, times } => {
                let times = times.as_ref().map_or(1, |times| ready.figure(times).max(0));
                i128::from(points.get()) * i128::from(times)
            }
            Formula::Share { of, by, steps } => {
                let counter = |of| ready.slots.counter(self.rules, of);
                let reached = by.map_or(i64::MAX, counter);
                let step = steps.iter().rev().find(|(from, _)| *from <= reached);
                let Some((_, part)) = step else {
                    return Err(Verdict::ConditionNotMet);
                };
                let exact = i128::from(counter(*of).max(0)) * i128::from(part.numerator);
                rule.round.whole(exact, part.denominator.into())
            }
            Formula::Convert {
                each, available, ..
            } => {
                let available = ready.slots.get(*available).before.max(0);
                i128::from(available / each * each)
            }
            Formula::Rate { .. } | Formula::Bands { .. } | Formula::Multiply { .. } => 0,
        })
    }
}
