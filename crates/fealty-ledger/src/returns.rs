//! What comes back of a purchase, and what is left of it then.

use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use fealty_types::Money;

use crate::{LinePart, Purchase, PurchaseLine, Return, ReturnedLine, ReturnedPart, SlotMove};

/// Why a return asks for what is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReturnError {
    /// The purchase has no such line.
    #[error("the purchase has {lines} lines")]
    NoSuchLine {
        /// Its place among those that were asked for, from 0.
        at: usize,
        /// How many the purchase has.
        lines: usize,
    },
    /// Less of a line is left.
    #[error("of the line {quantity} are left, and {minor_units} minor units")]
    LineExceeded {
        /// Its place among those that were asked for, from 0.
        at: usize,
        /// How many are left.
        quantity: u32,
        /// What of its money is left.
        minor_units: i64,
    },
    /// Less money is left, or nothing at all.
    #[error("{minor_units} minor units of the purchase are left to return")]
    AmountExceeded {
        /// What is left.
        minor_units: i64,
    },
}

/// Parts of a purchase that are told apart once they have come back.
const PARTS_MAX: usize = 100;

/// What has come back of a purchase.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Returned {
    /// Money, in minor units.
    minor_units: i64,
    /// How many of lines, and how much of their money.
    lines: BTreeMap<u16, (u32, i64)>,
    /// What the purchase moved of the member's numbers and still stands.
    stand: Vec<SlotMove>,
    /// With how many returns it did.
    times: u32,
    /// What came back with each, in order, and whether it came in time for counters; beyond
    /// [`PARTS_MAX`], with all the others together.
    parts: Vec<(ReturnedPart, bool)>,
}

/// What was stored before the parts were kept.
#[derive(BorshDeserialize)]
struct WithoutParts {
    minor_units: i64,
    lines: BTreeMap<u16, (u32, i64)>,
    stand: Vec<SlotMove>,
    times: u32,
}

impl From<WithoutParts> for Returned {
    fn from(stored: WithoutParts) -> Self {
        Self {
            minor_units: stored.minor_units,
            lines: stored.lines,
            stand: stored.stand,
            times: stored.times,
            parts: Vec::new(),
        }
    }
}

impl Returned {
    /// Nothing yet, of a purchase that moved these numbers.
    #[must_use]
    pub fn nothing(moved: &[SlotMove]) -> Self {
        Self {
            minor_units: 0,
            lines: BTreeMap::new(),
            stand: moved.to_vec(),
            times: 0,
            parts: Vec::new(),
        }
    }

    /// What is stored of it; `None` for what is none.
    #[must_use]
    pub fn stored(bytes: &[u8]) -> Option<Self> {
        let without_parts = || borsh::from_slice::<WithoutParts>(bytes).map(Self::from);
        borsh::from_slice(bytes).or_else(|_| without_parts()).ok()
    }

    /// Whether it is what is stored, as far as that was kept.
    #[must_use]
    pub fn is_stored_as(&self, stored: &Self) -> bool {
        if stored.has_parts() {
            return self == stored;
        }
        let parts = stored.parts.clone();
        Self {
            parts,
            ..self.clone()
        } == *stored
    }

    /// Whether the parts are there with which it came to be.
    #[must_use]
    pub fn has_parts(&self) -> bool {
        let times = usize::try_from(self.times).unwrap_or(usize::MAX);
        self.parts.len() == times.min(PARTS_MAX)
    }

