//! No RPC goes without a test of what it refuses: the contracts say which there are,
//! the texts beside this file which are called.

use std::path::Path;

use prost::Message as _;
use prost_types::FileDescriptorSet;

/// RPCs without a test here, and why.
const NOT_HERE: [(&str, &str); 6] = [
    ("GetCheckpoint", "takes nothing"),
    ("GetLogHeads", "takes nothing"),
    ("GetFeedStatus", "takes nothing"),
    ("GetTime", "takes nothing"),
    ("BatchAccrue", "refuses in its answers: tests/e2e/ledger.rs"),
    (
        "ImportPurchases",
        "refuses in its answers: tests/e2e/import.rs",
    ),
];

/// The texts of the tests of refusals: every file beside this one, and the one above.
fn texts() -> Vec<String> {
    let e2e = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e");
    let beside = std::fs::read_dir(e2e.join("refusals")).expect("the folder of this file");
    let mut texts: Vec<String> = beside
        .map(|file| file.expect("a file").path())
        .filter(|path| !path.ends_with("coverage.rs"))
        .map(|path| std::fs::read_to_string(path).expect("a text"))
        .collect();
    texts.push(std::fs::read_to_string(e2e.join("refusals.rs")).expect("a text"));
    texts
}

#[test]
fn every_rpc_has_refusals_tested() {
    let contracts = FileDescriptorSet::decode(fealty_proto::FILE_DESCRIPTOR_SET).expect("ours");
    let services = contracts.file.iter().flat_map(|file| &file.service);
    let texts = texts();
    let mut known = 0;
    for method in services.flat_map(|service| &service.method) {
        known += 1;
        let name = method.name();
        if NOT_HERE.iter().any(|(not, _)| *not == name) {
            continue;
        }
        let called = format!(".{}(", snake_case(name));
        let asked = format!(", {},", snake_case(name));
        let tested = texts
            .iter()
            .any(|text| text.contains(&called) || text.contains(&asked));
        assert!(
            tested,
            "{name} has no test of what it refuses: add its rows to tests/e2e/refusals, for each \
             field what it may not be, and for what it names that there is no such thing"
        );
    }
    assert!(known > 30, "only {known} RPCs are known");
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}
