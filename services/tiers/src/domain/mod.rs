//! What the tiers service decides: a member's status, reached at once by what was
//! spent, held for its validity, and then judged again.
//!
//! Everything here is a function of the scheme, the purchases and the time, so
//! the same purchases give the same history on every machine.

mod history;
mod spends;

use std::time::Duration;

use fealty_program::{Program, TierScheme};
use fealty_types::{TierId, Timestamp};

pub use history::Histories;
pub(crate) use spends::{Day, DayNeeded, Spend, Spends};

/// The least time that can pass.
const MICROSECOND: Duration = Duration::from_micros(1);

/// A member's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// The tier.
    pub(crate) tier: TierId,
    /// Since when; never, for who has not left the lowest.
    pub(crate) since: Option<Timestamp>,
    /// When it is judged again; never, for the lowest.
    pub(crate) evaluate_at: Option<Timestamp>,
    /// Why.
    pub(crate) reason: Reason,
}

/// Why a member has a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The member never left the lowest tier.
    Beginning,
    /// A threshold was reached.
    ThresholdReached,
    /// The validity ended, and the tier was judged again.
    ValidityEnded,
}

impl Reason {
    /// Its number where it is stored.
    pub(crate) fn code(self) -> i16 {
        match self {
            Self::Beginning => 0,
            Self::ThresholdReached => 1,
            Self::ValidityEnded => 2,
        }
    }

    /// The reason with that number.
    pub(crate) fn from_code(code: i16) -> Option<Self> {
        match code {
            0 => Some(Self::Beginning),
            1 => Some(Self::ThresholdReached),
            2 => Some(Self::ValidityEnded),
            _ => None,
        }
    }
}

/// A change of tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    /// The tier before.
    pub(crate) previous: TierId,
    /// The status from then on; its `since` is when.
    pub(crate) status: Status,
}

impl Status {
    /// The status of a member who has bought nothing.
    #[must_use]
    pub(crate) fn beginning(scheme: &TierScheme) -> Self {
        Self {
            tier: scheme.levels[0].tier.clone(),
            since: None,
            evaluate_at: None,
            reason: Reason::Beginning,
        }
    }
}

/// Money spent in the scheme's window up to a moment, that moment included and
/// the one a window before it not.
pub(crate) fn spent(
    program: &Program,
    scheme: &TierScheme,
    spends: &Spends,
    at: Timestamp,
) -> Result<i64, DayNeeded> {
    spends.spent(program, scheme, at)
}

/// Judges a status whose validity has ended by `now`, as often as it has. A
/// judgement that changes nothing begins a new validity all the same. Who has a tier that
/// the scheme no longer has is judged now. Where a day must be read, nothing is changed.
pub(crate) fn advance(
    program: &Program,
    scheme: &TierScheme,
    known: &mut Status,
    spends: &Spends,
    now: Timestamp,
) -> Result<Vec<Change>, DayNeeded> {
    let (mut changes, mut status) = (Vec::new(), known.clone());
    if scheme.rank(&status.tier).is_none() {
        let due = status.evaluate_at.map_or(now, |due| due.min(now));
        // What holds since a later moment is judged then.
        status.evaluate_at = status.since.max(Some(due));
    }
    while let Some(at) = status.evaluate_at.filter(|at| *at <= now) {
        let rank = scheme.rank_of(spent(program, scheme, spends, at)?);
        let next = scheme.next_evaluation(at, &program.calendar.zone);
        status.evaluate_at = (rank > 0).then_some(next);
        let tier = &scheme.levels[rank].tier;
        if *tier != status.tier {
            let previous = std::mem::replace(&mut status.tier, tier.clone());
            status.since = Some(at);
            status.reason = Reason::ValidityEnded;
            changes.push(Change {
                previous,
                status: status.clone(),
            });
        }
    }
    *known = status;
    Ok(changes)
}

