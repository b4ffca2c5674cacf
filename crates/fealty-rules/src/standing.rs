//! Where a member stands: "7 of 10 coffees, 3 days left".

use fealty_types::{CounterId, RuleId, Timestamp};

use crate::{
    calendar,
    rule::Rules,
    slot::{Book, Inputs, Stored},
    subject::Subject,
};

/// A counter of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The counter.
    pub counter: CounterId,
    /// What it stands at; minor units, if it adds money.
    pub value: i64,
    /// Whether it adds money.
    pub is_money: bool,
    /// When its period ends; `None` where it moves on day by day, or never ends.
    pub ends: Option<Timestamp>,
    /// What is to be reached next, by rules that are in force.
    pub goals: Vec<Goal>,
}

/// Something to be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goal {
    /// The rule that gives something for it.
    pub rule: RuleId,
    /// The value of the counter at which it does.
    pub at: i64,
}

impl Rules {
    /// Where a member stands at a moment, counter by counter.
    #[must_use]
    pub fn standing<B: Book>(&self, book: &B, at: Timestamp) -> Vec<Standing> {
        let inputs = Stored {
            rules: self,
            book,
            subject: Subject::Purchase,
            at,
        };
        let date = self.calendar.date_of(at);
        let numbered = (0_u16..).zip(&self.counters);
        let standing = numbered.map(|(number, counter)| {
            let value = inputs.slot(counter.slot).before;
            let window = self.slots[usize::from(counter.slot)].window;
            let ends = window.ends(&self.calendar, date);
            Standing {
                counter: counter.id.clone(),
                value,
                is_money: counter.is_money,
                ends: ends.map(|date| calendar::start_of(date, &self.calendar.zone)),
                goals: self.goals(number, value, &inputs, at),
            }
        });
        standing.collect()
    }

    /// What is to be reached next of a counter. An edge that stands is not reached again.
    fn goals(&self, counter: u16, value: i64, inputs: &dyn Inputs, at: Timestamp) -> Vec<Goal> {
        let in_force = self.rules.iter().filter(|rule| {
            rule.from.is_none_or(|from| from <= at) && rule.until.is_none_or(|until| at < until)
        });
        let goals = in_force.filter_map(|rule| {
            let kept = rule.edge.filter(|kept| kept.edge.counter == counter)?;
            let edge = kept.edge;
            let stands = inputs.slot(kept.standing).before;
            let reached = (value.max(0) / edge.at).max(stands);
            let next = (reached + 1).saturating_mul(edge.at);
            (edge.each || reached == 0).then(|| Goal {
                rule: rule.id.clone(),
                at: next,
            })
        });
        goals.collect()
    }
}
