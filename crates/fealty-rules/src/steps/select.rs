//! Which lines rules pick. Each condition is asked once, whoever shares it.

use std::cell::RefCell;

use crate::{
    cel::Eval as _,
    event::{Picked, Ready},
    rule::Rules,
};

/// Words of bits: lines of a purchase are 500 at the most.
const WORDS: usize = 8;

/// The lines that a condition picks.
#[derive(Clone, Copy, Debug)]
struct Mask {
    bits: [u64; WORDS],
    picked: Picked,
}

impl Mask {
    fn has(&self, line: usize) -> bool {
        self.bits[line / 64 % WORDS] >> (line % 64) & 1 == 1
    }
}

/// The lines that conditions pick, as far as they have been asked.
pub(crate) struct Selections {
    masks: RefCell<Vec<Option<Mask>>>,
    all: RefCell<Option<Picked>>,
}

impl Selections {
    pub(crate) fn new(rules: &Rules) -> Self {
        Self {
            masks: RefCell::new(vec![None; rules.selections.len()]),
            all: RefCell::new(None),
        }
    }

    /// What is known of the lines that a condition picks.
    pub(crate) fn picked(
        &self,
        rules: &Rules,
        ready: &Ready<'_>,
        selection: Option<u16>,
    ) -> Picked {
        let Some(selection) = selection else {
            let mut all = self.all.borrow_mut();
            return *all.get_or_insert_with(|| mask(ready, |_| true).picked);
        };
        let at = usize::from(selection);
        if let Some(known) = &self.masks.borrow()[at] {
            return known.picked;
        }
        let condition = &rules.selections[at];
        let found = mask(ready, |line| {
            ready.at.set(line);
            ready.holds(condition)
        });
        self.masks.borrow_mut()[at] = Some(found);
        found.picked
    }

    /// Calls with each line that a condition picks, which has been asked before.
    pub(crate) fn each(&self, ready: &Ready<'_>, selection: Option<u16>, mut f: impl FnMut(usize)) {
        let masks = self.masks.borrow();
        let mask = selection.and_then(|at| masks[usize::from(at)].as_ref());
        for line in 0..ready.lines.len() {
            if mask.is_none_or(|mask| mask.has(line)) {
                f(line);
            }
        }
    }

    /// Whether a condition, which has been asked before, picks a line.
    pub(crate) fn has(&self, selection: Option<u16>, line: usize) -> bool {
        let masks = self.masks.borrow();
        let mask = selection.and_then(|at| masks[usize::from(at)].as_ref());
        mask.is_none_or(|mask| mask.has(line))
    }
}

fn mask(ready: &Ready<'_>, picks: impl Fn(usize) -> bool) -> Mask {
    let mut mask = Mask {
        bits: [0; WORDS],
        picked: Picked::default(),
    };
    for at in 0..ready.lines.len() {
        if picks(at) {
            mask.bits[at / 64 % WORDS] |= 1 << (at % 64);
            mask.picked.add(&ready.lines[at]);
        }
    }
    mask
}
