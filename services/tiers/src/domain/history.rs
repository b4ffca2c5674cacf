//! Members' tiers, worked out from what they spent alone: for a programme that is tried.

use std::{collections::HashMap, sync::Arc};

use fealty_program::{Program, TierScheme};
use fealty_types::{MemberId, TierId, Timestamp};

use super::{Spend, Spends, Status, advance, credit};

/// A member, as far as it is known.
#[derive(Default)]
struct Known {
    /// Its status; none before there were tiers.
    status: Option<Status>,
    spends: Spends,
    /// The statuses that it came to, in order.
    before: Vec<Status>,
}

/// Members' tiers under a programme, worked out from what they spent.
pub struct Histories {
    program: Arc<Program>,
    members: HashMap<MemberId, Known>,
}

impl Histories {
    /// Of members who have spent nothing.
    #[must_use]
    pub fn under(program: Arc<Program>) -> Self {
        Self {
            program,
            members: HashMap::new(),
        }
    }

    /// Has another version of the programme count from a moment on: members keep what they have
    /// until they are judged by it.
    pub fn now_under(&mut self, program: Arc<Program>, at: Timestamp) {
        if let Some(scheme) = &self.program.tiers {
            for known in self.members.values_mut() {
                known.advance((&self.program, scheme), at);
            }
        }
        self.program = program;
    }

    /// Takes in what a member spent at a moment in minor units, or, below zero, what came back
    /// of that, and when it became known.
    pub fn spent(
        &mut self,
        member: &MemberId,
        (at, minor_units): (Timestamp, i64),
        now: Timestamp,
    ) {
        let program = Arc::clone(&self.program);
        let made = Spend { at, minor_units };
        let known = self.members.entry(member.clone()).or_default();
        let Some(scheme) = &program.tiers else {
            known.spends.add(made);
            return;
        };
        if minor_units < 0 {
            // What ended before it came back is judged with it.
            known.advance((&program, scheme), now);
            known.spends.add(made);
            return;
        }
        known.advance((&program, scheme), at);
        known.spends.add(made);
        let before = known.at(scheme, at);
        let spends = &known.spends;
        let status = known
            .status
            .get_or_insert_with(|| Status::beginning(scheme));
        // All of it is in memory.
        let until = (made, now.max(at));
        let Ok(changes) = credit(&program, scheme, status, (&before, spends), until) else {
            return;
        };
        let changed = changes.into_iter().map(|change| change.status);
        known.before.extend(changed);
    }

    /// The member's changes of tier up to a moment, in order; nothing for one who never left the
    /// lowest.
    pub fn changes(&mut self, member: &MemberId, until: Timestamp) -> Vec<(Timestamp, TierId)> {
        let Some(known) = self.members.get_mut(member) else {
            return Vec::new();
        };
        if let Some(scheme) = &self.program.tiers {
            known.advance((&self.program, scheme), until);
        }
        let changes = known.before.iter().filter_map(|status| {
            let since = status.since.filter(|since| *since <= until)?;
            Some((since, status.tier.clone()))
        });
        changes.collect()
    }
}

impl Known {
    /// Judges the status as often as its validity has ended.
    fn advance(&mut self, (program, scheme): (&Program, &TierScheme), now: Timestamp) {
        let Some(status) = &mut self.status else {
            return;
        };
        if let Ok(changes) = advance(program, scheme, status, &self.spends, now) {
            let changed = changes.into_iter().map(|change| change.status);
            self.before.extend(changed);
        }
    }

    /// The status that the member had at a moment.
    fn at(&self, scheme: &TierScheme, moment: Timestamp) -> Status {
        let known = self.before.iter().chain(&self.status).rev();
        let mut held = known.filter(|status| status.since <= Some(moment));
        let held = held.next().cloned();
        held.unwrap_or_else(|| Status::beginning(scheme))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_spends_enough_rises_and_falls_when_the_year_is_over() {
        let source = include_str!("../../../../examples/programs/record-club.yaml");
        let program = Program::parse(source).expect("valid").program;
        let mut histories = Histories::under(program);
        let moment = |text: &str| Timestamp::new(text.parse().expect("a moment"));
        let member: MemberId = "00042".parse().expect("a member");
        let at = moment("1997-01-15T12:00:00Z");
        histories.spent(&member, (at, 10_000), at);
        let mut told = |until| {
            let changes = histories.changes(&member, moment(until));
            let tiers = changes.iter().map(|(_, tier)| tier.to_string());
            tiers.collect::<Vec<String>>()
        };
        let nothing: Vec<String> = Vec::new();
        assert_eq!(told("1997-01-15T11:59:59Z"), nothing);
        assert_eq!(told("1997-01-15T12:00:00Z"), ["silver"]);
        assert_eq!(told("1998-01-16T00:00:00Z"), ["silver", "member"]);
        assert_eq!(told("1997-06-01T00:00:00Z"), ["silver"]);
    }
}
