//! The numbers that are kept of rules: what edges, caps and budgets have used, each in a slot
//! with a key.

use fealty_types::{ActivityType, CurrencyId};
use sha2::{Digest as _, Sha256};

use super::{Builder, Fault, Faults, Over, RuleSource};
use crate::{
    calendar::Every,
    near::hint,
    rule::{Budget, Cap, Edge, KeptBudget, KeptEdge, Limit, Reads, Slot},
    window::Window,
};

impl Builder {
    /// A window's name, with the beginning of the periods that it counts by: other weeks make
    /// another counter.
    pub(super) fn named(&self, window: Window) -> String {
        let calendar = &self.foundation.calendar;
        let begins = match window {
            Window::Every(every) | Window::InARow(every) => match every {
                Every::Day | Every::Month => String::new(),
                Every::Week => format!("{}", calendar.week_starts.to_monday_one_offset()),
                Every::Quarter => format!("{:?}", calendar.quarter_starts),
                Every::Year => format!("{:?}", calendar.year_starts),
            },
            _ => String::new(),
        };
        format!("{} {begins}", window.name())
    }

    /// The name of what something counts over, its window, and the slot that has the days since
    /// which it does.
    pub(super) fn over(
        &mut self,
        over: &Over,
        field: &'static str,
    ) -> Result<(String, Window, Option<u16>), Fault> {
        match over {
            Over::Window(window) => Ok((self.named(*window), *window, None)),
            Over::Since(of_type) => {
                let number = usize::from(self.activity(of_type, field)?);
                let days = self.activities[number].days;
                let name = format!("{} {of_type}", Window::Since.name());
                Ok((name, Window::Since, days))
            }
        }
    }

    /// The slot in which the days of a type's activities stand.
    pub(super) fn days_of(&mut self, of_type: &ActivityType) -> u16 {
        self.slot(Slot {
            key: key(&["days", of_type.as_str()]),
            window: Window::Ever,
            once_per_day: true,
            reads: Reads::OwnDate,
        })
    }

    /// The number of a type of activities.
    pub(super) fn activity(
        &self,
        of_type: &ActivityType,
        field: &'static str,
    ) -> Result<u16, Fault> {
        let mut known = self.activities.iter();
        let at = known.position(|known| known.id == *of_type);
        if at.is_some_and(|at| !self.activities[at].readable) {
            let message = format!("`{of_type}` is sensitive: no rule may read it");
            return Err(Fault::new(field, message));
        }
        at.and_then(|at| u16::try_from(at).ok()).ok_or_else(|| {
            let known = self.activities.iter().map(|known| known.id.as_str());
            let hint = hint(of_type.as_str(), known);
            Fault::new(field, format!("there is no activity `{of_type}`{hint}"))
        })
    }

    pub(super) fn slot(&mut self, slot: Slot) -> u16 {
        self.slots.push(slot);
        u16::try_from(self.slots.len() - 1).unwrap_or(u16::MAX)
    }

    /// Adds a budget.
    pub fn budget(&mut self, terms: Budget) {
        let number = u16::try_from(self.budgets.len()).unwrap_or(u16::MAX);
        let slot = self.slot(Slot {
            key: key(&["budget", terms.id.as_str()]),
            window: Window::Ever,
            once_per_day: false,
            reads: Reads::Budget(number),
        });
        self.budgets.push(KeptBudget { terms, slot });
    }

    /// The budget that a rule's points come from.
    pub(super) fn budget_for(
        &self,
        source: &RuleSource<'_>,
        currency: Option<&CurrencyId>,
        faults: &mut Faults,
    ) -> Option<u16> {
        let id = source.budget.as_ref()?;
        let terms = || self.budgets.iter().map(|budget| &budget.terms);
        let Some(at) = terms().position(|terms| terms.id == *id) else {
            let hint = hint(id.as_str(), terms().map(|terms| terms.id.as_str()));
            faults.push(Fault::new(
                "budget",
                format!("there is no budget `{id}`{hint}"),
            ));
            return None;
        };
        let of = &self.budgets[at].terms.currency;
        if currency.is_some_and(|currency| currency != of) {
            let message = format!("`{id}` is of {of}, which the rule does not give");
            faults.push(Fault::new("budget", message));
        }
        u16::try_from(at).ok()
    }

    /// What is kept of a rule's edge.
    pub(super) fn kept_edge(&mut self, source: &RuleSource<'_>, edge: Edge) -> KeptEdge {
        let number = self.counters[usize::from(edge.counter)].slot;
        let counter = self.slots[usize::from(number)].clone();
        let (window, reads) = match (counter.window, counter.reads) {
            (Window::InARow(every), _) => (Window::Every(every), Reads::AlongRun(number)),
            (Window::Since, reads) => (Window::Since, reads),
            (window, _) => (window, Reads::Fullest),
        };
        let name = format!("edge/{}", source.id);
        let of_counter = counter.key.to_string();
        let at = format!("{}/{}", edge.at, edge.each);
        let standing = self.slot(Slot {
            key: key(&[&name, &of_counter, &at]),
            window,
            once_per_day: false,
            reads,
        });
        let reads = match counter.window {
            Window::InARow(_) => Some(Reads::RunBeyond),
            window if window.moves_on() => Some(Reads::Fullest),
            _ => None,
        };
        let beyond = reads.map(|reads| self.slot(Slot { reads, ..counter }));
        KeptEdge {
            edge,
            standing,
            beyond,
        }
    }

    pub(super) fn caps(&mut self, source: &RuleSource<'_>) -> Result<Box<[Cap]>, Faults> {
        let mut caps = Vec::with_capacity(source.caps.len());
        for cap in &source.caps {
            caps.push(match &cap.over {
                None => Cap::PerEvent(cap.limit),
                Some(over) => {
                    let over = self.over(over, "caps").map_err(|fault| vec![fault])?;
                    let (over, window, days) = over;
                    // A higher limit goes on from what the lower one has used.
                    let kind = match cap.limit {
                        Limit::Points(_) => "points",
                        Limit::Times(_) => "times",
                    };
                    let name = format!("cap/{}", source.id);
                    let slot = self.slot(Slot {
                        key: key(&[&name, kind, &over]),
                        window,
                        once_per_day: false,
                        reads: days.map_or(Reads::Fullest, Reads::UsedSince),
                    });
                    Cap::PerMember(cap.limit, slot)
                }
            });
        }
        Ok(caps.into())
    }
}

/// The key of a slot: the first bytes of a hash of all that makes it what it is.
pub(super) fn key(parts: &[&str]) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first)
}
