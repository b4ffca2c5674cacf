//! What a change of a programme means, in words: "members earn less by `base`". Each section
//! says it of its own; what is not said here stands in the comparison, value by value.

use crate::{
    Meaning, ProgramError,
    sections::{activities, budgets, counters, currencies, earning, refunds, rewards, tiers},
    source,
    words::Words,
};

/// What the changes from one file to another mean, in the order of the sections.
pub fn meanings(before: &str, after: &str) -> Result<Vec<Meaning>, ProgramError> {
    let (before, after) = (source::read(before)?, source::read(after)?);
    let mut words = Words::default();
    currencies::meaning(&before.currencies, &after.currencies, &mut words);
    activities::meaning(&before.activities, &after.activities, &mut words);
    counters::meaning(&before.counters, &after.counters, &mut words);
    budgets::meaning(&before.budgets, &after.budgets, &mut words);
    earning::meaning(&before.earning, &after.earning, &mut words);
    tiers::meaning(before.tiers.as_ref(), after.tiers.as_ref(), &mut words);
    rewards::meaning(&before.rewards, &after.rewards, &mut words);
    refunds::meaning(before.refunds.as_ref(), after.refunds.as_ref(), &mut words);
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
                &["+ `base` gives, for each 1.00, 12.5 instead of 10"],
            ),
            (
                CLUB,
                &[("gold: \"1.50\", ", "gold: \"1.40\", ")],
                &["- `tier-bonus` has for gold 1.40 instead of 1.50"],
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
                    "~ points that come back and were spent are taken from other points, as far as those reach; so far they are taken from other points, and what is missing is owed",
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
                &["+ `hello` is new: for each `moved` it gives 50 points"],
            ),
            (
                CARD,
                &[("\"0.00\": 5, ", "\"0.00\": 4, ")],
                &["~ `restaurants` reckons points for each 1.00 by `restaurants` otherwise"],
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
