//! What other rules mean.

use std::collections::BTreeMap;

use fealty_types::RuleId;

use super::{RuleText, caps, formula};
use crate::{
    Effect,
    sections::{
        activities::{OrActivity, PurchaseWord},
        currencies, expiry,
    },
    words::{Words, each},
};

/// What a rule is asked of, in words.
fn asked_of(on: &OrActivity<PurchaseWord>) -> String {
    match on {
        OrActivity::Word(PurchaseWord::Purchase) => "each purchase".to_owned(),
        OrActivity::Activity(name) => format!("each `{}`", name.0),
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
                let (gives, on) = (formula::told(&rule.earn), asked_of(&rule.on));
                let message = format!("`{id}` is new: for {on} it gives {gives}");
                words.say(Effect::MembersGain, path, message);
            }
            (Some(rule), None) => {
                let gives = formula::told(&rule.earn);
                let message = format!("`{id}` gives no more; it gave {gives}");
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
        let message = "rules stand in another order, by which they round together, and groups and \
                       caps go";
        words.say(Effect::Depends, "earning", message.to_owned());
    }
}

/// What another form of a rule means.
fn rule(path: &str, (before, after): (&RuleText, &RuleText), words: &mut Words) {
    let id = after.rule.as_str();
    if before.on != after.on {
        let (was, is) = (asked_of(&before.on), asked_of(&after.on));
        let message = format!("`{id}` is asked of {is} instead of {was}");
        words.say(Effect::Depends, format!("{path}.on"), message);
    }
    formula::meaning(path, id, (&before.earn, &after.earn), words);
    let mut there = |field: &str, texts, (now, no_more): (&str, &str), has| {
        let (now, no_more) = (format!("`{id}` {now}"), format!("`{id}` {no_more}"));
        words.there_or_not(format!("{path}.{field}"), texts, (&now, &no_more, has));
    };
    let when = (before.when.as_ref(), after.when.as_ref());
    let said = ("holds only if", "no longer asks whether");
    there("when", when, said, Effect::MembersLose);
    let lines = (before.lines.as_ref(), after.lines.as_ref());
    let said = (
        "is only about lines of which",
        "is no longer only about lines of which",
    );
    there("lines", lines, said, Effect::MembersLose);
    dates(path, id, (before, after), words);
    caps::meaning(path, id, (&before.caps, &after.caps), words);
    let budget = (before.budget.as_ref(), after.budget.as_ref());
    let said = (
        format!("`{id}` takes its points from the budget"),
        format!("`{id}` no longer takes its points from the budget"),
    );
    let has = (&*said.0, &*said.1, Effect::MembersLose);
    words.there_or_not(format!("{path}.budget"), budget, has);
    let funded = (before.funded_by.as_ref(), after.funded_by.as_ref());
    let said = (
        format!("`{id}` has its points borne by"),
        format!("`{id}` no longer has its points borne by"),
    );
    let has = (&*said.0, &*said.1, Effect::Depends);
    words.there_or_not(format!("{path}.funded_by"), funded, has);
    let group = (before.group.as_ref(), after.group.as_ref());
    let said = (
        format!("`{id}` is one of the group"),
        format!("`{id}` is no longer one of the group"),
    );
    let has = (&*said.0, &*said.1, Effect::MembersLose);
    words.there_or_not(format!("{path}.group"), group, has);
    let activates = (before.activates.as_ref(), after.activates.as_ref());
    currencies::waiting(&format!("{path}.activates"), id, activates, words);
    let expires = (before.expires.as_ref(), after.expires.as_ref());
    expiry::meaning(&format!("{path}.expires"), id, expires, words);
}

/// When it holds: later is worse of its beginning, and better of its end.
fn dates(path: &str, id: &str, (before, after): (&RuleText, &RuleText), words: &mut Words) {
    let (path_from, path_until) = (format!("{path}.from"), format!("{path}.until"));
    let (begins, ends) = (format!("`{id}` begins"), format!("`{id}` ends"));
    let begins_no_more = format!("`{id}` no longer waits for");
    let ends_no_more = format!("`{id}` no longer ends");
    match (&before.from, &after.from) {
        (Some(was), Some(is)) => words.less_is_better(path_from, (was, is), &begins),
        (was, is) => {
            let from = (was.as_ref(), is.as_ref());
            words.there_or_not(
                path_from,
                from,
                (&begins, &begins_no_more, Effect::MembersLose),
            );
        }
    }
    match (&before.until, &after.until) {
        (Some(was), Some(is)) => words.more_is_better(path_until, (was, is), &ends),
        (was, is) => {
            let until = (was.as_ref(), is.as_ref());
            words.there_or_not(
                path_until,
                until,
                (&ends, &ends_no_more, Effect::MembersLose),
            );
        }
    }
}
