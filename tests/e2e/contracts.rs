//! What every RPC of the contracts must have besides what their linter looks at.

use std::collections::BTreeSet;

use prost_reflect::{DescriptorPool, MethodDescriptor, Value};

/// The HTTP path that a gateway serves an RPC under, with its verb.
fn http(method: &MethodDescriptor) -> Option<(String, String)> {
    let pool = method.parent_pool();
    let extension = pool.get_extension_by_name("google.api.http")?;
    let options = method.options();
    let rule = options.get_extension(&extension);
    let rule = rule.as_message()?;
    ["get", "post", "put", "patch", "delete"]
        .into_iter()
        .find_map(|verb| {
            let path = rule.get_field_by_name(verb)?;
            let Value::String(path) = &*path else {
                return None;
            };
            (!path.is_empty()).then(|| (verb.to_owned(), path.clone()))
        })
}

#[test]
fn every_rpc_has_an_http_path_of_its_own_that_its_request_fills() {
    let pool = DescriptorPool::decode(fealty_proto::FILE_DESCRIPTOR_SET).expect("ours");
    let ours = pool
        .services()
        .filter(|service| service.full_name().starts_with("fealty."));
    let (mut known, mut paths) = (0, BTreeSet::new());
    for method in ours.flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let name = method.full_name();
        let (verb, path) =
            http(&method).unwrap_or_else(|| panic!("{name} has no option google.api.http"));
        // Each service is served at an address of its own; the two that redeem differ.
        let package = method.parent_service().package_name().to_owned();
        assert!(
            paths.insert((package, verb.clone(), path.clone())),
            "{name}: {verb} {path} is another's"
        );
        let variables = path.split('{').skip(1);
        for variable in variables.filter_map(|rest| rest.split('}').next()) {
            let field = method.input().get_field_by_name(variable);
            assert!(field.is_some(), "{name}: its request has no {variable}");
        }
        known += 1;
    }
    assert!(known > 45, "only {known} RPCs are known");
}
