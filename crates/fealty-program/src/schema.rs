//! The JSON Schema of programme files: editors complete and check by it as somebody types.
//! It is made of the forms that files are read by, and of their docs.

use schemars::{Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::{Value, json};

use crate::source::File;

/// The schema, of draft 2020-12, as JSON. It asks for no section, for of a programme in a
/// folder each file has some of them; what refers to what, and the conditions, are left to
/// `fealty validate`.
#[must_use]
pub fn schema() -> String {
    let settings = SchemaSettings::draft2020_12();
    let settings = settings.with_transform(RecursiveTransform(without_null));
    let generator = settings.into_generator();
    let mut schema = generator.into_root_schema_for::<File>();
    schema.insert("title".to_owned(), "Fealty programme".into());
    schema.remove("required");
    let json = serde_json::to_string_pretty(&schema);
    json.expect("a schema is JSON") + "\n"
}

/// What may be left out is left out, not null: so an editor points at what is wrong in it.
fn without_null(schema: &mut Schema) {
    let null = json!({ "type": "null" });
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = &types[..] {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(forms)) = schema.get("anyOf")
        && let [Value::Object(form), other] = &forms[..]
        && *other == null
    {
        let form = form.clone();
        schema.remove("anyOf");
        for (key, value) in form {
            schema.insert(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validator() -> jsonschema::Validator {
        let schema = serde_json::from_str(&schema()).expect("JSON");
        jsonschema::validator_for(&schema).expect("a schema")
    }

    /// What the schema says of a file: the paths that it refuses.
    fn refused(source: &str) -> Vec<String> {
        let file: serde_json::Value = serde_saphyr::from_str(source).expect("YAML");
        let errors = validator();
        let errors = errors.iter_errors(&file);
        errors
            .map(|error| error.instance_path().to_string())
            .collect()
    }

    #[test]
    fn what_is_right_is_accepted() {
        let programs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/programs");
        for file in std::fs::read_dir(programs).expect("the examples") {
            let path = file.expect("a file").path();
            let source = std::fs::read_to_string(&path).expect("text");
            assert_eq!(refused(&source), [""; 0], "{}", path.display());
        }
        // Numbers need no quotes where they are read as texts.
        let right = "currencies: { points: { unit_value: 0.01 } }\n\
                     budgets: { x: { currency: points, points: 5, warn_at: 80 } }\n\
                     tiers: { qualify_by: money_spent, window: 1 year, upgrade: at_once, validity: 1 year, \
                     then: judge_again, levels: [ { tier: green, from: 0 } ] }\n\
                     examples: [ { given: { time: 2026-01-01, store: 12, lines: [ { sku: 4711, amount: 1 } ] }, \
                     earns: {} } ]\n\
                     earning: [ { rule: x, on: purchase, earn: { currency: points, fixed: 1, times: 2 } } ]";
        assert_eq!(refused(right), [""; 0]);
        // A file of a folder has some sections.
        assert_eq!(refused("orders: { unique_by: [store, day] }"), [""; 0]);
    }

    #[test]
    fn what_is_wrong_is_seen_as_it_is_typed() {
        let cases = [
            ("programm: club", ""),
            ("currencies: { Points: {} }", "/currencies"),
            (
                "currencies: { points: { round: up } }",
                "/currencies/points/round",
            ),
            (
                "earning: [ { rule: base, on: buying, earn: {} } ]",
                "/earning/0/on",
            ),
            (
                "earning: [ { rule: base, on: purchase, earn: { rate: { points: -1, per: 1 } } } ]",
                "/earning/0/earn/rate/points",
            ),
            ("refunds: { policy: never }", "/refunds/policy"),
            (
                "counters: { x: { of: line, over: evr } }",
                "/counters/x/over",
            ),
            ("language: 2", "/language"),
            (
                "rewards: { x: { name: X, price: { currency: points, points: -1 }, accepted_by: shop } }",
                "/rewards/x/price/points",
            ),
            (
                "counters: { x: { of: line, over: { evry: week } } }",
                "/counters/x/over",
            ),
        ];
        for (source, path) in cases {
            assert_eq!(refused(source), [path], "{source}");
        }
    }
}
