//! What a lane is asked to do.

use std::fmt;

use fealty_auth::Caller;
use fealty_ledger::{Command, Moment, Named};
use fealty_program::{Personal, ProgramVersion};
use fealty_types::{CurrencyId, MemberId, Metadata, RequestId, Timestamp};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::recorded;
use crate::{
    error::Error,
    plan::claims_referral,
    shard::{Answer, PersonalValues, activity_key, order_key, order_name},
};

/// What a lane is asked to do for a member.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are requests")]
pub(crate) enum Work {
    /// What a caller asks for.
    Request {
        /// Who asks.
        caller: Caller,
        /// The caller's name for it.
        request_id: RequestId,
        /// What it wants to be kept.
        metadata: Metadata,
        command: Command,
        /// The version of the programme that it is meant for, if it says so.
        only_version: Option<i64>,
        /// What is to stand beside the log, and by which declaration that was decided.
        personal: Option<PersonalValues>,
        declared: Personal,
    },
    /// Write what is due in a wallet, where it is known who had which tier up to a moment.
    Advance {
        currency: CurrencyId,
        tiers_known: Timestamp,
    },
    /// Write what the member's tier means for its wallets, if that is due.
    ChangeTier,
    /// Write the ends of periods that are due for the member, where it is known who had which
    /// tier up to a moment, and before them what counters come to by the log.
    EndPeriods { tiers_known: Timestamp },
}

/// A request's answer; the others have none.
pub(crate) type Done = Result<Option<Answer>, Error>;

/// Work with where to send the answer.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) applied: ProgramVersion,
    pub(super) member: MemberId,
    pub(super) work: Work,
    pub(super) reply: oneshot::Sender<Done>,
    pub(super) span: tracing::Span,
    /// How often more of a budget was leased, or looked for, because it wants it.
    pub(super) leased: u8,
    /// Whether it waits for that.
    pub(super) waits: bool,
}

impl fmt::Display for Job {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (program, member) = (&self.applied.program.id, &self.member);
        match &self.work {
            Work::Request { request_id, .. } => {
                write!(formatter, "request {request_id} of {program}/{member}")
            }
            Work::Advance { currency, .. } => {
                write!(formatter, "what is due of {program}/{member} in {currency}")
            }
            Work::ChangeTier => write!(formatter, "the tier of {program}/{member}"),
            Work::EndPeriods { .. } => write!(formatter, "ends of periods of {program}/{member}"),
        }
    }
}

impl Job {
    /// Whether it writes what is due, and no caller waits for it.
    pub(super) fn is_due(&self) -> bool {
        match self.work {
            Work::Request { .. } => false,
            Work::Advance { .. } | Work::ChangeTier | Work::EndPeriods { .. } => true,
        }
    }

    /// Whether it reads what only the lock of the head keeps as it is (an earlier
    /// transaction, a lot, a change of tier), or writes by further statements.
    pub(super) fn needs_lock(&self) -> bool {
        match &self.work {
            Work::Request {
                command, personal, ..
            } => {
                personal.is_some()
                    || claims_referral(&self.applied.program, command).is_some()
                    || matches!(command.names(), Some(Named::Transaction(_) | Named::Lot(_)))
            }
            Work::Advance { .. } | Work::EndPeriods { .. } => false,
            Work::ChangeTier => true,
        }
    }

    /// Whether the audit log is told of it, in the same transaction.
    pub(super) fn is_recorded(&self) -> bool {
        match &self.work {
            Work::Request {
                caller, command, ..
            } => recorded::is_recorded(caller, command),
            Work::Advance { .. } | Work::ChangeTier | Work::EndPeriods { .. } => false,
        }
    }

    /// Up to when things are done for it, and it is known who had which tier.
    pub(super) fn moment(&self, now: Timestamp) -> Moment {
        match self.work {
            Work::Advance { tiers_known, .. } | Work::EndPeriods { tiers_known } => {
                Moment::new(now, tiers_known)
            }
            Work::Request { .. } | Work::ChangeTier => now.into(),
        }
    }

    /// The key of the order or activity that it records; none where it does not say which,
    /// or where nothing is to be kept of it. Then it is refused.
    pub(super) fn order(&self) -> Option<Uuid> {
        let Work::Request { command, .. } = &self.work else {
            return None;
        };
        let program = &self.applied.program;
        match command {
            Command::Purchase(purchase) => {
                let order = order_name(program, purchase)?;
                Some(order_key(&program.id, &order))
            }
            Command::Activity(activity) => {
                let declared = program.activities.get(&activity.of_type)?;
                let key = || activity_key(&program.id, &activity.into());
                (!declared.sensitive).then(key)
            }
            _ => None,
        }
    }
}
