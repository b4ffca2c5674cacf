//! What a sensitive activity is.

use fealty_types::{ActivityId, ActivityType, Attributes, Timestamp};

/// A sensitive activity as it is told.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) of_type: ActivityType,
    pub(super) id: ActivityId,
    pub(super) occurred_at: Option<Timestamp>,
    pub(super) attributes: Attributes,
}

/// A sensitive activity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Activity {
    pub(super) of_type: ActivityType,
    pub(super) id: ActivityId,
    pub(super) occurred_at: Timestamp,
    pub(super) recorded_at: Timestamp,
    pub(super) attributes: Attributes,
}

/// Which of a member's are to be deleted.
#[derive(Clone, Debug)]
pub(super) enum Which {
    All,
    One(ActivityType, ActivityId),
}
