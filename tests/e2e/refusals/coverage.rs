//! No RPC goes without a test of what it refuses: the contracts say which there are,
//! the texts beside this file which are called.

use prost::Message as _;
use prost_types::FileDescriptorSet;

/// RPCs without a test here, and why.
const NOT_HERE: [(&str, &str); 5] = [
    ("GetCheckpoint", "takes nothing"),
    ("GetLogHeads", "takes nothing"),
    ("GetFeedStatus", "takes nothing"),
    ("GetTime", "takes nothing"),
    ("BatchAccrue", "refuses in its answers: tests/e2e/ledger.rs"),
];

/// The tests of refusals.
const TESTS: [&str; 4] = [
    include_str!("../refusals.rs"),
    include_str!("ledger.rs"),
    include_str!("others.rs"),
    include_str!("reads.rs"),
];

#[test]
fn every_rpc_has_refusals_tested() {
    let contracts = FileDescriptorSet::decode(fealty_proto::FILE_DESCRIPTOR_SET).expect("ours");
    let services = contracts.file.iter().flat_map(|file| &file.service);
    let mut known = 0;
    for method in services.flat_map(|service| &service.method) {
        known += 1;
        let name = method.name();
        if NOT_HERE.iter().any(|(not, _)| *not == name) {
            continue;
        }
        let called = format!(".{}(", snake_case(name));
        let asked = format!(", {},", snake_case(name));
        let tested = TESTS
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
