//! Words for what a change of a programme means; each section finds its own.

use std::{cmp::Ordering, collections::BTreeMap, fmt};

use crate::sections::figure::Figure;

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
