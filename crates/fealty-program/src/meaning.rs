//! What a change of a programme means, in words: "members earn less by `base`". Each section
//! says it of its own; what is not said here stands in the comparison, value by value.

use crate::{
    Meaning, ProgramError,
    sections::{
        activities, adjustments, attributes, brands, budgets, calendar, counters, currencies,
        earning, personal, referrals, refunds, rewards, tiers,
    },
    source,
    words::Words,
};

/// What the changes from one file to another mean, in the order of the sections.
pub fn meanings(before: &str, after: &str) -> Result<Vec<Meaning>, ProgramError> {
    let (before, after) = (source::read(before)?, source::read(after)?);
    let mut words = Words::default();
    let (was, is) = (&before, &after);
    calendar::meaning(was.calendar.as_ref(), is.calendar.as_ref(), &mut words);
    currencies::meaning(&was.currencies, &is.currencies, &mut words);
    brands::meaning(&was.brands, &is.brands, &mut words);
    attributes::meaning(was.attributes.as_ref(), is.attributes.as_ref(), &mut words);
    activities::meaning(&was.activities, &is.activities, &mut words);
    counters::meaning(&was.counters, &is.counters, &mut words);
    budgets::meaning(&was.budgets, &is.budgets, &mut words);
    earning::groups_meaning(&was.groups, &is.groups, &mut words);
    earning::meaning(&was.earning, &is.earning, &mut words);
    referrals::meaning(was.referrals.as_ref(), is.referrals.as_ref(), &mut words);
    tiers::meaning(was.tiers.as_ref(), is.tiers.as_ref(), &mut words);
    rewards::meaning(&was.rewards, &is.rewards, &mut words);
    refunds::meaning(was.refunds.as_ref(), is.refunds.as_ref(), &mut words);
    adjustments::meaning(
        was.adjustments.as_ref(),
        is.adjustments.as_ref(),
        &mut words,
    );
    personal::meaning(was.personal.as_ref(), is.personal.as_ref(), &mut words);
    Ok(words.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Effect;

    const CLUB: &str = include_str!("../../../examples/programs/record-club.yaml");
    const CARD: &str = include_str!("../../../examples/programs/charge-card.yaml");

    /// What changes of a file mean: a sign for whom each is good, and what is said.
    fn told(file: &str, changes: &[(&str, &str)]) -> Vec<String> {
        let mut after = file.to_owned();
        for (from, to) in changes {
            assert!(after.contains(from), "{from}");
            after = after.replacen(from, to, 1);
        }
        crate::Program::parse(&after).unwrap_or_else(|errors| panic!("{errors}"));
        let said = meanings(file, &after).expect("both are right");
        let said = said.into_iter().map(|meaning| {
            let sign = match meaning.effect {
                Effect::MembersGain => '+',
                Effect::MembersLose => '-',
                Effect::Depends => '~',
            };
            format!("{sign} {}", meaning.message)
        });
        said.collect()
    }

    /// A file, what is replaced in it by what, and what that means.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of changes")]
    fn a_change_is_told_in_words() {
        let cases: &[Case<'_>] = &[
            (CLUB, &[], &[]),
            (
                CLUB,
                &[("points: 10, ", "points: \"12.5\", ")],
                &["+ `base` gives 12.5 for each 1.00 instead of 10"],
            ),
            (
                CLUB,
                &[("gold: \"1.50\", ", "gold: \"1.40\", ")],
                &["- `tier-bonus` multiplies for gold by 1.40 instead of 1.50"],
            ),
            (
                CLUB,
                &[("after: 12 months", "after: 6 months")],
                &["- points of `points` expire after 6 months instead of after 12 months"],
            ),
            (
                CLUB,
                &[(
                    "expires: { after: 12 months, round_to: end_of_month }",
                    "activates: { after: 14 days }",
                )],
                &[
                    "+ points of `points` no longer expire after 12 months",
                    "- points of `points` wait 14 days",
                ],
            ),
            (
                CLUB,
                &[
                    ("gold, from: \"300.00\"", "gold, from: \"400.00\""),
                    ("stock: 300", "stock: 200"),
                ],
                &[
                    "- `gold` is reached from 400.00 instead of 300.00",
                    "- of `concert-evening` there are 200 instead of 300",
                ],
            ),
            (
                CLUB,
                &[(
                    "on: purchase\n",
                    "on: purchase\n    lines: 'line.category != \"gift-card\"'\n    until: 2027-01-01\n",
                )],
                &[
                    "- `base` is only about lines of which line.category != \"gift-card\"",
                    "- `base` ends 2027-01-01",
                ],
            ),
            (
                CARD,
                &[
                    ("points: 5000 } ]", "points: 9000 } ]"),
                    ("policy: debt", "policy: balance"),
                ],
                &[
                    "+ `moved-house` gives 9000 instead of 5000 points at the most for a member since activity.moved",
                    "+ points that a return takes back and that were spent are taken from other points, as far as those reach; so far they are taken from other points, and what is missing is owed",
                ],
            ),
            (
                CARD,
                &[(
                    "    caps: [ { per: member, since: activity.moved, points: 5000 } ]\n",
                    "",
                )],
                &[
                    "+ `moved-house` no longer ends at 5000 points at the most for a member since activity.moved",
                ],
            ),
            // Less for each, though the figure is higher: all of it counts.
            (
                CARD,
                &[(
                    "rate: { points: 3, per: \"1.00\" }",
                    "rate: { points: 4, per: \"2.00\" }",
                )],
                &["- `travel` gives 4 for each 2.00 instead of 3 for each 1.00"],
            ),
            (
                CARD,
                &[(
                    "earn: { multiply: base, by: 5 }",
                    "earn: { currency: points, fixed: 50 }",
                )],
                &["~ `moved-house` gives 50 points instead of a factor of 5 over `base`"],
            ),
            (
                CLUB,
                &[("gold: \"1.50\", ", "")],
                &["- `tier-bonus` multiplies for gold by 1 instead of 1.50"],
            ),
            (
                CLUB,
                &[(
                    "after: 12 months, round_to: end_of_month",
                    "after: 350 days",
                )],
                &[
                    "~ points of `points` expire after 350 days instead of after 12 months",
                    "- points of `points` no longer live on to the end of their last month",
                ],
            ),
            (
                CLUB,
                &[("window: 365 days", "window: 12 months")],
                &["~ what counts for tiers is that of the last 12 months instead of 365 days"],
            ),
            (
                CARD,
                &[
                    (
                        "price: { currency: points, points: 1000 }",
                        "price: { currency: points, points: 900 }",
                    ),
                    (
                        "    earn: { currency: points, rate: { points: 3, per: \"1.00\" } }\n",
                        "    from: 2026-11-01\n    expires: { after: 2 years }\n    earn: { currency: points, rate: { points: 3, per: \"1.00\", of: gross } }\n",
                    ),
                ],
                &[
                    "~ `travel` gives points that expire, whatever their currency says, after 2 years",
                    "- `travel` begins 2026-11-01",
                    "+ `statement-credit` costs 900 instead of 1000",
                ],
            ),
            (
                CARD,
                &[("over: { last: 90 days }", "over: { last: 60 days }")],
                &["~ `moves` counts otherwise: it is another counter, and begins at zero"],
            ),
            (
                CARD,
                &[(
                    "  - rule: travel\n",
                    "  - { rule: hello, on: activity.moved, earn: { currency: points, fixed: 50 } }\n  - rule: travel\n",
                )],
                &["+ `hello` is new: 50 points for each `moved`"],
            ),
            (
                CLUB,
                &[(
                    "tiers:\n",
                    "referrals: { brand: record-shop, returns_within: 30 days }\ntiers:\n",
                )],
                &["+ members may bring others, by codes"],
            ),
            (
                CARD,
                &[("\"0.00\": 5, ", "\"0.00\": 4, ")],
                &["~ `restaurants` gives points for each 1.00 by `restaurants`, by other bands"],
            ),
        ];
        for (file, changes, expected) in cases {
            // Examples go by figures that are changed here.
            let file = file.split("\nexamples:").next().expect("one");
            assert_eq!(told(file, changes), *expected, "{changes:?}");
            // The other way round it is the other way round.
            let after = changes.iter().fold(file.to_owned(), |after, (from, to)| {
                after.replacen(from, to, 1)
            });
            let back = meanings(&after, file).expect("both are right");
            assert_eq!(back.len(), expected.len(), "{changes:?}");
        }
    }
}
