//! What another formula of a rule means.

use std::{cmp::Ordering, collections::BTreeMap};

use super::{EarnText, MoneyOf, MultipliedOfText, OfText, RateText, TierAsOfText};
use crate::{
    Effect,
    sections::figure::Figure,
    words::{Exact, Fraction, Told, Words, each, fraction, order, quoted, same},
};

/// What a rule gives, in words.
pub(in super::super) fn told(text: &EarnText) -> String {
    let currency = text.currency.as_ref();
    let currency = currency.map_or(String::new(), |currency| format!(" {currency}"));
    if let Some(rate) = &text.rate {
        let RateText { points, per, .. } = rate;
        return format!("{points}{currency} for each {per}");
    }
    if let Some(bands) = &text.bands {
        let (by, per) = (&bands.by, &bands.per);
        return format!("points for each {per} by `{by}`");
    }
    if let Some(base) = &text.multiply {
        let by = text.by.as_ref();
        let by = by.map_or("a factor by tier".to_owned(), |by| {
            format!("a factor of {by}")
        });
        return format!("{by} over `{base}`");
    }
    if let Some(counter) = text.of_counter() {
        return match (&text.by, &text.steps) {
            (Some(by), _) => format!("{by} of `{counter}`"),
            (None, Some(steps)) => format!("a part of `{counter}` by `{}`", steps.by.0),
            (None, None) => format!("as many points as `{counter}`"),
        };
    }
    match (text.fixed, &text.times) {
        (Some(points), Some(times)) => {
            format!("{points}{currency}, times {}", quoted(times))
        }
        (Some(points), None) => format!("{points}{currency}"),
        _ => "nothing".to_owned(),
    }
}

/// What another formula of a rule means.
pub(in super::super) fn meaning(
    path: &str,
    id: &str,
    (before, after): (&EarnText, &EarnText),
    words: &mut Words,
) {
    let path = format!("{path}.earn");
    let kind = |text: &EarnText| {
        (
            text.rate.is_some(),
            text.bands.is_some(),
            text.fixed.is_some(),
            text.multiply.clone(),
            text.of_counter().cloned(),
        )
    };
    let is_another = kind(before) != kind(after)
        || before.currency != after.currency
        || !same(&before.bands, &after.bands)
        || !same(&before.steps, &after.steps)
        || (after.of_counter().is_some() && !same(&before.by, &after.by));
    if is_another {
        let (was, is) = (told(before), told(after));
        let message = if was == is {
            let by = if after.bands.is_some() {
                "bands"
            } else {
                "steps"
            };
            format!("`{id}` gives {is}, by other {by}")
        } else {
            format!("`{id}` gives {is} instead of {was}")
        };
        words.say(Effect::Depends, &*path, message);
    } else if let (Some(was), Some(is)) = (&before.rate, &after.rate) {
        rate_meaning(&format!("{path}.rate"), id, (was, is), words);
    } else if let (Some(was), Some(is)) = (before.fixed, after.fixed) {
        words.more_is_better(format!("{path}.fixed"), (was, is), &format!("`{id}` gives"));
        let times = (before.times.as_ref(), after.times.as_ref());
        let said = Told {
            is: &format!("`{id}` gives that as often as"),
            was: &format!("`{id}` gives that once, and no longer as often as"),
            good: Effect::Depends,
        };
        words.there_or_not(format!("{path}.times"), times, &said);
    } else if after.multiply.is_some() {
        factor_meaning(&path, id, (before, after), words);
    }
    let at_start = |text: &EarnText| matches!(text.tier_as_of, Some(TierAsOfText::StartOfDay));
    if at_start(before) != at_start(after) {
        let message = "another moment decides which tier counts, for all rules".to_owned();
        words.say(Effect::Depends, format!("{path}.tier_as_of"), message);
    }
}

