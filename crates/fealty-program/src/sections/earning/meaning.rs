//! What other rules mean.

use std::{collections::BTreeMap, fmt::Write as _};

use fealty_types::{GroupId, RuleId};

use super::{PickText, RuleText, caps, convert, formula};
use crate::{
    Effect,
    sections::{
        budgets::{later, until_meaning},
        currencies::told_wait,
        expiry::told_expiry,
    },
    words::{Told, Words, each, quoted, same},
};

/// What a rule gives, and under which conditions, in words.
fn told(rule: &RuleText) -> String {
    let gives = match (&rule.earn, &rule.convert) {
        (Some(earn), _) => formula::told(earn),
        (None, Some(convert)) => convert.told(),
        (None, None) => "nothing".to_owned(),
    };
    let mut told = format!("{gives} for {}", rule.on.told());
    let mut add = |what: &str, text: &str| {
        let _ = write!(told, "{what} {}", quoted(&text));
    };
    if let Some(when) = &rule.when {
        add(", if", when);
    }
    if let Some(lines) = &rule.lines {
        add(", for lines of which", lines);
    }
    if let Some(from) = &rule.from {
        add(", from", from);
    }
    if let Some(until) = &rule.until {
        add(", until", until);
    }
    if let Some(group) = &rule.group {
        add(", as one of the group", group.as_str());
    }
    if let Some(budget) = &rule.budget {
        add(", from the budget", budget.as_str());
    }
    if !rule.caps.is_empty() {
        add(",", "within its caps");
    }
    told
}

/// What other groups mean.
pub(crate) fn groups_meaning(
    before: &BTreeMap<GroupId, PickText>,
    after: &BTreeMap<GroupId, PickText>,
    words: &mut Words,
) {
    for (id, before, after) in each(before, after) {
        if let (Some(before), Some(after)) = (before, after)
            && !same(before, after)
        {
            let message = match after {
                PickText::Best => format!("of the group `{id}` the best rule gives, not the first"),
                PickText::First => {
                    format!("of the group `{id}` the first rule gives, not the best")
                }
            };
            words.say(Effect::Depends, format!("groups.{id}"), message);
        }
    }
}

/// What other rules mean.
pub(crate) fn meaning(before: &[RuleText], after: &[RuleText], words: &mut Words) {
    let by_id = |rules: &'_ [RuleText]| -> BTreeMap<RuleId, usize> {
        let numbered = rules.iter().enumerate();
        numbered.map(|(at, rule)| (rule.rule.clone(), at)).collect()
    };
    let (old, new) = (by_id(before), by_id(after));
    for (id, was, is) in each(&old, &new) {
        let path = format!("earning.{id}");
        match (was.map(|at| &before[*at]), is.map(|at| &after[*at])) {
            (None, Some(rule)) => {
                // Of a group, another one may give nothing now.
                let effect = match rule.group {
                    Some(_) => Effect::Depends,
                    None => Effect::MembersGain,
                };
                words.say(effect, path, format!("`{id}` is new: {}", told(rule)));
            }
            (Some(rule), None) => {
                let message = format!("`{id}` gives no more; it gave {}", told(rule));
                words.say(Effect::MembersLose, path, message);
            }
            (Some(before), Some(after)) => rule(&path, (before, after), words),
            (None, None) => {}
        }
    }
    let kept = |rules: &[RuleText], other: &BTreeMap<RuleId, usize>| -> Vec<RuleId> {
        let kept = rules.iter().map(|rule| rule.rule.clone());
        kept.filter(|id| other.contains_key(id)).collect()
    };
    if kept(before, &new) != kept(after, &old) {
        let message = "rules stand in another order: rounding, groups of which the first gives, and \
                       multipliers go by it";
        words.say(Effect::Depends, "earning", message.to_owned());
    }
}

