//! What differs between two programme files.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{ProgramError, source};

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where in the file, for example `earning.base.earn.rate.points`.
    pub path: String,
    /// The value before, if there was one.
    pub before: Option<String>,
    /// The value after, if there is one.
    pub after: Option<String>,
}

/// Compares two files value by value; a file without predecessor is all new.
/// The rows come in order of path.
pub fn diff(before: Option<&str>, after: &str) -> Result<Vec<Change>, ProgramError> {
    let before = before.map_or(Ok(BTreeMap::new()), leaves)?;
    let after = leaves(after)?;
    let mut paths: Vec<&String> = before.keys().chain(after.keys()).collect();
    paths.sort();
    paths.dedup();
    let changes = paths
        .into_iter()
        .filter(|path| before.get(*path) != after.get(*path))
        .map(|path| Change {
            path: path.clone(),
            before: before.get(path).cloned(),
            after: after.get(path).cloned(),
        });
    Ok(changes.collect())
}

fn leaves(source: &str) -> Result<BTreeMap<String, String>, ProgramError> {
    let file = serde_json::to_value(source::read(source)?)
        .map_err(|error| ProgramError::of_file(error.to_string()))?;
    let mut leaves = BTreeMap::new();
    collect(String::new(), &file, &mut leaves);
    Ok(leaves)
}

fn collect(path: String, value: &Value, leaves: &mut BTreeMap<String, String>) {
    let below = |key: &str| {
        if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        }
    };
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                collect(below(key), value, leaves);
            }
        }
        Value::Array(entries) => {
            for (index, entry) in entries.iter().enumerate() {
                // Rules and levels are known by their names, wherever they stand.
                let name = ["rule", "tier"]
                    .iter()
                    .find_map(|key| entry.get(key)?.as_str().map(str::to_owned))
                    .unwrap_or_else(|| index.to_string());
                collect(below(&name), entry, leaves);
            }
        }
        Value::Null => {}
        Value::String(text) => {
            leaves.insert(path, text.clone());
        }
        Value::Bool(_) | Value::Number(_) => {
            leaves.insert(path, value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD_CLUB: &str = include_str!("../../../examples/programs/record-club.yaml");

    #[test]
    fn a_changed_rate_is_one_row() {
        let changed = RECORD_CLUB.replace("points: 10, ", "points: 12, ");
        let changes = diff(Some(RECORD_CLUB), &changed).expect("valid");
        assert_eq!(
            changes,
            [Change {
                path: "earning.base.earn.rate.points".to_owned(),
                before: Some("10".to_owned()),
                after: Some("12".to_owned()),
            }]
        );
        assert_eq!(diff(Some(RECORD_CLUB), RECORD_CLUB), Ok(vec![]));
    }
}
