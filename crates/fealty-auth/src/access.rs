//! Who may call which RPC, as the contracts declare it.

use std::{collections::HashMap, sync::Arc};

use fealty_proto::access::v1 as wire;
use prost_reflect::{DescriptorPool, MethodDescriptor};

use crate::{Role, Roles};

/// The option of a method that declares it.
const OPTION: &str = "fealty.access.v1.access";
/// Services that everybody may call: they tell nothing but that we are there.
const OPEN: [&str; 1] = ["/grpc.health.v1.Health/"];

/// What a call reaches; `fealty.access.v1.Scope` says what each means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A member of a programme.
    Member,
    /// A programme.
    Program,
    /// A programme, or all.
    ProgramOrAll,
    /// The whole installation.
    Installation,
}

/// Who may call an RPC, and what of it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Its full name, for example `fealty.points.v1.LedgerService/Accrue`.
    pub method: String,
    /// Whoever has one of these may.
    pub roles: Roles,
    /// What it reaches.
    pub scope: Scope,
    /// Whether it only reads.
    pub read_only: bool,
    /// Whether its answer is a stream.
    pub streams: bool,
}

/// Contracts that do not say who may call.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The descriptors cannot be read.
    #[error("the contracts cannot be read")]
    Descriptors(#[from] prost_reflect::DescriptorError),
    /// Some RPCs say nothing, or not enough.
    #[error(
        "who may call is not declared: {}; each needs `option (fealty.access.v1.access)` with \
         roles and a scope", .0.join(", ")
    )]
    Undeclared(Vec<String>),
}

/// What is asked of a call before it is answered.
#[derive(Clone, Copy, Debug)]
pub enum Rule<'a> {
    /// Nothing.
    Open,
    /// That the caller is known.
    Known,
    /// What the contracts declare.
    Declared(&'a Arc<Access>),
}

/// Who may call which RPC.
#[derive(Debug)]
pub struct AccessTable(HashMap<String, Arc<Access>>);

impl AccessTable {
    /// Reads what encoded contracts declare. Every RPC must.
    pub fn read(descriptors: &[u8]) -> Result<Self, AccessError> {
        let pool = DescriptorPool::decode(descriptors)?;
        let mut table = HashMap::new();
        let mut undeclared = Vec::new();
        for method in pool.services().flat_map(|service| {
            let methods: Vec<_> = service.methods().collect();
            methods
        }) {
            let name = format!("{}/{}", method.parent_service().full_name(), method.name());
            match declared(&pool, &method, &name) {
                Some(access) => {
                    table.insert(format!("/{name}"), Arc::new(access));
                }
                None => undeclared.push(name),
            }
        }
        if undeclared.is_empty() {
            Ok(Self(table))
        } else {
            Err(AccessError::Undeclared(undeclared))
        }
    }

    /// Keeps the services that are served, by their full names.
    pub fn keep(&mut self, is_served: impl Fn(&str) -> bool) {
        self.0.retain(|_, access| {
            let service = access.method.split('/').next();
            service.is_some_and(&is_served)
        });
    }

    /// What is asked of a call to a path: `/package.Service/Method`. What is not
    /// ours, reflection for one, is for callers who are known.
    #[must_use]
    pub fn rule(&self, path: &str) -> Rule<'_> {
        if OPEN.iter().any(|open| path.starts_with(open)) {
            return Rule::Open;
        }
        self.0.get(path).map_or(Rule::Known, Rule::Declared)
    }

    /// Every declaration.
    pub fn iter(&self) -> impl Iterator<Item = &Access> {
        self.0.values().map(Arc::as_ref)
    }
}

fn declared(pool: &DescriptorPool, method: &MethodDescriptor, name: &str) -> Option<Access> {
    let option = pool.get_extension_by_name(OPTION)?;
    let options = method.options();
    if !options.has_extension(&option) {
        return None;
    }
    let value = options.get_extension(&option);
    let declared: wire::Access = value.as_message()?.transcode_to().ok()?;
    let roles = declared.roles().map(Role::of_wire);
    let roles: Roles = roles.collect::<Option<Vec<_>>>()?.into_iter().collect();
    let scope = match declared.scope() {
        wire::Scope::Unspecified => return None,
        wire::Scope::Member => Scope::Member,
        wire::Scope::Program => Scope::Program,
        wire::Scope::ProgramOrAll => Scope::ProgramOrAll,
        wire::Scope::Installation => Scope::Installation,
    };
    (!roles.is_empty()).then(|| Access {
        method: name.to_owned(),
        roles,
        scope,
        read_only: declared.read_only,
        streams: method.is_server_streaming(),
    })
}

#[cfg(test)]
mod tests {
    use prost_reflect::{
        prost::Message as _,
        prost_types::{FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto},
    };

    use super::*;

    #[test]
    fn every_rpc_of_the_contracts_is_declared() {
        let table = AccessTable::read(fealty_proto::FILE_DESCRIPTOR_SET).expect("declared");
        assert!(table.iter().count() > 30);
        let Rule::Declared(accrue) = table.rule("/fealty.points.v1.LedgerService/Accrue") else {
            panic!("it is declared");
        };
        assert!(accrue.roles.has(Role::Checkout) && !accrue.roles.has(Role::Member));
        assert_eq!((accrue.scope, accrue.read_only), (Scope::Member, false));
        assert!(matches!(
            table.rule("/grpc.health.v1.Health/Check"),
            Rule::Open
        ));
        assert!(matches!(table.rule("/no.such.Service/Method"), Rule::Known));
    }

    #[test]
    fn a_new_rpc_without_a_declaration_is_named() {
        // Decoding by prost drops the options that it does not know, so all are
        // without; the new one is there as well.
        let mut contracts =
            FileDescriptorSet::decode(fealty_proto::FILE_DESCRIPTOR_SET).expect("ours");
        let has_feed = |file: &&mut FileDescriptorProto| {
            file.service.iter().any(|s| s.name() == "FeedService")
        };
        let feed = contracts
            .file
            .iter_mut()
            .find(has_feed)
            .expect("it is there");
        feed.service[0].method.push(MethodDescriptorProto {
            name: Some("Forgotten".to_owned()),
            input_type: Some(".fealty.operations.v1.GetFeedStatusRequest".to_owned()),
            output_type: Some(".fealty.operations.v1.GetFeedStatusResponse".to_owned()),
            ..MethodDescriptorProto::default()
        });
        let error = AccessTable::read(&contracts.encode_to_vec()).expect_err("refused");
        let told = error.to_string();
        assert!(
            told.contains("fealty.operations.v1.FeedService/Forgotten"),
            "{told}"
        );
    }
}
