//! Members' status, over days and months.

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
        let before = status.clone();
        let lifts = super::credit(
            &program,
            scheme,
            status,
            (&before, &spends),
            (made[number], made[number].at),
        );
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
    let before = status.clone();
    let lifts = credit(
        &program,
        scheme,
        &mut status,
        (&before, &first),
        (made[0], made[0].at),
    );
    assert_eq!(lifts.expect("all is read").len(), 1);
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
    let before = status.clone();
    let lifts = credit(
        &program,
        scheme,
        &mut status,
        (&before, &of(&made)),
        (late, made[1].at),
    );
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

/// A member of the record club, whose purchases have come in their order.
fn judged(program: &Program, scheme: &TierScheme, made: &[Spend]) -> (Status, Vec<Status>) {
    let (mut status, mut had) = (Status::beginning(scheme), Vec::new());
    for number in 0..made.len() {
        let (spends, at) = (of(&made[..=number]), made[number].at);
        let judged = advance(program, scheme, &mut status, &spends, at);
        had.extend(judged.expect("all is read"));
        let before = status.clone();
        let lifts = credit(
            program,
            scheme,
            &mut status,
            (&before, &spends),
            (made[number], at),
        );
        had.extend(lifts.expect("all is read"));
    }
    (
        status,
        had.into_iter().map(|change| change.status).collect(),
    )
}

/// Silver from 15 January 1997 to the end of its year, and then no more.
fn lapsed(scheme: &TierScheme, program: &Program) -> ([Spend; 1], Status, Status, Timestamp) {
    let made = [spend("1997-01-15T12:00:00Z", 10_000)];
    let (silver, _) = judged(program, scheme, &made);
    let mut status = silver.clone();
    let end = moment("1998-01-16T00:00:00Z");
    let fall = advance(program, scheme, &mut status, &of(&made), end);
    assert_eq!(fall.expect("all is read").len(), 1);
    (made, silver, status, end)
}

#[test]
fn a_late_purchase_does_not_give_again_what_was_had() {
    let program = record_club();
    let scheme = program.tiers.as_ref().expect("tiers");
    let (made, silver, mut status, end) = lapsed(scheme, &program);
    let (fallen, late) = (status.clone(), spend("1997-01-16T12:00:00Z", 1));
    let spends = of(&[made[0], late]);
    let lifts = credit(
        &program,
        scheme,
        &mut status,
        (&silver, &spends),
        (late, end),
    );
    assert_eq!((lifts, status), (Ok(Vec::new()), fallen));
}

/// With what came late, the tier would have been kept when it was judged.
#[test]
fn a_late_purchase_counts_at_the_judgement_before_which_it_was_made() {
    let program = record_club();
    let scheme = program.tiers.as_ref().expect("tiers");
    let (made, silver, mut status, end) = lapsed(scheme, &program);
    let late = spend("1997-12-01T12:00:00Z", 10_000);
    let spends = of(&[made[0], late]);
    let lifts = credit(
        &program,
        scheme,
        &mut status,
        (&silver, &spends),
        (late, end),
    );
    let lifts = lifts.expect("all is read");
    assert_eq!(lifts.len(), 1);
    assert_eq!(lifts[0].status, status);
    assert_eq!(status.tier.as_str(), "silver");
    assert_eq!(status.since, Some(moment("1998-01-16T00:00:00Z")));
    assert_eq!(status.evaluate_at, Some(moment("1999-01-16T00:00:00Z")));
}

