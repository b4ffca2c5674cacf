//! Limits, and the edges of counters.

use crate::{
    rule::{Cap, KeptEdge, Limit, Rule, Rules},
    slot::Slots,
    window::Window,
};

/// What is left of a rule's points.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capped {
    pub(crate) points: i128,
    /// How often it fires.
    pub(crate) fires: i64,
    /// The cap that took most.
    pub(crate) by: Option<u16>,
}

/// A rule's points within its caps: of an edge that is reached more than once, each time
/// counts.
pub(crate) fn capped(rule: &Rule, slots: &Slots<'_>, (points, fires): (i128, i64)) -> Capped {
    let mut left = Capped {
        points,
        fires,
        by: None,
    };
    let each = points / i128::from(fires.max(1));
    for (number, cap) in (0_u16..).zip(&rule.caps) {
        let (limit, used) = match cap {
            Cap::PerEvent(limit) => (limit, 0),
            Cap::PerMember(limit, slot) => (limit, slots.get(*slot).before),
        };
        let before = left.points;
        match limit {
            Limit::Points(most) => {
                let room = most.saturating_sub(used).max(0);
                left.points = left.points.min(room.into());
            }
            Limit::Times(most) => {
                let room = most.saturating_sub(used).max(0);
                left.fires = left.fires.min(room);
                left.points = left.points.min(each * i128::from(left.fires));
            }
        }
        if left.points < before {
            left.by = Some(number);
        }
    }
    left
}

/// What a rule that gave so many points, so often, uses of its caps.
pub(crate) fn uses(rule: &Rule, points: i64, fires: i64) -> impl Iterator<Item = (u16, i64)> {
    rule.caps.iter().filter_map(move |cap| match cap {
        Cap::PerMember(Limit::Points(_), slot) => Some((*slot, points)),
        Cap::PerMember(Limit::Times(_), slot) => Some((*slot, fires)),
        Cap::PerEvent(_) => None,
    })
}

/// Whether a rule has caps that are kept from event to event.
pub(crate) fn is_kept(rule: &Rule) -> bool {
    rule.caps
        .iter()
        .any(|cap| matches!(cap, Cap::PerMember(..)))
}

/// How often an event reaches an edge that does not stand yet. A counter that comes back to
/// where it was reaches it no second time; a rule that is new begins with what its
/// counter has reached. What comes late is held against all windows that have it in them:
/// if it takes one of later dates over the edge, that is now.
pub(crate) fn fires(rules: &Rules, slots: &Slots<'_>, kept: KeptEdge) -> i64 {
    let edge = kept.edge;
    let added = slots.added(edge.counter);
    if added == 0 {
        return 0;
    }
    let reached = |value: i64| {
        let times = value.max(0) / edge.at;
        if edge.each { times } else { times.min(1) }
    };
    let counter = rules.counters[usize::from(edge.counter)].slot;
    let own = slots.get(counter);
    let beyond = kept.beyond.map(|slot| slots.get(slot));
    let stands = slots.get(kept.standing).before;
    let window = rules.slots[usize::from(counter)].window;
    let (stood, after) = match (window, beyond) {
        // The period counts already.
        (Window::InARow(_), _) if own.with_any == Some(own.before) => return 0,
        // It joins the streak before it with the one after it, if there are such. Each has
        // had its edges, and what stands in one of their periods, though it came back to
        // where it was, stands.
        (Window::InARow(_), beyond) => {
            let beyond = beyond.unwrap_or_default().before;
            let had = reached(own.before) + reached(beyond);
            (had.max(stands), reached(own.before + 1 + beyond))
        }
        (_, beyond) => {
            let value = beyond.unwrap_or(own);
            (
                reached(value.before).max(stands),
                reached(value.after(added)),
            )
        }
    };
    after.saturating_sub(stood).max(0)
}