    /// The same with the parts with which it came to be, in order, and whether each came in time
    /// for counters.
    #[must_use]
    pub fn with_parts<'a>(self, parts: impl Iterator<Item = (&'a ReturnedPart, bool)>) -> Self {
        let all = parts.fold(Self::default(), |all, part| all.with(part, &[]));
        Self {
            parts: all.parts,
            ..self
        }
    }

    /// How it came to be: what had come back after each return, and whether that came in time for
    /// counters.
    pub fn stages(&self) -> impl Iterator<Item = (Self, bool)> + '_ {
        let mut so_far = Self::default();
        self.parts.iter().map(move |(part, counts)| {
            so_far = so_far.with((part, *counts), &[]);
            (so_far.clone(), *counts)
        })
    }

    /// What the purchase moved of the member's numbers and still stands.
    #[must_use]
    pub fn stand(&self) -> &[SlotMove] {
        &self.stand
    }

    /// Money that has come back, in minor units.
    #[must_use]
    pub fn minor_units(&self) -> i64 {
        self.minor_units
    }

    /// The same once a part more has come back, in time for counters or not, with which these
    /// numbers move.
    #[must_use]
    pub fn with(&self, (part, counts): (&ReturnedPart, bool), moves: &[SlotMove]) -> Self {
        let mut with = self.clone();
        with.times += 1;
        with.parts.push((part.clone(), counts));
        if with.parts.len() > PARTS_MAX {
            with.merge_last();
        }
        with.minor_units = with.minor_units.saturating_add(part.minor_units);
        for line in &part.lines {
            let (quantity, minor_units) = with.lines.entry(line.line).or_default();
            *quantity = quantity.saturating_add(line.quantity);
            *minor_units = minor_units.saturating_add(line.minor_units);
        }
        for moved in moves {
            let same =
                |stands: &&mut SlotMove| (stands.slot, stands.bucket) == (moved.slot, moved.bucket);
            if let Some(stands) = with.stand.iter_mut().find(same) {
                stands.by = stands.by.saturating_add(moved.by);
            }
        }
        with.stand.retain(|stands| stands.by != 0);
        with
    }

    /// Makes one of the last two parts.
    fn merge_last(&mut self) {
        let (Some((last, last_counts)), Some((before, counts))) =
            (self.parts.pop(), self.parts.last_mut())
        else {
            return;
        };
        *counts &= last_counts;
        before.minor_units = before.minor_units.saturating_add(last.minor_units);
        for more in last.lines {
            match before.lines.iter_mut().find(|line| line.line == more.line) {
                Some(line) => {
                    line.quantity = line.quantity.saturating_add(more.quantity);
                    line.minor_units = line.minor_units.saturating_add(more.minor_units);
                }
                None => before.lines.push(more),
            }
        }
        before.lines.sort_unstable_by_key(|part| part.line);
    }

    /// What comes back with a return that asks for it.
    pub fn part(&self, purchase: &Purchase, asked: &Return) -> Result<ReturnedPart, ReturnError> {
        let left = purchase.amount.minor_units() - self.minor_units;
        let exceeded = ReturnError::AmountExceeded { minor_units: left };
        if !asked.lines.is_empty() {
            return self.of_lines(purchase, &asked.lines);
        }
        match asked.amount.map(Money::minor_units) {
            Some(minor_units) if minor_units > left => Err(exceeded),
            Some(minor_units) if minor_units < left => Ok(self.spread(purchase, minor_units)),
            Some(_) | None => {
                let all = self.all(purchase);
                let is_nothing = all == ReturnedPart::default();
                // What cost nothing, and has no lines, comes back once.
                if is_nothing && (purchase.amount.minor_units() > 0 || self.times > 0) {
                    return Err(exceeded);
                }
                Ok(all)
            }
        }
    }

    /// Whether all of a purchase has come back: all its money, or what was bought for none.
    #[must_use]
    pub fn is_all(&self, purchase: &Purchase) -> bool {
        let amount = purchase.amount.minor_units();
        if amount > 0 {
            return self.minor_units == amount;
        }
        self.left(purchase).all(|(_, quantity, _)| quantity == 0)
    }

    /// What is left of a purchase: lines of which nothing is left are gone. Tenders are those
    /// of the whole.
    #[must_use]
    pub fn rest(&self, purchase: &Purchase) -> Purchase {
        let left = purchase.amount.minor_units() - self.minor_units;
        let lines = self.left(purchase).zip(&purchase.lines);
        let lines = lines.filter_map(|((_, quantity, minor_units), line)| {
            // What is left has its part of the tax, rounded down.
            let tax = match line.minor_units {
                0 => 0,
                whole => {
                    i128::from(line.tax_minor_units) * i128::from(minor_units) / i128::from(whole)
                }
            };
            (quantity > 0 || minor_units > 0).then(|| PurchaseLine {
                quantity,
                minor_units,
                tax_minor_units: i64::try_from(tax).unwrap_or(0),
                ..line.clone()
            })
        });
        let amount = Money::new(purchase.amount.currency(), left);
        Purchase {
            amount: amount.expect("less of an amount is one"),
            lines: lines.collect(),
            ..purchase.clone()
        }
    }

    /// What is left of each line: its place, how many, and how much of its money.
    fn left(&self, purchase: &Purchase) -> impl Iterator<Item = (u16, u32, i64)> {
        let lines = (0_u16..).zip(&purchase.lines);
        lines.map(|(at, line)| {
            let (quantity, minor_units) = self.lines.get(&at).copied().unwrap_or_default();
            let quantity = line.quantity.saturating_sub(quantity);
            (at, quantity, line.minor_units - minor_units)
        })
    }

    /// All that is left.
    fn all(&self, purchase: &Purchase) -> ReturnedPart {
        let lines = self.left(purchase).filter_map(line_part);
        ReturnedPart {
            minor_units: purchase.amount.minor_units() - self.minor_units,
            lines: lines.collect(),
        }
    }

    fn of_lines(
        &self,
        purchase: &Purchase,
        asked: &[ReturnedLine],
    ) -> Result<ReturnedPart, ReturnError> {
        let left: Vec<(u16, u32, i64)> = self.left(purchase).collect();
        let mut part = ReturnedPart::default();
        for (at, asked) in asked.iter().enumerate() {
            let lines = left.len();
            let of_line = left.get(usize::from(asked.line));
            let (line, quantity_left, left) =
                *of_line.ok_or(ReturnError::NoSuchLine { at, lines })?;
            let quantity = match (asked.quantity, asked.minor_units) {
                (Some(quantity), _) => quantity,
                (None, Some(_)) => 0,
                (None, None) => quantity_left,
            };
            let costs = |quantity: u32| match quantity_left {
                all if quantity == all => left,
                all => {
                    let cost = i128::from(left) * i128::from(quantity) / i128::from(all);
                    i64::try_from(cost).unwrap_or(left)
                }
            };
            let exceeded = ReturnError::LineExceeded {
                at,
                quantity: quantity_left,
                minor_units: left,
            };
            if quantity > quantity_left {
                return Err(exceeded);
            }
            let minor_units = asked.minor_units.unwrap_or_else(|| costs(quantity));
            if minor_units > left || (quantity == 0 && minor_units == 0) {
                return Err(exceeded);
            }
            part.minor_units += minor_units;
            part.lines.extend(line_part((line, quantity, minor_units)));
        }
        part.lines.sort_unstable_by_key(|part| part.line);
        Ok(part)
    }

    /// An amount that is less than what is left, spread over the lines in proportion to what
    /// is left of each, what is over to the largest remainders; how many are left stays.
    fn spread(&self, purchase: &Purchase, minor_units: i64) -> ReturnedPart {
        let left: Vec<(u16, i64)> = self
            .left(purchase)
            .map(|(line, _, minor_units)| (line, minor_units))
            .collect();
        let all: i128 = left.iter().map(|(_, left)| i128::from(*left)).sum();
        let share = |left: i64| {
            let exact = i128::from(left) * i128::from(minor_units);
            (exact / all.max(1), exact % all.max(1))
        };
        let mut by_remainder: Vec<(usize, i128)> = left
            .iter()
            .enumerate()
            .map(|(at, (_, left))| (at, share(*left).1))
            .collect();
        by_remainder.sort_by_key(|(at, remainder)| (std::cmp::Reverse(*remainder), *at));
        let mut shares: Vec<i64> = left
            .iter()
            .map(|(_, left)| i64::try_from(share(*left).0).unwrap_or(*left))
            .collect();
        let over = minor_units - shares.iter().sum::<i64>();
        let over = usize::try_from(over).unwrap_or(0);
        for (at, _) in by_remainder.into_iter().take(over) {
            shares[at] += 1;
        }
        let lines = left.iter().zip(shares);
        let lines = lines.filter_map(|((line, _), share)| line_part((*line, 0, share)));
        ReturnedPart {
            minor_units,
            lines: lines.collect(),
        }
    }
}

fn line_part((line, quantity, minor_units): (u16, u32, i64)) -> Option<LinePart> {
    (quantity > 0 || minor_units > 0).then_some(LinePart {
        line,
        quantity,
        minor_units,
    })
}
