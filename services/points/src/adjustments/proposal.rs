//! A proposed adjustment, and what became of it.

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_auth::InReach;
use fealty_types::{
    BrandId, CurrencyId, MemberId, Metadata, Points, Position, ProgramId, Reference, RequestId,
    Subject, Timestamp,
};
use uuid::Uuid;

use crate::error::Error;

/// What is proposed. The order of the fields is that of the stored bytes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Proposed {
    pub(crate) brand: BrandId,
    pub(crate) currency: CurrencyId,
    pub(crate) points: Points,
    /// Whether they are given; else they are taken.
    pub(crate) gives: bool,
    pub(crate) reason: Reference,
    pub(crate) note: Reference,
    pub(crate) metadata: Metadata,
}

impl Proposed {
    /// The first field in which two proposals differ, by its name in the contract.
    pub(super) fn first_difference(&self, other: &Self) -> Option<&'static str> {
        let differs = [
            ("brand", self.brand != other.brand),
            ("currency", self.currency != other.currency),
            (
                "points",
                (self.points, self.gives) != (other.points, other.gives),
            ),
            ("reason", self.reason != other.reason),
            ("note", self.note != other.note),
            ("metadata", self.metadata != other.metadata),
        ];
        let first = differs.into_iter().find(|(_, differs)| *differs);
        first.map(|(field, _)| field)
    }
}

/// How far a proposal has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Proposed,
    Approved,
    Rejected,
}

/// Who decided about a proposal.
#[derive(Clone, Debug)]
pub(crate) struct Decision {
    pub(crate) by: Subject,
    pub(crate) at: Timestamp,
    pub(crate) note: Reference,
    /// The request that decided.
    pub(crate) request_id: Option<RequestId>,
}

/// A proposed adjustment, and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Proposal {
    pub(crate) id: Uuid,
    pub(crate) program: ProgramId,
    pub(crate) member: MemberId,
    pub(crate) proposed: Proposed,
    pub(crate) state: State,
    pub(crate) proposer: Subject,
    /// Whose credentials brought it: the proposer's, or a service's.
    pub(crate) carrier: Subject,
    pub(crate) proposed_at: Timestamp,
    pub(crate) decision: Option<Decision>,
    /// The transaction that made it.
    pub(crate) position: Option<Position>,
}

/// Which proposals are wanted.
pub(crate) struct Wanted {
    /// Of one member.
    pub(crate) member: Option<InReach<MemberId>>,
    /// In one of these states; in any, if there is none.
    pub(crate) states: Vec<State>,
    /// Proposed before this one.
    pub(crate) before: Option<(Timestamp, Uuid)>,
    pub(crate) limit: usize,
}

impl Proposal {
    pub(super) fn decided(&self) -> Error {
        Error::AdjustmentDecided {
            adjustment: self.id,
            state: match self.state {
                State::Proposed => "proposed",
                State::Approved => "approved",
                State::Rejected => "rejected",
            },
        }
    }

    /// Whether a request is the one that decided.
    pub(super) fn was_decided_by(&self, request_id: &RequestId, by: &Subject) -> bool {
        self.decision.as_ref().is_some_and(|decision| {
            decision.request_id.as_ref() == Some(request_id) && decision.by == *by
        })
    }
}