/// The long way round: the status that a member comes to who had `before` at `at`. Every
/// purchase is looked at for every moment.
fn in_order(
    program: &Program,
    made: &[Spend],
    before: &Status,
    (at, until): (Timestamp, Timestamp),
) -> Status {
    let scheme = program.tiers.as_ref().expect("tiers");
    let rank_at = |moment| {
        let start = scheme.window.before(moment, &program.calendar.zone);
        let inside = made
            .iter()
            .filter(|spend| start < spend.at && spend.at <= moment);
        scheme.rank_of(inside.map(|spend| spend.minor_units).sum())
    };
    let judge = |status: &mut Status, moment: Timestamp| {
        while let Some(due) = status.evaluate_at.filter(|due| *due <= moment) {
            let rank = rank_at(due);
            let next = scheme.next_evaluation(due, &program.calendar.zone);
            status.evaluate_at = (rank > 0).then_some(next);
            status.tier = scheme.levels[rank].tier.clone();
        }
    };
    let mut status = before.clone();
    while let Some(due) = status.evaluate_at.filter(|due| *due <= at) {
        status.evaluate_at = Some(scheme.next_evaluation(due, &program.calendar.zone));
    }
    let mut moments: Vec<Timestamp> = made.iter().map(|spend| spend.at).collect();
    moments.retain(|moment| *moment >= at);
    moments.sort();
    for moment in moments {
        judge(&mut status, moment);
        let reached = rank_at(moment);
        if reached > rank(scheme, &status) {
            status.tier = scheme.levels[reached].tier.clone();
            status.evaluate_at = Some(scheme.first_evaluation(moment, &program.calendar.zone));
        }
    }
    judge(&mut status, until);
    status
}

/// A purchase of a cent that would have changed nothing changes nothing, though a late
/// one before it gave what the log tells as given later.
#[test]
fn a_cent_does_not_give_again_what_a_late_purchase_gave() {
    let program = record_club();
    let scheme = program.tiers.as_ref().expect("tiers");
    let (made, silver, mut status, _) = lapsed(scheme, &program);
    let late = spend("1997-02-15T12:00:00Z", 20_000);
    let mut spends = of(&[made[0], late]);
    let now = moment("1998-02-01T00:00:00Z");
    let lifts = credit(
        &program,
        scheme,
        &mut status,
        (&silver, &spends),
        (late, now),
    );
    assert_eq!(lifts.expect("all is read").len(), 1);
    assert_eq!(status.tier.as_str(), "gold");
    let now = moment("1998-03-01T00:00:00Z");
    let fall = advance(&program, scheme, &mut status, &spends, now);
    assert_eq!(fall.expect("all is read").len(), 1);
    let fallen = status.clone();
    let cent = spend("1997-04-15T12:00:00Z", 1);
    spends.add(cent);
    let lifts = credit(
        &program,
        scheme,
        &mut status,
        (&silver, &spends),
        (cent, now),
    );
    assert_eq!((lifts, status), (Ok(Vec::new()), fallen));
}

/// With a late purchase gold would have been reached, and would have ended long before
/// silver, which was kept, does.
#[test]
fn a_late_purchase_takes_no_tier_away() {
    let program = record_club();
    let scheme = program.tiers.as_ref().expect("tiers");
    let made = [
        spend("1997-01-15T12:00:00Z", 10_000),
        spend("1997-02-15T12:00:00Z", 10_000),
    ];
    let (mut status, _) = judged(&program, scheme, &made);
    let now = moment("1998-01-16T00:00:00Z");
    let kept = advance(&program, scheme, &mut status, &of(&made), now);
    assert_eq!(kept, Ok(Vec::new()));
    let (silver, late) = (status.clone(), spend("1997-01-20T12:00:00Z", 10_000));
    let spends = of(&[made[0], made[1], late]);
    // Whether gold would be over by now, or soon.
    for now in ["1998-09-01T00:00:00Z", "1998-02-01T00:00:00Z"] {
        let late = (late, moment(now));
        let lifts = credit(&program, scheme, &mut status, (&silver, &spends), late);
        assert_eq!((lifts, &status), (Ok(Vec::new()), &silver), "{now}");
    }
}