/// What another form of a rule means.
fn rule(path: &str, (before, after): (&RuleText, &RuleText), words: &mut Words) {
    let id = after.rule.as_str();
    if before.on != after.on {
        let (was, is) = (before.on.told(), after.on.told());
        let message = format!("`{id}` is asked of {is} instead of {was}");
        words.say(Effect::Depends, format!("{path}.on"), message);
    }
    match (&before.earn, &after.earn) {
        (Some(before), Some(after)) => formula::meaning(path, id, (before, after), words),
        (None, None) => {}
        (was, is) => {
            let how = |earn: &Option<_>| if earn.is_some() { "gives" } else { "converts" };
            let message = format!("`{id}` {} points, and no longer {}", how(is), how(was));
            words.say(Effect::Depends, path, message);
        }
    }
    if let (Some(before), Some(after)) = (&before.convert, &after.convert) {
        convert::meaning(&format!("{path}.convert"), id, (before, after), words);
    }
    has_or_not(path, id, (before, after), words);
    let until = (before.until.as_ref(), after.until.as_ref());
    from_meaning(
        &format!("{path}.from"),
        id,
        (before.from.as_ref(), after.from.as_ref()),
        words,
    );
    until_meaning(&format!("{path}.until"), id, until, words);
    caps::meaning(path, id, (&before.caps, &after.caps), words);
}

/// A field of a rule in words, where it has it.
type Field = (
    &'static str,
    fn(&RuleText) -> Option<String>,
    Effect,
    &'static str,
    &'static str,
);

/// What a rule may have or not: how it is told that it has it, and that it has it no more.
const FIELDS: [Field; 7] = [
    (
        "when",
        |rule| rule.when.clone(),
        Effect::MembersLose,
        "gives only if",
        "no longer asks whether",
    ),
    (
        "lines",
        |rule| rule.lines.clone(),
        Effect::MembersLose,
        "is only about lines of which",
        "is no longer only about lines of which",
    ),
    (
        "budget",
        |rule| rule.budget.as_ref().map(ToString::to_string),
        Effect::MembersLose,
        "takes its points from the budget",
        "no longer takes its points from the budget",
    ),
    (
        "funded_by",
        |rule| rule.funded_by.as_ref().map(ToString::to_string),
        Effect::Depends,
        "has its points borne by",
        "no longer has its points borne by",
    ),
    (
        "group",
        |rule| rule.group.as_ref().map(ToString::to_string),
        Effect::Depends,
        "is one of the group",
        "is no longer one of the group",
    ),
    (
        "activates",
        |rule| rule.activates.as_ref().map(told_wait),
        Effect::Depends,
        "gives points that wait, whatever their currency says,",
        "gives points that become available as their currency says, and no longer wait",
    ),
    (
        "expires",
        |rule| rule.expires.as_ref().map(told_expiry),
        Effect::Depends,
        "gives points that expire, whatever their currency says,",
        "gives points that expire as their currency says, and no longer",
    ),
];

/// What it means that a rule has something now, or no longer.
fn has_or_not(path: &str, id: &str, (before, after): (&RuleText, &RuleText), words: &mut Words) {
    for (field, of, good, is, was) in FIELDS {
        let told = Told {
            is: &format!("`{id}` {is}"),
            was: &format!("`{id}` {was}"),
            good,
        };
        let texts = (of(before), of(after));
        let texts = (texts.0.as_ref(), texts.1.as_ref());
        words.there_or_not(format!("{path}.{field}"), texts, &told);
    }
}

/// What another beginning means: earlier is better.
fn from_meaning(
    path: &str,
    id: &str,
    (before, after): (Option<&String>, Option<&String>),
    words: &mut Words,
) {
    if let (Some(was), Some(is)) = (before, after) {
        let order = later(was, is);
        if order != Some(std::cmp::Ordering::Equal) {
            let message = format!("`{id}` begins {is} instead of {was}");
            words.say(Effect::of_more(order), path, message);
        }
        return;
    }
    let told = Told {
        is: &format!("`{id}` begins"),
        was: &format!("`{id}` no longer begins only"),
        good: Effect::MembersLose,
    };
    words.there_or_not(path, (before, after), &told);
}