/// Points for each so much money, as a fraction of minor figures.
fn points_per(points: &Figure, per: &Figure) -> Option<Fraction> {
    let ((points, of_points), (per, of_per)) = (fraction(points)?, fraction(per)?);
    Some((points.checked_mul(of_per)?, per.checked_mul(of_points)?))
}

/// What another rate means, for whom it gives which.
fn rate_meaning(path: &str, id: &str, (was, is): (&RateText, &RateText), words: &mut Words) {
    let compare = |was_points: &Figure, is_points: &Figure| {
        order(
            points_per(is_points, &is.per)?,
            points_per(was_points, &was.per)?,
        )
    };
    let mut say = |path: String, whom: &str, was_points: &Figure, is_points: &Figure| {
        let order = compare(was_points, is_points);
        if order == Some(Ordering::Equal) {
            return;
        }
        let (per, was_per) = (&is.per, &was.per);
        let message = if same(per, was_per) {
            format!("`{id}` gives{whom} {is_points} for each {per} instead of {was_points}")
        } else {
            format!(
                "`{id}` gives{whom} {is_points} for each {per} instead of {was_points} for each \
                 {was_per}"
            )
        };
        words.say(Effect::of_more(order), path, message);
    };
    say(format!("{path}.points"), "", &was.points, &is.points);
    let none = BTreeMap::new();
    let by_tier = (was.by_tier.as_ref(), is.by_tier.as_ref());
    let (old, new) = (by_tier.0.unwrap_or(&none), by_tier.1.unwrap_or(&none));
    for (tier, was_tier, is_tier) in each(old, new) {
        // Who is not named has what all have.
        let figures = (
            was_tier.unwrap_or(&was.points),
            is_tier.unwrap_or(&is.points),
        );
        let whom = format!(" members of {tier}");
        say(
            format!("{path}.by_tier.{tier}"),
            &whom,
            figures.0,
            figures.1,
        );
    }
    let is_net = |text: &RateText| matches!(text.of, Some(MoneyOf::Net));
    if is_net(was) != is_net(is) {
        let (effect, how) = if is_net(is) {
            (Effect::MembersLose, "gives nothing for tax any more")
        } else {
            (Effect::MembersGain, "gives points for tax too")
        };
        words.say(effect, format!("{path}.of"), format!("`{id}` {how}"));
    }
}

/// What other factors of a multiplier mean.
fn factor_meaning(path: &str, id: &str, (was, is): (&EarnText, &EarnText), words: &mut Words) {
    let one = Figure::of("1");
    let (by_was, by_is) = (
        was.by.as_ref().unwrap_or(&one),
        is.by.as_ref().unwrap_or(&one),
    );
    let what = format!("`{id}` multiplies by");
    words.more_is_better(format!("{path}.by"), (Exact(by_was), Exact(by_is)), &what);
    let none = BTreeMap::new();
    let (old, new) = (
        was.by_tier.as_ref().unwrap_or(&none),
        is.by_tier.as_ref().unwrap_or(&none),
    );
    for (tier, was_tier, is_tier) in each(old, new) {
        let figures = (was_tier.unwrap_or(by_was), is_tier.unwrap_or(by_is));
        let what = format!("`{id}` multiplies for {tier} by");
        let figures = (Exact(figures.0), Exact(figures.1));
        words.more_is_better(format!("{path}.by_tier.{tier}"), figures, &what);
    }
    let rounded = OfText::Word(MultipliedOfText::Rounded);
    let is_rounded = |text: &EarnText| text.of.as_ref() == Some(&rounded);
    if was.compound != is.compound || is_rounded(was) != is_rounded(is) {
        let compound = if is.compound {
            "multiplies what others come to"
        } else {
            "adds its factor to those of others"
        };
        let rounded = if is_rounded(is) { "rounded" } else { "exact" };
        let message = format!("`{id}` {compound}, of what the base gives {rounded}");
        words.say(Effect::Depends, path, message);
    }
}
