//! The table in `docs/security.md` is what the contracts declare.

use std::fmt::Write as _;

use fealty_auth::{AccessTable, Scope};

#[test]
fn the_documents_table_is_what_the_contracts_declare() {
    let table = AccessTable::read(fealty_proto::FILE_DESCRIPTOR_SET).expect("declared");
    let mut declared: Vec<_> = table.iter().collect();
    declared.sort_by(|one, other| one.method.cmp(&other.method));
    let mut expected = String::from("| RPC | roles | reaches |\n|---|---|---|\n");
    for access in declared {
        let scope = match access.scope {
            Scope::Member => "a member",
            Scope::Program | Scope::ProgramOpen => "a programme",
            Scope::ProgramOrAll => "a programme, or all of the caller's",
            Scope::Installation => "the installation",
        };
        let name = access.method.trim_start_matches("fealty.");
        writeln!(expected, "| `{name}` | {} | {scope} |", access.roles).expect("to memory");
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/security.md");
    let document = std::fs::read_to_string(path).expect("it is there");
    assert!(
        document.ends_with(&expected),
        "docs/security.md must end with:\n{expected}"
    );
}