/// Lifts a status by a purchase that is among `spends`; `before` is the status that the
/// member had when it was made. One that comes late completes the windows of later purchases
/// and judgements: what came afterwards is gone through up to `now`, with it and without.
/// Where that ends higher with it, and higher than what is known comes to, it holds. So
/// nothing is taken away by it, no tier that was had is had for longer, and terms that were
/// changed meanwhile lift nobody. Where a day must be read, nothing is changed.
pub(crate) fn credit(
    program: &Program,
    scheme: &TierScheme,
    known: &mut Status,
    (before, spends): (&Status, &Spends),
    (made, now): (Spend, Timestamp),
) -> Result<Vec<Change>, DayNeeded> {
    let at = made.at;
    let windows = spends.windows_from(program, scheme, Day::of(at));
    let mut entered = windows.take_while(|window| window.start < at);
    let known_rank = rank(scheme, known);
    if before == known && !entered.any(|window| scheme.rank_of(window.at_most) > known_rank) {
        return Ok(Vec::new());
    }
    let first = scheme.first_evaluation(at, &program.calendar.zone);
    let next = scheme.next_evaluation(at, &program.calendar.zone);
    let judged_since = known.since > Some(at) || known.evaluate_at > Some(first.max(next));
    // One that comes in time is judged by what is known then: the feed may be far behind.
    let is_late = judged_since || spends.has_later(at)?;
    let until = if is_late { at.max(now) } else { at };
    let (status, mut changes) = replay(program, scheme, (before, spends), at, until)?;
    if rank(scheme, &status) <= rank(scheme, known) {
        return Ok(Vec::new());
    }
    if is_late {
        let mut otherwise = known.clone();
        advance(program, scheme, &mut otherwise, spends, until)?;
        let without = spends.without(made);
        let (without, _) = replay(program, scheme, (before, &without), at, until)?;
        let least = rank(scheme, &without).max(rank(scheme, &otherwise));
        if rank(scheme, &status) <= least {
            return Ok(Vec::new());
        }
        // What would end sooner, and lower, is not taken for what is known.
        let end = otherwise
            .evaluate_at
            .filter(|end| status.evaluate_at < Some(*end));
        if let Some(end) = end.and_then(|end| end.checked_sub(MICROSECOND)) {
            let (then, _) = replay(program, scheme, (before, spends), at, end)?;
            if rank(scheme, &then) < rank(scheme, &otherwise) {
                return Ok(Vec::new());
            }
        }
    }
    let had = Change {
        previous: before.tier.clone(),
        status: before.clone(),
    };
    changes.insert(0, had);
    let mut follow = follow_on(known, changes);
    known.evaluate_at = status.evaluate_at;
    if let Some(last) = follow.last_mut() {
        last.status.evaluate_at = status.evaluate_at;
    }
    Ok(follow)
}

/// The status that a member comes to who had `before` at `at`, and what changed on the way.
fn replay(
    program: &Program,
    scheme: &TierScheme,
    (before, spends): (&Status, &Spends),
    at: Timestamp,
    until: Timestamp,
) -> Result<(Status, Vec<Change>), DayNeeded> {
    let (mut status, mut changes) = (before.clone(), Vec::new());
    // It was kept at each judgement up to then.
    while let Some(due) = status.evaluate_at.filter(|due| *due <= at) {
        status.evaluate_at = Some(scheme.next_evaluation(due, &program.calendar.zone));
    }
    for window in spends.windows_from(program, scheme, Day::of(at)) {
        let day = window.day;
        let (begins, ends) = day.bounds();
        changes.extend(advance(
            program,
            scheme,
            &mut status,
            spends,
            begins.max(at),
        )?);
        // Most days lead nowhere, whatever the moment, and need not be read.
        let judged = status.evaluate_at.is_some_and(|due| due < ends);
        if !judged && scheme.rank_of(window.at_most) <= rank(scheme, &status) {
            continue;
        }
        for spend in spends.of_day(day)?.iter().filter(|spend| spend.at >= at) {
            changes.extend(advance(program, scheme, &mut status, spends, spend.at)?);
            let reached = scheme.rank_of(spent(program, scheme, spends, spend.at)?);
            if reached > rank(scheme, &status) {
                changes.push(lifted(program, scheme, &mut status, (spend.at, reached)));
            }
        }
    }
    changes.extend(advance(program, scheme, &mut status, spends, until)?);
    Ok((status, changes))
}

/// The rank of a status; that of the lowest for a tier that the scheme does not have.
fn rank(scheme: &TierScheme, status: &Status) -> usize {
    scheme.rank(&status.tier).unwrap_or(0)
}

/// Lifts a status to the rank that was reached at a moment.
fn lifted(
    program: &Program,
    scheme: &TierScheme,
    status: &mut Status,
    (at, rank): (Timestamp, usize),
) -> Change {
    let reached = Status {
        tier: scheme.levels[rank].tier.clone(),
        since: Some(at),
        evaluate_at: Some(scheme.first_evaluation(at, &program.calendar.zone)),
        reason: Reason::ThresholdReached,
    };
    let previous = std::mem::replace(status, reached).tier;
    Change {
        previous,
        status: status.clone(),
    }
}

/// Changes as they follow what is known: told is told, so what began before that counts as
/// beginning with it.
fn follow_on(known: &mut Status, changes: Vec<Change>) -> Vec<Change> {
    let told = known.since;
    let passed = changes.partition_point(|change| change.status.since < told);
    let mut follow = Vec::new();
    for mut change in changes.into_iter().skip(passed.saturating_sub(1)) {
        change.status.since = change.status.since.max(told);
        let previous = std::mem::replace(known, change.status.clone()).tier;
        if previous != change.status.tier {
            follow.push(Change { previous, ..change });
        }
    }
    follow
}

#[cfg(test)]
mod tests;
