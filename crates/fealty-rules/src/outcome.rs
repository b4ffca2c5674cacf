//! What comes of an evaluation.

use fealty_types::Points;

/// What an event earns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What rules give, above zero, in the order of the file.
    pub given: Vec<Given>,
    /// What moves.
    pub moves: Vec<Move>,
    /// The slots that were read and are not at nothing.
    pub read: Vec<(u16, SlotValue)>,
    /// Budgets that had less than was wanted of them.
    pub unmet: Vec<Unmet>,
}

/// A budget that had less than was wanted of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// Its slot.
    pub slot: u16,
    /// What all of an event's rules wanted of it.
    pub wanted: i64,
    /// The least that one of them wanted and did not get.
    pub least: i64,
}

/// What a rule gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// Its number.
    pub rule: u16,
    /// How many points; above zero.
    pub points: Points,
}

/// A slot that moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Its number.
    pub slot: u16,
    /// Which bucket.
    pub bucket: i32,
    /// By how much; not zero.
    pub by: i64,
}

impl Move {
    /// What moves when less is left of an event than before: what the event had moved goes
    /// back to what is left of it would move, and nothing moves any further than it has.
    #[must_use]
    pub fn back(stand: &[Self], left: &[Self]) -> Vec<Self> {
        let of_slot = |stands: &Self| {
            let same = |moved: &&Self| (moved.slot, moved.bucket) == (stands.slot, stands.bucket);
            left.iter().find(same).map_or(0, |moved| moved.by)
        };
        let back = stand.iter().map(|stands| Self {
            by: (of_slot(stands) - stands.by).min(0),
            ..*stands
        });
        back.filter(|moved| moved.by < 0).collect()
    }
}

/// What a slot stands at, at the date of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotValue {
    /// Before the event.
    pub before: i64,
    /// If the event counts anything at all, where that is another thing than so much more:
    /// a day that counts once, a streak.
    pub with_any: Option<i64>,
}

impl SlotValue {
    /// With so much more.
    #[must_use]
    pub fn after(self, by: i64) -> i64 {
        match self.with_any {
            _ if by == 0 => self.before,
            Some(with) => with,
            None => self.before.saturating_add(by),
        }
    }
}
