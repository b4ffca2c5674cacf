//! What a rule reads of the member's numbers once some of a purchase has come back.

use super::Builder;
use crate::{
    cel::{Number, NumberName},
    rule::{Adds, Cap, Formula, Rule},
};

/// The slots that are read of a purchase for a rule's sake whatever it gives: of what is left
/// after a return it may give otherwise, and then by the numbers of the purchase. `None`
/// where it cannot.
pub(super) fn reads(rule: &Rule, of: &Builder) -> Option<Box<[u16]>> {
    let Builder {
        rules,
        selections,
        counters,
        budgets,
        ..
    } = of;
    let mut varies = rule.group.is_some();
    let mut reads = Vec::new();
    let counter_of = |counter: u16| &counters[usize::from(counter)];
    let mut heard = |name: NumberName| {
        varies |= name.varies_with_what_is_left();
        if let NumberName::Counter(counter) | NumberName::CounterAfter(counter) = name {
            reads.push(counter_of(counter).slot);
        }
    };
    rule.when.each_number(&mut heard);
    if let Some(selection) = rule.lines {
        selections[usize::from(selection)].each_number(&mut heard);
    }
    match &rule.formula {
        Formula::Fixed {
            times: Some(times), ..
        } => times.each_number(&mut heard),
        Formula::Bands { counter, .. } => reads.push(counter_of(*counter).slot),
        Formula::Multiply { base, .. } => varies |= rules[usize::from(*base)].reads.is_some(),
        Formula::Rate { .. }
        | Formula::Fixed { times: None, .. }
        | Formula::Share { .. }
        | Formula::Convert { .. } => {}
    }
    if let Some(kept) = rule.edge {
        let counter = counter_of(kept.edge.counter);
        varies |= may_add_more(&counter.adds);
        reads.extend([counter.slot, kept.standing]);
        reads.extend(kept.beyond);
    }
    let of_caps = rule.caps.iter().filter_map(|cap| match cap {
        Cap::PerMember(_, slot) => Some(*slot),
        Cap::PerEvent(_) => None,
    });
    reads.extend(of_caps);
    let budget = rule.budget.map(|budget| budgets[usize::from(budget)].slot);
    reads.extend(budget);
    reads.sort_unstable();
    reads.dedup();
    varies.then(|| reads.into())
}

/// Whether less of a purchase may add more to a counter.
fn may_add_more(adds: &Adds) -> bool {
    let (Adds::Purchase { when, add } | Adds::Line { when, add }) = adds else {
        return false;
    };
    let mut varies = !matches!(add, Number::Known(_) | Number::Name(_));
    when.each_number(&mut |name| varies |= name.varies_with_what_is_left());
    varies
}
