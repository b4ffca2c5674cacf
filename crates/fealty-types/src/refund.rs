//! How points are taken back.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How points are taken back and restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefundTerms {
    /// What happens to points that their lot no longer has.
    pub policy: RefundPolicy,
    /// How long a lot lives that expired while its points were spent, and are
    /// restored; `None`, and they stay expired.
    pub restore_grace: Option<Duration>,
}

impl Default for RefundTerms {
    fn default() -> Self {
        Self {
            policy: RefundPolicy::Balance,
            restore_grace: Some(Duration::from_hours(30 * 24)),
        }
    }
}

/// What happens to points that are to be taken back and that their lot no
/// longer has, for they were spent or are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundPolicy {
    /// Nothing: the brand bears them.
    LotOnly,
    /// They are taken from other lots, soonest-expiring first, as far as those
    /// reach.
    Balance,
    /// As balance, and what is missing then is owed.
    Debt,
}
