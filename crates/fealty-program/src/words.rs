//! Words for what a change of a programme means; each section finds its own.

use std::{cmp::Ordering, collections::BTreeMap, fmt};

use crate::{Period, sections::figure::Figure};

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

impl Effect {
    /// The other way round.
    pub(crate) fn turned(self) -> Self {
        match self {
            Self::MembersGain => Self::MembersLose,
            Self::MembersLose => Self::MembersGain,
            Self::Depends => Self::Depends,
        }
    }

    /// Of what is the more the better for members; `None` where the two cannot be compared.
    pub(crate) fn of_more(order: Option<Ordering>) -> Self {
        match order {
            Some(Ordering::Greater) => Self::MembersGain,
            Some(Ordering::Less) => Self::MembersLose,
            Some(Ordering::Equal) | None => Self::Depends,
        }
    }
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

/// How it is told of something that it is there.
pub(crate) struct Told<'a> {
    /// That it is there: `is` comes before it.
    pub(crate) is: &'a str,
    /// That it is no longer there: `was` comes before what was.
    pub(crate) was: &'a str,
    /// For whom it is good that it is there.
    pub(crate) good: Effect,
}

/// Characters of a text of the file that a sentence repeats.
const QUOTED_MAX: usize = 200;

/// What was said so far.
#[derive(Default)]
pub(crate) struct Words(pub(crate) Vec<Meaning>);

impl Words {
    pub(crate) fn say(&mut self, effect: Effect, path: impl Into<String>, message: String) {
        self.0.push(Meaning {
            path: path.into(),
            message,
            effect,
        });
    }

    /// Says that something is another thing now, if it is: more of it is better for members.
    pub(crate) fn more_is_better<T: PartialOrd + fmt::Display>(
        &mut self,
        path: impl Into<String>,
        (before, after): (T, T),
        what: &str,
    ) {
        let order = after.partial_cmp(&before);
        if order == Some(Ordering::Equal) {
            return;
        }
        let message = format!("{what} {after} instead of {before}");
        self.say(Effect::of_more(order), path, message);
    }

    /// The same of something of which less is better.
    pub(crate) fn less_is_better<T: PartialOrd + fmt::Display>(
        &mut self,
        path: impl Into<String>,
        (before, after): (T, T),
        what: &str,
    ) {
        let order = before.partial_cmp(&after);
        if order == Some(Ordering::Equal) {
            return;
        }
        let message = format!("{what} {after} instead of {before}");
        self.say(Effect::of_more(order), path, message);
    }

    /// Says that something is there now, is no longer there, or is another thing.
    pub(crate) fn there_or_not<T: PartialEq + fmt::Display>(
        &mut self,
        path: impl Into<String>,
        (before, after): (Option<&T>, Option<&T>),
        told: &Told<'_>,
    ) {
        let Told { is, was, good } = told;
        match (before, after) {
            (None, Some(after)) => self.say(*good, path, format!("{is} {}", quoted(after))),
            (Some(before), None) => {
                self.say(good.turned(), path, format!("{was} {}", quoted(before)));
            }
            (Some(before), Some(after)) if before != after => {
                let (after, before) = (quoted(after), quoted(before));
                let message = format!("{is} {after} instead of {before}");
                self.say(Effect::Depends, path, message);
            }
            _ => {}
        }
    }
}

/// A text of the file, cut where it is long.
pub(crate) fn quoted(text: &impl fmt::Display) -> String {
    let text = text.to_string();
    match text.char_indices().nth(QUOTED_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A figure of the file as an exact fraction.
pub(crate) struct Exact<'a>(pub(crate) &'a Figure);

impl PartialEq for Exact<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(Ordering::Equal)
    }
}

impl PartialOrd for Exact<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        let (own, other) = (fraction(self.0)?, fraction(other.0)?);
        order(own, other)
    }
}

impl fmt::Display for Exact<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A fraction: above the line, and below it.
pub(crate) type Fraction = (i128, i128);

/// A figure as a fraction; `None` where it is none.
pub(crate) fn fraction(figure: &Figure) -> Option<Fraction> {
    let ratio = figure.ratio()?;
    Some((ratio.numerator.into(), ratio.denominator.into()))
}

/// Which of two fractions is larger; `None` where they have too many digits for that.
pub(crate) fn order(one: Fraction, other: Fraction) -> Option<Ordering> {
    let left = one.0.checked_mul(other.1)?;
    Some(left.cmp(&other.0.checked_mul(one.1)?))
}

/// Which of two periods is longer; `None` where that depends on the months.
pub(crate) fn longer(one: &str, other: &str) -> Option<Ordering> {
    let (one, other) = (Period::parse(one)?, Period::parse(other)?);
    let order = match (one, other) {
        (Period::Days(one), Period::Days(other)) | (Period::Months(one), Period::Months(other)) => {
            one.cmp(&other)
        }
        _ if one.days_at_least() > other.days_at_most() => Ordering::Greater,
        _ if one.days_at_most() < other.days_at_least() => Ordering::Less,
        _ => return None,
    };
    Some(order)
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
