//! The text of a programme file: its sections, and where in it a value stands.
//! What is not named in a section is refused with line and column.

use std::collections::BTreeMap;

use fealty_types::{
    ActivityType, BrandId, BudgetId, CounterId, CurrencyId, GroupId, ProgramId, RewardId,
};
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;

use crate::{
    ProgramError, SOURCE_LEN_MAX,
    error::FILE,
    sections::{
        activities, adjustments, attributes, brands, budgets, calendar, counters, currencies,
        earning, examples, orders, personal, program, referrals, refunds, rewards, tiers,
    },
};

/// A programme: points, tiers and rewards.
// The order of the sections is that of the digest.
#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// The id of the programme.
    pub(crate) program: ProgramId,
    /// The language of this file: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1))]
    pub(crate) language: Option<u32>,
    /// The zone in which days begin, such as `Europe/London`. May stand in `calendar` as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) time_zone: Option<String>,
    /// Where days, weeks, months, quarters and years begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) calendar: Option<calendar::CalendarText>,
    /// The money in which amounts are.
    pub(crate) money: program::MoneyText,
    /// The kinds of points.
    pub(crate) currencies: BTreeMap<CurrencyId, currencies::CurrencyText>,
    /// The companies that issue and accept points.
    pub(crate) brands: BTreeMap<BrandId, brands::BrandText>,
    /// Facts of purchases and their lines that conditions read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attributes: Option<attributes::AttributesText>,
    /// What members do that is no purchase, such as a review.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) activities: BTreeMap<ActivityType, activities::ActivityText>,
    /// Numbers that are kept for each member.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) counters: BTreeMap<CounterId, counters::CounterText>,
    /// Groups of rules of which one gives: the `best`, or the `first` that applies.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) groups: BTreeMap<GroupId, earning::PickText>,
    /// Points that rules give at the most, all members together.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) budgets: BTreeMap<BudgetId, budgets::BudgetText>,
    /// The rules that purchases and activities earn by. Their order counts: they round together, and of groups the first may
    /// give.
    #[serde(default)]
    pub(crate) earning: Vec<earning::RuleText>,
    /// The status that purchases give.
    pub(crate) tiers: Option<tiers::TiersText>,
    /// What points buy.
    #[serde(default)]
    pub(crate) rewards: BTreeMap<RewardId, rewards::RewardText>,
    /// How members bring others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) referrals: Option<referrals::ReferralsText>,
    /// How points are taken back and restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refunds: Option<refunds::RefundsText>,
    /// What operators may put right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) adjustments: Option<adjustments::AdjustmentsText>,
    /// Within what a brand's order numbers are unique: all of the brand, if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) orders: Option<orders::OrdersText>,
    /// Purchases, and what they must earn. They are tried before the file is applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) examples: Vec<examples::ExampleText>,
    /// What callers keep with a change that must be deletable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) personal: Option<personal::PersonalText>,
}

/// Room for the densest file that there may be; aliases and depth stay as narrow as ever.
fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_nodes: 2 * SOURCE_LEN_MAX,
            max_events: 4 * SOURCE_LEN_MAX,
        },
    }
}

/// Reads a file's form, or says where it is wrong.
pub(crate) fn read(source: &str) -> Result<File, ProgramError> {
    serde_saphyr::from_str_with_options(source, options()).map_err(|error| ProgramError {
        path: FILE.to_owned(),
        location: error
            .location()
            .map(|location| (location.line(), location.column())),
        offset: None,
        message: error.to_string(),
    })
}

/// Finds the line and column of paths such as `earning.base.earn.rate`: those of
/// the value, or of what it is missing from.
pub(crate) struct Places(Option<Spanned<Node>>);

impl Places {
    pub(crate) fn of(source: &str) -> Self {
        Self(serde_saphyr::from_str_with_options(source, options()).ok())
    }

    pub(crate) fn find(&self, path: &str) -> Option<(u64, u64)> {
        let mut at = self.0.as_ref()?;
        let mut rest = path;
        while !rest.is_empty() {
            // Names of things may have dots in them: the longest that fits.
            let ends = rest.match_indices('.').map(|(end, _)| end);
            let mut ends: Vec<usize> = ends.chain([rest.len()]).collect();
            ends.reverse();
            let Some((below, end)) = ends
                .into_iter()
                .find_map(|end| Some((at.value.below(&rest[..end])?, end)))
            else {
                break;
            };
            at = below;
            rest = rest[end..].trim_start_matches('.');
        }
        Some((at.referenced.line(), at.referenced.column()))
    }
}

/// A place so many characters further on in a text that stands in one line: plain, or in
/// quotes. In a block, all that is known is where it begins.
pub(crate) fn further_on(source: &str, (line, column): (u64, u64), by: usize) -> (u64, u64) {
    let at = |number: u64| {
        usize::try_from(number)
            .unwrap_or(usize::MAX)
            .saturating_sub(1)
    };
    let first = source
        .lines()
        .nth(at(line))
        .and_then(|line| line.chars().nth(at(column)));
    match first {
        Some('|' | '>') | None => (line, column),
        Some('\'' | '"') => (line, column + by as u64 + 1),
        Some(_) => (line, column + by as u64),
    }
}

/// A value of the file with what is below it.
enum Node {
    Map(BTreeMap<String, Spanned<Self>>),
    List(Vec<Spanned<Self>>),
    Text(String),
    Other,
}

impl Node {
    fn below(&self, name: &str) -> Option<&Spanned<Self>> {
        match self {
            Self::Map(entries) => entries.get(name),
            // Rules and levels are known by their names, wherever they stand; others by
            // their place.
            Self::List(entries) if name.parse::<usize>().is_ok() => {
                entries.get(name.parse::<usize>().ok()?)
            }
            Self::List(entries) => entries.iter().find(|entry| {
                let named = |key| entry.value.below(key).map(|named| &named.value);
                let names = [named("rule"), named("tier")];
                names
                    .into_iter()
                    .flatten()
                    .any(|known| matches!(known, Self::Text(text) if text == name))
            }),
            Self::Text(_) | Self::Other => None,
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((key, value)) = map.next_entry()? {
            entries.insert(key, value);
        }
        Ok(Node::Map(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = list.next_element()? {
            entries.push(entry);
        }
        Ok(Node::List(entries))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Node, D::Error> {
        IgnoredAny::deserialize(inner).map(|_| Node::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_by_names() {
        let source = "a: { b: 1 }\nearning:\n  - rule: base\n    earn: { rate: 2 }\n  - rule: more.of.it\n    earn: 3\n";
        let places = Places::of(source);
        assert_eq!(places.find("a.b"), Some((1, 9)));
        assert_eq!(places.find("earning.base.earn.rate"), Some((4, 19)));
        assert_eq!(places.find("earning.more.of.it.earn"), Some((6, 11)));
        // What is missing is missing from something.
        assert_eq!(places.find("a.c"), places.find("a"));
    }
}
