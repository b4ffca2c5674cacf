//! An end that is due.

use fealty_ledger::Moment;
use fealty_program::ProgramVersion;
use fealty_rules::End;
use fealty_types::Timestamp;

/// An end that is due, with the version of the programme that was in force just before.
#[derive(Clone, Debug)]
pub(crate) struct DueEnd {
    pub(crate) end: End,
    pub(crate) applied: ProgramVersion,
}

impl DueEnd {
    /// Whether it waits for members' tiers that are known up to a moment.
    pub(crate) fn waits(&self, moment: Moment) -> bool {
        self.applied.program.end_waits_for_tiers(self.end.every)
            && moment.tiers_known < self.end.last_instant()
    }

    /// The moment whose tier counts, where one does.
    pub(crate) fn tier_moment(&self) -> Option<Timestamp> {
        let waits = self.applied.program.end_waits_for_tiers(self.end.every);
        waits.then(|| self.end.last_instant())
    }
}
