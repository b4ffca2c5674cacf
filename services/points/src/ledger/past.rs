//! Where in a member's log a wallet stood at a past time.

use std::cmp::Ordering;

use fealty_types::{Position, Timestamp};

/// A search for the last transaction of a wallet that was in effect by a time.
///
/// A wallet's log is in order of time, so it is searched by halves. The other wallets of
/// its member are in between: no stretch of them is looked at twice, however quiet the
/// wallet is.
#[derive(Debug)]
pub(super) struct Search {
    by: Timestamp,
    /// All of the wallet's transactions up to here are early enough, and the last of them is
    /// known.
    low: i64,
    /// From here on they are too late.
    high: i64,
}

/// A stretch of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// It begins after this.
    pub(super) after: Position,
    /// It ends with this.
    pub(super) through: Position,
}

impl Stretch {
    /// After what it begins, and with what it ends.
    pub(super) fn ends(self) -> (Position, Position) {
        (self.after, self.through)
    }
}

impl Search {
    /// A search in a wallet whose last transaction is known.
    pub(super) fn new(by: Timestamp, last: Position) -> Self {
        Self {
            by,
            low: 0,
            high: last.get() + 1,
        }
    }

    /// Where the wallet's last transaction is to be looked for next; nowhere at the end.
    pub(super) fn next(&self) -> Option<Stretch> {
        let middle = self.low + (self.high - self.low) / 2;
        (middle > self.low).then_some(Stretch {
            after: Position::new(self.low),
            through: Position::new(middle),
        })
    }

    /// Takes note of what is the last in a stretch; answers whether it is early enough, and
    /// so the last so far that is.
    pub(super) fn found(&mut self, stretch: Stretch, last: Option<(Position, Timestamp)>) -> bool {
        let early = last.map(|(_, at)| at.cmp(&self.by) != Ordering::Greater);
        match (last, early) {
            (Some((position, _)), Some(false)) => self.high = position.get(),
            _ => self.low = stretch.through.get(),
        }
        early == Some(true)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The wallet's transactions: positions of a log of so many, with their times.
    fn wallets() -> impl Strategy<Value = (i64, Vec<(i64, i64)>)> {
        (1..400_i64).prop_flat_map(|len| {
            let some = proptest::sample::subsequence((1..=len).collect::<Vec<_>>(), 1..=index(len));
            (Just(len), some).prop_flat_map(|(len, positions)| {
                let steps = proptest::collection::vec(0..5_i64, positions.len());
                (Just(len), Just(positions), steps).prop_map(|(len, positions, steps)| {
                    let times = steps.iter().scan(0, |time, step| {
                        *time += step;
                        Some(*time)
                    });
                    (len, positions.iter().copied().zip(times).collect())
                })
            })
        })
    }

    fn index(position: i64) -> usize {
        usize::try_from(position).expect("a position")
    }

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros).expect("a time")
    }

    proptest! {
        #[test]
        fn the_last_by_a_time_is_found_and_nothing_is_looked_at_twice(
            (len, wallet) in wallets(),
            by in -1..2_000_i64,
        ) {
            let by = by % (wallet.last().expect("there is one").1 + 2);
            let last = wallet.last().expect("there is one").0;
            let mut search = Search::new(at(by), Position::new(last));
            let mut best = None;
            let mut looked_at = vec![0; index(len) + 1];
            while let Some(stretch) = search.next() {
                let (after, through) = (stretch.after.get(), stretch.through.get());
                let found = wallet.iter().rev().find(|(p, _)| *p > after && *p <= through);
                // From the end of the stretch back to what is found.
                for position in found.map_or(after, |(p, _)| *p) + 1..=through {
                    looked_at[index(position)] += 1;
                }
                let found = found.map(|(p, time)| (Position::new(*p), at(*time)));
                if search.found(stretch, found) {
                    best = found.map(|(position, _)| position.get());
                }
            }
            let expected = wallet.iter().rev().find(|(_, time)| *time <= by);
            prop_assert_eq!(best, expected.map(|(position, _)| *position));
            prop_assert!(looked_at.iter().all(|times| *times <= 1));
        }
    }
}
