//! What a change of a programme means, in words: "members earn less by `base`". Each section
//! says it of its own; what is not said here stands in the comparison, value by value.

use std::{cmp::Ordering, collections::BTreeMap, fmt};

use crate::{
    ProgramError,
    sections::{
        activities, budgets, counters, currencies, earning, figure::Figure, refunds, rewards, tiers,
    },
    source,
};

/// For whom a change is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Members get more, or sooner, or keep it for longer.
    MembersGain,
    /// Members get less, or later, or for a shorter time.
    MembersLose,
    /// It depends, or is nothing to members.
    Depends,
}

/// What a change means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// Where in the file, such as `earning.base.earn`.
    pub path: String,
    /// What it means, in one sentence.
    pub message: String,
    /// For whom it is good.
    pub effect: Effect,
}

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

/// What was said so far.
#[derive(Default)]
pub(crate) struct Words(Vec<Meaning>);

impl Words {
    pub(crate) fn say(&mut self, effect: Effect, path: impl Into<String>, message: String) {
        self.0.push(Meaning {
            path: path.into(),
            message,
            effect,
        });
    }

    /// How much was said.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Of what is the more the better for members: says that it is another, if it is.
    pub(crate) fn more_is_better<T: PartialOrd + fmt::Display>(
        &mut self,
        path: impl Into<String>,
        (before, after): (T, T),
        what: &str,
    ) {
        let effect = match after.partial_cmp(&before) {
            Some(Ordering::Equal) => return,
            Some(Ordering::Greater) => Effect::MembersGain,
            Some(Ordering::Less) => Effect::MembersLose,
            None => Effect::Depends,
        };
        self.say(effect, path, format!("{what} {after} instead of {before}"));
    }

    /// The same of what is the less the better.
    pub(crate) fn less_is_better<T: PartialOrd + fmt::Display>(
        &mut self,
        path: impl Into<String>,
        (before, after): (T, T),
        what: &str,
    ) {
        let at = self.0.len();
        self.more_is_better(path, (before, after), what);
        for said in &mut self.0[at..] {
            said.effect = said.effect.turned();
        }
    }

    /// Of what may be there or not: how it is said that it is, and that it is no more; `has` is
    /// what it means for members that it is.
    pub(crate) fn there_or_not<T: PartialEq + fmt::Display>(
        &mut self,
        path: impl Into<String>,
        (before, after): (Option<&T>, Option<&T>),
        (now, no_more, has): (&str, &str, Effect),
    ) {
        match (before, after) {
            (None, Some(after)) => self.say(has, path, format!("{now} {after}")),
            (Some(before), None) => {
                self.say(has.turned(), path, format!("{no_more} {before}"));
            }
            (Some(before), Some(after)) if before != after => {
                let message = format!("{now} {after} instead of {before}");
                self.say(Effect::Depends, path, message);
            }
            _ => {}
        }
    }
}

impl Effect {
    /// The other way round.
    pub(crate) fn turned(self) -> Self {
        match self {
            Self::MembersGain => Self::MembersLose,
            Self::MembersLose => Self::MembersGain,
            Self::Depends => Self::Depends,
        }
    }
}

/// A figure that can be compared: as it was written, and exactly.
pub(crate) struct Amount<'a>(pub(crate) &'a Figure);

impl PartialEq for Amount<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(Ordering::Equal)
    }
}

impl PartialOrd for Amount<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let (own, other) = (self.0.ratio()?, other.0.ratio()?);
        let cross =
            |numerator: i64, denominator: i64| i128::from(numerator) * i128::from(denominator);
        let own_side = cross(own.numerator, other.denominator);
        Some(own_side.cmp(&cross(other.numerator, own.denominator)))
    }
}

impl fmt::Display for Amount<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What two maps have of each key, in order.
pub(crate) fn each<'a, K: Ord, V>(
    before: &'a BTreeMap<K, V>,
    after: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, Option<&'a V>, Option<&'a V>)> {
    let new = after.keys().filter(|key| !before.contains_key(*key));
    let mut keys: Vec<&K> = before.keys().chain(new).collect();
    keys.sort_unstable();
    keys.into_iter()
        .map(|key| (key, before.get(key), after.get(key)))
}

/// Whether two forms say the same.
pub(crate) fn same<T: serde::Serialize>(one: &T, other: &T) -> bool {
    serde_json::to_value(one).ok() == serde_json::to_value(other).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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
