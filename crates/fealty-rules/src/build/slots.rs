//! The numbers that are kept of rules: what edges, caps and budgets have used, each in a slot
//! with a key.

use fealty_types::CurrencyId;
use sha2::{Digest as _, Sha256};

use super::{Builder, Fault, Faults, RuleSource};
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
        let (window, reads) = match counter.window {
            Window::InARow(every) => (Window::Every(every), Reads::AlongRun(number)),
            window => (window, Reads::Fullest),
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

    pub(super) fn caps(&mut self, source: &RuleSource<'_>) -> Box<[Cap]> {
        let mut caps = Vec::with_capacity(source.caps.len());
        for cap in &source.caps {
            caps.push(match cap.window {
                None => Cap::PerEvent(cap.limit),
                Some(window) => {
                    // A higher limit goes on from what the lower one has used.
                    let kind = match cap.limit {
                        Limit::Points(_) => "points",
                        Limit::Times(_) => "times",
                    };
                    let name = format!("cap/{}", source.id);
                    let slot = self.slot(Slot {
                        key: key(&[&name, kind, &self.named(window)]),
                        window,
                        once_per_day: false,
                        reads: Reads::Fullest,
                    });
                    Cap::PerMember(cap.limit, slot)
                }
            });
        }
        caps.into()
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
