//! What the tiers service decides: a member's status, reached at once by what was
//! spent, held for its validity, and then judged again.
//!
//! Everything here is a function of the scheme, the purchases and the time, so
//! the same purchases give the same history on every machine.

mod spends;

use fealty_program::{Program, TierScheme};
use fealty_types::{TierId, Timestamp};

pub(crate) use spends::{Day, DayNeeded, Spend, Spends};

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
    *known = status;
    Ok(changes)
}

/// Lifts a status by a purchase made at `at`, which is among `spends`. One that comes late
/// completes the windows of later purchases: each of them is a moment to judge. Where a
/// day must be read, nothing is changed.
pub(crate) fn credit(
    program: &Program,
    scheme: &TierScheme,
    known: &mut Status,
    spends: &Spends,
    at: Timestamp,
) -> Result<Vec<Change>, DayNeeded> {
    let (mut changes, mut status) = (Vec::new(), known.clone());
    let lift = |status: &mut Status, moment: Timestamp| -> Result<Option<Change>, DayNeeded> {
        let held = rank(scheme, status);
        let reached = scheme.rank_of(spent(program, scheme, spends, moment)?);
        Ok((reached > held).then(|| lifted(program, scheme, status, (moment, reached))))
    };
    changes.extend(lift(&mut status, at)?);
    for day in spends.days_from(Day::of(at)) {
        let (begins, _) = day.bounds();
        if scheme.window.before(begins, &program.time_zone) >= at {
            break;
        }
        // Most days lead nowhere, whatever the moment, and need not be read.
        let at_most = spends.spent_at_most(program, scheme, day);
        if scheme.rank_of(at_most) <= rank(scheme, &status) {
            continue;
        }
        for spend in spends.of_day(day)?.iter().filter(|spend| spend.at > at) {
            if scheme.window.before(spend.at, &program.time_zone) < at {
                changes.extend(lift(&mut status, spend.at)?);
            }
        }
    }
    *known = status;
    Ok(changes)
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
    (reached_at, rank): (Timestamp, usize),
) -> Change {
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
    Change {
        previous,
        status: status.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn record_club() -> Arc<Program> {
        let source = include_str!("../../../../examples/programs/record-club.yaml");
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

    fn of(spends: &[Spend]) -> Spends {
        let mut of = Spends::default();
        for spend in spends {
            of.add(*spend);
        }
        of
    }

    #[test]
    fn the_window_has_its_end_and_not_its_start() {
        let program = record_club();
        let scheme = program.tiers.as_ref().expect("tiers");
        let spends = of(&[
            spend("1997-03-01T12:00:00Z", 100),
            spend("1998-03-01T12:00:00Z", 10),
        ]);
        let up_to = |at| spent(&program, scheme, &spends, moment(at)).expect("all is read");
        assert_eq!(up_to("1997-03-01T11:59:59Z"), 0);
        assert_eq!(up_to("1997-03-01T12:00:00Z"), 100);
        assert_eq!(up_to("1998-03-01T11:59:59Z"), 100);
        assert_eq!(up_to("1998-03-01T12:00:00Z"), 10);
    }

    #[test]
    fn a_tier_is_reached_at_once_held_a_year_and_judged() {
        let program = record_club();
        let scheme = program.tiers.as_ref().expect("tiers");
        let made = [
            spend("1997-01-15T12:00:00Z", 10_000),
            spend("1997-02-01T12:00:00Z", 5_000),
            spend("1997-03-01T12:00:00Z", 20_000),
        ];
        let mut status = Status::beginning(scheme);
        let credit = |status: &mut Status, number: usize| {
            let spends = of(&made[..=number]);
            let lifts = super::credit(&program, scheme, status, &spends, made[number].at);
            lifts.expect("all is read")
        };
        let lifts = credit(&mut status, 0);
        assert_eq!(
            (lifts[0].previous.as_str(), lifts[0].status.tier.as_str()),
            ("member", "silver")
        );
        assert_eq!(status.evaluate_at, Some(moment("1998-01-16T00:00:00Z")));

        // More of the same tier does not lengthen it; a lift starts its own year.
        assert_eq!(credit(&mut status, 1), []);
        assert_eq!(status.evaluate_at, Some(moment("1998-01-16T00:00:00Z")));
        assert_eq!(credit(&mut status, 2).len(), 1);
        assert_eq!(status.tier.as_str(), "gold");
        assert_eq!(status.evaluate_at, Some(moment("1998-03-02T00:00:00Z")));

        // A second before the midnight it holds, at it the 365 days before count.
        let mut advance = |at| {
            let changes = advance(&program, scheme, &mut status, &of(&made), moment(at));
            changes.expect("all is read")
        };
        assert_eq!(advance("1998-03-01T23:59:59Z"), []);
        assert_eq!(advance("1998-03-02T00:00:00Z").len(), 1);
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
        let made = [
            spend("1997-01-15T12:00:00Z", 10_000),
            spend("1997-12-01T12:00:00Z", 10_000),
        ];
        let mut status = Status::beginning(scheme);
        let first = of(&made[..1]);
        credit(&program, scheme, &mut status, &first, made[0].at).expect("all is read");
        let judged = moment("1998-01-16T00:00:00Z");
        let changes = advance(&program, scheme, &mut status, &of(&made), judged);
        assert_eq!(changes, Ok(Vec::new()));
        assert_eq!(status.evaluate_at, Some(moment("1999-01-16T00:00:00Z")));
        assert_eq!(status.since, Some(made[0].at));
    }

    /// On the day of the second purchase there was enough for silver, as a late one shows;
    /// neither on its own day nor on that of the newest is there.
    #[test]
    fn a_late_purchase_lifts_at_each_purchase_whose_window_it_enters() {
        let program = record_club();
        let scheme = program.tiers.as_ref().expect("tiers");
        let late = spend("1996-09-23T12:00:00Z", 5_000);
        let made = [
            spend("1997-01-01T12:00:00Z", 5_000),
            spend("1997-10-28T12:00:00Z", 500),
            late,
        ];
        let mut status = Status::beginning(scheme);
        let lifts = credit(&program, scheme, &mut status, &of(&made), late.at);
        let lifts = lifts.expect("all is read");
        assert_eq!(lifts.len(), 1);
        assert_eq!(status.tier.as_str(), "silver");
        assert_eq!(status.since, Some(made[0].at));
    }

    #[test]
    fn who_has_a_tier_that_is_no_more_is_judged_now() {
        let program = record_club();
        let scheme = program.tiers.as_ref().expect("tiers");
        let mut status = Status {
            tier: "diamond".parse().expect("an id"),
            since: Some(moment("1997-01-01T12:00:00Z")),
            evaluate_at: Some(moment("1998-01-02T00:00:00Z")),
            reason: Reason::ThresholdReached,
        };
        let made = of(&[spend("1997-01-01T12:00:00Z", 10_000)]);
        let now = moment("1997-06-01T00:00:00Z");
        let changes = advance(&program, scheme, &mut status, &made, now).expect("all is read");
        assert_eq!(changes.len(), 1);
        assert_eq!((status.tier.as_str(), status.since), ("silver", Some(now)));
    }

    /// The long way round: every purchase is looked at for every moment.
    fn lifts_by_looking_at_everything(
        program: &Program,
        scheme: &TierScheme,
        made: &[Spend],
        at: Timestamp,
    ) -> Vec<(TierId, Timestamp)> {
        let before = |moment| scheme.window.before(moment, &program.time_zone);
        let mut moments: Vec<Timestamp> = made.iter().map(|spend| spend.at).collect();
        moments.retain(|moment| *moment == at || (*moment > at && before(*moment) < at));
        moments.sort();
        moments.dedup();
        let (mut held, mut lifts) = (0, Vec::new());
        for moment in moments {
            let inside = |spend: &&Spend| before(moment) < spend.at && spend.at <= moment;
            let sum = made
                .iter()
                .filter(inside)
                .map(|spend| spend.minor_units)
                .sum();
            let rank = scheme.rank_of(sum);
            if rank > held {
                held = rank;
                lifts.push((scheme.levels[rank].tier.clone(), moment));
            }
        }
        lifts
    }

    proptest::proptest! {
        #[test]
        fn days_and_edges_give_what_all_purchases_give(
            purchases in proptest::collection::vec((0_i64..800 * 24, 1_i64..9_000), 1..40),
            late in 0_usize..40,
        ) {
            let program = record_club();
            let scheme = program.tiers.as_ref().expect("tiers");
            let begin = moment("1996-01-01T00:00:00Z");
            let made: Vec<Spend> = purchases.iter().map(|(hours, minor_units)| Spend {
                at: Timestamp::from_micros(begin.micros() + hours * 3_600_000_000).expect("in range"),
                minor_units: *minor_units,
            }).collect();
            let at = made[late % made.len()].at;
            // Stored by day, and read by day as far as that is asked for.
            let mut spends = Spends::default();
            for spend in &made {
                spends.add_day(Day::of(spend.at), spend.minor_units);
            }
            let (mut status, mut read) = (Status::beginning(scheme), 0);
            let lifts = loop {
                match credit(&program, scheme, &mut status, &spends, at) {
                    Ok(lifts) => break lifts,
                    Err(DayNeeded(day)) => {
                        let of_day = made.iter().filter(|spend| Day::of(spend.at) == day);
                        spends.read_day(day, of_day.copied());
                        read += 1;
                    }
                }
            };
            proptest::prop_assert!(read <= made.len());
            let lifts: Vec<(TierId, Timestamp)> = lifts.into_iter().map(|change| {
                (change.status.tier, change.status.since.expect("reached"))
            }).collect();
            let expected = lifts_by_looking_at_everything(&program, scheme, &made, at);
            proptest::prop_assert_eq!(lifts, expected);
        }
    }
}