proptest::proptest! {
    #[test]
    fn a_late_purchase_gives_what_it_would_have_given_in_time(
        purchases in proptest::collection::vec((0_i64..1_500 * 24, 1_i64..9_000), 2..60),
        (judged_hours, now_hours) in (0_i64..400 * 24, 0_i64..400 * 24),
    ) {
        let program = record_club();
        let scheme = program.tiers.as_ref().expect("tiers");
        let begin = moment("1996-01-01T00:00:00Z");
        let after = |begin: Timestamp, hours: i64| {
            Timestamp::from_micros(begin.micros() + hours * 3_600_000_000).expect("in range")
        };
        let mut made: Vec<Spend> = purchases.iter().map(|(hours, minor_units)| Spend {
            at: after(begin, *hours),
            minor_units: *minor_units,
        }).collect();
        let late = made.pop().expect("there are two at the least");
        made.sort_by_key(|spend| spend.at);
        let (mut status, mut had) = judged(&program, scheme, &made);
        let judged_at = after(made[made.len() - 1].at, judged_hours);
        let falls = advance(&program, scheme, &mut status, &of(&made), judged_at);
        had.extend(falls.expect("all is read").into_iter().map(|change| change.status));
        let now = after(judged_at.max(late.at), now_hours);
        // Who is to be judged before the purchase is.
        let mut all = made.clone();
        all.push(late);
        let falls = advance(&program, scheme, &mut status, &of(&all), late.at);
        had.extend(falls.expect("all is read").into_iter().map(|change| change.status));
        let held = had.iter().rev().find(|status| status.since <= Some(late.at));
        let before = if status.since <= Some(late.at) {
            status.clone()
        } else {
            held.cloned().unwrap_or_else(|| Status::beginning(scheme))
        };
        // Stored by day, and read by day as far as that is asked for.
        let mut spends = Spends::default();
        for spend in &made {
            spends.add_day(Day::of(spend.at), spend.minor_units);
        }
        spends.add(late);
        let known = status.clone();
        let lifts = loop {
            match credit(&program, scheme, &mut status, (&before, &spends), (late, now)) {
                Ok(lifts) => break lifts,
                Err(DayNeeded(day)) => {
                    let of_day = made.iter().filter(|spend| Day::of(spend.at) == day);
                    spends.read_day(day, of_day.copied());
                }
            }
        };
        let first = scheme.first_evaluation(late.at, &program.calendar.zone);
        let next = scheme.next_evaluation(late.at, &program.calendar.zone);
        let is_late = known.since > Some(late.at)
            || known.evaluate_at > Some(first.max(next))
            || made.iter().any(|spend| spend.at > late.at);
        let until = if is_late { now } else { late.at };
        let ranks = |status: &Status| rank(scheme, status);
        let expected = in_order(&program, &all, &before, (late.at, until));
        let without = in_order(&program, &made, &before, (late.at, until));
        let mut otherwise = known.clone();
        advance(&program, scheme, &mut otherwise, &of(&all), until).expect("all is read");
        let least = if is_late {
            ranks(&known).max(ranks(&without)).max(ranks(&otherwise))
        } else {
            ranks(&known)
        };
        let end = otherwise.evaluate_at.filter(|end| is_late && expected.evaluate_at < Some(*end));
        let ends_lower = end.and_then(|end| end.checked_sub(MICROSECOND)).is_some_and(|end| {
            let then = in_order(&program, &all, &before, (late.at, end));
            ranks(&then) < ranks(&otherwise)
        });
        if ranks(&expected) > least && !ends_lower {
            proptest::prop_assert_eq!(&status.tier, &expected.tier);
            proptest::prop_assert_eq!(status.evaluate_at, expected.evaluate_at);
            proptest::prop_assert_eq!(&lifts[0].previous, &known.tier);
            proptest::prop_assert_eq!(&lifts[lifts.len() - 1].status, &status);
            let mut since = known.since;
            for change in lifts {
                proptest::prop_assert!(change.status.since >= since);
                proptest::prop_assert!(change.status.tier != change.previous);
                since = change.status.since;
            }
        } else {
            proptest::prop_assert_eq!((lifts, status), (Vec::new(), known));
        }
    }
}
