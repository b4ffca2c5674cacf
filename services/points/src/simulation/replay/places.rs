//! Where the entries of a log came to stand when it was played.

use std::collections::{BTreeMap, BTreeSet};

use fealty_ledger::Command;
use fealty_types::{LotId, Position};

/// Where the entries of a log came to stand when it was played: by how many places a request
/// is further on than it was, from each place on where that changes.
#[derive(Debug, Default)]
pub(super) struct Places {
    last: i64,
    further: BTreeMap<i64, i64>,
    /// Places of what did not come about.
    gone: BTreeSet<i64>,
}

impl Places {
    /// Where the next entry goes: not before the place of the one that is played.
    pub(super) fn next(&self, recorded: Position) -> Position {
        Position::new((self.last + 1).max(recorded.get()))
    }

    /// Notes that everything up to a place is taken.
    pub(super) fn reach_all(&mut self, last: Option<Position>) {
        self.last = last.map_or(self.last, |last| self.last.max(last.get()));
    }

    /// Notes where a recorded request came to stand, if it did.
    pub(super) fn note(&mut self, recorded: Position, made: Option<Position>) {
        let Some(made) = made else {
            self.gone.insert(recorded.get());
            return;
        };
        let further = made.get() - recorded.get();
        let known = self.further.last_key_value();
        if known.map_or(0, |(_, further)| *further) != further {
            self.further.insert(recorded.get(), further);
        }
    }

    /// Where a recorded transaction stands; nowhere, which is place 0, if it did not come about.
    fn of(&self, recorded: Position) -> Position {
        if self.gone.contains(&recorded.get()) {
            return Position::new(0);
        }
        let before = self.further.range(..=recorded.get()).next_back();
        let further = before.map_or(0, |(_, further)| *further);
        Position::new(recorded.get() + further)
    }

    fn of_lot(&self, lot: LotId) -> LotId {
        let number = u16::try_from(lot.number()).unwrap_or(u16::MAX);
        LotId::new(self.of(lot.position()), number)
    }

    /// What a command asks, of what it names where that stands now.
    pub(super) fn named_in(&self, command: &Command) -> Command {
        let mut command = command.clone();
        match &mut command {
            Command::Capture(capture) => capture.hold = self.of(capture.hold),
            Command::Release(release) => release.hold = self.of(release.hold),
            Command::ExtendHold(extend) => extend.hold = self.of(extend.hold),
            Command::Reverse(reverse) => reverse.transaction = self.of(reverse.transaction),
            Command::Return(returned) => returned.transaction = self.of(returned.transaction),
            Command::Activate(activate) => activate.transaction = self.of(activate.transaction),
            Command::Extend(extend) => extend.lot = self.of_lot(extend.lot),
            Command::Reinstate(reinstate) => reinstate.lot = self.of_lot(reinstate.lot),
            Command::Purchase(purchase) => {
                for tender in &mut purchase.tenders {
                    tender.hold = tender.hold.map(|hold| self.of(hold));
                }
            }
            Command::Accrue(_)
            | Command::Redeem(_)
            | Command::Hold(_)
            | Command::Adjust(_)
            | Command::Gift(_)
            | Command::Activity(_) => {}
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_move_on_and_come_back() {
        let mut places = Places::default();
        let at = Position::new;
        assert_eq!(places.next(at(3)), at(3));
        places.note(at(3), Some(at(3)));
        places.reach_all(Some(at(3)));
        // Two more fell due before the fourth.
        places.note(at(4), Some(at(6)));
        places.reach_all(Some(at(6)));
        assert_eq!(places.next(at(5)), at(7));
        // The fifth is refused, the sixth stands where there is room.
        places.note(at(5), None);
        places.note(at(6), Some(at(7)));
        places.reach_all(Some(at(7)));
        let stand = [3, 4, 5, 6, 9].map(|recorded| places.of(at(recorded)).get());
        assert_eq!(stand, [3, 6, 0, 7, 10]);
    }
}
