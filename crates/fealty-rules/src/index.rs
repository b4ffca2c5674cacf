//! Which rules an event can meet: rules by what their conditions fix.
//!
//! Most rules say that a line is of a category, or a purchase of a shop. They are found
//! by that, so that an event is held against the few that it may meet, however many
//! there are.

use std::collections::HashMap;

use crate::{
    cel::{Bool, Text, TextName},
    text::Symbol,
};

/// Rules by what they fix.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    by_text: HashMap<(TextName, Symbol), Vec<u16>>,
    /// Those that fix nothing.
    others: Vec<u16>,
}

/// What of an event rules are found by, from what tells most to what tells least.
pub(crate) const OF_LINES: [TextName; 3] = [
    TextName::LineSku,
    TextName::LineCategory,
    TextName::LineBrand,
];
pub(crate) const OF_EVENTS: [TextName; 4] = [
    TextName::Store,
    TextName::Terminal,
    TextName::Brand,
    TextName::Channel,
];

impl Index {
    /// Adds a rule by its conditions.
    pub(crate) fn add(&mut self, rule: u16, when: &Bool, lines: Option<&Bool>) {
        let of_lines = lines.and_then(|lines| fixed(lines, &OF_LINES));
        match of_lines.or_else(|| fixed(when, &OF_EVENTS)) {
            Some((name, texts)) => {
                for text in texts {
                    self.by_text.entry((name, text)).or_default().push(rule);
                }
            }
            None => self.others.push(rule),
        }
    }

    /// Adds the rules that a value leads to.
    pub(crate) fn find(&self, name: TextName, text: Symbol, found: &mut Vec<u16>) {
        if let Some(rules) = self.by_text.get(&(name, text)) {
            found.extend_from_slice(rules);
        }
    }

    /// The rules that fix nothing.
    pub(crate) fn others(&self) -> &[u16] {
        &self.others
    }
}

/// The first of some names that a condition fixes, with the texts that it allows.
fn fixed(condition: &Bool, names: &[TextName]) -> Option<(TextName, Vec<Symbol>)> {
    names.iter().find_map(|name| {
        let of_name = |part: &Bool| match part {
            Bool::SameText(Text::Name(found), Text::Known(text))
            | Bool::SameText(Text::Known(text), Text::Name(found))
                if found == name =>
            {
                Some((*name, vec![*text]))
            }
            Bool::TextOneOf(Text::Name(found), list) if found == name => {
                Some((*name, list.to_vec()))
            }
            _ => None,
        };
        condition.conjuncts().iter().find_map(of_name)
    })
}
