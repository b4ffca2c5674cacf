//! What is wrong with a file, gathered while its sections are checked.

use fealty_rules::Fault;

use crate::{Period, ProgramError};

/// Digits after the point that an amount may have.
pub(crate) const DECIMALS_MAX: u8 = 4;

/// What is said of a file at the most: who made so many mistakes made them all at once.
const FOUND_MAX: usize = 200;

/// What is wrong with a file, as far as it has been checked.
#[derive(Default)]
pub(crate) struct Check {
    /// In the order of the sections.
    pub(crate) found: Vec<ProgramError>,
}

impl Check {
    /// Notes that something is wrong.
    pub(crate) fn wrong(&mut self, path: impl Into<String>, message: impl Into<String>) {
        if self.is_full() {
            return;
        }
        self.found.push(ProgramError {
            path: path.into(),
            message: message.into(),
            location: None,
            offset: None,
        });
    }

    /// Notes what is wrong with a rule or a counter.
    pub(crate) fn faults(&mut self, path: &str, faults: Vec<Fault>) {
        let faults = faults.into_iter().map(|fault| ProgramError {
            path: format!("{path}.{}", fault.field),
            message: fault.message,
            location: None,
            offset: fault.offset,
        });
        let room = FOUND_MAX - self.found.len().min(FOUND_MAX);
        self.found.extend(faults.take(room));
    }

    /// Whether so much is wrong that the rest need not be looked at.
    pub(crate) fn is_full(&self) -> bool {
        self.found.len() >= FOUND_MAX
    }

    /// Notes a section with too many entries.
    pub(crate) fn within(&mut self, path: &str, len: usize, len_max: usize) {
        if len > len_max {
            self.wrong(path, format!("must have at most {len_max} entries"));
        }
    }

    pub(crate) fn period(&mut self, path: impl Into<String>, text: &str) -> Option<Period> {
        let period = Period::parse(text);
        if period.is_none() {
            let rule =
                "must be a period such as `365 days`, `12 months` or `1 year`, at most 100 years";
            self.wrong(path, format!("`{text}` {rule}"));
        }
        period
    }
}
