//! What rules do that their writer may not expect.

use fealty_types::RuleId;

use crate::{
    cel::{Bool, Number},
    rule::{Cap, Formula, Limit, Pick, Rule, Rules},
};

/// Something that a rule does and its writer may not expect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The rule.
    pub rule: RuleId,
    /// The field, such as `when`.
    pub field: &'static str,
    /// What happens.
    pub message: String,
}

impl Rules {
    /// What rules do that their writer may not expect, in their order.
    #[must_use]
    pub fn notes(&self) -> Vec<Note> {
        let mut notes = Vec::new();
        for (at, rule) in self.rules.iter().enumerate() {
            let mut note = |field, message| {
                notes.push(Note {
                    rule: rule.id.clone(),
                    field,
                    message,
                });
            };
            if let Some(other) = self.shadowing(at, rule) {
                let message = format!(
                    "never gives anything: of the group the first that holds gives, and `{other}` \
                     holds whenever this one does"
                );
                note("group", message);
            }
            if out_of_reach(rule) {
                let message = "is never reached: a purchase gives no more than that by this rule";
                note("caps", message.to_owned());
            }
            if gives_more_for_less(&rule.when) {
                let message = "gives more for less: who buys more does not get it. A return keeps \
                               what the purchase had, and never gets more by it";
                note("when", message.to_owned());
            }
            if never_holds(&rule.when) {
                note("when", "never holds".to_owned());
            }
        }
        notes
    }

    /// The rule before it in its group that holds whenever it does, where the first gives.
    fn shadowing(&self, at: usize, rule: &Rule) -> Option<&RuleId> {
        let group = rule.group?;
        if self.groups[usize::from(group)].pick != Pick::First {
            return None;
        }
        let mut before = self.rules[..at].iter();
        let shadow = before.find(|other| other.group == Some(group) && holds_with(other, rule));
        shadow.map(|other| &other.id)
    }
}

/// Whether a rule holds whenever another does.
fn holds_with(rule: &Rule, other: &Rule) -> bool {
    let begins = rule
        .from
        .is_none_or(|from| other.from.is_some_and(|other| from <= other));
    let ends = rule
        .until
        .is_none_or(|until| other.until.is_some_and(|other| other <= until));
    let lines = rule.lines.is_none() || rule.lines == other.lines;
    // What is issued by another brand may be given where this one is not.
    let issued = rule.funded_by.is_some() || other.funded_by.is_none();
    let budgets = rule.budget.is_none();
    let conditions = other.when.conjuncts();
    let holds = |part: &Bool| *part == Bool::Known(true) || conditions.contains(part);
    // What is given by bands is not given to what comes too late.
    let needs_counts = |rule: &Rule| matches!(rule.formula, Formula::Bands { .. });
    let in_time = !needs_counts(rule) || needs_counts(other);
    begins
        && ends
        && in_time
        && lines
        && issued
        && budgets
        && rule.edge.is_none()
        && rule.caps.is_empty()
        && rule.when.conjuncts().iter().all(holds)
}

/// Whether a rule has a cap of a purchase that no purchase comes to.
fn out_of_reach(rule: &Rule) -> bool {
    let each = rule.edge.is_some_and(|kept| kept.edge.each);
    let once = match &rule.formula {
        Formula::Fixed {
            points,
            times: None,
        } if !each => Some(points.get()),
        _ => None,
    };
    rule.caps.iter().any(|cap| match cap {
        Cap::PerEvent(Limit::Points(most)) => once.is_some_and(|points| points <= *most),
        Cap::PerEvent(Limit::Times(_)) => !each,
        Cap::PerMember(..) => false,
    })
}

/// Whether a condition holds of a small purchase and not of a larger one.
fn gives_more_for_less(when: &Bool) -> bool {
    let grows = |number: &Number| {
        let mut grows = false;
        number.each_number(&mut |name| grows |= name.varies_with_what_is_left());
        grows
    };
    when.conjuncts().iter().any(|part| match part {
        // Less than a bound; or not more than one.
        Bool::Less(sides) => grows(&sides.0) && !grows(&sides.1),
        Bool::Not(inner) => match &**inner {
            Bool::Less(sides) => grows(&sides.1) && !grows(&sides.0),
            _ => false,
        },
        _ => false,
    })
}

/// Whether a condition never holds, whatever is bought.
fn never_holds(when: &Bool) -> bool {
    when.conjuncts().contains(&Bool::Known(false))
}
