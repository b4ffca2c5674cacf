//! What the tiers service decides: a member's status: reached at once by what was spent, held for its
//! validity, and then judged again.
//!
//! Everything here is a function of the scheme, the purchases and the time, so
//! the same purchases give the same history on every machine.

use fealty_program::{Program, TierScheme};
use fealty_types::{TierId, Timestamp};

/// A purchase, as far as tiers go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spend {
    /// When it was made.
    pub(crate) at: Timestamp,
    /// What was paid, in minor units.
    pub(crate) minor_units: i64,
}

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
#[must_use]
pub(crate) fn spent(
    program: &Program,
    scheme: &TierScheme,
    spends: &[Spend],
    at: Timestamp,
) -> i64 {
    let start = scheme.window.before(at, &program.time_zone);
    spends
        .iter()
        .filter(|spend| start < spend.at && spend.at <= at)
        .fold(0, |sum: i64, spend| sum.saturating_add(spend.minor_units))
}

/// Judges a status whose validity has ended by `now`, as often as it has. A
/// judgement that changes nothing begins a new validity all the same.
pub(crate) fn advance(
    program: &Program,
    scheme: &TierScheme,
    status: &mut Status,
    spends: &[Spend],
    now: Timestamp,
) -> Vec<Change> {
    let mut changes = Vec::new();
    while let Some(at) = status.evaluate_at.filter(|at| *at <= now) {
        let rank = scheme.rank_of(spent(program, scheme, spends, at));
        let next = scheme.next_evaluation(at, &program.time_zone);
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
    changes
}

/// Lifts a status by a purchase made at `at`, which is among `spends`. One
/// that comes late may complete the window of a later purchase.
pub(crate) fn credit(
    program: &Program,
    scheme: &TierScheme,
    status: &mut Status,
    spends: &[Spend],
    at: Timestamp,
) -> Option<Change> {
    let newest = spends.iter().map(|spend| spend.at).max().unwrap_or(at);
    let held = scheme.rank(&status.tier).unwrap_or(0);
    let (reached_at, rank) = [at, newest]
        .into_iter()
        .map(|moment| {
            (
                moment,
                scheme.rank_of(spent(program, scheme, spends, moment)),
            )
        })
        .find(|(_, rank)| *rank > held)?;
    let since = status
        .since
        .map_or(reached_at, |since| since.max(reached_at));
    let reached = Status {
        tier: scheme.levels[rank].tier.clone(),
        since: Some(since),
        evaluate_at: Some(scheme.first_evaluation(since, &program.time_zone)),
        reason: Reason::ThresholdReached,
    };
    let previous = std::mem::replace(status, reached).tier;
    Some(Change {
        previous,
        status: status.clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn record_club() -> Arc<Program> {
        let source = include_str!("../../../examples/programs/record-club.yaml");
        Program::parse(source).expect("valid").program
    }

    fn moment(text: &str) -> Timestamp {
        Timestamp::new(text.parse().expect("a moment"))
    }

    fn spend(at: &str, minor_units: i64) -> Spend {
        Spend {
            at: moment(at),
            minor_units,
        }
    }

    #[test]
    fn the_window_has_its_end_and_not_its_start() {
        let program = record_club();
        let scheme = program.tiers.as_ref().expect("tiers");
        let spends = [
            spend("1997-03-01T12:00:00Z", 100),
            spend("1998-03-01T12:00:00Z", 10),
        ];
        let up_to = |at| spent(&program, scheme, &spends, moment(at));
        assert_eq!(up_to("1997-03-01T11:59:59Z"), 0);
        assert_eq!(up_to("1997-03-01T12:00:00Z"), 100);
        assert_eq!(up_to("1998-03-01T11:59:59Z"), 100);
        assert_eq!(up_to("1998-03-01T12:00:00Z"), 10);
    }

    #[test]
    fn a_tier_is_reached_at_once_held_a_year_and_judged() {
        let program = record_club();
        let scheme = program.tiers.as_ref().expect("tiers");
        let mut spends = vec![spend("1997-01-15T12:00:00Z", 10_000)];
        let mut status = Status::beginning(scheme);
        let lift = credit(&program, scheme, &mut status, &spends, spends[0].at).expect("a lift");
        assert_eq!(
            (lift.previous.as_str(), lift.status.tier.as_str()),
            ("member", "silver")
        );
        assert_eq!(status.evaluate_at, Some(moment("1998-01-16T00:00:00Z")));

        // More of the same tier does not lengthen it; a lift starts its own year.
        spends.push(spend("1997-02-01T12:00:00Z", 5_000));
        assert_eq!(
            credit(&program, scheme, &mut status, &spends, spends[1].at),
            None
        );
        assert_eq!(status.evaluate_at, Some(moment("1998-01-16T00:00:00Z")));
        spends.push(spend("1997-03-01T12:00:00Z", 20_000));
        credit(&program, scheme, &mut status, &spends, spends[2].at).expect("a lift");
        assert_eq!(status.tier.as_str(), "gold");
        assert_eq!(status.evaluate_at, Some(moment("1998-03-02T00:00:00Z")));

        // A second before the midnight it holds, at it the 365 days before count.
        let before = moment("1998-03-01T23:59:59Z");
        assert_eq!(advance(&program, scheme, &mut status, &spends, before), []);
        let fall = advance(
            &program,
            scheme,
            &mut status,
            &spends,
            moment("1998-03-02T00:00:00Z"),
        );
        assert_eq!(fall.len(), 1);
        assert_eq!(status.tier.as_str(), "member");
        assert_eq!(
            (status.evaluate_at, status.reason),
            (None, Reason::ValidityEnded)
        );
    }

    #[test]
    fn a_judgement_that_keeps_the_tier_begins_another_year() {
        let program = record_club();
        let scheme = program.tiers.as_ref().expect("tiers");
        let spends = [
            spend("1997-01-15T12:00:00Z", 10_000),
            spend("1997-12-01T12:00:00Z", 10_000),
        ];
        let mut status = Status::beginning(scheme);
        credit(&program, scheme, &mut status, &spends[..1], spends[0].at).expect("a lift");
        let judged = moment("1998-01-16T00:00:00Z");
        assert_eq!(advance(&program, scheme, &mut status, &spends, judged), []);
        assert_eq!(status.evaluate_at, Some(moment("1999-01-16T00:00:00Z")));
        assert_eq!(status.since, Some(spends[0].at));
    }
}
