//! Which transactions are wanted.

use std::collections::HashSet;

use fealty_ledger::{Command, Entry, Notice, Transaction};
use fealty_types::{BrandId, MemberId, OrderNumber, ProgramId, Timestamp};

/// Which transactions are wanted: those that meet all that is set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Of these programmes; of all, if nothing is said.
    pub(crate) programs: Option<Vec<ProgramId>>,
    /// Of this member.
    pub(crate) member: Option<MemberId>,
    /// In effect at this time or later.
    pub(crate) start: Option<Timestamp>,
    /// In effect before this time.
    pub(crate) end: Option<Timestamp>,
    /// Of one of these kinds; of all, if there are none.
    pub(crate) kinds: HashSet<&'static str>,
    /// With one of these brands; with any, if there are none.
    pub(crate) brands: HashSet<BrandId>,
    /// Of the purchase with this order number.
    pub(crate) order_number: Option<OrderNumber>,
}

impl Filter {
    /// Whether everything is wanted.
    pub(crate) fn is_empty(&self) -> bool {
        self.programs.is_none()
            && self.member.is_none()
            && self.start.is_none()
            && self.end.is_none()
            && self.kinds.is_empty()
            && self.brands.is_empty()
            && self.order_number.is_none()
    }

    /// Whether an entry is wanted.
    pub(crate) fn wants_entry(&self, entry: &Entry) -> bool {
        match entry {
            Entry::Transaction(transaction) => self.wants(transaction),
            Entry::Notice(notice) => self.wants_notice(notice),
        }
    }

    /// Whether a notice is wanted: one belongs to no member, brand or order.
    fn wants_notice(&self, notice: &Notice) -> bool {
        let Self {
            programs,
            member,
            start,
            end,
            kinds,
            brands,
            order_number,
        } = self;
        let at = notice.written_at;
        programs
            .as_ref()
            .is_none_or(|programs| programs.contains(&notice.program))
            && member.is_none()
            && brands.is_empty()
            && order_number.is_none()
            && start.is_none_or(|start| start <= at)
            && end.is_none_or(|end| at < end)
            && (kinds.is_empty() || kinds.contains(notice.kind()))
    }

    /// Whether a transaction is wanted.
    pub(crate) fn wants(&self, transaction: &Transaction) -> bool {
        let at = transaction.effective_at;
        self.programs
            .as_ref()
            .is_none_or(|programs| programs.contains(&transaction.program))
            && self
                .member
                .as_ref()
                .is_none_or(|member| *member == transaction.member)
            && self.start.is_none_or(|start| start <= at)
            && self.end.is_none_or(|end| at < end)
            && (self.kinds.is_empty() || self.kinds.contains(transaction.kind()))
            && (self.brands.is_empty() || transaction.brands().any(|b| self.brands.contains(b)))
            && self.order_number.as_ref().is_none_or(|wanted| {
                matches!(transaction.command(),
                    Some(Command::Purchase(purchase)) if purchase.order_number == *wanted)
            })
    }
}
