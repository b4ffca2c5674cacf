//! What a lane is asked to do.

use fealty_auth::Caller;
use fealty_ledger::{Command, Named};
use fealty_program::ProgramVersion;
use fealty_types::{CurrencyId, MemberId, Metadata, RequestId};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::recorded;
use crate::{
    error::Error,
    shard::{Answer, order_key},
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
    },
    /// Write what is due in a wallet.
    Advance { currency: CurrencyId },
}

/// A request's answer; an advance has none.
pub(crate) type Done = Result<Option<Answer>, Error>;

/// Work with where to send the answer.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) applied: ProgramVersion,
    pub(super) member: MemberId,
    pub(super) work: Work,
    pub(super) reply: oneshot::Sender<Done>,
    pub(super) span: tracing::Span,
}

impl Job {
    /// Whether it names an earlier transaction or a lot, which is read under
    /// the lock of the head.
    pub(super) fn names_the_past(&self) -> bool {
        let Work::Request { command, .. } = &self.work else {
            return false;
        };
        matches!(command.names(), Some(Named::Transaction(_) | Named::Lot(_)))
    }

    /// Whether the audit log is told of it, in the same transaction.
    pub(super) fn is_recorded(&self) -> bool {
        match &self.work {
            Work::Request {
                caller, command, ..
            } => recorded::is_recorded(caller, command),
            Work::Advance { .. } => false,
        }
    }

    /// The key of the order that it records.
    pub(super) fn order(&self) -> Option<Uuid> {
        match &self.work {
            Work::Request {
                command: Command::Purchase(purchase),
                ..
            } => Some(order_key(
                &self.applied.program.id,
                &purchase.brand,
                &purchase.order_number,
            )),
            _ => None,
        }
    }
}
