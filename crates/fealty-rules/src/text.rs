//! Texts as numbers, so that comparing two while rules run is comparing numbers.

use std::collections::HashMap;

/// A text's number. Those of an event that no rule names have numbers of their own,
/// which mean nothing outside that event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Symbol(pub(crate) u32);

impl Symbol {
    /// What is not given.
    pub(crate) const EMPTY: Self = Self(0);
}

/// The texts that the rules of a version name.
#[derive(Clone, Debug)]
pub(crate) struct Texts {
    numbers: HashMap<Box<str>, Symbol>,
    texts: Vec<Box<str>>,
}

impl Default for Texts {
    fn default() -> Self {
        let mut texts = Self {
            numbers: HashMap::new(),
            texts: Vec::new(),
        };
        texts.number("");
        texts
    }
}

impl Texts {
    /// The number of a text that a rule names.
    pub(crate) fn number(&mut self, text: &str) -> Symbol {
        if let Some(known) = self.numbers.get(text) {
            return *known;
        }
        let number = Symbol(u32::try_from(self.texts.len()).unwrap_or(u32::MAX));
        self.texts.push(text.into());
        self.numbers.insert(text.into(), number);
        number
    }
}

/// The texts of one event beside those of the rules.
#[derive(Debug)]
pub(crate) struct EventTexts<'a> {
    known: &'a Texts,
    others: Vec<&'a str>,
}

impl<'a> EventTexts<'a> {
    pub(crate) fn new(known: &'a Texts) -> Self {
        Self {
            known,
            others: Vec::new(),
        }
    }

    /// The number of a text of the event.
    pub(crate) fn number(&mut self, text: &'a str) -> Symbol {
        if let Some(known) = self.known.numbers.get(text) {
            return *known;
        }
        // Few texts of an event are named by no rule, and most of them come once.
        let at = self.others.iter().rposition(|other| *other == text);
        let at = at.unwrap_or_else(|| {
            self.others.push(text);
            self.others.len() - 1
        });
        Symbol(u32::try_from(self.known.texts.len() + at).unwrap_or(u32::MAX))
    }

    /// The text with a number.
    pub(crate) fn text(&self, symbol: Symbol) -> &str {
        let at = symbol.0 as usize;
        match self.known.texts.get(at) {
            Some(text) => text,
            None => self
                .others
                .get(at - self.known.texts.len())
                .copied()
                .unwrap_or_default(),
        }
    }
}
